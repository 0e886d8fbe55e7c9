"""The child processes of the demo.

Each child runs under `end_with_parent`, so that no child is left behind even if the demo is killed. Each child has a
process group of its own: Ctrl-C in the terminal reaches only the demo, which then ends the children in the right order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from connector import ConnectorError
from connector.demo.end_with_parent import GRACE_SECONDS

_LOG_LINES: Final = 5


class DemoError(ConnectorError):
    """The demo cannot go on; the text gives the reason."""


class Child:
    """One child process. As a context manager, it ends the process at the end of the context."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, on_line: Callable[[str], None] = lambda _: None
    ) -> None:
        """Start the process. `log` gets its standard error.

        `on_line` gets each line of standard output, in a thread of its own.
        """
        self.name = name
        self._log = log
        self._on_line = on_line
        with log.open("ab") as errors:
            self._leash = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", "connector.demo.end_with_parent", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                process_group=0,
            )
        self._reader = threading.Thread(target=self._read, name=f"output-{name}", daemon=True)
        self._reader.start()

    def running(self) -> bool:
        """Whether the process still runs."""
        return self._leash.poll() is None

    def check(self) -> None:
        """Raise DemoError, with the last lines of the log, if the process has ended."""
        if not self.running():
            said = "; ".join(self._last_lines()) or "it said nothing"
            raise DemoError(f"{self.name} has ended by itself ({said})")

    def let_go(self) -> None:
        """Ask the process to end, and do not wait; a second call has no effect."""
        assert self._leash.stdin is not None  # noqa: S101 - a pipe, see __init__
        self._leash.stdin.close()

    def end(self) -> None:
        """Ask the process to end, and wait for its end; kill the process if it does not end in time."""
        self.let_go()
        try:
            self._leash.wait(GRACE_SECONDS + 2)
        except subprocess.TimeoutExpired:
            # Nobody has waited for the child yet, so its process ID is still the ID of the group with the command.
            os.killpg(self._leash.pid, signal.SIGKILL)
            self._leash.wait()
        self._reader.join(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _read(self) -> None:
        assert self._leash.stdout is not None  # noqa: S101 - a pipe, see __init__
        with self._leash.stdout as output:
            for line in output:
                self._on_line(line.decode(errors="replace").rstrip("\n"))

    def _last_lines(self) -> list[str]:
        with self._log.open(encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in deque(file, _LOG_LINES) if line.strip()]
