"""A byte of a journal goes bad while nobody looks; what was at stake, and what an operator then does.

Before the byte is flipped, everything that waits in the file is written down. Only of that may anything be missing in
the end, and only what the connector reports.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.harness.messages import MARK

_BAD_ROW: Final = re.compile(r"is damaged: (\d+) messages from position (\d+) on")


@dataclass(slots=True)
class Damage:
    """One flipped byte."""

    where: str
    marks: frozenset[str] = frozenset()
    """What waited in the file."""
    reports: list[str] = field(default_factory=list)
    """What the connector said about it when it ended."""


def flip(journal: Path, dice: float, folder: Path) -> Damage:
    """Flip one bit of the closed file, anywhere in it; a copy of what it was stays in `folder`."""
    with closing(sqlite3.connect(journal)) as file:
        # What stands in the -wal goes where it belongs: damage there is not noticed (docs/reliability.md).
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        bodies = file.execute("SELECT body FROM journal").fetchall()
    marks = frozenset(mark.decode() for (body,) in bodies for mark in MARK.findall(body))
    shutil.copy(journal, folder / f"{journal.name}.before-damage")
    size = journal.stat().st_size
    at = int(dice * size)
    with journal.open("r+b") as bytes_:
        bytes_.seek(at)
        (old,) = bytes_.read(1)
        bytes_.seek(at)
        bytes_.write(bytes([old ^ 0x10]))
    return Damage(f"byte {at} of {size} of {journal.name}, in which {len(marks)} messages wait", marks)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a run may miss because bytes were flipped."""

    marks: frozenset[str] = frozenset()
    reported: int = 0
    """How many messages the connector says are missing: never more than these may be."""


def may_be_missing(damages: Sequence[Damage], ledger: Mapping[str, Any]) -> Allowed:
    """Messages that waited when a byte was flipped, as many of them as the ledger of that connector misses, if it was
    said that the file is damaged. Where the account itself was damaged and that was said, nobody knows how many."""
    source = ledger["sources"]["plant"]
    texts = [*source["problems"], *source["incidents"]]
    said = any(damage.reports for damage in damages) or any("damaged" in text or "LOST" in text for text in texts)
    if not damages or not said:
        return Allowed()
    marks = frozenset().union(*(damage.marks for damage in damages))
    if any("account could not be read" in problem for problem in source["problems"]):
        return Allowed(marks, len(marks))
    counted = sum(topic["messages"]["received"] for topic in source["topics"].values())
    return Allowed(marks, max(0, int(source["appended"]) - counted))


def remove_bad_rows(journal: Path, log: str) -> str | None:
    """What a person does whom the connector tells at its end which messages fail their checksum: give up exactly
    these. Returns what was reported; None if that was not why it ended, or if it cannot be done now."""
    found = list(_BAD_ROW.finditer(log))
    if not found:
        return None
    count, first = int(found[-1][1]), int(found[-1][2])
    try:
        with closing(sqlite3.connect(journal, isolation_level=None)) as file:
            removed = file.execute("DELETE FROM journal WHERE first = ? AND count = ?", (first, count)).rowcount
    except sqlite3.OperationalError:  # the disk is full, too: the connector will end once more, and then
        return None
    return f"{count} messages from position {first} on fail their checksum" if removed else None
