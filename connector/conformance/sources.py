"""Tests for the promises of every source: see `connector.sources.source`.

    class SpoolStage(Stage):
        def __init__(self, folder: Path) -> None:
            self.section = SpoolSection(type="spool", name="spool", path=folder, topic="t")

        def publish(self, payloads: Sequence[bytes]) -> None:
            ...

    class TestSpool(SourceConformance):
        @pytest.fixture
        def stage(self, tmp_path: Path) -> SpoolStage:
            return SpoolStage(tmp_path)

A test plays the connector: it reads the source in one thread, commits, closes the source, and opens the source again
with the same ledger. Each test has a stage and a ledger of its own.
"""

from __future__ import annotations

import math
import re
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Final

import pytest

from connector.conformance.waiting import PATIENCE, wait_until
from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.progress import MAX_CHUNK
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.records import Chunk, Record
from connector.settings import Destination
from connector.sources.loss import Horizon
from connector.sources.section import SourceSection
from connector.sources.source import LeavingSource, Reread, Source, SourceFinishedError, ThreatenedSource

MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The longest message, in bytes, that the connector takes whole, unless `mapping.max_payload` says otherwise."""
_CLOSE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1
_QUIET_POLLS: Final = 5
_GAUGE: Final = re.compile(r"[a-z][a-z0-9_]*")

PartitionPosition = tuple[str, int]
"""(partition, position): identifies a record of a source."""


class Stage(ABC):
    """The place that the source under test reads, and the promises that its kind can keep; one stage for each test."""

    section: SourceSection
    """The section of the source."""
    secrets: Sequence[str] = ()
    """Passwords and other secrets in the section, which must not show anywhere."""
    finite: bool = False
    """Whether the source has an end: then it gives only messages that were published before it was opened."""
    replays: bool = True
    """Whether a message that was not committed comes again after a restart. False for a pipe."""
    keeps_positions: bool = True
    """Whether a message that comes again has the same partition and position.

    False if each run has new positions: then the partition must have another name in each run.
    """
    rereads: bool = True
    """Whether `read_again` gives records. False for a pipe."""
    keeps_ledger: bool = True
    """Whether commits go into the ledger's file."""
    messages: ClassVar[int] = 600
    """A number of messages of 120 bytes that is enough for several chunks of a partition."""
    hold_seconds: ClassVar[float] = 0.5
    """How long a test holds the source: enough for everything that the source does while it is held."""

    @abstractmethod
    def publish(self, payloads: Sequence[bytes]) -> None:
        """Publish messages to the place that the source reads; returns when the messages are safe there.

        Messages of one partition keep this order. Each payload is a line of text without a line end.
        """

    def open(self, file: SourceFile) -> Source:
        """A new source with this ledger. Default: the source of the section."""
        return self.section.open(file, MESSAGE_BYTES)


class BreakableStage(Stage):
    """The stage of a source that reads from a broker or server, which can be away for a while."""

    @abstractmethod
    def cut(self) -> None:
        """Take the broker away from the source; published messages are kept."""

    @abstractmethod
    def mend(self) -> None:
        """Bring the broker back."""


