"""A byte of a journal goes bad while nobody looks; what was at stake, and what may be missing then.

Before the byte is flipped, everything that waits in the file is written down. Only of that may anything be missing in
the end, and only what the connector reports.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.harness.messages import MARK
from tests.chaos.harness.verdict import Allowed


@dataclass(slots=True)
class Damage:
    """One flipped byte."""

    where: str
    marks: frozenset[str] = frozenset()
    """What waited in the file."""


def flip(journal: Path, dice: float, folder: Path) -> Damage:
    """Flip one bit of the closed journal, anywhere in its file or in the write-ahead log beside it; copies of what they
    were stay in `folder`."""
    files = [path for path in (journal, journal.with_name(f"{journal.name}-wal")) if path.exists()]
    copies = [Path(shutil.copy(path, folder / path.name.replace(journal.name, f"{journal.name}.before")))
              for path in files]  # fmt: skip
    marks = _waiting(copies, folder)
    at = int(dice * sum(path.stat().st_size for path in files))
    for path in files:
        size = path.stat().st_size
        if at < size:
            break
        at -= size
    with path.open("r+b") as bytes_:
        bytes_.seek(at)
        (old,) = bytes_.read(1)
        bytes_.seek(at)
        bytes_.write(bytes([old ^ 0x10]))
    return Damage(f"byte {at} of {size} of {path.name}, with {len(marks)} messages that wait", marks)


def _waiting(copies: Sequence[Path], folder: Path) -> frozenset[str]:
    """What waits, read from copies of the copies: reading moves the write-ahead log into the file."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        paths = [Path(shutil.copy(path, scratch)) for path in copies]
        with closing(sqlite3.connect(paths[0])) as file:
            bodies = file.execute("SELECT body FROM journal").fetchall()
    return frozenset(mark.decode() for (body,) in bodies for mark in MARK.findall(body))


def may_be_missing(damages: Sequence[Damage], ledger: Mapping[str, Any]) -> Allowed:
    """Messages that waited when a byte was flipped, as many of them as the ledger of that connector misses, if it was
    said that the file is damaged. Where the account itself was damaged and that was said, nobody knows how many."""
    source = ledger["sources"]["plant"]
    texts = [*source["problems"], *source["incidents"]]
    said = any("damaged" in text or "LOST" in text for text in texts)
    if not damages or not said:
        return Allowed()
    marks = frozenset().union(*(damage.marks for damage in damages))
    if any("account could not be read" in problem for problem in source["problems"]):
        return Allowed(marks, len(marks))
    counted = sum(topic["messages"]["received"] for topic in source["topics"].values())
    return Allowed(marks, max(0, int(source["appended"]) - counted))
