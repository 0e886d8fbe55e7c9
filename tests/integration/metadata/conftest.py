"""The fixtures that tests of metadata share."""

from __future__ import annotations

import pytest

from tests.brokers import Mosquitto


@pytest.fixture
def broker(mosquitto: Mosquitto) -> Mosquitto:
    """A Mosquitto of each test's own: messages that another test left would be samples here."""
    return mosquitto
