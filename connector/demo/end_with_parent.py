"""Runs a command that must not outlive whoever started it: `python -m connector.demo.end_with_parent COMMAND…`.

The holder keeps the other end of this process's standard input and never writes to it. When that end is
closed, on purpose or because the holder was killed, the command gets SIGTERM and, if that does not help,
SIGKILL. So the orderly end and the sudden one go the same way, on every POSIX system. Ends with the
command's own exit status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Final

GRACE_SECONDS: Final = 8.0
"""Between SIGTERM and SIGKILL."""


def main(command: list[str]) -> int:
    """Run the command until it ends or the holder is gone; returns its exit status."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the holder's own command
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)  # noqa: T201 - into its log
        return 127
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.terminate())
    threading.Thread(target=_follow, args=(child,), daemon=True).start()
    return child.wait()


def _follow(child: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # returns at the end of the input, since nobody writes
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
