"""A disk that remembers each change, so that a test can go back to any moment and pull the plug there.

Theory of operation. A `Recording` takes down, in one list, everything that is done to the files of one folder: what
SQLite writes, syncs, cuts and removes (`tests/sqlite_vfs.py`), what Python writes, renames and removes, and what was
said to the world meanwhile (`note`). A `Disk` plays such a list back, as far as one likes, and knows two things of
each file: what a program sees, and what is on the platter. A process that is killed leaves the first (`killed`). After
a power failure there is the second, with any part of what was not synced, in sectors, in any order (`power_lost`); a
sync that failed makes nothing safe, and what it lost is lost even if a later sync succeeds, as on Linux. Changes of
the folder survive in their order, and all of them before a sync that succeeded: what a journalling file system does.
"""

from __future__ import annotations

import copy
import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias
from unittest.mock import patch

from tests.sqlite_vfs import FULL, IOERR_DELETE, IOERR_FSYNC, IOERR_TRUNCATE, IOERR_WRITE, OK, watched

_SECTOR: Final = 512
_NOT_RECORDED: Final = ("-shm", ".reserve")
"""SQLite's shared memory is made anew by whoever comes first; of the reserve only its size matters."""

Files: TypeAlias = dict[str, bytes]
"""What is in a folder: name → content."""


@dataclass(frozen=True, slots=True)
class Write:
    name: str
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Truncate:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    name: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Rename:
    name: str
    new: str


@dataclass(frozen=True, slots=True)
class Remove:
    name: str
    durable: bool = False
    """The folder is synced at once."""


@dataclass(frozen=True, slots=True)
class Note:
    """Not a change: something that happened at this moment."""

    what: str
    value: int


Change: TypeAlias = Write | Truncate | Sync | Rename | Remove
Op: TypeAlias = Change | Note


@dataclass(frozen=True, slots=True)
class Fault:
    """The changes from number `first` to before `after` fail; a write leaves `share` of its bytes all the same."""

    first: int
    after: int
    full: bool
    """The disk is full: only what makes files longer fails. Else the disk is broken: everything fails."""
    share: float = 0.0