class Run:
    """One run of the source, from its opening to its end: reads as the intake does, and checks each chunk."""

    max_delay = 1.0

    def __init__(self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]) -> None:
        """`known` has the records of all runs of a test."""
        self.stage = stage
        self.source = stage.open(SourceFile.open(ledger))
        self.chunks: list[Chunk] = []
        self.finished = False
        self.left: dict[str, list[Chunk]] = defaultdict(list)
        """Partition → its chunks that are not committed."""
        self._known = known
        self._last: dict[str, int] = {}

    # -- the requests of a source to the pipeline: `Handover` --------------------------------------

    def settle(self, source: str, partitions: Collection[str], timeout: float) -> bool:
        """Whether everything in these partitions is committed.

        Returns at once: nothing is committed while the source waits, because this thread is the one that commits.
        """
        del timeout
        assert source == self.source.name
        return not any(self.left[partition] for partition in partitions)

    def forget(self, source: str, partitions: Collection[str]) -> int:
        """Drop the chunks of partitions that now belong to another member; returns their number of records.

        The partitions may come back, and give the same records again.
        """
        assert source == self.source.name
        records = 0
        for partition in partitions:
            records += sum(len(chunk.records) for chunk in self.left.pop(partition, ()))
            self._last.pop(partition, None)
        return records

    # -- reading ----------------------------------------------------------------------------------

    def poll(self) -> Chunk | None:
        """The next chunk; None if no chunk came, or if the source is finished."""
        try:
            chunk = self.source.poll(_POLL_SECONDS)
        except SourceFinishedError:
            assert self.stage.finite, "only a source with an end may say that it is finished"
            self.finished = True
            return None
        if chunk is not None:
            self._take(chunk)
        return chunk

    def poll_until(self, condition: Callable[[], object], what: str) -> None:
        """Read until the condition is true; in a failure, `what` names the awaited event."""

        def polled() -> object:
            return condition() or (self.poll(), condition())[1]

        wait_until(
            polled, PATIENCE, lambda: f"{what}; {len(self.payloads)} came; {self.source.problems()}", every=0.001
        )

    def poll_all(self, wanted: Collection[bytes]) -> None:
        """Read until all of these messages came, and check that no further chunk comes."""
        self.poll_until(lambda: set(wanted) <= set(self.payloads), f"all of {len(wanted)} messages")
        self.poll_nothing()

    def poll_at_least(self, wanted: Collection[bytes]) -> None:
        """Read until all of these messages came, and check that no other message came.

        A message may come twice, at another place, because the last run was closed before the source could acknowledge
        all messages that it had taken in.
        """
        self.poll_until(lambda: set(wanted) <= set(self.payloads), f"all of {len(wanted)} messages")
        assert set(self.payloads) == set(wanted)

    def poll_nothing(self) -> None:
        """Check that no chunk comes for a while."""
        for _ in range(_QUIET_POLLS):
            assert self.poll() is None
            assert self.finished == self.stage.finite

    def poll_to_the_end(self) -> None:
        """Read the chunks that are left after `stop_reading`."""
        empty = 0
        deadline = time.monotonic() + PATIENCE
        while not self.finished and empty < _QUIET_POLLS:
            assert time.monotonic() < deadline, "after stop_reading the source goes on without an end"
            empty = empty + 1 if self.poll() is None else 0

    @property
    def payloads(self) -> list[bytes]:
        """The payloads of all records that came."""
        return [record.payload or b"" for chunk in self.chunks for record in chunk.records]

    @property
    def open_payloads(self) -> list[bytes]:
        """The payloads of all records that came and are not committed."""
        left = (chunk for chunks in self.left.values() for chunk in chunks)
        return [record.payload or b"" for chunk in left for record in chunk.records]

    @property
    def records(self) -> dict[PartitionPosition, Record]:
        """(partition, position) → record, for all records that came."""
        return {place: record for chunk in self.chunks for place, record in _places(chunk).items()}

    def _take(self, chunk: Chunk) -> None:
        assert chunk.source == self.source.name
        assert chunk.partition
        assert 0 < len(chunk.records) == len(chunk.positions) <= MAX_CHUNK
        positions = [self._last.get(chunk.partition, -(2**63)), *chunk.positions]
        assert all(type(position) is int for position in chunk.positions)
        assert all(one < next_ for one, next_ in pairwise(positions)), "positions rise"
        for place, record in _places(chunk).items():
            assert record.topic
            assert record.payload is None or isinstance(record.payload, bytes)
            assert same_record(self._known.setdefault(place, record), record), (
                f"{place} names two records, so that a dead letter about one would replace that about the other"
            )
        self._last[chunk.partition] = positions[-1]
        self.chunks.append(chunk)
        self.left[chunk.partition].append(chunk)

    # -- committing and closing -------------------------------------------------------------------

    def commit_some(self) -> None:
        """Commit about the first half of the chunks of each partition, and never the last chunk."""
        assert any(len(chunks) > 1 for chunks in self.left.values()), "raise Stage.messages: all came in one chunk"
        for chunks in list(self.left.values()):
            self._commit(chunks, math.ceil((len(chunks) - 1) / 2))

    def commit_all(self) -> None:
        """Commit all chunks that came."""
        for chunks in list(self.left.values()):
            self._commit(chunks, len(chunks))

    def _commit(self, chunks: list[Chunk], n: int) -> None:
        """Commit the first `n` of these chunks: the first chunk alone, the others with one commit."""
        for part in filter(None, (chunks[: min(1, n)], chunks[1:n])):
            tallies: dict[str, Tally] = defaultdict(Tally)
            for chunk in part:
                for record in chunk.records:
                    tallies[record.topic] += Tally(Counts(received=1, inserted=1), Counts(received=1, inserted=1))
            last = part[-1]
            self.source.commit(Commit(last.source, last.partition, last.positions[-1], dict(tallies)))
        del chunks[:n]

    def close(self) -> None:
        """Close the source, and check that `close` returns at about its time-out or earlier."""
        start = time.monotonic()
        self.source.close(_CLOSE_SECONDS)
        assert time.monotonic() - start < _CLOSE_SECONDS + PATIENCE, "close must give up"


