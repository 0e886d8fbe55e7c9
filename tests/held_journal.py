"""Journals for tests of the MQTT source."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from connector.ledger.account import Commit
from connector.records import Chunk, Record
from connector.sources.journal.journal import Batch


class SilentJournal:
    """A journal that always has room and no problems, and gives nothing back. What it does with a batch is for others.

    It lacks `append`.
    """

    def start(self, linger: float = 0.0) -> None: ...

    def has_room(self) -> bool:
        return True

    def poll(self, timeout: float) -> Chunk | None:
        return None

    def wake(self) -> None: ...

    def commit(self, commit: Commit) -> None: ...

    def close(self, timeout: float) -> None: ...

    def problems(self) -> list[str]:
        return []

    def ended(self) -> str | None:
        return None

    def gauges(self) -> dict[str, float]:
        return {}


@dataclass
class HeldJournal(SilentJournal):
    """A journal whose durability the test decides: it keeps batches, and nothing is durable until told."""

    batches: list[Batch] = field(default_factory=list)
    room: bool = True
    confirmed: int = 0

    def append(self, batch: Batch) -> None:
        self.batches.append(batch)

    def has_room(self) -> bool:
        return self.room

    def confirm(self) -> int:
        """What has come since the last call is durable now; returns how many messages are, in all."""
        for batch in self.batches[self.confirmed :]:
            self.confirmed += 1
            batch.durable()
        return sum(len(batch.records) for batch in self.batches[: self.confirmed])

    def payloads(self) -> list[bytes]:
        return [record.payload for batch in list(self.batches) for record in batch.records]


class CollectingJournal(SilentJournal):
    """A journal in memory: messages are durable at once, or with `holds` not before `release`."""

    def __init__(self, *, holds: bool = False) -> None:
        self.holds = holds
        self.records: list[Record] = []
        self._held: deque[Batch] = deque()

    def append(self, batch: Batch) -> None:
        self.records += batch.records
        self._held.append(batch)
        if not self.holds:
            self.release()

    def release(self) -> None:
        """Everything that came is durable, and so is all that comes from now on."""
        self.holds = False
        while self._held:
            self._held.popleft().durable()

    def payloads(self) -> list[bytes]:
        return [bytes(record.payload or b"") for record in list(self.records)]
