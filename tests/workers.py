"""How a test run is spread over processes (pytest-xdist): most tests wait, so there may be more processes than cores.

Tests of one file stay together, since they share what they start: a broker, a sandbox, a browser. In `tests/chaos` each
test starts what it needs itself, so those are spread one by one; but what keeps the cores busy for a minute or more is
never beside another such test. The longest begin first; the quick ones fill up the end.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

MOST: Final = 4
HEAVY: Final = ("tests/chaos/test_kafka_nothing_is_lost.py", "tests/chaos/test_memory.py")
"""These run one after the other."""
LONG: Final = (
    *HEAVY,
    "tests/chaos/test_nothing_is_lost.py",
    "tests/chaos/test_chaos.py",
    "tests/integration/sources/kafka/test_cluster.py",
)
"""These begin before all others."""


def how_many(config: pytest.Config) -> int:
    """Two for each core for folders or for everything; one process for single files and tests, for what -k selects, and
    where somebody looks on (-s). `-n` says otherwise."""
    single = any("::" in argument or argument.endswith(".py") for argument in config.args)
    if single or config.option.keyword or config.option.capture == "no":
        return 0
    return min(MOST, 2 * (os.cpu_count() or 1))


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
        if file in HEAVY:
            return "heavy"
        return nodeid if file.startswith("tests/chaos/") else file
