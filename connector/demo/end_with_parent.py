"""Runs a command that must not outlive its parent: `python -m connector.demo.end_with_parent COMMAND…`.

The parent holds the other end of this process's standard input, and never writes to it. The parent closes this end on
purpose, or the system closes it because the parent was killed. Then the command gets SIGTERM and, if it does not end,
SIGKILL. So an orderly end and a sudden end work in the same way, on every POSIX system. The exit status is the exit
status of the command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Final

GRACE_SECONDS: Final = 8.0
"""The time between SIGTERM and SIGKILL."""


def main(command: list[str]) -> int:
    """Run the command until it ends or the parent is gone; returns the exit status, 127 if it cannot be started."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the parent's own command
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)  # noqa: T201 - into its log
        return 127
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.terminate())
    threading.Thread(target=_follow, args=(child,), daemon=True).start()
    return child.wait()


def _follow(child: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # returns at the end of the input, since the parent never writes
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
