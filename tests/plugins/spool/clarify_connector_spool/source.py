"""The source `spool`: files dropped into a folder, one after the other in the order of their names.

All lines are one partition. A file that is begun gets its positions at once, and these are remembered before the first
line is given out: so a line has the same position after a restart, and no position ever names two lines. A file is
removed when the ledger has all of it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple

from clarify_connector_spool.source_section import SpoolSection
from connector.ledger.account import Commit, SettledRange
from connector.ledger.ledger_writer import LedgerWriter
from connector.ledger.source_file import SourceFile
from connector.records import Chunk, Record
from connector.sources.partitions import OwnedPartition, partition_name
from connector.sources.source import Handover, Reread, Source, SourceFailedError

_CHUNK_LINES: Final = 200
_PIECE: Final = 64 * 1024
_KEPT_OF_A_LONG_LINE: Final = 1024


class _Begun(NamedTuple):
    """A file that has its positions."""

    name: str
    first: int
    end: int
    """Position after its last line."""
    inode: int
    """Tells apart another file that was put in its place."""


class SpoolSource(Source):
    """A `Source` over one folder."""

    def __init__(self, section: SpoolSection, file: SourceFile, message_bytes: int) -> None:
        self.name = section.name
        self._folder = section.path
        self._topic = section.topic
        self._file = file
        self._message_bytes = message_bytes
        settled = max((found.next for found in file.ledger.ranges(partition_name(self.name, 0))), default=1)
        self._owned = OwnedPartition(self.name, 0, settled)
        self._settlements = LedgerWriter(self.name, file, self._settled)
        known = json.loads(str(file.remembered("spool") or "[]"))
        self._begun = [_Begun(*found) for found in known]
        """Begun, and not removed."""
        self._next = max([settled, *(begun.end for begun in self._begun)])
        self._lock = threading.Lock()
        """Guards `_owned`, `_begun` and `_next`."""
        self._stopping = threading.Event()
        self._lines = 0
        self._remove_before(settled)
        self._unread: Iterator[tuple[int, Record]] = chain.from_iterable(
            self._records(begun, settled) for begun in list(self._begun)
        )

    def start(self, handover: Handover) -> None:
        """Begin to write what is settled."""
        self._settlements.start()

    def poll(self, timeout: float) -> Chunk | None:
        """The next lines."""
        self._settlements.store_positions()
        if self._stopping.is_set():
            return None
        try:
            found = list(islice(self._unread, _CHUNK_LINES))
            if not found and self._begin_next():
                found = list(islice(self._unread, _CHUNK_LINES))
        except OSError as error:
            raise SourceFailedError(f"{error.filename or self._folder} cannot be read: {error.strerror}") from None
        if not found:
            self._stopping.wait(timeout)
            return None
        positions = [position for position, _ in found]
        with self._lock:
            self._owned.take(positions)
        self._lines += len(found)
        return Chunk(self.name, self._owned.name, positions, [record for _, record in found])

    def hold(self) -> None:
        """Remove what was settled meanwhile."""
        self._settlements.store_positions()

    def commit(self, commit: Commit) -> None:
        """Into the ledger; then the files are removed of which it has everything."""
        with self._lock:
            settled = self._owned.settle(commit.position)
        self._settlements.add(commit, settled)

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """From the files, which stay until everything of them is settled."""
        wanted = {position: done for done, position in enumerate(positions, 1)}
        with self._lock:
            begun = [file for file in self._begun if any(file.first <= position < file.end for position in positions)]
        found: dict[int, Record] = {}
        size = 0
        try:
            for position, record in chain.from_iterable(self._records(file, positions[0]) for file in begun):
                if position in wanted:
                    found[position] = record
                    size += len(record.payload or b"")
                    if size >= max_bytes:
                        return Reread(found, wanted[position], "its file is removed")
        except (OSError, SourceFailedError) as error:
            return Reread(found, len(positions), f"its file cannot be read: {error}")
        return Reread(found, len(positions), "its file is removed")

    def stop_reading(self) -> None:
        """Give no more: nothing is read ahead."""
        self._stopping.set()

    def close(self, timeout: float) -> None:
        """Write what is settled, and close the ledger."""
        self._stopping.set()
        self._settlements.close(timeout)
        self._settlements.store_positions()
        self._file.close()

    def problems(self) -> list[str]:
        """The ledger cannot be written, or the folder is gone."""
        found = [self._settlements.trouble] if self._settlements.trouble else []
        return found if self._folder.is_dir() else [*found, f"there is no folder {self._folder}"]

    def gauges(self) -> dict[str, float]:
        """How much there is."""
        return {"spool_lines_total": self._lines, "spool_files_begun": len(self._begun)}

    # -- details ----------------------------------------------------------------------------------

    def _begin_next(self) -> bool:
        """Give the next file its positions; False if there is none."""
        begun = {file.name for file in self._begun}
        for path in sorted(self._folder.iterdir()):
            if path.name in begun or path.name.startswith(".") or not path.is_file():
                continue
            lines = _count_lines(path)
            with self._lock:
                new = _Begun(path.name, self._next, self._next + lines, path.stat().st_ino)
                self._begun.append(new)
                self._next = new.end
                self._remember()
            self._unread = self._records(new, new.first)
            if lines:
                return True
            self._remove_before(new.end)
        return False

    def _records(self, begun: _Begun, start: int) -> Iterator[tuple[int, Record]]:
        """The lines of a file from position `start`. Raises OSError."""
        path = self._folder / begun.name
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_ino != begun.inode:
                raise SourceFailedError(f"{path} was replaced before it was settled; give each file a name of its own")
            for position in range(begun.first, begun.end):
                line = stream.readline(self._message_bytes + 1)
                if not line:
                    raise SourceFailedError(f"{path} has become shorter since it was begun; put the whole file back")
                record = self._record(line)
                while not line.endswith(b"\n") and (line := stream.readline(_PIECE)):
                    continue
                if position >= start:
                    yield position, record

    def _record(self, line: bytes) -> Record:
        now_us = time.time_ns() // 1000
        if len(line) <= self._message_bytes:
            return Record(self._topic, line.rstrip(b"\r\n"), now_us)
        problem = f"the line is longer than {self._message_bytes} bytes"
        return Record(self._topic, line[:_KEPT_OF_A_LONG_LINE], now_us, problem=problem)

    def _settled(self, part: SettledRange) -> bool:
        """The ledger has everything before the end of this range."""
        self._remove_before(part.next)
        return True

    def _remove_before(self, position: int) -> None:
        with self._lock:
            done = [file for file in self._begun if file.end <= position]
            for file in done:
                (self._folder / file.name).unlink(missing_ok=True)
            if done:  # behind the removal: a file that is still known when it is gone does no harm
                self._begun = [file for file in self._begun if file not in done]
                self._remember()

    def _remember(self) -> None:
        self._file.remember("spool", json.dumps(self._begun))


def _count_lines(path: Path) -> int:
    lines, last = 0, b"\n"
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            lines += piece.count(b"\n")
            last = piece[-1:]
    return lines + (last != b"\n")
