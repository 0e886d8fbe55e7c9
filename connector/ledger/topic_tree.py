"""One level of the tree of topics, from the ledger of a source's file, even while a connector has the file open.

The lines of the ledger are the topics. SQLite reads the lines below the level and adds them up, so no list of all
topics is made in memory.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.ledger.schema import COUNTS
from connector.state.sqlite import open_read_only

_SECONDS: Final = 5.0
"""The longest time of a query."""
_STEPS: Final = 10_000
"""Steps of SQLite between two looks at the clock."""
_SUMS: Final = ", ".join(f"sum({unit}_{count})" for unit in ("messages", "samples") for count in COUNTS)
_LEVEL: Final = f"""
WITH below AS (SELECT *, substr(topic, :length + 1) AS rest FROM ledger
    WHERE topic >= :under AND (:under = '' OR topic < :end) AND (:text = '' OR instr(lower(topic), :text)))
SELECT CASE WHEN :text = '' AND instr(rest, '/') THEN substr(rest, 1, instr(rest, '/')) ELSE rest END AS level,
    count(*), {_SUMS}
FROM below GROUP BY level HAVING :after IS NULL OR level > :after ORDER BY level LIMIT :most
"""  # noqa: S608 - constants


class TooSlowError(Exception):
    """Reading took too long; the text has the remedy."""


@dataclass(slots=True)
class TopicLevel:
    """A topic, or all topics below a level that ends in `/`."""

    name: str
    """The rest of the topic after the level above; with a `/` at its end, it stands for the topics below."""
    topics: int
    messages: dict[str, int]
    """Outcome → number of settled messages."""
    samples: dict[str, int]
    """Outcome → number of settled samples."""

    def add(self, other: TopicLevel) -> None:
        """Add the counts of the same level of another file."""
        self.topics += other.topics
        for mine, others in ((self.messages, other.messages), (self.samples, other.samples)):
            for name, n in others.items():
                mine[name] += n


def read_level(path: Path, under: str, after: str | None, most: int, text: str = "") -> list[TopicLevel]:
    """Returns the levels right below `under`, which is empty or ends in `/`, sorted; only those behind `after`.

    With `text`, returns the topics below `under` that have this text, in any case of the letters a to z, with all of
    their levels. At most `most` are returned. Raises `TooSlowError` after 5 s, and sqlite3.Error.
    """
    given = {
        "under": under,
        "length": len(under),
        "end": under[:-1] + "0",  # the character after /
        "after": after,
        "most": most,
        "text": "".join(char.lower() if char.isascii() else char for char in text),
    }
    with closing(open_read_only(path)) as connection, _limited(connection):
        return [_level(*row) for row in connection.execute(_LEVEL, given)]


def _level(name: str, topics: int, *counts: int) -> TopicLevel:
    half = len(COUNTS)
    return TopicLevel(
        name,
        topics,
        dict(zip(COUNTS, counts[:half], strict=True)),
        dict(zip(COUNTS, counts[half:], strict=True)),
    )


@contextmanager
def _limited(connection: sqlite3.Connection) -> Iterator[None]:
    deadline = time.monotonic() + _SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise TooSlowError(f"reading the topics took longer than {_SECONDS:g} s: choose a deeper level") from None
        raise
