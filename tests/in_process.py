"""Commands that are meant to have a process of their own, run in the tests' one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """What such a command changes of its process is put back: logs, permissions of new files, signals."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        yield
    finally:
        os.umask(umask)
        structlog.reset_defaults()
        for number, handler in handlers.items():
            signal.signal(number, handler)
