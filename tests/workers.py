"""How a test run is spread over processes (pytest-xdist): most tests wait, so there may be more processes than cores.

Tests of one file stay together, since they share what they start: a broker, a sandbox, a browser; and some files with
Kafka. In `tests/chaos` each test starts what it needs itself, so those are spread one by one; but what keeps the cores
busy for a minute or more is never beside another such test. The longest begin first; the quick ones fill up the end.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

MOST: Final = 6
HEAVY: Final = ("tests/chaos/test_kafka_nothing_is_lost.py", "tests/chaos/test_memory.py")
"""These run one after the other."""
_KAFKA: Final = "tests/integration/sources/kafka"
WITH_KAFKA: Final = (
    (
        f"{_KAFKA}/test_conformance.py",
        f"{_KAFKA}/test_membership.py",
        f"{_KAFKA}/test_retention.py",
        f"{_KAFKA}/test_identity.py",
        f"{_KAFKA}/test_batches.py",
    ),
    (
        f"{_KAFKA}/test_to_clarify.py",
        "tests/integration/dead_letters/test_stores.py",
        "tests/integration/dead_letters/test_dead_letters.py",
        "tests/integration/try_out/test_try_out.py",
    ),
    (
        "tests/integration/runtime/test_workers.py",
        "tests/integration/runtime/test_backfill.py",
        "tests/integration/tools/test_kafka_broker.py",
        "tests/integration/observe/otlp/test_to_a_collector.py",
        f"{_KAFKA}/test_errors.py",
        "tests/integration/observe/test_alerts.py",
        "tests/integration/commands/doctor/test_doctor.py",
    ),
)
"""Each of these groups runs in one process. The Kafka of a process takes a part of a core and memory, also at rest."""
LONG: Final = (
    *HEAVY,
    f"{_KAFKA}/test_cluster.py",
    *WITH_KAFKA[0],
    "tests/chaos/test_nothing_is_lost.py",
    "tests/chaos/test_chaos.py",
    "tests/chaos/test_broker_matrix.py",
    "tests/unit/sources/mqtt/test_hostile_broker.py",  # this and the next leave the cores to those before
    "tests/hostile/test_exchanges.py",
    *WITH_KAFKA[1],
    *WITH_KAFKA[2],
    "tests/integration/runtime/test_reload.py",
    "tests/integration/runtime/test_integrations.py",
    "tests/integration/runtime/test_credentials.py",
    "tests/integration/observe/test_status_page.py",
    "tests/integration/observe/test_freshness.py",
    "tests/integration/test_plugins.py",
    "tests/integration/runtime/test_supervision.py",
    "tests/integration/test_container_files.py",
    "tests/integration/test_localhost.py",
    "tests/integration/sources/file/test_to_clarify.py",
    "tests/integration/observe/test_crashes.py",
    "tests/integration/metadata/test_publishing.py",
    "tests/integration/demo/test_demo.py",
    "tests/integration/commands/test_drain.py",
    "tests/integration/sources/mqtt/test_conformance.py",
    "tests/integration/sandbox/test_page.py",
    "tests/integration/observe/test_notices.py",
    "tests/integration/sources/kafka/test_settings.py",
    "tests/integration/clarify/test_client.py",
    "tests/integration/metadata/test_metadata.py",
    "tests/integration/sources/test_ended_threads.py",
)
"""These begin before all others: a file of a minute or more that begins last runs alone at the end."""
_TOGETHER: Final = {file: files[0] for files in (HEAVY, *WITH_KAFKA) for file in files}


def how_many(config: pytest.Config) -> int:
    """Three for each core for folders or for everything; one process for single files and tests, for what -k selects,
    and where somebody looks on (-s). `-n` says otherwise."""
    single = any("::" in argument or argument.endswith(".py") for argument in config.args)
    if single or config.option.keyword or config.option.capture == "no":
        return 0
    return min(MOST, 3 * (os.cpu_count() or 1))


def longest_first(items: list[pytest.Item]) -> None:
    """Sort the tests of a run."""
    order = {file: place for place, file in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(LONG)))


class TogetherByFile(LoadScopeScheduling):
    """Hands out the tests: what has the same scope goes to the same process."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file in _TOGETHER:
            return _TOGETHER[file]
        return nodeid if file.startswith("tests/chaos/") else file
