"""What all tests share: brokers, and the word at the end on which real components were used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brokers import USED, Broker, best_broker
from tests.kafka_brokers import LEFT_OUT, NEEDS, KafkaBroker, best_kafka


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The best MQTT broker to be had, for tests that neither stop nor configure it."""
    found = best_broker()
    yield found
    found.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """The best Kafka to be had, for tests that neither stop nor configure it; each makes topics of its own."""
    found = best_kafka()
    yield found
    found.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("components used")
    for name, times in USED.items():
        terminalreporter.write_line(f"{name}, started {times} times" if times > 1 else name)
    if not USED:
        terminalreporter.write_line("no broker was needed")
    if LEFT_OUT:
        terminalreporter.write_line(f"LEFT OUT for want of a Kafka ({NEEDS}): {len(LEFT_OUT)} tests")
