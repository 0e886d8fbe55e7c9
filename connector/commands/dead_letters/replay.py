"""Replays dead letters: sends the records through the present mapping, and to Clarify.

A replay is a separate process beside the running connector. The replay has a share of the request rate, and a folder
and a lock of its own in `state_dir/replay`. The replay and the connector share the knowledge of input IDs. First, the
replay copies the letters. When all samples of a record are inserted, the replay removes the record's letters from
their store. If the record fails again, the new letter replaces the old letter. After a crash in between, the record is
replayed again, which changes nothing in Clarify.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from msgspec.structs import replace

from connector import ConnectorError, __version__
from connector.commands.dead_letters.replay_source import RecordPosition, ReplaySource, whole_record
from connector.commands.dead_letters.selection import LetterSelection
from connector.commands.dead_letters.stores import UNBOUNDED, Shelf, settled
from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import Told
from connector.dead_letters.writer import DeadLetterWriter
from connector.runtime.assembly import mapper_with
from connector.runtime.connector import Connector
from connector.runtime.state_dir import StartError, lock_state_dir
from connector.state.state import read_memory

if TYPE_CHECKING:
    from connector.config.model import Config
    from connector.ledger.source_file import SourceFile
    from connector.sources.section import SourceSection
    from connector.sources.source import Source

FOLDER: Final = "replay"
_AT_ONCE: Final = 200
_LARGEST: Final = 64 * 1024 * 1024


class ReplayError(ConnectorError):
    """The replay cannot run; the text names the reason."""


class ReplayResult:
    """The outcome of a replay: numbers of messages that succeeded, failed, or could not be replayed."""

    def __init__(self) -> None:
        self.succeeded = 0
        """Number of messages without any dead letter after the replay."""
        self.failed: Counter[str] = Counter()
        """Reason → number of messages that failed again; a message with several reasons counts for each reason."""
        self.failed_messages = 0
        self.impossible: Counter[str] = Counter()
        """Reason that prevents a replay → number of messages."""
        self.letters_gone = 0
        self.examples: dict[str, str] = {}
        """Reason → error text of one message that failed again."""

    def add(self, old: Iterable[DeadLetter], new: Iterable[DeadLetter]) -> None:
        """Count one message by its letters before and after the replay."""
        kept = {letter.key for letter in new}
        self.letters_gone += sum(1 for letter in old if letter.key not in kept)
        reasons: set[str] = set()
        for letter in new:
            reasons |= letter.reasons.keys()
            for reject in letter.rejects:
                self.examples.setdefault(str(reject.reason), reject.message)
        if reasons:
            self.failed_messages += 1
            self.failed.update(reasons)
        else:
            self.succeeded += 1

    def merge(self, other: ReplayResult) -> None:
        """Add the numbers of another result."""
        self.succeeded += other.succeeded
        self.failed.update(other.failed)
        self.failed_messages += other.failed_messages
        self.impossible.update(other.impossible)
        self.letters_gone += other.letters_gone
        self.examples = other.examples | self.examples

    @property
    def all_succeeded(self) -> bool:
        """Whether no message failed again, and no message was impossible to replay."""
        return not self.failed_messages and not self.impossible

    def as_json(self) -> dict[str, object]:
        """Return the result as a JSON object for programs."""
        return {
            "succeeded": self.succeeded,
            "failed_again": self.failed_messages,
            "reasons": dict(self.failed),
            "not_replayable": dict(self.impossible),
        }


class Replay:
    """The replay of the selected letters of one shelf, copied into `state_dir/replay`."""

    def __init__(self, config: Config, shelf: Shelf, selection: LetterSelection, share: float, told: Told) -> None:
        """Copy the selected letters. Raises `ReplayError`, and every error of reading the store."""
        self._config = config
        self._shelf = shelf
        self.result = ReplayResult()
        self.done = 0
        self.total = 0
        """Number of messages that can be replayed."""
        self._lock = threading.Lock()
        self._finished: list[RecordPosition] = []
        folder = config.state_dir / FOLDER
        self._own_config = config.with_share(share).model_copy(update={"state_dir": folder / "run"})
        self._files = ExitStack()
        try:
            self._files.callback(_locked(folder).close)
            self._remove_copies()  # of a replay that was killed
            self._letters = self._file(folder / "letters.sqlite")
            self._failed = self._file(folder / "failed.sqlite")
            self._select(selection, told)
            self._count()
        except BaseException:
            self._files.close()
            raise

    def try_out(self, told: Told) -> None:
        """Map the letters and note the outcome in `result`, without sending or changing anything."""
        mapper = mapper_with(self._config, read_memory(self._shelf.folder / "state.sqlite"))
        for source in self._known_sources():
            for letters in self._records(source):
                record = whole_record(letters)
                if record is None:
                    continue
                rejects = mapper.map(source, record).rejects
                about = [DeadLetter(source=source, partition="", position=0, topic="", rejects=tuple(rejects))]
                self.result.add(letters, about if rejects else [])
                self.done += 1
                told(self.done, self.total)

    def connector(self) -> Connector:
        """Return a connector that reads the letters. Raises the errors of `Connector`."""
        writer = DeadLetterWriter(
            self._failed, max_payload=_LARGEST, configuration=self._config.mapping.digest, version=__version__
        )
        return Connector(
            self._own_config,
            make_source=self._source,
            state_file=self._shelf.folder / "state.sqlite",
            dead_letters=writer,
        )

    def resolve(self) -> None:
        """Remove the letters of settled records from their store, and add the letters of records that failed again."""
        with self._lock:
            places, self._finished = self._finished, []
        for start in range(0, len(places), _AT_ONCE):
            added: list[DeadLetter] = []
            gone: list[str] = []
            for place in places[start : start + _AT_ONCE]:
                old, new = self._letters.of_record(*place), self._failed.of_record(*place)
                before, after = {letter.key for letter in old}, {letter.key for letter in new}
                about = old[0]  # a replay gives the partition and its log as one name; the key stays the same
                added += [
                    replace(letter, partition=about.partition, log=about.log)
                    for letter in new
                    if letter.key not in before
                ]
                gone += [key for key in before if key not in after]
                self.result.add(old, new)
                self.done += 1
            if added:  # before the removal: a crash in between leaves one letter too many, and never one too few
                self._shelf.store.add(added)
            if gone:
                self._shelf.store.forget(gone)

    def close(self) -> None:
        """Remove the copies and release the lock."""
        self._remove_copies()
        self._files.close()

    # -- details ----------------------------------------------------------------------------------

    def _file(self, path: Path) -> SqliteLetters:
        found = SqliteLetters(path, UNBOUNDED)
        self._files.callback(found.close)
        return found

    def _remove_copies(self) -> None:
        folder = self._config.state_dir / FOLDER
        for path in folder.glob("*.sqlite*"):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder / "run", ignore_errors=True)

    def _select(self, selection: LetterSelection, told: Told) -> None:
        """Copy the selected letters and all other letters about the same records: a record is replayed as a whole."""
        with settled(self._shelf.store, told) as letters:
            meant = {letter.record_id for letter in letters() if selection.takes(letter)}
            waiting: list[DeadLetter] = []
            for letter in letters():
                if letter.record_id in meant:
                    waiting.append(letter)
                if len(waiting) >= _AT_ONCE:
                    self._letters.add(waiting)
                    waiting = []
            self._letters.add(waiting)

    def _count(self) -> None:
        known = self._known_sources()
        for source in self._letters.sources():
            for letters in self._records(source):
                if source not in known:
                    self.result.impossible[f"the configuration has no source {source!r}"] += 1
                elif whole_record(letters) is None:
                    self.result.impossible[_why_not(letters)] += 1
                else:
                    self.total += 1

    def _records(self, source: str) -> Iterator[list[DeadLetter]]:
        for _, letters in groupby(self._letters.by_record(source), key=lambda letter: letter.record_id):
            yield list(letters)

    def _known_sources(self) -> list[str]:
        return [section.name for section in self._config.sources]

    def _source(self, section: SourceSection, file: SourceFile) -> Source:
        file.close()  # the running connector owns the ledger, which already has the messages as dead letters
        return ReplaySource(section.name, self._letters, self._settled)

    def _settled(self, places: list[RecordPosition]) -> None:
        with self._lock:
            self._finished += places


def _locked(folder: Path) -> TextIO:
    try:
        return lock_state_dir(folder)
    except StartError:
        raise ReplayError(
            f"{folder} is in use, or cannot be written: is another replay of this configuration running?"
        ) from None


def _why_not(letters: list[DeadLetter]) -> str:
    letter = next((letter for letter in letters if letter.record is not None), letters[0])
    if letter.cut is not None:
        return "the message was too large to be kept whole (dead_letters.max_payload)"
    return f"the letter has no bytes: {letter.missing or 'no reason is known'}"
