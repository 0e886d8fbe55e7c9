"""What the pipeline knows of a source, and the promises that every adapter keeps."""

from __future__ import annotations

from typing import Protocol

from connector.progress import Commit
from connector.records import Chunk


class SourceFailedError(Exception):
    """The source cannot go on and trying again would not help; the text says what a person has to do."""


class Source(Protocol):
    """A replayable log: partitions with positions, read in chunks, committed as a contiguous prefix.

    `poll` and `stop_reading` are called by one intake thread, `commit` by the sender thread.
    """

    name: str

    def start(self) -> None:
        """Begin to receive. Must not wait for the network."""

    def poll(self, timeout: float) -> Chunk | None:
        """The next chunk of one partition, waiting at most `timeout` seconds; each position once per run.

        What was polled but not committed is delivered again after a restart. Raises `SourceFailedError`.
        """

    def commit(self, commit: Commit) -> None:
        """Everything up to this position is settled; the account goes into the ledger with it, atomically.

        May return before it is durable; `close` waits for that. Commits of a partition come in order.
        """

    def stop_reading(self) -> None:
        """Take no more from outside (a shutdown has begun); what was taken in can still be polled."""

    def close(self, timeout: float) -> None:
        """Make durable what was committed, then release everything. Gives up after `timeout` seconds."""

    def problems(self) -> list[str]:
        """Why the source is not ready, for people; empty if it is."""

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics: name → value."""
