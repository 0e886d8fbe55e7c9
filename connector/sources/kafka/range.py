"""Reads a range of a Kafka log once, outside every consumer group: for a backfill.

The reader assigns partitions itself and commits nothing. Only the ledger knows how far the range is settled. The ends
of the range are fixed at the first start, so a resumed backfill has the same end.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connector.brokers.kafka_errors import judge
from connector.brokers.kafka_probe import why_silent
from connector.ledger.account import Commit
from connector.ledger.ledger_writer import LedgerWriter
from connector.ledger.source_file import SourceFile
from connector.records import Chunk
from connector.sources.kafka.client import GATHER_SECONDS
from connector.sources.kafka.identity import TopicAsker
from connector.sources.kafka.loss import expired_text
from connector.sources.kafka.member import Member
from connector.sources.kafka.records import explained, to_records
from connector.sources.kafka.reread import KafkaAgain
from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import reader_settings
from connector.sources.partitions import OwnedPartition, partition_name, split_partition_name
from connector.sources.range import OffsetRange, RangeAsked, RangeError
from connector.sources.source import Handover, Reread, Source, SourceFailedError, SourceFinishedError
from connector.threads.watched import WatchedThread

_QUERY_SECONDS: Final = 10.0
_BATCH: Final = 500
DISORDER_MS: Final = 3_600_000
"""Milliseconds by which a record may be later than a record after it in the log."""
_TRIES: Final = 10
_TRY_SECONDS: Final = 0.3

_Answer = TypeVar("_Answer")

_log = structlog.get_logger(__name__)


class RangeFinder:
    """Asks the brokers for the partitions, and for the offsets at given times."""

    def __init__(self, section: KafkaSection) -> None:
        self._section = section
        self._consumer = Consumer(reader_settings(section))

    def partitions(self) -> list[tuple[str, int]]:
        """(topic, number) of all partitions of the source's topics. Raises `RangeError` if there are none."""
        topics = self._asked(lambda: self._consumer.list_topics(timeout=_QUERY_SECONDS)).topics
        names = sorted(name for name in topics if self._section.matches(name))
        found = [(name, number) for name in names for number in sorted(topics[name].partitions)]
        if not found:
            raise RangeError(f"no topic matches {', '.join(self._section.topics)}")
        return found

    def by_time(self, from_ms: int, to_ms: int) -> list[OffsetRange]:
        """Returns a range for each partition, with all records from `from_ms` to before `to_ms` (ms since 1970).

        The ranges also have later records: records are not always in the order of their times, so a range ends at the
        first record that is an hour later than `to_ms`. Raises `RangeError`.
        """
        partitions = self.partitions()
        starts, ends = (self._at(partitions, time_ms) for time_ms in (from_ms, to_ms + DISORDER_MS))
        ranges = []
        for topic, number in partitions:
            low, high = self.bounds(topic, number)
            first, end = starts[topic, number], ends[topic, number]
            first = high if first is None else max(low, first)
            ranges.append(OffsetRange(topic, number, first, max(first, high if end is None else end)))
        return ranges

    def bounds(self, topic: str, number: int) -> tuple[int, int]:
        """(first offset in the log, offset after the last record) of a partition. Raises `RangeError`."""
        where = TopicPartition(topic, number)
        low, high = self._asked(
            lambda: self._consumer.get_watermark_offsets(where, timeout=_QUERY_SECONDS, cached=False)
        )
        return low, high

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()

    def _at(self, partitions: list[tuple[str, int]], time_ms: int) -> dict[tuple[str, int], int | None]:
        """Partition → the first offset at or after `time_ms`; None if all records are earlier. Raises `RangeError`.

        A broker that has just become the leader may answer for only a part of the partitions. So the same answer must
        come twice.
        """
        before: dict[tuple[str, int], int | None] = {}
        problem = "the answers differ"
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_TRY_SECONDS)
            asked = [TopicPartition(topic, number, time_ms) for topic, number in partitions]
            found = self._asked(lambda asked=asked: self._consumer.offsets_for_times(asked, timeout=_QUERY_SECONDS))  # type: ignore[misc]
            missing = [answer for answer in found if answer.error is not None or answer.offset < OFFSET_END]
            if missing or len(found) != len(partitions):
                problem = ", ".join(
                    f"{partition_name(m.topic, m.partition)}: {m.error or 'no answer'}" for m in missing
                )
                before = {}
                continue
            answers = {(a.topic, a.partition): None if a.offset == OFFSET_END else a.offset for a in found}
            if answers == before:
                return answers
            before = answers
        raise RangeError(f"the brokers do not give the offsets at these times: {problem}; try again")

    def _asked(self, question: Callable[[], _Answer]) -> _Answer:
        try:
            return question()
        except KafkaException as error:
            why = why_silent(self._section) or judge(error.args[0]).text
            raise RangeError(f"the brokers cannot be asked: {why}") from None


