"""The fixtures that tests of the journal share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal on disk may be."""
    return tmp_path / "mqtt.sqlite"
