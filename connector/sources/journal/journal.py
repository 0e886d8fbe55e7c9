"""The protocol of journals, which the MQTT source uses, and the batches of messages that go into a journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from connector.ledger.account import Commit
from connector.records import Chunk, Record
from connector.sources.source import Reread
from connector.threads.watched import WatchedThread

BUFFER_BYTES: Final = 16 * 1024 * 1024
"""The most bytes in memory that are not in the journal yet. Above this bound, the network is not read."""
_RECORD_OVERHEAD: Final = 250
"""Approximate bytes of a record in memory, without its payload, topic and headers."""
HEADER_OVERHEAD: Final = 150
"""Approximate bytes of a header in memory, without its name and value."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that arrived together on one connection."""

    records: list[Record]
    durable: Callable[[], None]
    """Called once, by another thread, when the broker does not need to send the messages again."""
    waited: bool = False
    """Whether the messages have waited for others already, so that the write does not wait."""
    size: int = field(init=False)
    """Approximate bytes of the records in memory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", batch_bytes(self.records))


def batch_bytes(records: list[Record]) -> int:
    """Returns the approximate bytes of the records in memory. Records that are read from the file share no headers."""
    headers = sum(
        n * sum(len(name) + len(value) + HEADER_OVERHEAD for name, value in found)
        for found, n in Counter([r.headers for r in records if r.headers]).items()
    )
    return sum([len(r.payload or b"") + len(r.topic) for r in records]) + _RECORD_OVERHEAD * len(records) + headers


class JournalFill(NamedTuple):
    """How full a journal is, in bytes."""

    used: int
    limit: int


class Journal(Protocol):
    """Holds messages between the broker and the pipeline. One thread calls `poll`; any thread calls other methods."""

    def start(self, linger: float = 0.0) -> None:
        """Begin to write. Called once, before the first batch.

        While messages come often, a message may wait `linger` seconds, so that several messages share a write.
        """

    def append(self, batch: Batch) -> None:
        """Add a batch. Never blocks and never refuses: the caller asks `has_room` before it reads more messages."""

    def has_room(self) -> bool:
        """Whether more may be read from the network."""

    def poll(self, timeout: float) -> Chunk | None:
        """Returns the next chunk, as in `Source.poll`."""

    def gather(self, seconds: float) -> bool:
        """Let messages come together, as in `Source.gather`."""

    def wake(self) -> None:
        """Make a `poll` that waits, or the next one, return at once: the source stops reading, or has failed."""

    def commit(self, commit: Commit) -> None:
        """Settle records, as in `Source.commit`."""

    def read_again(self, positions: Sequence[int], max_bytes: int) -> Reread:
        """Read records again, as in `Source.read_again`."""

    def close(self, timeout: float) -> None:
        """Make commits durable and release everything, as in `Source.close`."""

    def ended(self) -> str | None:
        """The reason why the journal cannot go on, as in `ThreadedSource.ended`."""

    def threads(self) -> list[WatchedThread]:
        """As `Threaded.threads`."""

    def problems(self) -> list[str]:
        """The reasons why the source is not ready, as in `Source.problems`."""

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics, as in `Source.gauges`."""

    def unread(self) -> int:
        """Number of messages that were not polled yet, as in `Source.unread`."""

    def fill(self) -> JournalFill:
        """How full the journal is."""
