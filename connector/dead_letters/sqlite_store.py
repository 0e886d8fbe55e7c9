"""Dead letters in an SQLite file: the default store, and the copy of letters in which the commands search.

Several processes may have the file open. So triggers keep the size of the content, in the transaction of every change.
Above the bound, the oldest letters are discarded, counted permanently and logged; or `add` takes no more letters.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.store import DeadLettersError, DeadLettersFullError, Told, Usage
from connector.state.sqlite import open_durable

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL, partition TEXT NOT NULL, position INTEGER NOT NULL, topic TEXT NOT NULL,
    bytes INTEGER NOT NULL, reasons TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS letters_by_record ON letters (source, partition, position);
CREATE TABLE IF NOT EXISTS discarded (reason TEXT PRIMARY KEY, letters INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS used (one INTEGER PRIMARY KEY CHECK (one = 1), letters INTEGER, bytes INTEGER);
INSERT OR IGNORE INTO used SELECT 1, count(*), total(bytes) FROM letters;
CREATE TRIGGER IF NOT EXISTS letter_added AFTER INSERT ON letters BEGIN
    UPDATE used SET letters = letters + 1, bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER IF NOT EXISTS letter_removed AFTER DELETE ON letters BEGIN
    UPDATE used SET letters = letters - 1, bytes = bytes - OLD.bytes;
END;
"""
_INSERT: Final = (
    "INSERT OR IGNORE INTO letters (key, source, partition, position, topic, bytes, reasons, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_OVERHEAD: Final = 256
"""The approximate number of bytes of a row beside its body."""
_DISCARD_SHARE: Final = 0.1
_PAGE: Final = 200

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeadLetter).decode
_log = structlog.get_logger(__name__)


class SqliteLetters:
    """A `ReadableStore` in an SQLite file."""

    def __init__(
        self, path: Path, max_bytes: int, when_full: Literal["discard_oldest", "stop"] = "discard_oldest"
    ) -> None:
        """Open or create the file; `max_bytes` is its bound. Raises sqlite3.Error if the file cannot be used."""
        self._path = path
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._stop_when_full = when_full == "stop"
        try:
            self._connection = open_durable(path)
            try:
                self._connection.executescript(_SCHEMA)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise type(error)(f"{path}: {error}; move the file away to go on without the dead letters in it") from error

    @property
    def address(self) -> str:
        """The path of the file."""
        return str(self._path)

    def start(self) -> None:
        """Does nothing: the store has no connection."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep the letters, in one durable transaction. Raises `DeadLettersError`: then none of them is kept."""
        with self._lock:
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                for letter in letters:
                    body = _encode(letter)
                    connection.execute(_INSERT, _row(letter, body))
                self._make_room()
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise DeadLettersError(f"dead letters cannot be written to {self._path}: {error}") from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def usage(self) -> Usage:
        """How full the file is, by the counts of the triggers. Raises `DeadLettersError`."""
        with self._lock:
            try:
                kept, used = self._connection.execute("SELECT letters, bytes FROM used").fetchone()
                gone = self._connection.execute("SELECT total(letters) FROM discarded").fetchone()[0]
            except sqlite3.Error as error:
                raise DeadLettersError(f"{self._path} cannot be read: {error}") from error
        return Usage(int(kept), int(used), self._max_bytes, int(gone))

    def problems(self) -> list[str]:
        """None: letters that were discarded hinder no others, and `usage` counts them."""
        return []

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    # -- reading ----------------------------------------------------------------------------------

    def read(self, told: Told = lambda _done, _total: None) -> Iterator[DeadLetter]:
        """All letters in the order in which they were written; `told` gets numbers of letters."""
        number, done = 0, 0
        total = self.usage().kept or 0
        while page := self._page("number, body", "number > ? ORDER BY number LIMIT ?", number, _PAGE):
            for number, body in page:  # noqa: B007 - the next page begins after the last number
                yield _decode(body)
            done += len(page)
            told(done, max(total, done))

    def by_record(self, source: str) -> Iterator[DeadLetter]:
        """The letters of one source, in the order of partitions (each with its log) and positions."""
        at: tuple[str, int, int] = ("", -(2**62), 0)
        while page := self._page(
            "partition, position, number, body",
            "source = ? AND (partition, position, number) > (?, ?, ?) ORDER BY partition, position, number LIMIT ?",
            source,
            *at,
            _PAGE,
        ):
            for *_, body in page:
                yield _decode(body)
            at = page[-1][:3]

    def of_record(self, source: str, partition: str, position: int) -> list[DeadLetter]:
        """All letters about one record; `partition` is the letters' `log_partition`."""
        found = self._page("body", "source = ? AND partition = ? AND position = ?", source, partition, position)
        return [_decode(body) for (body,) in found]

    def sources(self) -> list[str]:
        """The names of all sources that have letters, sorted."""
        return [source for (source,) in self._page("DISTINCT source", "1 ORDER BY source")]

    def forget(self, keys: Collection[str]) -> None:
        """Remove the letters with these keys. Raises `DeadLettersError`: then some of them may be gone."""
        left = iter(keys)
        while part := list(islice(left, _PAGE)):
            with self._lock:
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                    self._connection.executemany("DELETE FROM letters WHERE key = ?", [(key,) for key in part])
                    self._connection.execute("COMMIT")
                except sqlite3.Error as error:
                    raise DeadLettersError(f"{self._path} cannot be changed: {error}") from error
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")

    # -- details ----------------------------------------------------------------------------------

    def _page(self, columns: str, condition: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        statement = f"SELECT {columns} FROM letters WHERE {condition}"  # noqa: S608 - constants
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise DeadLettersError(f"{self._path} cannot be read: {error}") from error

    def _make_room(self) -> None:
        """Above the bound, discard the oldest letters until a tenth of the bound is free.

        Raises `DeadLettersFullError` instead if `when_full` is `stop`.
        """
        used = int(self._connection.execute("SELECT bytes FROM used").fetchone()[0])
        if used <= self._max_bytes:
            return
        if self._stop_when_full:
            raise DeadLettersFullError(
                f"the dead letters in {self._path} have reached their bound ({self._max_bytes} bytes) and "
                "dead_letters.when_full is stop: replay or drop some (clarify-connector dead-letters), or raise "
                "max_bytes"
            )
        goal = used - self._max_bytes * (1 - _DISCARD_SHARE)
        freed = last = letters = 0
        reasons: Counter[str] = Counter()
        for number, found, size in self._connection.execute(
            "SELECT number, reasons, bytes FROM letters ORDER BY number"
        ):
            if freed >= goal:
                break
            last = number
            freed += size
            letters += 1
            reasons[found.partition(" ")[0]] += 1
        self._connection.execute("DELETE FROM letters WHERE number <= ?", (last,))
        self._connection.executemany(
            "INSERT INTO discarded VALUES (?, ?) "
            "ON CONFLICT (reason) DO UPDATE SET letters = letters + excluded.letters",
            reasons.items(),
        )
        _log.error(
            "dead_letters_discarded",
            letters=letters,
            reasons=dict(reasons),
            max_bytes=self._max_bytes,
            remedy="raise dead_letters.max_bytes, and mend what sends them",
        )


def _row(letter: DeadLetter, body: bytes) -> tuple[str | int | bytes, ...]:
    size = len(body) + len(letter.topic) + _OVERHEAD
    reasons = " ".join(sorted(letter.reasons))
    return (letter.key, letter.source, letter.log_partition, letter.position, letter.topic, size, reasons, body)