class SourceConformance:
    """The tests of every source; a subclass overrides `stage`."""

    @pytest.fixture
    def stage(self) -> Stage:
        """The place that the source under test reads."""
        raise NotImplementedError("override the fixture `stage`")

    @pytest.fixture
    def known(self) -> dict[PartitionPosition, Record]:
        """(partition, position) → record, for the records of all runs of a test."""
        return {}

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Path:
        """The file of the source's ledger."""
        folder = tmp_path / "ledger"
        folder.mkdir()
        return folder / "source.sqlite"

    @contextmanager
    def run(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record], publish: Sequence[bytes] = ()
    ) -> Iterator[Run]:
        """A run whose source is ready, with the messages of `publish` published. The source is closed at the end."""
        if stage.finite:
            stage.publish(publish)
        run = Run(stage, ledger, known)
        try:
            run.source.start(run)
            if not stage.finite:
                run.poll_until(lambda: not run.source.problems(), "the source is ready")
                stage.publish(publish)
            yield run
        finally:
            run.close()

    # -- reading ----------------------------------------------------------------------------------

    def test_all_messages_come_once_and_in_order(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """`Run` checks each chunk: its size, its names, and that positions rise."""
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            run.poll_all(wanted)
            assert sorted(run.payloads) == wanted
            orders: dict[str, list[bytes]] = defaultdict(list)
            for (partition, _), record in run.records.items():
                orders[partition].append(record.payload or b"")
            assert all(order == sorted(order) for order in orders.values()), "each partition keeps the order"
            assert run.source.problems() == []

    def test_a_source_that_is_held_gives_nothing_and_stays_alive(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """While the pipeline has no room, the intake calls `hold` instead of `poll`."""
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            run.poll_until(lambda: run.chunks, "a chunk")
            before = len(run.chunks)
            until = time.monotonic() + stage.hold_seconds
            while time.monotonic() < until:
                run.source.hold()
                time.sleep(0.02)  # the intake also sleeps between two calls
            assert len(run.chunks) == before
            run.poll_all(wanted)
            assert sorted(run.payloads) == wanted
            assert run.source.problems() == []

    def test_after_stop_reading_only_what_was_taken_in_still_comes(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """Other messages stay at their place, and come after a restart."""
        early, late = messages(stage.messages), messages(20, stage.messages)
        with self.run(stage, ledger, known, early) as run:
            run.poll_until(lambda: run.chunks, "a chunk")
            run.source.stop_reading()
            run.poll_to_the_end()
            if not stage.finite:
                stage.publish(late)
                for _ in range(_QUIET_POLLS):
                    assert run.poll() is None
            assert set(run.payloads) <= set(early)
            assert len(run.payloads) == len(set(run.payloads))
        if stage.replays:
            with self.run(stage, ledger, known) as second:
                second.poll_at_least(early if stage.finite else early + late)

    def test_records_can_be_read_again_until_they_are_committed(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """Any thread may read again, in parts of about `max_bytes`. A missing record gives a reason and no error."""
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            run.poll_all(wanted)
            records = run.records
            for partition in {partition for partition, _ in records}:
                positions = sorted(position for name, position in records if name == partition)
                some = positions[:3] + positions[len(positions) // 2 :: 100] + positions[-1:]
                some = sorted(set(some))
                whole = read_by_another(run.source, partition, some, 10**9)
                if not stage.rereads:
                    assert (whole.records, whole.done) == ({}, len(some))
                    assert whole.why
                    continue
                assert sorted(whole.records) == some
                assert whole.done == len(some)
                for position, record in in_parts(run.source, partition, some, 250).items():
                    assert same_record(record, records[partition, position])
                    assert same_record(whole.records[position], record)
                missing = read_by_another(run.source, partition, [positions[-1], positions[-1] + 1000], 10**9)
                assert (sorted(missing.records), missing.done) == ([positions[-1]], 2)
                assert missing.why, "a record that is missing has a reason"
            run.commit_all()
            for partition, position in list(records)[:1]:
                assert isinstance(run.source.read_again(partition, [position], 10**9), Reread)

    # -- restarts ---------------------------------------------------------------------------------

    def test_after_a_restart_only_what_was_not_committed_comes_again(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """A commit of some chunks is enough, and `close` waits until the commit is durable."""
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            run.poll_all(wanted)
            run.commit_some()
            left = sorted(run.open_payloads) if stage.replays else []
            places = {place for chunks in run.left.values() for chunk in chunks for place in _places(chunk)}
            committed = len(wanted) - len(run.open_payloads)
            assert 0 < committed < len(wanted)
        assert_booked(stage, ledger, committed)
        with self.run(stage, ledger, known) as second:
            second.poll_all(left)
            assert sorted(second.payloads) == left
            assert second.source.name == run.source.name == stage.section.name
            if stage.replays and stage.keeps_positions:
                assert set(second.records) == places
            second.commit_all()
        assert_booked(stage, ledger, len(wanted) if stage.replays else committed)
        with self.run(stage, ledger, known) as third:
            third.poll_all([])
            assert third.payloads == []

    def test_new_messages_come_after_a_restart_and_each_has_a_place_of_its_own(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """Source, partition and position identify a dead letter: `Run` checks that they never name two records."""
        for n in range(3):
            new = messages(60, 60 * n)
            with self.run(stage, ledger, known, new) as run:
                run.poll_all(new)
                assert set(run.payloads) == set(new)
                run.commit_all()
            if stage.finite and stage.replays:  # the source has no new messages
                break
        assert_booked(stage, ledger, 60 * (n + 1))

    def test_a_source_can_be_closed_in_the_middle(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """`close` keeps its time-out, and no message that was not committed is lost."""
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            run.poll_until(lambda: run.chunks, "a chunk")
        if stage.replays:
            with self.run(stage, ledger, known) as second:
                second.poll_at_least(wanted)

    def test_a_source_can_be_closed_twice_and_without_a_start(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """`close` releases everything, so that a source can be opened again."""
        wanted = messages(stage.messages)
        if stage.finite:
            stage.publish(wanted)
        run = Run(stage, ledger, known)
        run.close()
        run.close()
        with self.run(stage, ledger, known, () if stage.finite else wanted) as second:
            second.poll_all(wanted if stage.replays or not stage.finite else ())
            second.close()

    def test_its_threads_end_with_it(self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]) -> None:
        """The threads that a source has started in Python end soon after `close`."""
        before = set(threading.enumerate())
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            run.poll_until(lambda: run.chunks, "a chunk")
        mine = set(threading.enumerate()) - before
        wait_until(lambda: not any(thread.is_alive() for thread in mine), PATIENCE, f"the end of {mine}")

    # -- for people -------------------------------------------------------------------------------

    def test_at_any_time_it_can_be_asked_how_it_is(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """A source answers before its start, while it runs, when it stops and after its end, and shows no secret."""
        wanted = messages(60)
        if stage.finite:
            stage.publish(wanted)
        run = Run(stage, ledger, known)
        assert run.source.name == stage.section.name
        assert_healthy_answers(stage, run.source)
        names = set(run.source.gauges())
        run.source.start(run)
        assert_healthy_answers(stage, run.source)
        if not stage.finite:
            run.poll_until(lambda: not run.source.problems(), "the source is ready")
            stage.publish(wanted)
        run.poll_all(wanted)
        assert_healthy_answers(stage, run.source)
        assert set(run.source.gauges()) == names, "a metric does not come and go"
        run.source.stop_reading()
        assert_healthy_answers(stage, run.source)
        run.close()
        assert_healthy_answers(stage, run.source)

    def test_its_section_says_what_it_is(self, stage: Stage) -> None:
        """The section answers the questions of the reference, of `check` and of workers, and shows no secret."""
        section = stage.section
        for name, field in type(section).model_fields.items():
            assert field.description, f"the setting {name} has no description"
        assert section.address
        assert_no_secret(stage, section.address, repr(section), *section.warnings, *section.check())
        assert all(path is None or isinstance(path, Path) for path in section.files.values())
        assert section.for_worker(1) is not None
        assert not section.reads(Destination("no such protocol", ("server:1",), "topic"))
        assert isinstance(section.takes_retained, bool)


class BreakableSourceConformance(SourceConformance):
    """More tests, for a source that reads from a broker or server; a subclass overrides `stage`."""

    @pytest.fixture
    def stage(self) -> BreakableStage:
        """The place that the source under test reads."""
        raise NotImplementedError("override the fixture `stage`")

    def test_it_says_that_its_connection_is_gone_and_goes_on_when_it_is_back(
        self, stage: BreakableStage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """While the connection is gone, the source does not fail, commits are not lost, and `read_again` answers."""
        early, late = messages(stage.messages), messages(stage.messages, stage.messages)
        with self.run(stage, ledger, known, early) as run:
            run.poll_all(early)
            stage.cut()
            run.poll_until(run.source.problems, "the source says that its connection is gone")
            assert_healthy_answers(stage, run.source)
            partition, position = next(iter(run.records))
            assert isinstance(run.source.read_again(partition, [position], 10**6), Reread)
            run.commit_all()
            stage.mend()
            run.poll_until(lambda: not run.source.problems(), "the connection of the source is back")
            stage.publish(late)

            def all_came() -> bool:
                run.commit_all()  # a broker may limit the number of messages that are not acknowledged
                return {*early, *late} <= set(run.payloads)

            run.poll_until(all_came, "all that was published later")
            for _ in range(_QUIET_POLLS):  # a broker may give some messages a second time
                run.poll()
            run.commit_all()
        with self.run(stage, ledger, known) as second:
            second.poll_all([])
            assert second.payloads == []

    def test_it_can_be_closed_while_its_connection_is_gone(
        self, stage: BreakableStage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """`close` keeps its time-out, and no message that was not committed is lost."""
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            run.poll_all(wanted)
            stage.cut()
            run.poll_until(run.source.problems, "the source says that its connection is gone")
        stage.mend()
        with self.run(stage, ledger, known) as second:
            second.poll_at_least(wanted)


class LeavingSourceConformance(SourceConformance):
    """One more test, for a source whose log goes to other members, or is kept for it, while it is away."""

    def test_it_leaves_when_all_that_it_has_taken_in_is_committed(
        self, stage: Stage, ledger: Path, known: dict[PartitionPosition, Record]
    ) -> None:
        """Messages that the source has not taken in by then come to the next run."""
        wanted = messages(stage.messages)
        with self.run(stage, ledger, known, wanted) as run:
            assert isinstance(run.source, LeavingSource)
            assert run.source.leaving() is None
            run.poll_until(lambda: run.chunks, "a chunk")
            run.source.leave(end_session=False)
            leaving = run.source.leaving

            def left() -> bool:
                run.commit_all()
                return leaving() is None

            run.poll_until(left, "the source has left")
            came = set(run.payloads)
            run.source.stop_reading()
            run.poll_to_the_end()
            run.commit_all()
            came |= set(run.payloads)
        with self.run(stage, ledger, known) as second:
            second.poll_all(set(wanted) - came)
            assert set(second.payloads) == set(wanted) - came


# -- details -----------------------------------------------------------------------------------------


def messages(n: int, first: int = 0) -> list[bytes]:
    """`n` different payloads, numbered from `first`; sorting keeps the order of the numbers."""
    return [f"message {number:08} ".encode().ljust(120, b".") for number in range(first, first + n)]


def same_record(one: Record, other: Record) -> bool:
    """Whether two records are the same message; times and positions are not compared."""
    return (one.topic, one.payload, one.key, one.headers, one.problem) == (
        other.topic,
        other.payload,
        other.key,
        other.headers,
        other.problem,
    )


def read_by_another(source: Source, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
    """The result of `read_again`, called in another thread, as the sender calls it."""
    found: list[Reread] = []
    thread = threading.Thread(target=lambda: found.append(source.read_again(partition, positions, max_bytes)))
    thread.start()
    thread.join(PATIENCE)
    assert found, "read_again has raised, or waits for long"
    return found[0]


def in_parts(source: Source, partition: str, positions: Sequence[int], max_bytes: int) -> Mapping[int, Record]:
    """Position → record, for all of these positions, read again in parts of about `max_bytes`."""
    found: dict[int, Record] = {}
    left = list(positions)
    while left:
        part = read_by_another(source, partition, left, max_bytes)
        assert 1 <= part.done <= len(left)
        assert set(part.records) == set(left[: part.done])
        found |= part.records
        left = left[part.done :]
    return found


def assert_booked(stage: Stage, ledger: Path, records: int) -> None:
    """Check that the ledger has the account of this number of records."""
    if stage.keeps_ledger:
        settled = read_statement(ledger, lambda _row: None).settled.values()
        assert sum(tally.messages.inserted for tally in settled) == records
        assert sum(tally.messages.received for tally in settled) == records


def assert_healthy_answers(stage: Stage, source: Source) -> None:
    """Check that problems, share, gauges and horizons of a source have the right types, and show no secret."""
    problems = source.problems()
    assert isinstance(problems, list)
    assert all(problem.strip() for problem in problems)
    assert_no_secret(stage, repr(source), *problems)
    assert 0 <= source.share() <= 1
    for name, value in source.gauges().items():
        assert _GAUGE.fullmatch(name), f"{name} is no name of a metric"
        assert isinstance(value, int | float)
        assert math.isfinite(value)
    if isinstance(source, ThreatenedSource):
        assert all(isinstance(horizon, Horizon) for horizon in source.horizons(time.monotonic()))


def assert_no_secret(stage: Stage, *texts: str) -> None:
    """Check that none of these texts contains a secret."""
    for secret in stage.secrets:
        assert not any(secret in text for text in texts), "a secret shows"


def _places(chunk: Chunk) -> dict[PartitionPosition, Record]:
    return {
        (chunk.partition, position): record for position, record in zip(chunk.positions, chunk.records, strict=True)
    }
