"""How a test run is spread over processes (pytest-xdist): most tests wait, so there may be more processes than cores.

Tests of one file stay together, since they share what they start: a broker, a sandbox, a browser. Files begin in the
order of collection, in which the long ones come first. In `tests/chaos` each test starts what it needs itself, so those
are spread one by one; but what keeps a core busy for a minute or more is one after the other (`HEAVY`).
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

MOST: Final = 4
HEAVY: Final = ("tests/chaos/test_memory.py", "tests/chaos/test_kafka_nothing_is_lost.py")


def how_many(config: pytest.Config) -> int:
    """Two for each core for folders or for everything; one process, with its output as it comes, for single files and
    tests, and where somebody looks on (-s). `-n` says otherwise."""
    single = any("::" in argument or argument.endswith(".py") for argument in config.args)
    if single or config.option.capture == "no":
        return 0
    return min(MOST, 2 * (os.cpu_count() or 1))


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
