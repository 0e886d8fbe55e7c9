"""The fixtures that most integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brokers import Mosquitto
from tests.sandbox_server import sandbox_fixture

sandbox = sandbox_fixture()
"""A sandbox of each test's own, with the settings of the real Clarify. Modules that need others name theirs."""


@pytest.fixture
def mosquitto() -> Iterator[Mosquitto]:
    """A Mosquitto of each test's own, which keeps no message of another test."""
    with Mosquitto() as broker:
        yield broker