class Recording:
    """What happens to the files in one folder, while `running`. Safe for threads."""

    def __init__(self, folder: Path, fault: Fault | None = None) -> None:
        self._folder = str(folder)
        self._lock = threading.RLock()
        self._descriptors: dict[int, str] = {}
        self._fault = fault
        self.changes = 0
        """How many there were, those that failed included."""
        self.ops: list[Op] = []
        self.failures = 0
        """How many changes were made to fail."""

    @contextmanager
    def running(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(watched(self))
            for name in ("open", "pwrite", "fsync", "close", "rename", "unlink"):
                stack.enter_context(patch.object(os, name, getattr(self, f"_os_{name}")(getattr(os, name))))
            yield

    def note(self, what: str, value: int) -> None:
        """Take down what has just been said or asked for."""
        with self._lock:
            self.ops.append(Note(what, value))

    def damage(self, name: str, offset: int, data: bytes) -> None:
        """The disk forgets what it had and has this instead."""
        with self._lock, Path(self._folder, name).open("r+b") as file:
            file.seek(offset)
            file.write(data)
            self.ops += [Write(name, offset, data), Sync(name)]

    def fail(self, changes: int, *, after: int = 0, full: bool = False, share: float = 0.0) -> None:
        """After so many more changes, this many fail."""
        with self._lock:
            self._fault = Fault(self.changes + after, self.changes + after + changes, full, share)

    # -- what SQLite does -------------------------------------------------------------------------

    def create(self, path: str) -> None:
        with self._lock:
            self._take_down(path, lambda name: Write(name, 0, b""))

    def write(self, path: str, offset: int, data: bytes) -> tuple[int, int]:
        with self._lock:
            fault = self._failing(path, grows=True)
            if fault is None:
                self._take_down(path, lambda name: Write(name, offset, data))
                return OK, 0
            done = int(len(data) * fault.share)
            if done:
                self._take_down(path, lambda name: Write(name, offset, data[:done]))
            return FULL if fault.full else IOERR_WRITE, done

    def truncate(self, path: str, size: int) -> int:
        return self._unless_failing(path, lambda name: Truncate(name, size), IOERR_TRUNCATE)

    def sync(self, path: str) -> int:
        with self._lock:
            failed = self._failing(path) is not None
            self._take_down(path, lambda name: Sync(name, failed))
            return IOERR_FSYNC if failed else OK

    def remove(self, path: str, *, durable: bool = False) -> int:
        return self._unless_failing(path, lambda name: Remove(name, durable), IOERR_DELETE)

    # -- what Python does -------------------------------------------------------------------------

    def _os_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def open_(path: Any, flags: int, *args: Any, **more: Any) -> int:
            name = self._name(path)
            with self._lock:
                if name is not None and flags & os.O_CREAT and not Path(path).exists():
                    self._raise_if_failing(path, grows=True)
                    self.ops.append(Write(name, 0, b""))
                descriptor = real(path, flags, *args, **more)
                if name is not None:
                    self._descriptors[descriptor] = os.fspath(path)
                return descriptor

        return open_

    def _os_close(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def close(descriptor: int) -> None:
            with self._lock:
                self._descriptors.pop(descriptor, None)
                real(descriptor)

        return close

    def _os_pwrite(self, real: Callable[..., int]) -> Callable[..., int]:
        def pwrite(descriptor: int, data: bytes, offset: int) -> int:
            with self._lock:
                path = self._descriptors.get(descriptor)
                if path is not None:
                    self._raise_if_failing(path, grows=True)
                    self._take_down(path, lambda name: Write(name, offset, bytes(data)))
                return real(descriptor, data, offset)

        return pwrite

    def _os_fsync(self, _real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            with self._lock:
                path = self._descriptors.get(descriptor, "")
                failed = self._failing(path) is not None
                self._take_down(path, lambda name: Sync(name, failed))
                if failed:
                    raise OSError(errno.EIO, "made to fail")

        return fsync

    def _os_rename(self, real: Callable[..., None]) -> Callable[..., None]:
        def rename(old: Any, new: Any, **more: Any) -> None:
            with self._lock:
                self._raise_if_failing(old)
                real(old, new, **more)
                self._take_down(old, lambda name: Rename(name, Path(new).name))

        return rename

    def _os_unlink(self, real: Callable[..., None]) -> Callable[..., None]:
        def unlink(path: Any, *, dir_fd: int | None = None) -> None:
            if dir_fd is not None:
                return real(path, dir_fd=dir_fd)
            with self._lock:
                if Path(path).exists():
                    self._raise_if_failing(path)
                    self._take_down(path, Remove)
                return real(path)

        return unlink

    # -- details ----------------------------------------------------------------------------------

    def _name(self, path: Any) -> str | None:
        """The file's name, if it is one of ours."""
        if not isinstance(path, str | os.PathLike):
            return None
        folder, name = os.path.split(os.fspath(path))
        return name if folder == self._folder and not name.endswith(_NOT_RECORDED) else None

    def _take_down(self, path: Any, make: Callable[[str], Op]) -> None:
        name = self._name(path)
        if name is not None:
            self.ops.append(make(name))

    def _failing(self, path: Any, *, grows: bool = False) -> Fault | None:
        if self._name(path) is None:
            return None
        number, fault = self.changes, self._fault
        self.changes += 1
        if fault is None or not fault.first <= number < fault.after or (fault.full and not grows):
            return None
        self.failures += 1
        return fault

    def _unless_failing(self, path: str, make: Callable[[str], Op], error: int) -> int:
        with self._lock:
            if self._failing(path):
                return error
            self._take_down(path, make)
            return OK

    def _raise_if_failing(self, path: Any, *, grows: bool = False) -> None:
        fault = self._failing(path, grows=grows)
        if fault is not None:
            raise OSError(errno.ENOSPC if fault.full else errno.EIO, "made to fail")


@dataclass(slots=True)
class _File:
    seen: bytearray = field(default_factory=bytearray)
    stable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)


def _change(content: bytearray, change: Write | Truncate) -> None:
    if isinstance(change, Truncate):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
    else:
        content.extend(bytes(max(0, change.offset - len(content))))
        content[change.offset : change.offset + len(change.data)] = change.data


class Disk:
    """The files of one folder, as a program sees them and as they are on the platter."""

    def __init__(self, files: Mapping[str, bytes] | None = None, seed: int = 0) -> None:
        self._names = {name: _File(bytearray(content), bytearray(content)) for name, content in (files or {}).items()}
        self._folders = [dict(self._names)]
        """How the folder was since the last sync, the newest last."""
        self._chance = Random(seed)

    def apply(self, op: Op) -> None:
        """This happens to it."""
        if isinstance(op, Note):
            return
        if isinstance(op, Write | Truncate):
            file = self._names.get(op.name)
            if file is None:
                file = self._names[op.name] = _File()
                self._folders.append(dict(self._names))
            _change(file.seen, op)
            file.pending.append(op)
        elif isinstance(op, Sync):
            self._sync(self._names[op.name], op.failed)
        elif isinstance(op, Rename):
            self._names[op.new] = self._names.pop(op.name)
            self._folders.append(dict(self._names))
        elif op.name in self._names:
            del self._names[op.name]
            self._folders.append(dict(self._names))
            if op.durable:
                self._folders = self._folders[-1:]

    def _sync(self, file: _File, failed: bool) -> None:
        for change in file.pending:
            if not failed or self._chance.random() < 0.5:
                _change(file.stable, change)
        file.pending.clear()
        if not failed:
            self._folders = [dict(self._names)]

    def killed(self) -> Files:
        """What there is after the process was killed."""
        return {name: bytes(file.seen) for name, file in self._names.items()}

    def power_lost(self, seed: int) -> Files:
        """What there is after the machine has lost its power; which of the possible outcomes is for the seed."""
        chance = Random(seed)
        return {name: _after_loss(file, chance) for name, file in chance.choice(self._folders).items()}

    def copy(self) -> Disk:
        """The same disk, to go on with."""
        return copy.deepcopy(self)


def _after_loss(file: _File, chance: Random) -> bytes:
    content = bytearray(file.stable)
    likely = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    for change in file.pending:
        if isinstance(change, Truncate):
            if chance.random() < likely:
                _change(content, change)
            continue
        at = change.offset
        while at < change.offset + len(change.data):
            end = min(at - at % _SECTOR + _SECTOR, change.offset + len(change.data))
            if chance.random() < likely:
                _change(content, Write(change.name, at, change.data[at - change.offset : end - change.offset]))
            at = end
    return bytes(content)


@contextmanager
def unsynced() -> Iterator[None]:
    """No sync reaches the real disk meanwhile: for looking at thousands of states. Not while a recording is running."""
    with Recording(Path(os.devnull)).running():
        yield


def put(files: Files, folder: Path) -> None:
    """Make this folder hold exactly these files."""
    for old in folder.iterdir():
        if old.is_file():  # never cut one short: some file systems then write to the platter at once
            old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def read_folder(folder: Path) -> Files:
    """What is in it, as far as a recording takes it down."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(_NOT_RECORDED)}
