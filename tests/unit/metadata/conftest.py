"""The fixtures that tests of metadata share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.state.state import State


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """The state of one connector, for a test that does not open it again."""
    found = State(tmp_path / "state.sqlite")
    yield found
    found.close()
