"""A dead letter: one record, and why it, or values of it, became no sample.

A letter's key says which record it is about, and which values of it for which reasons: the same letter written
again after a crash has the same key, and counts once when letters are read.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from connector.records import Record, Reject

_KEY_LENGTH: Final = 20
_MOST_US: Final = 2**63 - 1
"""What the stores can keep: 64 bits."""


class Truncation(msgspec.Struct, frozen=True):
    """A record was too large to be kept whole."""

    parts: tuple[str, ...]
    """Which parts of it are shorter than they were: payload, key, headers, topic."""
    payload_length: int
    payload_sha256: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One record, with what is wrong with it."""

    source: str
    partition: str
    position: int
    topic: str
    rejects: tuple[Reject, ...]
    """What is wrong; never empty."""
    more: dict[str, int] = {}
    """Reason → further rejects of the same record, of which only the number is kept."""
    record: Record | None = None
    """The message as it came. None where it could not be had any more."""
    missing: str = ""
    """Why it could not be had."""
    cut: Truncation | None = None
    configuration: str = ""
    """Hash of the mapping that was in force."""
    version: str = ""
    """Of the connector."""
    written_us: int = 0

    @property
    def key(self) -> str:
        """Identifies the letter."""
        parts = [
            self.record_id,
            *sorted(f"{r.path}\x1f{r.input_id}\x1f{r.time_us}\x1f{r.reason}" for r in self.rejects),
        ]
        return _digest("\x1e".join(parts))

    @property
    def record_id(self) -> str:
        """Identifies the record: the same for all letters about it."""
        return _digest(f"{self.source}\x1f{self.partition}\x1f{self.position}")

    @property
    def time_us(self) -> int:
        """The record's time; where it could not be had, that of a sample of it, or of the letter."""
        if self.record is not None:
            return self.record.time_us
        return next((reject.time_us for reject in self.rejects if reject.time_us is not None), self.written_us)

    @property
    def whole(self) -> bool:
        """Whether the record is here, all of it: then the letter can be replayed."""
        return self.record is not None and self.cut is None

    @property
    def reasons(self) -> Counter[str]:
        """Reason → how many rejects."""
        found: Counter[str] = Counter(self.more)
        found.update(str(reject.reason) for reject in self.rejects)
        return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_KEY_LENGTH]


def letter_of(
    source: str,
    partition: str,
    position: int,
    topic: str,
    rejects: Sequence[Reject],
    record: Record | None,
    why: str = "",
) -> DeadLetter:
    """The letter about one record; `why` says why `record` is None. Of a time beyond 64 bits the nearest is kept, and
    the first reject tells it as it was."""
    if record is not None and not -_MOST_US <= record.time_us <= _MOST_US:
        told = f"{record.time_us} µs since 1970"
        if not any(told in reject.message for reject in rejects):
            first, *others = rejects
            rejects = [dataclasses.replace(first, message=f"{first.message}; its timestamp was {told}"), *others]
        record = msgspec.structs.replace(record, time_us=_MOST_US if record.time_us > 0 else -_MOST_US)
    return DeadLetter(
        source=source,
        partition=partition,
        position=position,
        topic=topic,
        rejects=tuple(rejects),
        record=record,
        missing="" if record is not None else why,
    )


def time_text(time_us: int) -> str:
    """RFC 3339, for people; a number where no calendar has the day."""
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{time_us} µs since 1970"
