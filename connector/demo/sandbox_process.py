"""The process of the sandbox: a local Clarify, whose file of samples the demo reads at the same time."""

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
    """The child process `python -m connector.sandbox`."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "sandbox.sqlite"
        self._first_line = ""
        command = [sys.executable, "-m", "connector.sandbox", "--listen", "127.0.0.1:0"]
        command += ["--store", str(self.store), "--credentials-out", str(folder / CREDENTIALS_NAME)]
        self.child = Child("the sandbox", command, folder / "sandbox.log", self._hear)

    def wait_ready(self, wait_for: WaitFor) -> None:
        """Wait until the sandbox answers requests. Raises DemoError if it does not answer in time."""
        wait_for(lambda: bool(self._first_line) or not self.child.running(), _START_SECONDS, "the sandbox answers")
        self.child.check()

    @property
    def url(self) -> str:
        """The base URL of the API of the sandbox."""
        return self._first_line.removeprefix(_READY)

    def _hear(self, line: str) -> None:
        if line.startswith(_READY):
            self._first_line = line
