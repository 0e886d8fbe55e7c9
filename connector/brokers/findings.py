"""What a look at a connection, a file or a server finds: the rows of `clarify-connector doctor`.

A look is a generator of findings, which changes nothing. It returns, at its end, whether the next look makes sense.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum

Look = Generator["Finding", None, bool]


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    ADVICE = "advice"
    """Works now, and may lose data or time some day."""
    WRONG = "wrong"
    """Does not work, or loses data."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was looked at, what is there, and what to do about it. No text holds a secret."""

    level: Level
    subject: str
    """A word or two, such as `name`, `port`, `TLS`, `log-in`."""
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """What a look may do, and what it needs to know of the rest of the configuration."""

    seconds: float = 3.0
    """The longest wait for one answer, in seconds."""
    short: bool = False
    """Only names, ports, TLS and log-in."""
    longest_payload: int | None = None
    """The longest payload that is mapped, in bytes; None if nobody said."""


def ok(subject: str, text: str) -> Finding:
    """A finding with nothing to do."""
    return Finding(Level.OK, subject, text)


def advice(subject: str, text: str, remedy: str) -> Finding:
    """A finding about what works now."""
    return Finding(Level.ADVICE, subject, text, remedy)


def wrong(subject: str, text: str, remedy: str) -> Finding:
    """A finding about what does not work, or loses data."""
    return Finding(Level.WRONG, subject, text, remedy)


def split(subject: str, text: str, remedy: str) -> Finding:
    """A wrong finding from a text of the log, `cause; remedy`; `remedy` is for a text without one."""
    cause, _, said = text.partition("; ")
    return wrong(subject, cause, said or remedy)
