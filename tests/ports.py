"""Ports for what tests start: free, nobody else's for as long as this test run lasts, and free again after a restart.

A port that the system chooses (port 0) lies among those that it also gives to outgoing connections. While a server is
down for a moment, such a connection can take its port; a client that only waits for the server can even be connected
with itself. So ours lie below that range. Test runs side by side, and the processes of one run, keep out of each
other's way by locks on files, which end with the process that holds them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import IO, Final

PORTS: Final = range(10_240, 32_000)
"""Above what services usually have, below what Linux (from 32,768), macOS and BSD (from 49,152) give to connections."""

_held: list[IO[bytes]] = []


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now and is handed out once."""
    folder = Path(tempfile.gettempdir()) / f"clarify-connector-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        port = secrets.choice(PORTS)
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", port))
        except OSError:  # somebody else's, ours already, or in use by what is no test
            lock.close()
            continue
        _held.append(lock)
        return port
