"""The timeline: one file with everything that was done to the system and what was seen of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TextIO


class Story:
    """Tells what happens, in seconds since the start, to a file and, for people, to a stream."""

    def __init__(self, path: Path, stream: TextIO | None = sys.stdout) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._stream = stream
        self._began = time.monotonic()

    def tell(self, text: str) -> None:
        """One line."""
        line = f"{time.monotonic() - self._began:8.2f} s  {time.strftime('%H:%M:%S', time.gmtime())}  {text}"
        print(line, file=self._file, flush=True)
        if self._stream is not None:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """The end."""
        self._file.close()
