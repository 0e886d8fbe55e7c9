"""A journal for tests of the MQTT source."""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.ledger.account import Commit
from connector.records import Chunk
from connector.sources.journal.journal import Batch


@dataclass
class HeldJournal:
    """A journal whose durability the test decides: it keeps batches, and nothing is durable until told."""

    batches: list[Batch] = field(default_factory=list)
    room: bool = True
    confirmed: int = 0

    def start(self, linger: float = 0.0) -> None: ...

    def append(self, batch: Batch) -> None:
        self.batches.append(batch)

    def has_room(self) -> bool:
        return self.room

    def poll(self, timeout: float) -> Chunk | None:
        return None

    def commit(self, commit: Commit) -> None: ...

    def close(self, timeout: float) -> None: ...

    def problems(self) -> list[str]:
        return []

    def ended(self) -> str | None:
        return None

    def gauges(self) -> dict[str, float]:
        return {}

    def confirm(self) -> int:
        """What has come since the last call is durable now; returns how many messages are, in all."""
        for batch in self.batches[self.confirmed :]:
            self.confirmed += 1
            batch.durable()
        return sum(len(batch.records) for batch in self.batches[: self.confirmed])

    def payloads(self) -> list[bytes]:
        return [record.payload for batch in list(self.batches) for record in batch.records]
