"""SQLite's own file layer, watched: every write, sync, truncation and removal that Python's sqlite3 makes can be
recorded, or be made to fail.

While `watched` is open, a VFS that is a copy of the platform's is the default one of the very library that Python's
sqlite3 uses, so nothing has to know of it. Of each file that is opened the table of methods is exchanged for a copy in
which the changing ones ask first. No sync reaches the real disk meanwhile: what would survive is for the test to say.
"""

from __future__ import annotations

import _sqlite3
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from tests.brokers import REQUIRE_REAL

OK: Final = 0
FULL: Final = 13
IOERR_WRITE: Final = 10 | 3 << 8
IOERR_FSYNC: Final = 10 | 4 << 8
IOERR_TRUNCATE: Final = 10 | 6 << 8
IOERR_DELETE: Final = 10 | 10 << 8
"""Result codes: https://www.sqlite.org/rescode.html"""

_CREATE: Final = 4
"""SQLITE_OPEN_CREATE: https://www.sqlite.org/c3ref/c_open_autoproxy.html"""

_Open: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)
_Delete: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_Write: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_Truncate: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Sync: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class _Vfs(ctypes.Structure):
    """https://www.sqlite.org/c3ref/vfs.html"""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("max_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", _Open),
        ("delete", _Delete),
        ("rest", ctypes.c_void_p * 14),
    ]


class _Methods(ctypes.Structure):
    """https://www.sqlite.org/c3ref/io_methods.html"""

    _fields_ = [
        ("version", ctypes.c_int),
        ("close", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("rest", ctypes.c_void_p * 13),
    ]


class Watcher(Protocol):
    """Asked before each change. Any other answer than `OK` is what SQLite is told instead; must not raise."""

    def create(self, path: str) -> None:
        """Only told."""

    def write(self, path: str, offset: int, data: bytes) -> tuple[int, int]:
        """(result, how many of the bytes are written all the same if it is an error)."""

    def truncate(self, path: str, size: int) -> int: ...

    def sync(self, path: str) -> int: ...

    def remove(self, path: str, *, durable: bool = False) -> int: ...


def sqlite_library() -> Any:
    """The library that Python's sqlite3 uses. Skips the test (or fails it, with REQUIRE_REAL=1) where a Python has it
    built in, so that its functions cannot be had."""
    try:
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        library.sqlite3_vfs_register.argtypes = (ctypes.c_void_p, ctypes.c_int)
        library.sqlite3_vfs_unregister.argtypes = (ctypes.c_void_p,)
    except (OSError, AttributeError):
        reason = "this Python has SQLite built in: its file layer cannot be watched"
        if REQUIRE_REAL:
            pytest.fail(f"REQUIRE_REAL=1, but {reason}")
        pytest.skip(reason)
    return library


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """All SQLite files that are opened meanwhile are watched, until they are closed. Not one within another."""
    library = sqlite_library()
    real = library.sqlite3_vfs_find(None)
    ours = _Vfs()
    ctypes.pointer(ours)[0] = real.contents
    kept: list[object] = [ours]
    tables: dict[int, _Methods] = {}
    paths: dict[int, str | None] = {}
    real_open, real_delete = real.contents.open, real.contents.delete

    def patched(original: int) -> _Methods:
        methods = _Methods.from_buffer_copy(ctypes.string_at(original, ctypes.sizeof(_Methods)))
        real_write, real_truncate = _Write.from_buffer_copy(methods.write), _Truncate.from_buffer_copy(methods.truncate)

        def write(file: int, data: int, n: int, offset: int) -> int:
            path = paths[file]
            result, done = (OK, 0) if path is None else watcher.write(path, offset, ctypes.string_at(data, n))
            if result == OK:
                result = real_write(file, data, n, offset)
            elif done:
                real_write(file, data, done, offset)
            return result

        def truncate(file: int, size: int) -> int:
            path = paths[file]
            result = OK if path is None else watcher.truncate(path, size)
            if result == OK:
                result = real_truncate(file, size)
            return result

        def sync(file: int, _flags: int) -> int:
            path = paths[file]
            return OK if path is None else watcher.sync(path)

        methods.write, methods.truncate, methods.sync = _Write(write), _Truncate(truncate), _Sync(sync)
        kept.extend((real_write, real_truncate))
        return methods

    def open_(_vfs: int, name: int | None, file: int, flags: int, out_flags: int) -> int:
        # The file keeps the address of its name, so it must be the caller's.
        path = None if name is None else ctypes.string_at(name).decode()
        if path is not None and flags & _CREATE and not Path(path).exists():
            watcher.create(path)
        result: int = real_open(ctypes.addressof(real.contents), name, file, flags, out_flags)
        slot = ctypes.c_void_p.from_address(file)  # the first field of a file is the address of its methods
        if slot.value is not None:
            paths[file] = path
            if slot.value not in tables:
                tables[slot.value] = patched(slot.value)
            slot.value = ctypes.addressof(tables[slot.value])
        return result

    def delete(_vfs: int, name: int, sync_folder: int) -> int:
        result = watcher.remove(ctypes.string_at(name).decode(), durable=bool(sync_folder))
        return result if result != OK else real_delete(ctypes.addressof(real.contents), name, 0)

    ours.name = b"watched"
    ours.open, ours.delete = _Open(open_), _Delete(delete)
    assert library.sqlite3_vfs_register(ctypes.addressof(ours), 1) == OK
    try:
        yield
    finally:
        library.sqlite3_vfs_unregister(ctypes.addressof(ours))
        _KEPT.append(kept)
        _KEPT.append(tables)


_KEPT: Final[list[object]] = []
"""A file that is closed late, by the garbage collector, say, still uses its table."""
