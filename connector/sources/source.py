"""The protocol of sources: the promises that every kind of source keeps.

`connector.conformance.sources` checks these promises: every kind of source must pass these tests.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from connector import ConnectorError
from connector.ledger.account import Commit
from connector.ledger.delays import Histogram
from connector.records import Chunk, Record
from connector.sources.loss import Horizon
from connector.sources.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Reread:
    """Records that were read again."""

    records: Mapping[int, Record]
    """Position → the record at this position."""
    done: int
    """Number of the wanted positions that were looked for, from the first one on."""
    why: str = ""
    """The reason why records at some of these positions are missing."""


class SourceFailedError(ConnectorError):
    """The source cannot go on, and another attempt would not help; the text has the remedy."""


class SourceFinishedError(Exception):
    """A source with an end has returned all its records. This is no failure."""


class Handover(Protocol):
    """The pipeline as a source sees it: mostly the requests when the source has to give partitions away."""

    max_delay: float
    """The most seconds that a sample should wait until it is sent (`delivery.max_delay`)."""

    def settle(self, source: str, partitions: Collection[str], timeout: float) -> bool:
        """Send all records that were taken in from the partitions, and wait until they are settled and committed.

        Returns False if they were not settled within `timeout` seconds, or cannot be settled soon.
        """

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop all records of the partitions that were taken in and are not settled; returns their number.

        The pipeline commits nothing more for these partitions. Their new owner reads the records again.
        """


class Source(Protocol):
    """A replayable log: partitions with positions, read in chunks, committed as a contiguous prefix.

    One intake thread calls `poll` and `hold`; any thread may call the other methods. A subclass writes the abstract
    methods, and other methods only if their default does not fit.
    """

    name: str

    def start(self, handover: Handover) -> None:
        """Begin to receive. Must not wait for the network. The default does nothing."""
        del handover

    @abstractmethod
    def poll(self, timeout: float) -> Chunk | None:
        """Returns the next chunk of one partition; None if no record came within `timeout` seconds.

        A chunk has at least one record, and at most `connector.ledger.progress.MAX_CHUNK`. In one run, each position
        comes once. After a restart, records that were not committed come again. Raises `SourceFailedError`; a source
        with an end raises `SourceFinishedError` there.
        """

    def gather(self, seconds: float) -> bool:
        """Let records come together, for at most `seconds` and until many have come, so that they are mapped in a row.

        Returns False at once if records can be polled already. So does the default, for a source that waits in `poll`.
        """
        del seconds
        return False

    def hold(self) -> None:
        """Keep a membership or connection alive, and return soon; the default does nothing.

        The pipeline calls this method from time to time, instead of `poll`, while it has no room for records.
        """
        return  # for mypy, a method with an empty body is abstract

    def hold_back(self, partition: str) -> bool:
        """Give no more chunks of this partition until `go_on`; returns False if all partitions would have to wait.

        Chunks that were read before may still come, and so may new chunks after the partition was assigned anew. The
        default is for a source with one partition.
        """
        del partition
        return False

    def go_on(self, partition: str) -> None:
        """Give chunks of a partition again that was held back; the default does nothing."""
        del partition

    @abstractmethod
    def commit(self, commit: Commit) -> None:
        """Settle all records up to the commit's position, which is the last position of a chunk.

        The position and the account of the commit go into the ledger atomically. The method may return before the
        ledger is durable; `close` waits until it is durable. The commits of a partition come in order.
        """

    @abstractmethod
    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """Read records again that were polled and are not committed: for dead letters about samples that were sent.

        `positions` rise. The method reads at least the first position, and more of them up to about `max_bytes` in
        all. Another thread than that of `poll` may call. Raises nothing, and does not wait for long.
        """

    def log(self, partition: str) -> str:
        """The name of the log that has the positions of a partition, such as the ID of its topic.

        Empty, which is the default, if the log is unknown, or if a partition has one log only.
        """
        del partition
        return ""

    @abstractmethod
    def stop_reading(self) -> None:
        """Receive nothing more, because a shutdown has begun. A `poll` that waits should return, and not wait on.

        Records that were received can still be polled. After the last one, `poll` returns None or raises
        `SourceFinishedError`, and the intake ends.
        """

    @abstractmethod
    def close(self, timeout: float) -> None:
        """Make all commits durable, then release everything; gives up after `timeout` seconds.

        A second call is allowed, and a call without `start`.
        """

    def problems(self) -> list[str]:
        """The reasons why the source is not ready, for people; empty if it is ready, which is the default."""
        return []

    def expects(self, subscription: Subscription) -> bool:
        """Whether messages of the subscription, if there are any, come to this process; the default is True.

        False if other members of the group have all partitions of the subscription.
        """
        del subscription
        return True

    def share(self) -> float:
        """The part of the source's work that this process does, from 0 to 1; the default is 1."""
        return 1.0

    def gauges(self) -> dict[str, float]:
        """Name of a metric → its value; the default is empty. `SourceSection.metric_help` has the help texts."""
        return {}

    def durable_delays(self) -> Histogram | None:
        """The times from the arrival of the messages until they were durable; the default None is for a log outside the
        process, where they were durable before."""
        return None

    def reads_late(self) -> bool:
        """Whether the source may read messages some milliseconds late, to read several together; the default is False.

        The pipeline then calls `read_at_once` if a sample has the time of arrival, or may have had it before `align`.
        """
        return False

    def read_at_once(self) -> None:
        """Read each message as it arrives, for some minutes; the default does nothing."""
        return  # for mypy, a method with an empty body is abstract

    def unread(self) -> int:
        """Number of messages that were received and not polled yet; the default 0 is for a log outside the process."""
        return 0


@runtime_checkable
class ThreadedSource(Protocol):
    """A source with its own threads, which it needs to go on."""

    def ended(self) -> str | None:
        """The thread that ended without a request, and the reason, for people; None while no thread has ended so."""


@runtime_checkable
class ThreatenedSource(Protocol):
    """A source whose records can be lost while they wait to be read."""

    name: str

    def horizons(self, now: float) -> list[Horizon]:
        """The possible losses; `now` is in seconds of any clock, and rises. One thread calls it every few seconds."""


@runtime_checkable
class LeavingSource(Protocol):
    """A source that must give up its log in a drain: others take the log over, or a broker keeps it for the source."""

    def leave(self, *, end_session: bool) -> None:
        """Begin to give up everything that others can take over; with `end_session`, give up the session, too.

        The source still receives messages that the broker has already assigned to it. Returns at once.
        """

    def leaving(self) -> str | None:
        """The remaining work, for people; None when no message is left that only this source would get."""


@runtime_checkable
class UnsureSource(Protocol):
    """A source that cannot know everything about the log that it has left."""

    name: str

    def unsure(self) -> list[str]:
        """What the source could not find out while leaving, for people; empty if all is known."""


@runtime_checkable
class PublishingSource(Protocol):
    """A source whose broker also takes messages from the connector, such as requests to devices."""

    name: str

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the broker with QoS 0; returns False if this is not possible now, and drops the message."""
