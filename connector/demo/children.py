"""The demo's processes: each on a leash, so that none is left behind even if the demo is killed (see `leash`).

They are in process groups of their own: Ctrl-C in the terminal reaches the demo only, which then ends them in
the right order.
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
    """The demo cannot go on; the text says why."""


class Child:
    """One process on its leash. As a context manager it is ended on the way out."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, on_line: Callable[[str], None] = lambda _: None
    ) -> None:
        """Start it. Standard error goes to `log`; `on_line` gets each line of standard output, in a thread."""
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
        """Whether it still runs."""
        return self._leash.poll() is None

    def check(self) -> None:
        """Raise DemoError with the end of its log if it has ended by itself."""
        if not self.running():
            said = "; ".join(self._last_lines()) or "it said nothing"
            raise DemoError(f"{self.name} has ended by itself ({said})")

    def let_go(self) -> None:
        """Ask it to end, without waiting; does nothing if it was asked before."""
        assert self._leash.stdin is not None  # noqa: S101 - it is a pipe, see above
        self._leash.stdin.close()

    def end(self) -> None:
        """Ask it to end and wait until it has; kill it if it does not."""
        self.let_go()
        try:
            self._leash.wait(GRACE_SECONDS + 2)
        except subprocess.TimeoutExpired:
            # The leash is not waited for yet, so that its ID still is that of the group with the command in it.
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
        assert self._leash.stdout is not None  # noqa: S101 - it is a pipe, see above
        with self._leash.stdout as output:
            for line in output:
                self._on_line(line.decode(errors="replace").rstrip("\n"))

    def _last_lines(self) -> list[str]:
        with self._log.open(encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in deque(file, _LOG_LINES) if line.strip()]
