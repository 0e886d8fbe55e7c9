"""Dead letters in files of newline-delimited JSON: for log collectors, jq and editors.

Letters are appended to the newest file and synced to disk. When the newest file has no room for the next letter, a new
file begins. If there are more files than allowed, the oldest file is removed, and its letters are counted permanently
and logged; or `add` takes no more letters. Replayed or dropped letters are removed as follows: the other letters of the
file are written to a new file beside it, and the new file is renamed to the old name. All changes, of any process, are
made under one lock.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

import orjson
import structlog

from connector.dead_letters.as_json import NoLetterError, from_json, to_json
from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.store import DeadLettersError, DeadLettersFullError, Told, Usage
from connector.state.files import open_private

_PATTERN: Final = "dead-letters-*.ndjson"
_COUNT_FILE: Final = "discarded.json"
_PIECE: Final = 1024 * 1024

_log = structlog.get_logger(__name__)


class _Counted(NamedTuple):
    """The last count of the lines of a file."""

    inode: int
    size: int
    """The number of bytes in which lines were counted."""
    lines: int


class FileLetters:
    """A `ReadableStore` in a folder of files."""

    def __init__(
        self,
        folder: Path,
        max_file_bytes: int,
        max_files: int,
        when_full: Literal["discard_oldest", "stop"] = "discard_oldest",
    ) -> None:
        """Create the folder if it is missing. Raises OSError if the folder cannot be used."""
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files
        self._stop_when_full = when_full == "stop"
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = _opened(folder / "lock", os.O_APPEND)
        self._lines: dict[Path, _Counted] = {}

    @property
    def address(self) -> str:
        """The path of the folder."""
        return str(self._folder)

    def start(self) -> None:
        """Does nothing: the store has no connection."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Append the letters, and sync them to disk. Raises `DeadLettersError`: then some of them may be kept."""
        try:
            with self._locked():
                waiting = [to_json(letter) + b"\n" for letter in letters]
                while waiting:
                    waiting = waiting[self._append(waiting) :]
        except OSError as error:
            raise DeadLettersError(f"dead letters cannot be written to {self._folder}: {error.strerror}") from error

    def usage(self) -> Usage:
        """How full the folder is. Only files that have changed are read to count their lines."""
        files = self._files()
        try:
            kept, used = sum(map(self._count, files)), sum(path.stat().st_size for path in files)
        except OSError:
            return Usage(discarded=self._discarded())  # a file was just removed; the next call succeeds
        return Usage(kept, used, self._max_file_bytes * self._max_files, self._discarded())

    def problems(self) -> list[str]:
        """None: letters that were discarded hinder no others, and `usage` counts them."""
        return []

    def close(self) -> None:
        """Close the lock file; after this call, `add` and `forget` raise `DeadLettersError`."""
        with self._lock:
            self._lock_file.close()

    # -- reading ----------------------------------------------------------------------------------

    def read(self, told: Told = lambda _done, _total: None) -> Iterator[DeadLetter]:
        """All letters, file by file; `told` gets numbers of bytes. Raises `DeadLettersError`.

        A line that a crash has torn is left out, because the connector wrote its letter again.
        """
        files = self._files()
        total = sum(path.stat().st_size for path in files if path.exists())
        done = 0
        for path in files:
            try:
                stream = path.open("rb")
            except FileNotFoundError:  # the file was discarded meanwhile
                continue
            except OSError as error:
                raise DeadLettersError(f"{path} cannot be read: {error.strerror}") from error
            with stream:
                for line in stream:
                    done += len(line)
                    try:
                        yield from_json(line)
                    except NoLetterError as error:
                        if line.endswith(b"\n"):
                            _log.warning("dead_letter_unreadable", file=str(path), reason=str(error))
                    told(done, max(total, done))

    def forget(self, keys: Collection[str]) -> None:
        """Remove the letters with these keys, and files that become empty. Raises `DeadLettersError`."""
        gone = set(keys)
        try:
            with self._locked():
                for path in self._files():
                    self._rewrite(path, gone)
        except OSError as error:
            raise DeadLettersError(f"{self._folder} cannot be changed: {error.strerror}") from error

    # -- details ----------------------------------------------------------------------------------

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(_PATTERN))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            if self._lock_file.closed:
                raise DeadLettersError(f"{self._folder} is closed")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _append(self, lines: list[bytes]) -> int:
        """Write as many lines as the newest file has room for, at least one; returns the number of lines written."""
        files = self._files()
        newest = files[-1] if files else None
        if newest is None or newest.stat().st_size + len(lines[0]) > self._max_file_bytes:
            self._make_room(files)
            number = int(newest.stem.rpartition("-")[2]) + 1 if newest else 1
            newest = self._folder / f"dead-letters-{number:06d}.ndjson"
        with _opened(newest, os.O_APPEND) as stream:
            size = stream.tell()
            if size and not _ends_a_line(newest):
                stream.write(b"\n")  # a line that a crash has torn stays a line of its own
                size += 1
            taken = 0
            while taken < len(lines) and (not taken or size + len(lines[taken]) <= self._max_file_bytes):
                stream.write(lines[taken])
                size += len(lines[taken])
                taken += 1
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(self._folder)
        return taken

    def _make_room(self, files: list[Path]) -> None:
        if len(files) < self._max_files:
            return
        if self._stop_when_full:
            raise DeadLettersFullError(
                f"the dead letters in {self._folder} have reached their bound ({self._max_files} files of "
                f"{self._max_file_bytes} bytes) and dead_letters.when_full is stop: replay or drop some "
                "(clarify-connector dead-letters), move files away, or raise max_files"
            )
        gone = files[: len(files) - self._max_files + 1]
        letters = sum(map(self._count, gone))
        _write_durably(self._folder / _COUNT_FILE, orjson.dumps({"letters": self._discarded() + letters}))
        for path in gone:
            path.unlink(missing_ok=True)
            self._lines.pop(path, None)
        _log.error(
            "dead_letters_discarded",
            letters=letters,
            files=[path.name for path in gone],
            max_files=self._max_files,
            remedy="raise dead_letters.max_files, and mend what sends them",
        )

    def _rewrite(self, path: Path, gone: set[str]) -> None:
        kept = changed = False
        beside = path.with_name(path.name + ".new")
        with path.open("rb") as old, _opened(beside, os.O_TRUNC) as new:
            for line in old:
                if _key_of(line) in gone:
                    changed = True
                else:
                    kept = True
                    new.write(line)
            new.flush()
            os.fsync(new.fileno())
        if not changed:
            beside.unlink()
        elif kept:
            beside.replace(path)
        else:
            beside.unlink()
            path.unlink()
        _sync_folder(self._folder)

    def _discarded(self) -> int:
        try:
            return int(orjson.loads((self._folder / _COUNT_FILE).read_bytes())["letters"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _count(self, path: Path) -> int:
        """The number of lines of a file. If the file has grown, only its new bytes are read."""
        found = path.stat()
        known = self._lines.get(path)
        if known is None or known.inode != found.st_ino or known.size > found.st_size:
            known = _Counted(found.st_ino, 0, 0)
        if known.size < found.st_size:
            lines, size = known.lines, known.size
            with path.open("rb") as stream:
                stream.seek(size)
                while piece := stream.read(_PIECE):
                    lines += piece.count(b"\n")
                    size += len(piece)
            known = _Counted(known.inode, size, lines)
        self._lines[path] = known
        return known.lines


def _opened(path: Path, flags: int) -> BinaryIO:
    """The file for writing, at its end or from its beginning; created for its owner alone."""
    return os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | flags), "ab" if flags & os.O_APPEND else "wb")


def _key_of(line: bytes) -> str | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found.get("id") if isinstance(found, dict) else None


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _write_durably(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    with _opened(beside, os.O_TRUNC) as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)


def _sync_folder(folder: Path) -> None:
    """Sync the folder to disk, so that a new file has its name after a power cut, too."""
    found = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(found)
    finally:
        os.close(found)
