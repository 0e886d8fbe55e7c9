"""What all tests share: brokers, patience, how tests are spread over processes, and the word at the end on which real
components were used."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from tests import secret_search
from tests.brokers import USED, Broker, best_broker
from tests.kafka_brokers import LEFT_OUT, NEEDS, KafkaBroker, best_kafka
from tests.workers import TogetherByFile, how_many, longest_first

# A slow or busy machine is no reason to fail.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what runs in the background so; children inherit the setting, and Ctrl-C is tested on some.
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore = ["plugins"]
"""Their tests run where they are installed: see tests/integration/test_plugins.py."""


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that runs in this process sets up the logs for all of it."""
    yield
    structlog.reset_defaults()


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else how_many(config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TogetherByFile:
    return TogetherByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed and logged is searched for secrets."""
    report = yield
    if report.when == "teardown":
        for name, text in report.sections:
            secret_search.search_text(f"{item.nodeid} ({name})", text)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Whoever ran tests searches what they left behind; a worker hands over what it used and found."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    factory: pytest.TempPathFactory | None = getattr(session.config, "_tmp_path_factory", None)
    ran_tests = output is not None or not session.config.getoption("numprocesses")
    if ran_tests and factory is not None and factory._basetemp is not None:  # there is no public word for the latter
        secret_search.search_folder(factory._basetemp)
    if output is not None:
        output["used"], output["left_out"], output["secrets"] = USED, LEFT_OUT, secret_search.FOUND
    elif secret_search.FOUND:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_testnodedown(node: Any) -> None:
    """What a worker used adds to what the others used; one that died has nothing to say, and the run has failed."""
    output: dict[str, Any] = getattr(node, "workeroutput", {})
    for name, times in output.get("used", {}).items():
        USED[name] = USED.get(name, 0) + times
    LEFT_OUT.extend(output.get("left_out", ()))
    secret_search.FOUND.extend(output.get("secrets", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("components used")
    for name, times in USED.items():
        terminalreporter.write_line(f"{name}, started {times} times" if times > 1 else name)
    if not USED:
        terminalreporter.write_line("no broker was needed")
    for place in dict.fromkeys(secret_search.FOUND):
        terminalreporter.write_line(f"SECRET FOUND in {place}", red=True)
    if LEFT_OUT:
        terminalreporter.write_line(f"LEFT OUT for want of a Kafka ({NEEDS}): {len(LEFT_OUT)} tests")
