"""Looks run side by side: one that hangs or fails neither hides nor stops the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from connector.brokers.findings import Finding, ok, wrong
from connector.commands.doctor.run import counts, run
from tests.secrets_used import SETTING


def fails() -> Iterator[Finding]:
    yield ok("a", "first")
    raise RuntimeError(SETTING)


def test_a_look_that_hangs_or_fails_is_a_finding_and_hides_nothing() -> None:
    over = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield wrong("name", "before", "do this")
        over.wait(60)

    began = time.monotonic()
    rows = run({"hangs": hangs, "fails": fails, "well": lambda: iter([ok("b", "well")])}, 0.2)
    over.set()
    assert time.monotonic() - began < 30
    said = [(row.finding.level.value, row.about, row.finding.text) for row in rows]
    assert said == [
        ("wrong", "hangs", "before"),
        ("wrong", "hangs", "no end within 0.2 s"),
        ("wrong", "fails", "this look ended with RuntimeError"),
        ("ok", "fails", "first"),
        ("ok", "well", "well"),
    ]
    assert SETTING not in str(rows)
    assert counts(rows) == {"ok": 2, "advice": 0, "wrong": 3}
