"""What a journal promises to the MQTT source, and the batches that go into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from connector.ledger.account import Commit
from connector.records import Chunk, Record
from connector.sources.source import Reread
from connector.threads.watched import WatchedThread

BUFFER_BYTES: Final = 16 * 1024 * 1024
"""How many bytes may be in memory and not in the journal yet. Above this nothing more is read from the network."""
_RECORD_OVERHEAD: Final = 250
"""About how many bytes a record takes in memory beside its payload, topic and headers."""
_HEADER_OVERHEAD: Final = 150


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that arrived together on one connection."""

    records: list[Record]
    durable: Callable[[], None]
    """Called once, by another thread, when the broker need not send these messages again."""
    size: int = field(init=False)
    """About how many bytes the records take in memory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", batch_bytes(self.records))


def batch_bytes(records: list[Record]) -> int:
    """About how many bytes these records take in memory."""
    headers = sum(len(name) + len(value) + _HEADER_OVERHEAD for r in records if r.headers for name, value in r.headers)
    return sum(len(r.payload or b"") + len(r.topic) for r in records) + _RECORD_OVERHEAD * len(records) + headers


class JournalFill(NamedTuple):
    """How full a journal is, in bytes."""

    used: int
    limit: int


class Journal(Protocol):
    """Holds messages between the broker and the pipeline. `poll` is called by one thread, the others by any."""

    def start(self) -> None:
        """Begin to write."""

    def append(self, batch: Batch) -> None:
        """Take a batch over. Never blocks and never refuses: the caller asks `has_room` before it reads on."""

    def has_room(self) -> bool:
        """Whether more may be read from the network."""

    def poll(self, timeout: float) -> Chunk | None:
        """As `Source.poll`."""

    def commit(self, commit: Commit) -> None:
        """As `Source.commit`."""

    def read_again(self, positions: Sequence[int], max_bytes: int) -> Reread:
        """As `Source.read_again`."""

    def close(self, timeout: float) -> None:
        """As `Source.close`."""

    def ended(self) -> str | None:
        """As `ThreadedSource.ended`."""

    def threads(self) -> list[WatchedThread]:
        """As `Threaded.threads`."""

    def problems(self) -> list[str]:
        """As `Source.problems`."""

    def gauges(self) -> dict[str, float]:
        """As `Source.gauges`."""

    def unread(self) -> int:
        """As `Source.unread`."""

    def fill(self) -> JournalFill:
        """How full the journal is."""
