"""The stores of a configuration's dead letters: one for each worker and each backfill, or one topic for all."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connector.dead_letters.as_json import NoLetterError, from_json
from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLettersError, Gone, ReadableStore, Told, Usage

if TYPE_CHECKING:
    from connector.config.model import Config

UNBOUNDED: Final = 2**62
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Shelf:
    """One store of dead letters, with its owner."""

    name: str
    """Owner of the store: empty for the connector itself, or `worker-2`, or `backfill/…`."""
    folder: Path
    """Folder of the owner's state."""
    store: ReadableStore


class LettersFile:
    """A file of dead letters that a person collected, one JSON object in each line; read only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def address(self) -> str:
        """The path of the file."""
        return str(self._path)

    def start(self) -> None:
        """Do nothing: a file needs no connection."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Do nothing: a letter that fails again stays unchanged in the file."""

    def forget(self, keys: Collection[str]) -> None:
        """Do nothing: the file belongs to the person, and is not changed."""

    def usage(self) -> Usage:
        """Return an empty usage: the usage of a file is not known."""
        return Usage()

    def problems(self) -> list[str]:
        """Return no problem."""
        return []

    def close(self) -> None:
        """Do nothing: no file is open between reads."""

    def read(self, told: Told) -> Iterator[DeadLetter | Gone]:
        """Yield the letter of each line. Raises `DeadLettersError`, with the line, for a line that is no letter."""
        try:
            total, done = self._path.stat().st_size, 0
            with self._path.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    done += len(line)
                    if line.strip():
                        try:
                            yield from_json(line)
                        except NoLetterError as error:
                            raise DeadLettersError(f"{self._path}:{number}: {error}") from None
                    told(done, total)
        except OSError as error:
            raise DeadLettersError(f"{self._path} cannot be read: {error.strerror}") from None


@contextmanager
def open_shelves(config: Config) -> Iterator[list[Shelf]]:
    """Yield all readable stores of the configuration. Raises OSError, ValueError or sqlite3.Error."""
    from connector.runtime.state_dir import BACKFILL_FOLDERS, WORKER_FOLDERS  # noqa: PLC0415 - `--help` needs none of it

    root = config.state_dir
    others = (folder for pattern in (WORKER_FOLDERS, BACKFILL_FOLDERS) for folder in sorted(root.glob(pattern)))
    folders = [root, *filter(Path.is_dir, others)]
    with ExitStack() as opened:
        shelves: dict[str, Shelf] = {}
        for folder in folders:
            store = config.dead_letters.open_readable(folder)
            if store is not None:
                opened.callback(store.close)
                name = "" if folder == root else folder.relative_to(root).as_posix()
                shelves.setdefault(store.address, Shelf(name, folder, store))
        yield list(shelves.values())


@contextmanager
def settled(store: ReadableStore, told: Told) -> Iterator[Callable[[], Iterator[DeadLetter]]]:
    """Yield a function that returns an iterator over the present letters of a store, each letter once.

    The function can be called several times. A store that can only be read from the beginning is first copied into a
    temporary file.
    """
    if isinstance(store, SqliteLetters):
        yield lambda: store.read(told)
        return
    with tempfile.TemporaryDirectory(prefix="dead-letters-") as folder:
        copy = SqliteLetters(Path(folder) / "letters.sqlite", UNBOUNDED)
        try:
            _read_into(copy, store, told)
            yield copy.read
        finally:
            copy.close()


def _read_into(copy: SqliteLetters, store: ReadableStore, told: Told) -> None:
    waiting: list[DeadLetter] = []
    for entry in store.read(told):
        if isinstance(entry, Gone):
            copy.add(waiting)
            waiting = []
            copy.forget([entry.key])
        else:
            waiting.append(entry)
        if len(waiting) >= _AT_ONCE:
            copy.add(waiting)
            waiting = []
    copy.add(waiting)


READING_ERRORS: Final = (DeadLettersError, OSError, ValueError, sqlite3.Error)
"""Errors that opening or reading a store can raise."""
