"""Whether somebody listens; and, from the conformance suites, waiting with a deadline, which tests do instead of
sleeping."""

from __future__ import annotations

import socket

from connector.conformance.waiting import PATIENCE, wait_until  # noqa: F401 - the tests' one place for waiting
from tests.ports import free_port  # noqa: F401 - where tests have looked for it


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), 0.5):
            return True
    except OSError:
        return False
