"""A dead letter: one record, and the reasons why the record, or some of its values, became no sample.

The key of a letter is made from the position of the record, and from the rejected values and their reasons. So a
letter that is written again after a crash has the same key, and readers count the two letters as one.
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
"""The largest time that the stores can keep: 64 bits."""


class Truncation(msgspec.Struct, frozen=True):
    """A note in a letter that its record was too large to be kept whole."""

    parts: tuple[str, ...]
    """The names of the parts that were cut: payload, key, headers, topic."""
    payload_length: int
    """The length of the whole payload, in bytes."""
    payload_sha256: str
    """The SHA-256 of the whole payload, as hexadecimal digits."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One record, with its rejects."""

    source: str
    partition: str
    position: int
    topic: str
    rejects: tuple[Reject, ...]
    """The errors of the record or of its values; never empty."""
    more: dict[str, int] = {}
    """Reason → number of further rejects of the same record. Of these rejects only the number is kept."""
    record: Record | None = None
    """The message as it came; None if the message could not be read again, or was too large for the letter."""
    missing: str = ""
    """Why `record` is None, for people."""
    cut: Truncation | None = None
    """The parts of the record that were cut; None if the record is whole."""
    configuration: str = ""
    """Hash of the mapping that was in force."""
    version: str = ""
    """The version of the connector that wrote the letter."""
    written_us: int = 0
    """The time at which the letter was written, in µs since 1970."""
    log: str = ""
    """The log that has the position, as `Source.log` names it: a topic that is made anew has the same partitions and
    positions. Empty if it is unknown, or if a partition has one log only."""

    @property
    def key(self) -> str:
        """The identifier of the letter: 20 hexadecimal digits."""
        parts = [
            self.record_id,
            *sorted(f"{r.path}\x1f{r.input_id}\x1f{r.time_us}\x1f{r.reason}" for r in self.rejects),
        ]
        return _digest("\x1e".join(parts))

    @property
    def record_id(self) -> str:
        """The identifier of the record, the same in all letters about the record: 20 hexadecimal digits."""
        return _digest(f"{self.source}\x1f{self.log_partition}\x1f{self.position}")

    @property
    def log_partition(self) -> str:
        """The partition, and its log if the log is known: the name under which no two records share a position."""
        return f"{self.partition}@{self.log}" if self.log else self.partition

    @property
    def time_us(self) -> int:
        """The time of the record, in µs since 1970.

        Without a record it is the time of one of its samples. Without any such time it is the time at which the letter
        was written.
        """
        if self.record is not None:
            return self.record.time_us
        return next((reject.time_us for reject in self.rejects if reject.time_us is not None), self.written_us)

    @property
    def whole(self) -> bool:
        """Whether the letter has the complete record. Only then can the letter be replayed."""
        return self.record is not None and self.cut is None

    @property
    def reasons(self) -> Counter[str]:
        """Reason → number of rejects, with the rejects that `more` only counts."""
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
    log: str = "",
) -> DeadLetter:
    """The letter about one record of the log `log`; `why` says why `record` is None.

    If the time of the record does not fit into 64 bits, the letter keeps the nearest time that fits, and the first
    reject quotes the original time.
    """
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
        log=log,
    )


def time_text(time_us: int) -> str:
    """The time in RFC 3339, for people. A time outside the calendar is given as a number of microseconds."""
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{time_us} µs since 1970"
