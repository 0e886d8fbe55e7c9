"""Tests stand in folders that mirror those of the connector, so that a reader of one finds the other."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = "tools"
"""The folder for tests of what the tests themselves are made of."""


@pytest.mark.parametrize("guarantee", ["unit", "property", "integration"])
def test_every_folder_of_tests_has_its_folder_in_the_connector(guarantee: str) -> None:
    tests = ROOT / "tests" / guarantee
    folders = {str(file.parent.relative_to(tests)) for file in tests.rglob("test_*.py")} - {".", TOOLS}
    assert folders, "there are tests"
    assert {folder for folder in folders if not (ROOT / "connector" / folder / "__init__.py").is_file()} == set()
