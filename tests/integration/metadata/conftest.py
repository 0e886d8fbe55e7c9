"""The fixtures that tests of metadata share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brokers import Mosquitto


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """A Mosquitto of each test's own, which keeps no message of another test."""
    with Mosquitto() as broker:
        yield broker
