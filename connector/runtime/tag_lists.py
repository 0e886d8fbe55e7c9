"""The files of tag lists: read at the start, and read again when they change, beside a running connector.

A file counts as changed when its inode, size or time has changed and then stayed the same for one look, so a file that
is being written is not read. The file that a symbolic link leads to is looked at, as in ConfigMaps of Kubernetes. A
list with a mistake, or a missing file, never takes effect: the list before stays, and a notice says so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import structlog

from connector.mapping.tags.read import MOST_BYTES, Notation, read_tags
from connector.mapping.tags.source import TagListInUse
from connector.mapping.tags.tag import TagList, TagListError
from connector.mapping.tags.told import told
from connector.pipeline.notices import Notices
from connector.threads.watched import WatchedThread, moves

_LOOK_SECONDS: Final = 1.0
_REPORT_SECONDS: Final = 60.0
"""The longest time between two reports about the use of the lists."""
_UNUSED_SECONDS: Final = 3600.0
"""Time with a list after which rows that no record has used become a notice."""

Stamp: TypeAlias = tuple[int, ...] | None
"""What tells versions of a file apart; None for a file that cannot be examined."""

_log = structlog.get_logger(__name__)


class TagCounts(NamedTuple):
    """The use of one tag list."""

    file: str
    tags: int
    """Number of rows."""
    unused: int
    """Rows that no record has used."""
    unknown: int
    """Keys of records that the list does not have; at most 10,000 are counted."""
    refused: bool
    """Whether the file has a mistake, so that an earlier version of the list is in use."""


def read_tag_file(file: Path, notation: Notation, *, may_be_missing: bool = False) -> TagList:
    """Returns the list in a file; with `may_be_missing`, an empty list without the file. Raises `TagListError`."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        if may_be_missing:
            return TagList()
        raise TagListError(
            [f"{file}: there is no such file; clarify-connector tags CONFIG --from CAPTURE writes the list to fill in"]
        ) from None
    except OSError as error:
        raise TagListError([f"{file}: cannot be read: {error.strerror or error}"]) from None
    return read_tags(content, str(file), notation)


class _Watched:
    """One tag list, and the versions of its file."""

    def __init__(self, tag_list: TagListInUse, now: float) -> None:
        self.list = tag_list
        self.seen: Stamp = ()
        """The version at the last look."""
        self.judged: Stamp = ()
        """The version that was taken or refused last."""
        self.since = now
        """When the list in use was taken, in seconds."""
        self.refused = False
        self.told: set[tuple[str, str]] = set()
        """(kind, subject) of the present notices about the use of the list."""


