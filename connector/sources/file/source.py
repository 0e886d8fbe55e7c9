"""The file source: newline-delimited records from a file or standard input, for replays, imports and tests.

The file is the partition, and line numbers from 1 are the positions. After a restart, reading goes on after the last
settled line; a file with another beginning is refused. Standard input cannot be read again. Each run of it has its own
partition, because the same line number in two runs is not the same line.
"""

from __future__ import annotations

import hashlib
import queue
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from connector.ledger.account import Commit
from connector.ledger.ledger_writer import LedgerWriter
from connector.ledger.source_file import SourceFile
from connector.records import Chunk, Record
from connector.sources.file.lines import Line, LineSplitter, to_record
from connector.sources.file.section import FileSection
from connector.sources.partitions import OwnedPartition, partition_name
from connector.sources.source import Handover, Reread, Source, SourceFailedError, SourceFinishedError
from connector.threads.watched import WatchedThread

_PIECE: Final = 64 * 1024
_PIECES_AHEAD: Final = 8
_STDIN_SECONDS: Final = 0.2
"""Longest wait for standard input at a time: nothing wakes this wait when reading stops."""
_FINGERPRINT_BYTES: Final = 4096

_log = structlog.get_logger(__name__)


class FileSource(Source):
    """A `Source` over one file."""

    def __init__(self, settings: FileSection, file: SourceFile, stdin: BinaryIO | None = None) -> None:
        """`stdin` replaces the standard input of the process, for tests."""
        self.name = settings.name
        self._settings = settings
        self._file = file
        self._stdin = stdin
        log = f"{settings.name}-{secrets.token_hex(4)}" if settings.is_stdin else settings.name
        first = max((found.next for found in file.ledger.ranges(partition_name(log, 0))), default=1)
        self._owned = OwnedPartition(log, 0, first)
        self._settlements = LedgerWriter(settings.name, file, None)
        self._splitter = LineSplitter(settings.max_line)
        self._lines: deque[Line] = deque()
        self._chunks: deque[tuple[int, int]] = deque()
        """(number of the first line, offset of this line in the file), for each chunk that is not committed."""
        self._next_byte = 0
        self._to_skip = first - 1
        self._stream: BinaryIO | None = None
        self._reader: WatchedThread | None = None
        self._ahead: queue.Queue[bytes] = queue.Queue(_PIECES_AHEAD)
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._closed = threading.Event()
        self._ended = False
        self._read_bytes = 0
        self._read_lines = 0

    def start(self, handover: Handover) -> None:  # noqa: ARG002 - a file is never given away
        """Start the thread of the ledger, and the reader of standard input."""
        if self._file.recovery:
            _log.error("ledger_damaged", source=self.name, detail=str(self._file.recovery))
        self._settlements.start()
        if self._settings.is_stdin:
            _log.info(
                "reading_standard_input",
                source=self.name,
                effect="standard input cannot be read again: at a crash, lines that were read and are not in Clarify "
                "are lost",
            )
            self._stream = self._stdin or sys.stdin.buffer
            self._reader = WatchedThread(f"stdin-{self.name}", self.name, self._read_ahead)
            self._reader.start()

    def poll(self, timeout: float) -> Chunk | None:
        """Returns the lines of the next piece of the file; None if no line came within `timeout` seconds.

        Raises `SourceFinishedError` at the end of the file, and `SourceFailedError`.
        """
        if self._draining.is_set() and not self._lines and not self._settings.is_stdin:
            return None
        while not self._lines:
            if self._ended:
                raise SourceFinishedError
            data = self._next_piece(timeout)
            if data is None:
                return None
            self._ended = not data
            self._read_bytes += len(data)
            self._add(self._splitter.end() if self._ended else self._splitter.feed(data))
        now_us = time.time_ns() // 1000
        records = [to_record(line, self._settings, now_us) for line in self._lines]
        length = sum(line.length + 1 for line in self._lines)
        self._lines.clear()
        with self._lock:
            first = self._owned.next_taken or 1
            positions = range(first, first + len(records))
            self._owned.take(positions)
            self._chunks.append((first, self._next_byte))
            self._next_byte += length
        self._read_lines += len(records)
        return Chunk(self.name, self._owned.name, positions, records)

    def commit(self, commit: Commit) -> None:
        """Settle the lines up to the commit's position; the ledger is written by its own thread."""
        with self._lock:
            settled = self._owned.settle(commit.position)
            while len(self._chunks) > 1 and self._chunks[1][0] <= commit.position:
                self._chunks.popleft()
        self._settlements.add(commit, settled)

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:  # noqa: ARG002 - it has one
        """Read lines of the file again, from the beginning of the first line's chunk."""
        if self._settings.is_stdin:
            return Reread({}, len(positions), "standard input cannot be read again")
        with self._lock:
            start = next((chunk for chunk in reversed(self._chunks) if chunk[0] <= positions[0]), (1, 0))
        try:
            with self._settings.path.open("rb") as stream:
                found, done = self._read_lines_at(stream, start, positions, max_bytes)
        except OSError as error:
            return Reread({}, len(positions), f"{self._settings.path} could not be read again: {error.strerror}")
        return Reread(found, done, f"{self._settings.path} does not have the line any more")

    def stop_reading(self) -> None:
        """Read no more. `poll` still returns the lines that were already read from standard input."""
        self._draining.set()

    def close(self, timeout: float) -> None:
        """Write the settlements into the ledger, and close the files."""
        if self._settings.is_stdin and self._stream is not None and not (self._ended or self._closed.is_set()):
            _log.warning(
                "standard_input_not_finished",
                source=self.name,
                lines_read=self._read_lines,
                effect="standard input was not read to its end; a line that was read in part, and all lines after it, "
                "are lost",
            )
        self._draining.set()
        self._closed.set()
        self._settlements.close(timeout)
        if self._stream is not None and not self._settings.is_stdin:
            self._stream.close()
            self._stream = None
        self._file.close()

    def problems(self) -> list[str]:
        """The problem with the ledger, for people; empty if there is none."""
        return [self._settlements.trouble] if self._settlements.trouble else []

    def ended(self) -> str | None:
        """The reason why the ledger's thread or the reader of standard input has ended; None while both run."""
        return self._settlements.ended() or (None if self._reader is None else self._reader.ended)

    def threads(self) -> list[WatchedThread]:
        """As `Threaded.threads`. The thread that reads standard input may wait for it for ever."""
        return [self._settlements.thread]

    def gauges(self) -> dict[str, float]:
        """The lines and bytes that were read, and whether the end was reached."""
        return {
            "file_lines_total": self._read_lines,
            "file_bytes_total": self._read_bytes,
            "file_finished": float(self._ended),
        }

    # -- reading ----------------------------------------------------------------------------------

    def _read_lines_at(
        self, stream: BinaryIO, start: tuple[int, int], positions: Sequence[int], max_bytes: int
    ) -> tuple[dict[int, Record], int]:
        """(records of the wanted lines, number of positions that were looked for).

        `start` is the number of a line, and its offset in the file: reading begins there.
        """
        number, offset = start
        stream.seek(offset)
        splitter = LineSplitter(self._settings.max_line)
        now_us = time.time_ns() // 1000
        found: dict[int, Record] = {}
        done = size = 0
        ended = False
        while not ended:
            data = stream.read(_PIECE)
            ended = not data
            for line in splitter.feed(data) if data else splitter.end():
                if number == positions[done]:
                    found[number] = to_record(line, self._settings, now_us)
                    size += line.length
                    done += 1
                    if done == len(positions) or size >= max_bytes:
                        return found, done
                number += 1
        return found, len(positions)

    def _add(self, lines: list[Line]) -> None:
        skipped = min(self._to_skip, len(lines))
        self._to_skip -= skipped
        self._next_byte += sum(line.length + 1 for line in lines[:skipped])
        self._lines.extend(lines[skipped:])
        if self._ended and self._to_skip:
            raise SourceFailedError(
                f"{self._settings.path} has {self._to_skip} lines less than were read before; the file was cut, or is "
                "another file. To read this file from its start, give the source another name"
            )

    def _next_piece(self, timeout: float) -> bytes | None:
        """Returns the next bytes; b"" at the end; None if no bytes came within `timeout` seconds."""
        if self._settings.is_stdin:
            try:
                return self._ahead.get(timeout=min(timeout, _STDIN_SECONDS))
            except queue.Empty:
                return None
        try:
            if self._stream is None:
                self._stream = self._opened(self._settings.path)
            return self._stream.read(_PIECE)
        except OSError as error:
            raise SourceFailedError(f"{self._settings.path} cannot be read: {error.strerror}") from None

    def _opened(self, path: Path) -> BinaryIO:
        stream = path.open("rb")
        start = stream.read(_FINGERPRINT_BYTES)
        known = self._file.remembered("file")
        if isinstance(known, str):
            length, _, digest = known.partition(":")
            if hashlib.sha256(start[: int(length)]).hexdigest() != digest:
                stream.close()
                raise SourceFailedError(
                    f"{path} is not the file of which {self._to_skip} lines were read before: this file begins "
                    "differently. To read this file from its start, give the source another name"
                )
        else:
            self._file.remember("file", f"{len(start)}:{hashlib.sha256(start).hexdigest()}")
        stream.seek(0)
        return stream

    def _read_ahead(self) -> None:
        """Read standard input into the queue, in its own thread: reading blocks, and `poll` must not block.

        The queue is bounded: if it is full, the program that writes to standard input has to wait.
        """
        assert self._stream is not None  # noqa: S101 - this thread is started with it
        read = getattr(self._stream, "read1", self._stream.read)
        while not self._draining.is_set():
            try:
                data = read(_PIECE)
            except (OSError, ValueError) as error:
                _log.warning("standard_input_failed", source=self.name, reason=str(error))
                data = b""
            while not self._closed.is_set():
                try:
                    self._ahead.put(data, timeout=0.5)
                    break
                except queue.Full:
                    continue
            if not data:
                return
