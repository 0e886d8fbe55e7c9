"""What the pipeline knows of a source, and the promises that every adapter keeps.

`connector.conformance.sources` checks these promises: a kind of source passes it before it is let in.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from connector import ConnectorError
from connector.ledger.account import Commit
from connector.records import Chunk, Record
from connector.sources.loss import Horizon
from connector.sources.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Reread:
    """Records that were read once more."""

    records: Mapping[int, Record]
    """By their position."""
    done: int
    """How many of the positions that were asked for were looked for."""
    why: str = ""
    """Why some of these are missing."""


class SourceFailedError(ConnectorError):
    """The source cannot go on and trying again would not help; the text says what a person has to do."""


class SourceFinishedError(Exception):
    """A source with an end has given all that it has: no failure, there is nothing more to poll."""


class Handover(Protocol):
    """What a source may ask of the pipeline when it has to give partitions away."""

    def settle(self, source: str, partitions: Collection[str], timeout: float) -> bool:
        """Send what was taken in of these partitions and wait until all of it is settled and committed; False if
        that did not happen within `timeout` seconds, or cannot happen soon."""

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop what was taken in of these partitions and is not settled: their new owner gets it again. No commit
        of it comes any more. Returns how many records that were."""


class Source(Protocol):
    """A replayable log: partitions with positions, read in chunks, committed as a contiguous prefix.

    `poll` and `hold` are called by one intake thread, the others by any. A class that inherits from this one writes
    the methods that are abstract here, and others only where the default does not fit.
    """

    name: str

    def start(self, handover: Handover) -> None:
        """Begin to receive. Must not wait for the network. Default: there is nothing to begin."""
        del handover

    @abstractmethod
    def poll(self, timeout: float) -> Chunk | None:
        """The next chunk of one partition, waiting at most `timeout` seconds; each position once per run.

        A chunk has at least one record, and at most `connector.ledger.progress.MAX_CHUNK`. What was polled but not
        committed is delivered again after a restart. Raises `SourceFailedError`, and `SourceFinishedError` at the end
        of a source that has one.
        """

    def hold(self) -> None:
        """Called every now and then in place of `poll` while there is no room: keep up what has to be kept up (a
        membership), give nothing, and return soon. Default: there is nothing to keep up."""
        return  # mypy takes an empty body for an abstract method

    @abstractmethod
    def commit(self, commit: Commit) -> None:
        """Everything up to this position, the last of a chunk, is settled; the account goes into the ledger with it,
        atomically.

        May return before it is durable; `close` waits for that. Commits of a partition come in order.
        """

    @abstractmethod
    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """Records that were polled and are not committed, as they came: the first of these (rising) positions, as many
        as have about `max_bytes` together, at least one. For a dead letter about a sample that was sent already.

        Called by any one thread, beside `poll`. Does not raise, and does not wait for long."""

    @abstractmethod
    def stop_reading(self) -> None:
        """Take no more from outside (a shutdown has begun). What was taken in can still be polled; when all of it was,
        `poll` returns None, or raises `SourceFinishedError`, and the intake ends."""

    @abstractmethod
    def close(self, timeout: float) -> None:
        """Make durable what was committed, then release everything. Gives up after `timeout` seconds. May be called
        again, and without a `start`."""

    def problems(self) -> list[str]:
        """Why the source is not ready, for people; empty if it is, which is the default."""
        return []

    def expects(self, subscription: Subscription) -> bool:
        """Whether messages of this subscription come to this process, where there are any: False where other members
        of a group have all of its partitions. Default: True."""
        del subscription
        return True

    def share(self) -> float:
        """Which part of the work on this source is ours, from 0 to 1, where several share it. Default: all of it."""
        return 1.0

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics: name → value. Default: none. What each number says stands in the section of the kind
        (`metric_help`)."""
        return {}

    def unread(self) -> int:
        """How many messages were received and wait to be polled. Default: 0, as where the log is elsewhere."""
        return 0


@runtime_checkable
class ThreadedSource(Protocol):
    """A source with threads of its own, without which it cannot go on."""

    def ended(self) -> str | None:
        """Which of them ended without having been asked, and why, for people; None while all is well."""


@runtime_checkable
class ThreatenedSource(Protocol):
    """A source of which something can be lost while it waits to be read."""

    name: str

    def horizons(self, now: float) -> list[Horizon]:
        """What stands between now and a loss; called by one thread, every few seconds, with times that rise."""


@runtime_checkable
class LeavingSource(Protocol):
    """A source whose log is given to others, or kept for us, while we are away: what a drain has to tell it."""

    def leave(self, *, end_session: bool) -> None:
        """Begin to give up what others can take over, or everything with `end_session`; go on receiving what is
        already meant for us. Returns at once."""

    def leaving(self) -> str | None:
        """What is still to be done before nothing is left outside that only we would get; None when it is done."""


@runtime_checkable
class PublishingSource(Protocol):
    """A source whose broker takes messages of ours too: requests to the devices behind it."""

    name: str

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the broker, QoS 0; False where that cannot be done now, and then nothing is kept."""