class TagWatch:
    """The tag lists of a connector, looked at in a thread of their own, or when `look` is called."""

    def __init__(
        self,
        lists: Sequence[TagListInUse],
        between_records: Callable[[Callable[[], None]], None],
        notices: Notices,
        use: Callable[[TagListInUse, TagList], None],
        *,
        judges_rows: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`between_records` calls a function while no record is mapped; `use` replaces a list, and is called so.

        With `judges_rows`, rows that no record uses become a notice: no other process reads the same sources. `clock`
        gives seconds.
        """
        self._between_records = between_records
        self._notices = notices
        self._use = use
        self._judges_rows = judges_rows
        self._clock = clock
        self._watched = [_Watched(one, clock()) for one in lists]
        self._changing = threading.Lock()
        """Held during a look, and while other lists come."""
        self._report_due = clock()
        self._use_reported: list[tuple[int, int, bool]] = []
        self._counts: list[TagCounts] = []
        self._stopping = threading.Event()
        self.thread = WatchedThread("tags", "", self._run)

    def start(self) -> None:
        """Start the thread, if there is a list."""
        if self._watched:
            self.thread.start()

    def watch(self, lists: Sequence[TagListInUse], use: Callable[[TagListInUse, TagList], None]) -> None:
        """Look at these lists in place of the lists before; the mapping has changed, and another mapper uses them."""
        with self._changing:
            gone = [(one, kind, subject) for one in self._watched for kind, subject in one.told]
            gone += [(one, "tag_list_refused", str(one.list.file)) for one in self._watched if one.refused]
            self._watched = [_Watched(one, self._clock()) for one in lists]
            self._use, self._counts, self._use_reported = use, [], []
            for _, kind, subject in gone:
                self._notices.over(kind, "", subject)
        if self._watched and self.thread.ident is None and not self._stopping.is_set():
            self.thread.start()

    def close(self, timeout: float) -> None:
        """Stop the thread, and wait for its end for at most `timeout` seconds."""
        self._stopping.set()
        if self.thread.ident is not None:
            self.thread.join(timeout)

    def counts(self) -> list[TagCounts]:
        """Returns the use of each list, as of the last report."""
        return self._counts

    def look(self) -> None:
        """Look at all files now, and at the use of the lists if it has changed."""
        with self._changing:
            self._look()

    def _look(self) -> None:
        for watched in self._watched:
            self._look_at(watched)
        now = self._clock()
        use = [(len(one.list.used), len(one.list.unknown), one.refused) for one in self._watched]
        if now >= self._report_due or use != self._use_reported:
            self._report_due, self._use_reported = now + _REPORT_SECONDS, use
            self._between_records(self._report)

    def _look_at(self, watched: _Watched) -> None:
        stamp = stamp_of(watched.list.file)
        if stamp == watched.judged:
            watched.seen = stamp
            return
        if stamp != watched.seen:
            watched.seen = stamp
            return  # the file may be in the middle of a change
        try:
            tags = read_tag_file(watched.list.file, watched.list.notation)
        except TagListError as error:
            watched.judged = stamp
            self._refuse(watched, error)
            return
        if stamp_of(watched.list.file) != stamp:
            return
        watched.judged = stamp
        watched.refused = False
        self._notices.over("tag_list_refused", "", str(watched.list.file))
        if tags == watched.list.tags:
            return
        self._between_records(lambda: self._use(watched.list, tags))
        watched.since = self._report_due = self._clock()
        _log.info("tag_list_read", file=str(watched.list.file), tags=len(tags.tags), form=tags.form)
        for text in tags.warnings:
            _log.warning("tag_list_warning", detail=text)

    def _refuse(self, watched: _Watched, error: TagListError) -> None:
        watched.refused = True
        effect, remedy = "the list that was read before stays in use", "mend the list; it is read again at once"
        _log.error("tag_list_refused", mistakes=error.lines, effect=effect, remedy=remedy)
        text = f"{error.lines[0]}{f' ({len(error.lines) - 1} more)' if len(error.lines) > 1 else ''}: {effect}"
        self._notices.say("tag_list_refused", "", str(watched.list.file), text, remedy, times=0, logged=False)

    # -- the use of the lists: called while no record is mapped -----------------------------------

    def _report(self) -> None:
        self._counts = [self._report_on(watched) for watched in self._watched]

    def _report_on(self, watched: _Watched) -> TagCounts:
        used = watched.list
        judges_rows = self._judges_rows and self._clock() - watched.since >= _UNUSED_SECONDS
        found = told(used, judges_rows=judges_rows)
        for kind, subject in watched.told - {(one.kind, one.subject) for one in found}:
            self._notices.over(kind, "", subject)
        watched.told = {(one.kind, one.subject) for one in found}
        for one in found:
            self._notices.say(*one, times=0)
        size = len(used.tags.tags)
        return TagCounts(str(used.file), size, size - len(used.used), len(used.unknown), watched.refused)

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            moves()
            self.look()


def stamp_of(file: Path) -> Stamp:
    """Returns what tells the versions of a file apart; of the file that a symbolic link leads to."""
    try:
        found = os.stat(file)  # noqa: PTH116 - of the file that a link leads to
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
