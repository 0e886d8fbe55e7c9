"""The range of records that a backfill reads again, and the protocol of a source that reads such a range."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from connector import ConnectorError
from connector.sources.source import Source


class RangeError(ConnectorError):
    """The range cannot be read; the text has the reason."""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of one partition, from `first` to before `end`."""

    topic: str
    number: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class RangeAsked:
    """The records that a backfill asks for: a span of time in all partitions, or offsets in some partitions."""

    times_ms: tuple[int, int] | None
    """From the first time to before the second, in ms since 1970; None if offsets are asked for."""
    offsets: tuple[OffsetRange, ...] = ()

    @property
    def digest(self) -> str:
        """A short text that differs between backfills with different ranges."""
        return hashlib.sha256(repr((self.times_ms, self.offsets)).encode()).hexdigest()[:12]


class RangeSource(Source, Protocol):
    """A source that ends after the last record of its range."""

    resumed: bool
    """Whether an earlier run had begun with the same range."""
    total: int
    """Number of offsets in the whole range, gaps included."""
    expired: int
    """Number of offsets of the range that expired before they could be read: a loss."""

    @property
    def ranges(self) -> Mapping[str, tuple[int, int]]:
        """Partition → (first offset, offset after the last) of the whole range."""

    @property
    def done(self) -> int:
        """Number of settled offsets."""
