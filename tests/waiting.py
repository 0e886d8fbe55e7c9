"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, what: str | Callable[[], str], every: float = 0.05) -> T:
    """The condition's first true value; fails with `what` if there is none within `seconds`. Text that changes
    meanwhile, such as a log, is asked for then."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {seconds:g} s: {what if isinstance(what, str) else what()} (last: {value!r})"
            )
        time.sleep(every)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), 0.5):
            return True
    except OSError:
        return False
