"""The fixtures that tests of commands share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.commands.configuration import CREDENTIALS, GOOD


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of a configuration that is right, beside its credentials file."""
    (tmp_path / "credentials.json").write_text(json.dumps(CREDENTIALS), encoding="utf-8")
    file = tmp_path / "connector.yaml"
    file.write_text(GOOD, encoding="utf-8")
    return file


@pytest.fixture
def state_folder(config: Path) -> Path:
    """The folder for the state, as a connector that ran has left it; empty."""
    folder = config.parent / "state"
    folder.mkdir()
    return folder
