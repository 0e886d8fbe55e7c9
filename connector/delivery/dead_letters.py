"""Dead letters: what could not become a sample, durably, with its bytes and the reason.

A letter is identified by where it came from (source, partition, position, and which value), so that a replay
after a crash writes the same letter again instead of a second one. The store is bounded: above its bound the
oldest letters are discarded, counted for good and logged.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from connector.sqlite_files import open_durable

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL, partition TEXT NOT NULL, position INTEGER NOT NULL, item TEXT NOT NULL,
    at_us INTEGER NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
    value TEXT, payload BLOB, bytes INTEGER NOT NULL,
    UNIQUE (source, partition, position, item)
);
CREATE TABLE IF NOT EXISTS discarded (reason TEXT PRIMARY KEY, letters INTEGER NOT NULL) WITHOUT ROWID;
"""
_OVERHEAD: Final = 128
_DISCARD_SHARE: Final = 0.1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record, or one value of it, that became no sample."""

    source: str
    partition: str
    position: int
    topic: str
    time_us: int
    """Arrival of the record, or the time of the sample, in µs."""
    reason: str
    message: str
    item: str = ""
    """Which value of the record: its path or input ID; empty for the whole record."""
    value: str | None = None
    payload: bytes | None = None
    """The record's bytes, where they are still at hand; of several letters of one record the first has them."""


class DeadLettersError(Exception):
    """The letters could not be written; trying again may help."""


class DeadLetterStore:
    """The open file; safe for threads."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        try:
            self._connection = open_durable(path, _SCHEMA)
            self._bytes = int(self._connection.execute("SELECT total(bytes) FROM letters").fetchone()[0])
        except sqlite3.Error as error:
            raise type(error)(f"{path}: {error}; move it away to go on without the dead letters in it") from error

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Keep these letters; they are durable when this returns. Raises `DeadLettersError`."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                added = sum(self._insert(letter) for letter in letters)
                discarded = self._make_room(added)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise DeadLettersError(f"dead letters cannot be written: {error}") from error
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            self._bytes += added - discarded

    def newest(self, n: int) -> list[DeadLetter]:
        """The newest letters, newest first."""
        return self._read("ORDER BY number DESC LIMIT ?", n)

    def count(self) -> int:
        """Letters kept."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM letters").fetchone()[0])

    def discarded(self) -> int:
        """Letters that had to go because of the bound, ever."""
        with self._lock:
            return int(self._connection.execute("SELECT total(letters) FROM discarded").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _read(self, tail: str, *values: int) -> list[DeadLetter]:
        with self._lock:
            rows = self._connection.execute(
                "SELECT source, partition, position, topic, at_us, reason, message, item, value, payload FROM letters "  # noqa: S608
                + tail,
                values,
            ).fetchall()
        return [DeadLetter(*row) for row in rows]

    def _insert(self, letter: DeadLetter) -> int:
        texts = (letter.topic, letter.message, letter.item, letter.value or "")
        size = len(letter.payload or b"") + sum(len(text) for text in texts) + _OVERHEAD
        cursor = self._connection.execute(
            "INSERT OR IGNORE INTO letters (source, partition, position, item, at_us, topic, reason, message, value, "
            "payload, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                letter.source,
                letter.partition,
                letter.position,
                letter.item,
                letter.time_us,
                letter.topic,
                letter.reason,
                letter.message,
                letter.value,
                letter.payload,
                size,
            ),
        )
        return size if cursor.rowcount else 0

    def _make_room(self, added: int) -> int:
        """Discard the oldest until a tenth of the bound is free again; returns their bytes."""
        if self._bytes + added <= self._max_bytes:
            return 0
        goal = self._bytes + added - self._max_bytes * (1 - _DISCARD_SHARE)
        freed = last = 0
        reasons: dict[str, int] = {}
        for number, reason, size in self._connection.execute(
            "SELECT number, reason, bytes FROM letters ORDER BY number"
        ):
            if freed >= goal:
                break
            last = number
            freed += size
            reasons[reason] = reasons.get(reason, 0) + 1
        self._connection.execute("DELETE FROM letters WHERE number <= ?", (last,))
        self._connection.executemany(
            "INSERT INTO discarded VALUES (?, ?) "
            "ON CONFLICT (reason) DO UPDATE SET letters = letters + excluded.letters",
            reasons.items(),
        )
        _log.error(
            "dead_letters_discarded",
            letters=sum(reasons.values()),
            reasons=reasons,
            max_bytes=self._max_bytes,
            remedy="raise dead_letters.max_bytes, and mend what sends them",
        )
        return freed
