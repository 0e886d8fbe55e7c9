"""Looks into the store of dead letters, for a person: how many for which reason, the newest, and one of them.

A look never delays the connector: it reads the file of the store through a connection of its own, for a bounded time.
Letters of other stores are known since the start, without their messages.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from connector.dead_letters.as_json import as_object
from connector.dead_letters.letter import DeadLetter, time_text
from connector.dead_letters.remedies import remedy
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLettersError
from connector.dead_letters.writer import DeadLetterWriter
from connector.state.sqlite import open_read_only

MOST_LETTERS: Final = 50
"""Letters of one look."""
SHOWN_CHARACTERS: Final = 4_000
"""Characters of a payload, or of another text, that are shown."""
_SHOWN_BYTES: Final = 512
"""Bytes of a payload that is no text, which are shown as hexadecimal digits."""
_SECONDS: Final = 3.0
_STEPS: Final = 10_000
_SHARE: Final = 20
"""Letters are counted for at most a twentieth of the time."""
_SENSITIVE: Final = r"(?:passw(?:or)?d|secret|token|api[_-]?key|authorization|credential|cookie)"
_SECRET: Final = re.compile(
    rf"([\w.-]{{0,40}}{_SENSITIVE}[\w.-]{{0,40}}\"?\s{{0,9}}[:=]\s{{0,9}}(?:(?:bearer|basic)\s{{1,9}})?)"
    r"(\"(?:[^\"\\]|\\.)*(?:\"|$)|[^\s,;}&]+)",
    re.IGNORECASE,
)
_HIDDEN: Final = "•••"
_decode = msgspec.msgpack.Decoder(DeadLetter).decode


class LetterLook:
    """Looks at the letters of one writer. Safe for threads."""

    def __init__(self, writer: DeadLetterWriter) -> None:
        self._writer = writer
        self._path = Path(writer.store.address) if isinstance(writer.store, SqliteLetters) else None
        self._counting = threading.Lock()
        self._counts: dict[str, int] | None = None
        self._counts_due = 0.0

    @property
    def readable(self) -> bool:
        """Whether whole letters are shown; else only those since the start, without their messages."""
        return self._path is not None

    def counts(self) -> dict[str, int] | None:
        """Returns reason → number of letters in the store with this reason; None if this is unknown, or takes too long.

        The numbers may be a little old.
        """
        if self._path is None:
            return None
        begin = time.monotonic()
        if begin >= self._counts_due and self._counting.acquire(blocking=False):
            try:
                with self._reading() as connection:
                    found: Counter[str] = Counter()
                    for reasons, n in connection.execute("SELECT reasons, count(*) FROM letters GROUP BY reasons"):
                        found.update(dict.fromkeys(reasons.split(), n))
                self._counts = dict(found)
            except DeadLettersError:
                self._counts = None  # no counts are better than old counts
            finally:
                end = time.monotonic()
                self._counts_due = end + (end - begin) * _SHARE
                self._counting.release()
        return self._counts

    def newest(self, reason: str) -> list[DeadLetter]:
        """Returns the newest letters with this reason, the newest first; with an empty `reason`, of any reason.

        Raises `DeadLettersError`.
        """
        if self._path is None:
            return [one for one in self._writer.newest(MOST_LETTERS) if not reason or reason in one.reasons]
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT body FROM letters WHERE :reason = '' OR instr(' ' || reasons || ' ', ' ' || :reason || ' ') "
                "ORDER BY number DESC LIMIT :most",
                {"reason": reason, "most": MOST_LETTERS},
            )
            return [_decode(body) for (body,) in rows]

    def letter(self, key: str) -> DeadLetter | None:
        """Returns the letter with this key; None if there is none. Raises `DeadLettersError`."""
        if self._path is None:
            return next((one for one in self._writer.newest(MOST_LETTERS) if one.key == key), None)
        with self._reading() as connection:
            row = connection.execute("SELECT body FROM letters WHERE key = ?", (key,)).fetchone()
            return None if row is None else _decode(row[0])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading, for a bounded time. Raises `DeadLettersError`."""
        assert self._path is not None  # noqa: S101 - asked before
        deadline = time.monotonic() + _SECONDS
        try:
            with closing(open_read_only(self._path)) as connection:
                connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
                yield connection
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise DeadLettersError(
                    f"reading the dead letters took longer than {_SECONDS:g} s; clarify-connector dead-letters list "
                    "has the time"
                ) from None
            raise DeadLettersError(f"{self._path} cannot be read: {error}") from error


def in_short(letter: DeadLetter) -> dict[str, Any]:
    """Returns a line of a list as JSON data."""
    return {
        "id": letter.key,
        "written": time_text(letter.written_us),
        "written_us": letter.written_us,
        "source": letter.source,
        "topic": letter.topic,
        "reasons": dict(letter.reasons),
        "message": _cut(letter.rejects[0].message),
    }


def in_full(letter: DeadLetter) -> dict[str, Any]:
    """Returns a letter as JSON data, with bounded texts. Values of keys that sound like secrets are left out."""
    said = as_object(letter, with_payload=False)
    record = letter.record
    found: dict[str, Any] = {
        name: said[name]
        for name in ("id", "written", "source", "partition", "position", "topic", "time", "more", "cut", "missing")
        if name in said
    }
    found["rejects"] = [
        {
            "reason": str(reject.reason),
            "message": _cut(masked(reject.message)),
            "path": reject.path,
            "value": None if reject.value is None else _cut(_without_secret(reject.path or "", reject.value)),
            "input": reject.input_id,
            "rule": reject.rule,
            "remedy": remedy(reject.reason),
        }
        for reject in letter.rejects
    ]
    if record is not None:
        found["key"] = None if record.key is None else _cut(record.key.decode("utf-8", "backslashreplace"))
        found["headers"] = [[name, _cut(_without_secret(name, value))] for name, value in record.headers]
        found["payload"] = None if record.payload is None else _payload(record.payload)
    return found


def _payload(payload: bytes) -> dict[str, Any]:
    start = payload[: 4 * SHOWN_CHARACTERS]
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3 or len(start) == len(payload):
            return {
                "bytes": len(payload),
                "hex": payload[:_SHOWN_BYTES].hex(" "),
                "whole": len(payload) <= _SHOWN_BYTES,
            }
        text = start[: error.start].decode()
    return {
        "bytes": len(payload),
        "text": masked(text)[:SHOWN_CHARACTERS],
        "whole": len(payload) == len(start) and len(text) <= SHOWN_CHARACTERS,
    }


def masked(text: str) -> str:
    """Returns the text without the values of keys that sound like secrets: `"password": "•••"`."""
    return _SECRET.sub(rf"\1{_HIDDEN}", text)


def _without_secret(name: str, value: str) -> str:
    return _HIDDEN if re.search(_SENSITIVE, name, re.IGNORECASE) else masked(value)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
