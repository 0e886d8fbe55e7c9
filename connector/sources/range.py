"""A range of records that is read once more, for a backfill: what is asked, and what such a source can tell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from connector import ConnectorError
from connector.sources.source import Source


class RangeError(ConnectorError):
    """The range cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of one partition, from `first` to before `end`."""

    topic: str
    number: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class RangeAsked:
    """What a backfill asks for: a span of time over all partitions, or offsets of some."""

    times_ms: tuple[int, int] | None
    """From the first to before the second, in ms since the epoch."""
    offsets: tuple[OffsetRange, ...] = ()

    @property
    def digest(self) -> str:
        """Tells backfills apart."""
        return hashlib.sha256(repr((self.times_ms, self.offsets)).encode()).hexdigest()[:12]


class RangeSource(Source, Protocol):
    """A source that ends when its range was read."""

    resumed: bool
    """Whether an earlier one had begun with the same range."""
    total: int
    """Offsets in the whole range, holes included."""
    expired: int
    """Offsets of the range that were gone from the log before they could be read: a loss."""

    @property
    def ranges(self) -> Mapping[str, tuple[int, int]]:
        """Partition → (first offset, offset after the last) of the whole range."""

    @property
    def done(self) -> int:
        """Offsets that are settled."""
