"""Looks at the connector that runs with the same configuration: its lock, its health, its forecast of a loss."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Generator
from pathlib import Path

from connector.brokers.findings import Finding, advice, ok, wrong
from connector.config.address import UNIX, Address
from connector.config.model import Config
from connector.observe.probe import ask


def look_at_running(config: Config) -> Generator[Finding, None, None]:
    """Ask the running connector, if there is one. The lock is looked at, and not taken."""
    lock = config.state_dir / "lock"
    pid = holder(lock)
    if pid is None:
        yield ok("lock", "no connector runs with this state_dir")
        return
    yield ok("lock", f"a connector runs with this state_dir (process {pid})")
    if config.observe.listen is None:
        yield advice("pages", "the running connector has no pages to ask", "set observe.listen")
        return
    listen = config.observe.listen
    if not listen.startswith(UNIX) and Address.of(listen).port == 0:
        yield ok("pages", "the pages have a free port (observe.listen), which the log names: `doctor` cannot ask them")
        return
    health = ask(config.observe)
    if not health.alive:
        yield wrong("health", health.text, "see the log of the connector; only a restart helps")
    elif not health.ready:
        yield wrong("health", health.text, "the text says what to do; docs/reliability.md has all failures")
    else:
        yield ok("health", f"{health.text}; no loss is ahead")


def holder(lock: Path) -> str | None:
    """The process that holds the lock, or `unknown`; None if nobody does, or the file cannot be read."""
    try:
        with lock.open() as file:
            listed = _listed(lock)
            if listed is not None:
                return listed or None
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once, with the file
            except BlockingIOError:
                return file.read(20).strip() or "unknown"
    except OSError:
        pass  # a state_dir without a lock: nothing runs; the look at the disk says what is wrong with the rights
    return None


def _listed(lock: Path) -> str | None:
    """The process in the system's list of locks; empty if the list has none, None if there is no list."""
    try:
        lines = Path("/proc/locks").read_text()
    except OSError:
        return None
    found = re.search(rf"FLOCK +ADVISORY +WRITE (\d+) \S+:{lock.stat().st_ino} ", lines)
    return found[1] if found else ""
