"""What this machine can do to a process: its clock (libfaketime) and its disk (a tiny file system, for root)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LIBRARIES: Final = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib*/faketime/libfaketimeMT.so.1",
)
_DISK: Final = "24m"


def faketime_library() -> Path | None:
    """libfaketime for threads, where it is installed (Debian: apt-get install faketime)."""
    return next((path for pattern in _LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))), None)


class ProcessClock:
    """The wall clock of one process, which can jump. Its monotonic clock stays true, as it does on a real machine."""

    def __init__(self, folder: Path) -> None:
        library = faketime_library()
        assert library is not None
        self._file = folder / "clock"
        self.env: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.jump(0)

    def jump(self, seconds: float) -> None:
        """From within a second on, the process is so far off the true time."""
        half = self._file.with_suffix(".new")
        half.write_text(f"{seconds:+.0f}\n")
        half.rename(self._file)


class TinyDisk:
    """A file system of 24 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=700", "tmpfs", str(folder)], check=True)

    @staticmethod
    def possible(folder: Path) -> bool:
        """Whether we may have one: mounting takes root."""
        if os.geteuid() != 0:
            return False
        probe = folder / "probe"
        probe.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(probe)], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", str(probe)], check=True)
        probe.rmdir()
        return done.returncode == 0

    def fill(self) -> None:
        """Not a byte is left."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it; what was in it goes into an ordinary folder of the same name."""
        aside = self.folder.with_name(self.folder.name + "-was")
        subprocess.run(["cp", "-r", str(self.folder), str(aside)], check=False)
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
            aside.rename(self.folder)