class KafkaRangeSource(Source):
    """A `Source` for ranges of partitions. It needs no `hold`: there is no group, and the prefetch is bounded."""

    def __init__(
        self,
        section: KafkaSection,
        file: SourceFile,
        ranges: list[OffsetRange],
        span_ms: tuple[int, int] | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        """Reading goes on after the settled records of the ranges, by the ledger in `file`.

        With `span_ms` (first, end; ms since 1970), records with other times are left out. `resumed` says whether the
        range was begun before.
        """
        self._span_ms = span_ms
        self.resumed = resumed
        self.ranges = {partition_name(r.topic, r.number): (r.first, r.end) for r in ranges}
        self.name = section.name
        self._section = section
        self._file = file
        self._member = Member(section.name)
        self._member.joins()
        self._settlements = LedgerWriter(section.name, file, None)
        self._again = KafkaAgain(section)
        self._lock = threading.Lock()
        self._ready: deque[Chunk] = deque()
        self._draining = threading.Event()
        self._owned: dict[str, OwnedPartition] = {}
        self._ends: dict[str, int] = {}
        self.total = sum(max(0, found.end - found.first) for found in ranges)
        """Number of offsets in the ranges, gaps included."""
        self._left: dict[str, int] = {}
        self.expired = 0
        for found in ranges:
            name = partition_name(found.topic, found.number)
            done = max((part.next for part in file.ledger.ranges(name)), default=found.first)
            start = min(max(found.first, done), found.end)
            self._ends[name] = found.end
            self._left[name] = found.end - start
            if start < found.end:
                self._owned[name] = OwnedPartition(found.topic, found.number, start)
        self._unread = set(self._owned)
        self._expired: set[str] = set()
        """Partitions whose next position is not in the log any more; the new start is asked for at the next `poll`."""
        options = reader_settings(section) | self._member.callbacks() | {"enable.partition.eof": True}
        self._consumer = Consumer(options, logger=self._member.logger)

    @property
    def done(self) -> int:
        """Number of settled offsets."""
        return self.total - sum(self._left.values())

    def start(self, handover: Handover) -> None:  # noqa: ARG002 - no group can revoke the partitions
        """Assign the partitions; librdkafka begins to read."""
        self._settlements.start()
        self._consumer.incremental_assign(
            [TopicPartition(owned.topic, owned.number, owned.next_taken or 0) for owned in self._owned.values()]
        )

    def poll(self, timeout: float) -> Chunk | None:
        """Returns the next records of one partition; None if no record came.

        Raises `SourceFinishedError` at the end of the ranges, and `SourceFailedError`.
        """
        if not self._ready and not self._draining.is_set():
            if not self._unread:
                raise SourceFinishedError
            if self._member.unusable:
                raise SourceFailedError(self._member.unusable)
            self._go_on_after_loss()
            self._take(self._consumer.consume(_BATCH, min(timeout, GATHER_SECONDS)))
        return self._ready.popleft() if self._ready else None

    def commit(self, commit: Commit) -> None:
        """Settle the records of the commit; the ledger is written by its own thread."""
        with self._lock:
            settled = self._owned[commit.partition].settle(commit.position)
            for part in settled:
                end = self._ends[commit.partition]
                self._left[commit.partition] = end - min(end, part.next)
        self._settlements.add(commit, settled)

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        """Read records again, with another consumer."""
        return self._again.read(partition, positions, max_bytes)

    def stop_reading(self) -> None:
        """Stop reading; `poll` still returns the chunks that are ready."""
        self._draining.set()

    def close(self, timeout: float) -> None:
        """Write the settlements into the ledger, and close everything."""
        self._draining.set()
        self._again.close()
        self._settlements.close(timeout)
        self._consumer.close()
        self._file.close()

    def problems(self) -> list[str]:
        """The problems with the brokers and the ledger, for people."""
        return self._member.problems() + ([self._settlements.trouble] if self._settlements.trouble else [])

    def ended(self) -> str | None:
        """The reason why the thread that writes the ledger has ended; None while it runs."""
        return self._settlements.ended()

    def threads(self) -> list[WatchedThread]:
        """As `Threaded.threads`."""
        return [self._settlements.thread]

    def gauges(self) -> dict[str, float]:
        """The settled offsets, and all offsets."""
        return {"backfill_offsets_settled": self.done, "backfill_offsets": self.total}

    # -- details ----------------------------------------------------------------------------------

    def _take(self, messages: list[Message]) -> None:
        received_us = time.time_ns() // 1000
        runs: dict[str, list[Message]] = {}
        for message in messages:
            name = partition_name(message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is None:
                runs.setdefault(name, []).append(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._expired.add(name)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._member.partition_works(name)
                self._at_end(name, message.offset() or 0)
            else:
                self._member.failed(explained(self._section, message, error), message.topic(), name)
        for name, run in runs.items():
            owned = self._owned[name]
            end = self._ends[name]
            inside = [message for message in run if (message.offset() or 0) < end and self._in_span(message)]
            if inside:
                self._member.works(owned.topic, name)
                positions = [message.offset() or 0 for message in inside]
                records = to_records(owned.topic, inside, received_us, record_time=self._section.timestamps == "record")
                with self._lock:
                    owned.take(positions)
                self._ready.append(Chunk(self.name, name, positions, records))
            if (run[-1].offset() or 0) + 1 >= end:
                self._finish(name)
        for name in list(self._unread):
            if (self._owned[name].next_taken or 0) >= self._ends[name]:
                self._finish(name)

    def _in_span(self, message: Message) -> bool:
        return self._span_ms is None or self._span_ms[0] <= message.timestamp()[1] < self._span_ms[1]

    def _at_end(self, name: str, offset: int) -> None:
        """The end of the log is at `offset`; if the range ends there or before, its other offsets are gaps."""
        if offset >= self._ends[name]:
            self._finish(name)

    def _finish(self, name: str) -> None:
        if name in self._unread:
            self._unread.discard(name)
            owned = self._owned[name]
            self._consumer.incremental_unassign([TopicPartition(owned.topic, owned.number)])
            if not owned.under_way:
                self._left[name] = 0

    def _go_on_after_loss(self) -> None:
        for name in sorted(self._expired):
            owned = self._owned[name]
            where = TopicPartition(owned.topic, owned.number)
            try:
                low, _ = self._consumer.get_watermark_offsets(where, timeout=_QUERY_SECONDS, cached=False)
            except KafkaException as error:
                self._member.note(f"{name}: the start of its log could not be asked for: {error.args[0].str()}")
                return
            self._expired.discard(name)
            self._skip(owned, where, low)

    def _skip(self, owned: OwnedPartition, where: TopicPartition, low: int) -> None:
        """Go on at `low`: the records before it have expired, and the loss goes into the ledger."""
        name = owned.name
        expected = owned.next_taken or 0
        start = min(max(low, expected), self._ends[name])
        what = expired_text(name, expected, start)
        _log.error("kafka_data_expired", source=self.name, partition=name, first_lost=expected, next_available=start)
        self._file.ledger.add_expired(what, start - expected)
        self.expired += start - expected
        with self._lock:
            owned.begin_at(start)
        self._consumer.incremental_unassign([where])
        if start < self._ends[name]:
            self._consumer.incremental_assign([TopicPartition(owned.topic, owned.number, start)])
        else:
            self._unread.discard(name)
            if not owned.under_way:
                self._left[name] = 0


def open_range(section: KafkaSection, file: SourceFile, asked: RangeAsked) -> KafkaRangeSource:
    """Returns the source for a range. A range that was begun before keeps its first ends. Raises `RangeError`."""
    known = _ends_of(file)
    try:
        if not known:
            _remember_ends(file, _find(section, asked))
        _check_logs(section, file)
        ranges = [OffsetRange(*split_partition_name(name), *ends) for name, ends in _ends_of(file).items()]
        return KafkaRangeSource(section, file, ranges, asked.times_ms, resumed=bool(known))
    except KafkaException as error:
        raise RangeError(f"source {section.name}: {error.args[0].str()}") from None


def _find(section: KafkaSection, asked: RangeAsked) -> list[OffsetRange]:
    finder = RangeFinder(section)
    try:
        if asked.times_ms is not None:
            return finder.by_time(*asked.times_ms)
        existing = set(finder.partitions())
        for found in asked.offsets:
            if (found.topic, found.number) not in existing:
                raise RangeError(f"{found.topic}[{found.number}] is no partition of the source's topics")
            low, high = finder.bounds(found.topic, found.number)
            if found.first < low or found.end > high:
                raise RangeError(
                    f"{found.topic}[{found.number}] has offsets {low} to before {high}, not {found.first} to "
                    f"before {found.end}"
                )
        return list(asked.offsets)
    finally:
        finder.close()


def _check_logs(section: KafkaSection, file: SourceFile) -> None:
    """Compare the topics with those at the first start. Raises `RangeError` if one was made anew: it has other offsets.

    A topic whose identity the brokers do not give cannot be compared.
    """
    question = TopicAsker(section).ask({split_partition_name(name)[0] for name in _ends_of(file)})
    found = question.answers(_QUERY_SECONDS) if question else {}
    text = file.remembered("logs")
    kept: dict[str, str] = json.loads(text) if isinstance(text, str) else {}
    for topic, facts in found.items():
        log = facts.identity.log
        if log and kept.setdefault(topic, log) != log:
            raise RangeError(
                f"topic {topic!r} was deleted and made anew since this backfill began, so its offsets have other "
                "records; remove the folder of the backfill to begin again"
            )
    file.remember("logs", json.dumps(kept))


def _ends_of(file: SourceFile) -> Mapping[str, tuple[int, int]]:
    """Partition → (first, end), as remembered at the first start of the range; empty for a new range."""
    text = file.remembered("ranges")
    if not isinstance(text, str):
        return {}
    parts = (line.rsplit(" ", 2) for line in text.splitlines())
    return {name: (int(first), int(end)) for name, first, end in parts}


def _remember_ends(file: SourceFile, ranges: list[OffsetRange]) -> None:
    """Remember the first offset and the end of each partition."""
    file.remember("ranges", "\n".join(f"{partition_name(r.topic, r.number)} {r.first} {r.end}" for r in ranges))
