"""Confines the damage of a journal on disk.

A row that fails its checksum is moved out of the way, and its positions become a loss. If SQLite cannot read on in a
file, the file is set aside while the connector runs. All readable rows are copied into a new file, and the missing
positions become a loss. Everything else goes on.

If the file cannot be set aside, or if files must be set aside too often, the source fails. Then the next start sets the
file aside.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from connector.ledger.losses import LostRange
from connector.ledger.schema import DamagedError
from connector.ledger.source_file import SourceFile
from connector.sources.journal.buffer import WriteBuffer

_RECOVERIES: Final = 3
"""The most files that may be set aside in one run. If there are more, the disk cannot be trusted."""
_REMEDY: Final = "see clarify-connector journal verify, and journal acknowledge to take note of the loss"

_log = structlog.get_logger(__name__)


class DamageControl:
    """Confines damage of one journal. Called by the thread that has met the damage, be it the reader or the writer."""

    def __init__(self, source: str, file: SourceFile, buffer: WriteBuffer, on_failure: Callable[[], None]) -> None:
        """`on_failure` is called when `failure` is set."""
        self._source = source
        self._file = file
        self._buffer = buffer
        self._on_failure = on_failure
        self.failure: str | None = None
        """The reason why the journal cannot go on, with the remedy, for people; None while it can go on."""
        self._recovering = threading.Lock()
        """Held while the file is set aside. Protects `_recoveries`."""
        self._recoveries = 0

    def fail(self, why: str) -> None:
        """Record that the journal cannot go on, for the reason `why`. The first of several reasons is kept."""
        self.failure = self.failure or why
        self._on_failure()

    def report_start(self) -> None:
        """Log the damage that was found when the file was opened."""
        if self._file.recovery:
            _log.error("journal_damaged", source=self._source, detail=str(self._file.recovery))
        self._log_lost(self._file.lost_at_start)

    def confine(self, position: int, damage: DamagedError) -> None:
        """Move the damaged row at `position` out of the way, and report the loss. Raises sqlite3.Error."""
        self._log_lost([self._file.journal.confine(position, str(damage))])
        self._buffer.file_changed()

    def recover(self, error: sqlite3.DatabaseError) -> bool:
        """Set the file aside, and go on with a new file that has all readable rows; `error` is the damage.

        Returns whether this was possible. If it was not, `failure` has the reason.
        """
        with self._recovering:
            if self.failure:
                return False
            self._recoveries += 1
            if self._recoveries > _RECOVERIES:
                self.fail(self._suspected(error))
                return False
            _log.error(
                "journal_damaged",
                source=self._source,
                file=str(self._file.path),
                reason=str(error),
                effect="the file is set aside; all readable rows are copied into a new file now",
            )
            try:
                known = len(self._file.losses.all())
                recovery = self._file.set_aside(str(error))
                losses = self._file.losses.all()[known:]
            except (OSError, sqlite3.Error) as why:
                self.fail(f"{self._suspected(error)}. The file could not be set aside at once: {why}")
                return False
            _log.warning("journal_recovered", source=self._source, detail=str(recovery))
            for loss in losses:
                _log.error("journal_loss", source=self._source, detail=str(loss), remedy=_REMEDY)
            self._buffer.file_changed()
            return True

    def _log_lost(self, ranges: Iterable[LostRange]) -> None:
        for lost in ranges:
            _log.error(
                "journal_loss",
                source=self._source,
                first=lost.first,
                last=lost.next - 1,
                messages=lost.next - lost.first,
                reason=lost.reason,
                remedy=_REMEDY,
            )

    def _suspected(self, error: sqlite3.DatabaseError) -> str:
        """Mark the file, so that the next start checks it. Returns a text about the failure and the remedy."""
        try:
            self._file.suspect()
        except OSError as why:
            _log.error("journal_not_marked", source=self._source, file=str(self._file.path), reason=str(why))
        return (
            f"the journal {self._file.path} is damaged ({error}); the next start sets the file aside and copies all "
            "readable rows into a new file"
        )
