"""The sandbox's process: a local Clarify that keeps what it gets in a file, which can be read meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from connector.demo.brokers import WaitFor
from connector.demo.children import Child
from connector.demo.configuration import CREDENTIALS_NAME

_START_SECONDS: Final = 60.0
_READY: Final = "listening on "


class SandboxProcess:
    """`python -m connector.sandbox` on its leash."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "sandbox.sqlite"
        self._first_line = ""
        command = [sys.executable, "-m", "connector.sandbox", "--listen", "127.0.0.1:0"]
        command += ["--store", str(self.store), "--credentials-out", str(folder / CREDENTIALS_NAME)]
        self.child = Child("the sandbox", command, folder / "sandbox.log", self._hear)

    def wait_ready(self, wait_for: WaitFor) -> None:
        """Wait until it answers requests. Raises DemoError if it does not."""
        wait_for(lambda: bool(self._first_line) or not self.child.running(), _START_SECONDS, "the sandbox answers")
        self.child.check()

    @property
    def url(self) -> str:
        """The base URL of its API."""
        return self._first_line.removeprefix(_READY)

    def _hear(self, line: str) -> None:
        if line.startswith(_READY):
            self._first_line = line
