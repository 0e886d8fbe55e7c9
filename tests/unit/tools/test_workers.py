"""How a test run is spread over processes."""

from __future__ import annotations

from pathlib import Path

from tests.workers import HEAVY, LONG, WITH_KAFKA

ROOT = Path(__file__).parents[3]


def test_every_file_that_is_named_is_there() -> None:
    """A name that fits no file would be without effect, and nobody would notice."""
    assert [file for file in (*LONG, *sum(WITH_KAFKA, HEAVY)) if not (ROOT / file).is_file()] == []
