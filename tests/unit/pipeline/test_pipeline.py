"""The whole way of the data, with a log in a list, a Clarify that follows a script, and real threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from connector.clarify import InvalidParams, NotAllowed, Problem, Retryable
from connector.formats.format import SchemaUnavailableError
from connector.formats.sparkplug.datatypes import DataType
from connector.formats.sparkplug.topic import Owner
from connector.ledger.account import Counts
from connector.mapping.documents.decoded import NOT_DECODED
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.mapping.section import MappingSection
from connector.packing.planner import plan_frame
from connector.pipeline import intake, under_way
from connector.pipeline.destination import Integration
from connector.pipeline.pipeline import Pipeline
from connector.pipeline.under_way import Abandoned, Limits
from connector.records import Mapped, Reason, Record
from tests.listeners import Letters, Notes
from tests.scripted import Clock, ListSource, ScriptedClarify, Stored
from tests.sparkplug_payloads import metric, payload
from tests.unit.records import ARRIVAL as TIME
from tests.unit.records import record
from tests.waiting import wait_until

SECONDS = 20.0


class Bench:
    """A pipeline with its surroundings."""

    def __init__(
        self,
        *sources: ListSource,
        clarify: ScriptedClarify | None = None,
        mapper: Mapper | None = None,
        max_delay: float = 0.01,
        max_frame_bytes: int = 1_000_000,
        max_waiting_samples: int = 1_000_000,
        clock: Clock | None = None,
    ) -> None:
        self.sources = sources or (ListSource(),)
        self.source = self.sources[0]
        self.clarify = clarify or ScriptedClarify()
        self.letters = Letters()
        self.notes = Notes()
        self.pipeline = Pipeline(
            self.sources,
            mapper or Mapper(),
            [Integration(self.clarify, Limits(max_delay, max_frame_bytes, max_waiting_samples), 1000.0)],
            plan_frame,
            self.letters,
            self.notes,
            **({"clock": clock} if clock else {}),
        )

    def start(self) -> Bench:
        self.pipeline.start()
        return self

    def finish(self) -> None:
        """Drain, and see that nothing was left behind."""
        self.pipeline.drain()
        assert self.pipeline.stopped.wait(SECONDS)
        self.pipeline.close(SECONDS)
        assert self.pipeline.status.waiting() == (0, 0)

    def committed(self, position: int) -> None:
        wait_until(lambda: self.source.position >= position, SECONDS, f"position {position} committed", every=0.002)


Make = Callable[..., Bench]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes benches; whatever a test leaves running is stopped. The clock of a test wakes nobody, so it is watched."""
    made: list[Bench] = []

    def make(*args: ListSource, **settings: object) -> Bench:
        if "clock" in settings:
            monkeypatch.setattr(under_way, "IDLE_SECONDS", 0.01)
        found = Bench(*args, **settings)  # type: ignore[arg-type]
        made.append(found)
        return found

    yield make
    for found in made:
        found.clarify.gate.set()
        found.pipeline.abort()
        found.pipeline.close(SECONDS)


def series(n: int, start: int = 0) -> list[Record]:
    """n records of one topic, a second apart."""
    return [record(i, time_us=TIME + i * 10**6) for i in range(start, start + n)]


class LateSource(ListSource):
    """It may read late, and notes whether it must not."""

    at_once = 0

    def reads_late(self) -> bool:
        return True

    def read_at_once(self) -> None:
        self.at_once += 1


def test_a_sample_with_the_time_of_arrival_makes_a_source_read_at_once(bench: Make) -> None:
    """In whatever way the record is mapped: records of a known shape, and others."""
    source = LateSource()
    b = bench(source).start()
    with_time = [record(b'{"ts": %d, "v": %d}' % (TIME // 10**6 - 5 + i, i)) for i in range(4)]
    source.put(with_time[0])
    source.put(*with_time[1:])
    b.committed(4)
    assert source.at_once == 0
    source.put(record(5))
    b.committed(5)
    assert source.at_once == 1
    source.put(record(6), record(7))
    b.committed(7)
    b.finish()
    assert source.at_once == 2


def test_an_aligned_time_makes_a_source_read_at_once(bench: Make) -> None:
    source = LateSource()
    rule = compile_rule(RuleSection.model_validate({"topic": "#", "align": "10s"}))
    b = bench(source, mapper=Mapper([rule])).start()
    source.put(record(b'{"ts": %d, "v": 1}' % (TIME // 10**6 - 3)))
    b.committed(1)
    b.finish()
    assert source.at_once == 1


def test_what_comes_in_is_stored_and_committed(bench: Make) -> None:
    b = bench().start()
    for chunk in range(5):
        b.source.put(*series(20, chunk * 20))
    b.committed(100)
    assert b.clarify.stored == {("t", TIME + i * 10**6): float(i) for i in range(100)}
    assert b.source.tallies()["t"].messages == Counts(received=100, inserted=100)
    assert b.source.tallies()["t"].samples == Counts(received=100, inserted=100)
    b.finish()
    assert b.source.started
    assert b.source.stopped_reading
    assert b.source.closed
    assert b.pipeline.failure is None
    assert b.pipeline.status.problems() == []
    assert b.pipeline.status.messages == Counts(received=100, inserted=100)
    assert sum(frame.samples for frame in b.pipeline.status.frames) == 100


def test_nothing_is_committed_before_clarify_has_it(bench: Make) -> None:
    b = bench()
    b.clarify.gate.clear()
    b.start()
    b.source.put(*series(3))
    wait_until(lambda: b.pipeline.destinations[""].sender.status.requests, SECONDS, "a request", every=0.002)
    assert b.source.position == 0
    b.clarify.gate.set()
    b.committed(3)


def test_claims_and_metadata_are_announced_before_a_sample_leaves(bench: Make) -> None:
    rule = compile_rule(RuleSection.model_validate({"topic": "#", "name": "Name of {topic}"}))
    b = bench(mapper=Mapper([rule]))
    known: list[tuple[set[str], set[str]]] = []
    b.clarify.judge = lambda frame: known.append((set(b.notes.claims), set(b.notes.signals)))
    b.start()
    b.source.put(record(1, "a"), record(2, "b"))
    b.committed(2)
    assert known == [({"a", "b"}, {"a", "b"})]
    assert b.notes.signals["a"].name == "Name of a"


def test_nothing_leaves_while_a_state_cannot_be_written_not_even_what_another_source_has_of_it(bench: Make) -> None:
    values = {"mode": {"unknown_state": "learn"}}
    rule = compile_rule(
        RuleSection.model_validate(
            {"topic": "#", "input": "one", "shared_inputs": True, "values": values, "time": "arrival"}
        )
    )
    east, west = ListSource("east"), ListSource("west")
    b = bench(east, west, mapper=Mapper([rule], sources=["east", "west"]))
    b.notes.disk.clear()
    b.start()
    east.put(record(b'{"mode": "on"}'))
    wait_until(lambda: east.left() == 0, SECONDS, "east is read", every=0.002)
    west.put(record(b'{"mode": "on"}', time_us=TIME + 1))
    wait_until(lambda: west.left() == 0, SECONDS, "west is read", every=0.002)
    assert b.pipeline.status.clocks(1) == [], "who looks at the mapping does not wait"
    assert (b.pipeline.status.waiting(), b.clarify.stored) == ((0, 0), {})
    b.notes.disk.set()
    wait_until(lambda: len(b.clarify.stored) == 2, SECONDS, "both are stored", every=0.002)


# -- when a frame leaves ---------------------------------------------------------------------------


def taken_in(b: Bench, samples: int) -> None:
    wait_until(lambda: b.pipeline.status.waiting()[1] == samples, SECONDS, f"{samples} samples wait", every=0.002)


def test_births_are_kept_before_anything_that_came_of_them_is_committed(bench: Make) -> None:
    rules = MappingSection(rules=[{"preset": "sparkplug"}]).compile()  # type: ignore[list-item]
    births = payload(metric("m", DataType.FLOAT, 1.5, alias=1), seq=0, time_ms=TIME // 1000)
    data = payload(metric(None, None, 2.5, field="float_value", alias=1), seq=3, time_ms=TIME // 1000 + 1)
    b = bench(mapper=Mapper(rules))
    b.notes.births_failure = sqlite3.OperationalError("disk full")
    b.start()
    b.source.put(record(births, "spBv1.0/g/NBIRTH/n"))
    assert b.pipeline.stopped.wait(SECONDS)
    assert "disk full" in (b.pipeline.failure or "")
    assert (b.source.position, b.clarify.stored) == (0, {}), "nothing of it left, and it comes again"

    b = bench(mapper=Mapper(rules)).start()
    b.source.put(record(births, "spBv1.0/g/NBIRTH/n"), record(data, "spBv1.0/g/NDATA/n", TIME + 1))
    b.committed(2)
    assert b.clarify.stored == {("g/n/m", TIME): 1.5, ("g/n/m", TIME + 1000): 2.5}
    assert list(b.notes.nodes) == [Owner("g", "n")]
    assert [(note.lost, note.born) for note in b.notes.sparkplug] == [(0, True), (2, False)]
    b.finish()


def test_on_a_quiet_stream_a_frame_leaves_after_max_delay(bench: Make) -> None:
    clock = Clock()
    b = bench(max_delay=60.0, clock=clock).start()
    b.source.put(record(1, "a"))
    taken_in(b, 1)
    clock.now += 59.9
    b.source.put(record(2, "b"))
    taken_in(b, 2)
    assert b.clarify.requests == []
    assert b.pipeline.status.oldest_seconds() == pytest.approx(59.9)
    clock.now += 0.2
    b.committed(2)
    assert [set(frame) for frame in b.clarify.requests] == [{("a", TIME), ("b", TIME)}]
    assert b.pipeline.status.oldest_seconds() == 0.0


class GatheringSource(ListSource):
    """A source whose records come together; it notes for how long, and lets no time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered: list[float] = []

    def gather(self, seconds: float) -> bool:
        if self.left():
            return False
        self.gathered.append(seconds)
        return True


def test_records_that_come_often_are_taken_in_together_but_before_their_frame_is_due(bench: Make) -> None:
    clock, source = Clock(), GatheringSource()
    b = bench(source, max_delay=0.8, clock=clock).start()
    source.put(record(1, time_us=TIME))
    wait_until(lambda: b.pipeline.status.waiting()[1] == 1, SECONDS, "taken in")
    wait_until(lambda: source.gathered, SECONDS, "the next turn waits")
    assert source.gathered[0] == pytest.approx(0.4), "half of max_delay"
    clock.now += 0.6
    source.gathered.clear()
    source.put(record(2, time_us=TIME + 1))
    wait_until(lambda: source.gathered, SECONDS, "a new turn began at once, and the next one waits")
    assert source.gathered[0] == pytest.approx(0.19), "the frame of the first record is due in 0.2 s"
    clock.now += 0.2
    b.committed(2)


def test_the_time_in_which_records_come_together_counts_as_max_delay(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that waited much longer has another reason: then only the longest rest counts."""
    monkeypatch.setattr(under_way.time, "time", lambda: 1000.0)
    clock = Clock()
    b = bench(max_delay=0.8, clock=clock).start()
    for number, (durable, waited) in enumerate([(999.7, 0.3), (900.0, 0.4), (1001.0, 0.0), (0, 0.0)], start=1):
        b.source.put(record(number, time_us=TIME + number), durable_us=round(durable * 1e6))
        taken_in(b, 1)
        assert b.pipeline.status.oldest_seconds() == pytest.approx(waited)
        clock.now += 0.81 - waited
        b.committed(number)


def test_what_a_frame_leaves_behind_keeps_its_age(bench: Make) -> None:
    clock = Clock()
    b = bench(max_delay=60.0, max_frame_bytes=1000, clock=clock).start()
    b.source.put(*series(50))
    taken_in(b, 50)
    clock.now += 30.0
    b.source.put(*series(34, 50))  # a frame is full now, and takes the oldest of the one series
    wait_until(lambda: b.clarify.requests, SECONDS, "the first frame", every=0.002)
    assert 0 < b.pipeline.status.waiting()[1] < 84
    assert b.pipeline.status.oldest_seconds() >= 30.0
    clock.now += 31.0

    def committed() -> bool:
        clock.now += 0.01  # for the slots between the frames
        return b.source.position == 84

    wait_until(committed, SECONDS, "the rest", every=0.002)


def test_a_full_frame_does_not_wait_for_max_delay(bench: Make) -> None:
    b = bench(max_delay=3600.0, max_frame_bytes=12_000).start()
    b.source.put(*series(999))
    taken_in(b, 999)
    assert b.clarify.requests == []
    b.source.put(*series(1, 999))
    wait_until(lambda: b.clarify.requests, SECONDS, "a frame", every=0.002)


def test_no_frame_is_larger_than_allowed(bench: Make) -> None:
    b = bench(max_frame_bytes=2000)
    sizes: list[int] = []
    b.clarify.steps.extend([lambda body: sizes.append(len(body))] * 1000)
    b.start()
    b.source.put(*series(500))
    b.committed(500)
    assert len(sizes) > 1
    assert max(sizes) <= 2000


# -- backpressure ----------------------------------------------------------------------------------


def test_intake_stops_when_enough_waits_and_goes_on_when_there_is_room(bench: Make) -> None:
    b = bench(max_waiting_samples=100)
    b.clarify.gate.clear()
    b.start()
    for chunk in range(60):
        b.source.put(*series(10, chunk * 10))

    def held_back() -> bool:
        polls = b.source.polls
        return b.source.left() > 0 and b.pipeline.status.waiting()[1] >= 100 and polls == b.source.polls

    wait_until(held_back, SECONDS, "intake stops", every=0.002)
    assert b.pipeline.status.pause("mqtt") == "too many samples wait for Clarify"
    polls = b.source.polls
    b.source.put(*series(10, 600))  # what comes now stays with the source
    assert b.pipeline.status.waiting()[1] < 100 + 10, "never more than the bound and one chunk"
    assert b.source.polls <= polls + 1
    b.clarify.gate.set()
    b.committed(610)
    assert len(b.clarify.stored) == 610
    assert b.pipeline.status.pause("mqtt") is None


# -- failures --------------------------------------------------------------------------------------


def test_trouble_with_clarify_shows(bench: Make) -> None:
    b = bench(clarify=ScriptedClarify([NotAllowed("the password was changed", code=401)])).start()
    b.source.put(*series(3))
    wait_until(b.pipeline.status.problems, SECONDS, "a problem", every=0.002)
    assert b.pipeline.status.problems() == ["Clarify: the password was changed"]
    assert b.source.position == 0


def test_a_series_that_clarify_names_becomes_dead_letters_and_then_counts_as_settled(bench: Make) -> None:
    def judge(frame: Stored) -> None:
        if any(name == "t:bad" for name, _ in frame):
            raise InvalidParams("no such unit", code=-32602, problems=[Problem("data.series.t:bad", "no such unit")])

    b = bench(clarify=ScriptedClarify(judge=judge)).start()
    b.source.put(record('{"good": 1, "bad": 2}'), record('{"bad": 3}', time_us=TIME + 1))
    b.committed(2)
    assert b.clarify.stored == {("t:good", TIME): 1.0}
    rejects = [(found.position, *found.rejects) for found in b.letters.letters]
    assert [(position, r.input_id, r.time_us, r.value, r.reason) for position, r in rejects] == [
        (1, "t:bad", TIME, "2.0", Reason.INSERT_REJECTED),
        (2, "t:bad", TIME + 1, "3.0", Reason.INSERT_REJECTED),
    ]
    assert all("no such unit" in reject.message for _, reject in rejects)
    assert [found.record for found in b.letters.letters] == [b.source.records[1], b.source.records[2]]
    assert b.source.messages() == Counts(received=2, inserted=1, dead_lettered=1)
    assert b.source.samples() == Counts(received=3, inserted=1, dead_lettered=2)
    assert b.pipeline.status.reasons == {Reason.INSERT_REJECTED: 2}


def test_what_cannot_be_mapped_becomes_a_dead_letter_with_its_bytes_and_blocks_nothing(bench: Make) -> None:
    b = bench().start()
    b.source.put(record(b"\xff\x00"), record(1, "good"), record('{"a": NaN, "b": 2}', "half"))
    b.source.put(record("text only"))
    b.committed(4)
    by_position = {found.position: found for found in b.letters.letters}
    assert sorted(by_position) == [1, 3, 4]
    first = by_position[1]
    assert (first.source, first.partition, first.topic, first.time_us) == ("mqtt", "p", "t", TIME)
    assert first.record == b.source.records[1]
    assert [(reject.reason, reject.path) for reject in first.rejects] == [(Reason.NOT_UTF8, None)]
    assert [(reject.path, reject.value) for reject in by_position[3].rejects] == [("a", "nan")]
    assert set(b.clarify.stored) == {("good", TIME), ("half:b", TIME)}
    assert b.source.messages() == Counts(received=4, inserted=2, dead_lettered=2)
    assert b.source.samples() == Counts(received=3, inserted=2, dead_lettered=1)


def test_a_chunk_of_which_nothing_is_left_is_committed_without_a_request(bench: Make) -> None:
    b = bench(mapper=Mapper([compile_rule(RuleSection(topic="other"))]), max_delay=3600.0).start()
    b.source.put(*series(5))
    b.committed(5)
    assert b.clarify.requests == []
    assert b.source.messages() == Counts(received=5, filtered=5)


def test_a_record_is_one_letter_with_each_of_its_bad_values(bench: Make) -> None:
    """A large message with thousands of bad values must not be stored thousands of times."""
    b = bench().start()
    readings = ",".join(f'{{"ts": {1_790_000_000 + i}, "v": NaN}}' for i in range(3))
    b.source.put(record(f'{{"x": 1, "readings": [{readings}]}}'))
    b.committed(1)
    (letter,) = b.letters.letters
    assert [reject.path for reject in letter.rejects] == ["readings.v"] * 3
    assert letter.record == b.source.records[1]
    assert b.source.samples() == Counts(received=4, inserted=1, dead_lettered=3)
    assert b.pipeline.status.reasons == {Reason.NOT_FINITE: 3}


def refuses_everything(frame: Stored) -> None:
    raise InvalidParams("no", code=-32602, problems=[Problem(f"data.series.{name}", "no") for name, _ in frame])


def test_records_of_rejected_samples_are_read_again_a_part_at_a_time(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.pipeline.rejects._REREAD_BYTES", 30)
    b = bench(clarify=ScriptedClarify(judge=refuses_everything)).start()
    b.source.put(*series(50))
    b.committed(50)
    assert {found.position: found.record for found in b.letters.letters} == b.source.records
    assert b.letters.calls > 2
    assert b.source.messages() == Counts(received=50, dead_lettered=50)


def test_a_record_that_cannot_be_read_again_has_a_letter_that_says_so(bench: Make) -> None:
    b = bench(clarify=ScriptedClarify(judge=refuses_everything))
    b.source.put(*series(3))
    del b.source.records[2]
    b.start()
    b.committed(3)
    letter = next(found for found in b.letters.letters if found.position == 2)
    assert (letter.record, letter.missing) == (None, "it is gone")
    assert [(reject.input_id, reject.value) for reject in letter.rejects] == [("t", "1.0")]


class PoisonedMapper(Mapper):
    """A mapper with a bug."""

    def map(self, source: str, record: Record, document: object = NOT_DECODED) -> Mapped:
        if record.topic == "poison":
            raise ZeroDivisionError("a bug")
        return super().map(source, record, document)


def test_a_record_that_breaks_the_mapping_does_not_stop_what_is_behind_it(bench: Make) -> None:
    b = bench(mapper=PoisonedMapper()).start()
    b.source.put(record(1), record(2, "poison"), record(3, "u"))
    b.committed(3)
    (letter,) = b.letters.letters
    assert (letter.rejects[0].reason, letter.position) == (Reason.MAPPING_FAILED, 2)
    assert "a bug" in letter.rejects[0].message
    assert set(b.clarify.stored) == {("t", TIME), ("u", TIME)}
    b.finish()
    assert b.pipeline.failure is None


def test_nothing_counts_as_settled_before_its_letter_is_written(bench: Make) -> None:
    b = bench()
    b.letters.failures = 1
    b.start()
    b.source.put(record("bad"), record(1))
    assert b.source.position == 0
    b.committed(2)
    assert len(b.letters.letters) == 1
    b.finish()


def test_while_letters_cannot_be_written_the_source_is_held(bench: Make) -> None:
    """A Kafka member that does not poll for minutes would be thrown out of its group."""
    b = bench()
    b.letters.failures = 2
    b.start()
    b.source.put(record("bad"), record(1))
    b.committed(2)
    assert b.source.holds >= 2
    assert len(b.letters.letters) == 1


def test_a_source_is_not_read_while_its_letters_cannot_be_written_and_after_its_end(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.pipeline.status._STUCK_SECONDS", 1.5)
    b = bench()
    b.letters.failures = 10**6
    b.start()
    pause = b.pipeline.status.pause
    assert pause("mqtt") is None
    b.source.put(record("bad"))
    wait_until(lambda: pause("mqtt") == "what was read cannot be taken in", SECONDS, "it is stuck", every=0.01)
    b.letters.failures = 0
    b.source.finish()
    wait_until(lambda: pause("mqtt") == "all of it was read", SECONDS, "its end", every=0.01)


def test_what_is_given_away_while_its_intake_waits_is_not_begun(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has its partition next, be it we, reads it again: settled by us, it would be committed unread."""
    b = bench()
    b.letters.failures = 1
    given_away: list[int] = []

    def hold() -> None:
        if not given_away:
            given_away.append(b.pipeline.forget(b.source.name, ["p"]))

    monkeypatch.setattr(b.source, "hold", hold)
    b.start()
    b.source.put(record("bad"), record(1))
    wait_until(
        lambda: given_away and b.letters.letters, SECONDS, "it was given away, and the letter written", every=0.002
    )
    b.source.put(record(2, "u"))
    b.finish()
    assert given_away == [0], "nothing of it had begun"
    assert set(b.clarify.stored) == {("u", TIME)}
    assert b.pipeline.status.messages.received == 1


def test_an_abort_while_letters_cannot_be_written_settles_nothing_and_is_no_failure(bench: Make) -> None:
    b = bench()
    b.letters.failures = 10**9
    b.start()
    b.source.put(record("bad"), record(1))
    wait_until(lambda: b.letters.calls, SECONDS, "a try", every=0.002)
    b.pipeline.abort()
    assert b.pipeline.stopped.wait(SECONDS)
    assert b.pipeline.failure is None
    assert (b.source.position, b.letters.letters, b.clarify.requests) == (0, [], [])


def test_an_abort_while_letters_of_rejected_samples_cannot_be_written_settles_nothing(bench: Make) -> None:
    b = bench(clarify=ScriptedClarify(judge=refuses_everything))
    b.letters.failures = 10**9
    b.start()
    b.source.put(record(1))
    wait_until(lambda: b.letters.calls, SECONDS, "a try", every=0.002)
    b.pipeline.abort()
    assert b.pipeline.stopped.wait(SECONDS)
    assert b.pipeline.failure is None
    assert b.source.position == 0


def test_two_values_of_one_time_count_as_superseded(bench: Make) -> None:
    b = bench(max_delay=3600.0).start()
    b.source.put(record(1), record(2), record(3, "u"))
    b.finish()
    assert b.clarify.stored == {("t", TIME): 2.0, ("u", TIME): 3.0}
    assert b.source.messages() == Counts(received=3, inserted=2, superseded=1)
    assert b.source.samples() == Counts(received=3, inserted=2, superseded=1)


def test_a_source_that_fails_ends_the_connector_after_what_is_here_was_sent(bench: Make) -> None:
    broken, healthy = ListSource("broken"), ListSource("healthy")
    b = bench(broken, healthy, max_delay=3600.0).start()
    broken.put(record(1, "a"))
    healthy.put(record(2, "b"))
    taken_in(b, 2)
    broken.fail("the disk is gone")
    assert b.pipeline.stopped.wait(SECONDS)
    assert b.pipeline.failure == "source broken: the disk is gone"
    assert b.pipeline.failure in b.pipeline.status.problems()
    assert (broken.position, healthy.position) == (1, 1)
    assert healthy.stopped_reading
    assert set(b.clarify.stored) == {("a", TIME), ("b", TIME)}


class ThreadedListSource(ListSource):
    """A source with a thread of its own, which ends when the test says so."""

    end: str | None = None

    def ended(self) -> str | None:
        return self.end


def test_a_thread_of_a_source_that_ends_is_a_failure_also_while_nothing_is_polled(bench: Make) -> None:
    source, healthy = ThreadedListSource(), ListSource("healthy")
    b = bench(source, healthy, clarify=ScriptedClarify(), max_waiting_samples=4).start()
    b.clarify.gate.clear()
    source.put(*series(4))
    wait_until(lambda: b.pipeline.status.waiting() == (4, 0), SECONDS, "a frame is on its way", every=0.002)
    source.put(*series(4, 4))
    assert b.pipeline.failure is None
    wait_until(lambda: b.pipeline.status.waiting() == (8, 4), SECONDS, "the others are taken in", every=0.002)
    holds = source.holds
    wait_until(lambda: source.holds > holds, SECONDS, "it is held", every=0.002)
    source.end = "the thread x ended"
    assert b.pipeline.failure == "source mqtt: the thread x ended"
    assert b.pipeline.failure in b.pipeline.status.problems()
    b.clarify.gate.set()
    assert b.pipeline.stopped.wait(SECONDS)
    assert source.position == 8, "what was read is sent"
    assert healthy.stopped_reading


def test_whatever_ends_a_thread_of_the_pipeline_is_a_failure_that_names_it(bench: Make) -> None:
    class Panic(BaseException):
        """What native code raises, which is no `Exception`."""

    b = bench()
    b.notes.failure = Panic("native")
    b.start()
    b.source.put(*series(3))
    assert b.pipeline.stopped.wait(SECONDS)
    assert "the thread intake-mqtt" in str(b.pipeline.failure)
    assert "native" in str(b.pipeline.failure)
    assert b.source.position == 0


def test_two_sources_have_accounts_and_ids_of_their_own(bench: Make) -> None:
    east, west = ListSource("east"), ListSource("west")
    b = bench(east, west).start()
    for i in range(10):
        east.put(*series(5, i * 5))
    wait_until(lambda: east.position == 50, SECONDS, "east committed", every=0.002)
    assert west.commits == []
    for i in range(10):
        west.put(*series(5, i * 5))
    wait_until(lambda: west.position == 50, SECONDS, "west committed", every=0.002)
    assert east.messages() == west.messages() == Counts(received=50, inserted=50)
    assert len(b.clarify.stored) == 100, "the same topic of two brokers is two signals"
    assert [collision.wanted for collision in b.notes.collisions] == ["t"]


def test_a_full_disk_ends_the_connector_loudly_and_commits_nothing(bench: Make) -> None:
    b = bench()
    b.notes.failure = sqlite3.OperationalError("database or disk is full")
    b.start()
    b.source.put(*series(3))
    assert b.pipeline.stopped.wait(SECONDS)
    assert b.pipeline.failure is not None
    assert "disk is full" in b.pipeline.failure
    assert b.source.position == 0
    assert b.source.stopped_reading


def test_a_bug_in_an_exchange_does_not_end_the_connector_and_loses_nothing(bench: Make) -> None:
    b = bench()

    def bug(body: bytes) -> None:
        raise OverflowError("a bug")

    b.clarify.steps.append(bug)
    b.start()
    b.source.put(*series(3))
    wait_until(lambda: b.source.position == 3, SECONDS, "committed")
    assert b.pipeline.failure is None
    assert len(b.clarify.requests) == 2
    assert len(b.clarify.stored) == 3


# -- stopping --------------------------------------------------------------------------------------


def test_a_drain_sends_everything_without_waiting_for_max_delay(bench: Make) -> None:
    b = bench(max_delay=3600.0).start()
    for chunk in range(20):
        b.source.put(*series(10, chunk * 10))
    b.finish()
    assert b.source.position == 200
    assert len(b.clarify.stored) == 200
    assert b.source.closed


def test_a_drain_with_nothing_to_send_ends_at_once(bench: Make) -> None:
    b = bench(max_delay=3600.0).start()
    b.finish()
    assert b.clarify.requests == []


@pytest.mark.parametrize("end", [Pipeline.drain, Pipeline.abort])
def test_every_reason_to_act_wakes_the_thread_that_acts(
    bench: Make, monkeypatch: pytest.MonkeyPatch, end: Callable[[Pipeline], None]
) -> None:
    """No thread depends on looking again after a while: so a connector without messages sleeps."""
    monkeypatch.setattr(intake, "IDLE_SECONDS", 10 * SECONDS)
    monkeypatch.setattr(under_way, "IDLE_SECONDS", 10 * SECONDS)
    b = bench().start()
    wait_until(lambda: b.source.polls, SECONDS, "the intake waits")
    b.source.put(*series(3))
    b.committed(3)
    end(b.pipeline)
    assert b.pipeline.stopped.wait(SECONDS)


def test_a_drain_goes_on_trying_while_clarify_is_away(bench: Make) -> None:
    b = bench(clarify=ScriptedClarify([Retryable("away")])).start()
    b.source.put(*series(3))
    b.finish()
    assert b.source.position == 3


@pytest.mark.parametrize("state", ["away", "waiting for max_delay", "no room"])
def test_an_abort_leaves_what_is_not_settled_to_its_source(bench: Make, state: str) -> None:
    quiet = state == "waiting for max_delay"
    b = bench(
        clarify=ScriptedClarify([] if quiet else [Retryable("away")] * 1000),
        max_delay=3600.0 if quiet else 0.01,
        max_waiting_samples=10 if state == "no room" else 10**6,
    )
    b.start()
    for chunk in range(5):
        b.source.put(*series(10, chunk * 10))
    if quiet:
        taken_in(b, 50)
    else:
        wait_until(lambda: b.pipeline.destinations[""].sender.status.failures, SECONDS, "a failure", every=0.002)
    b.pipeline.abort()
    assert b.pipeline.stopped.wait(SECONDS)
    b.pipeline.close(SECONDS)
    assert b.source.commits == []
    assert b.clarify.stored == {}
    assert b.source.closed
    assert b.pipeline.failure is None


def test_a_pipeline_that_never_started_can_be_closed(bench: Make) -> None:
    b = bench()
    b.pipeline.close(SECONDS)
    assert b.source.closed


def test_a_full_pipeline_holds_its_sources_and_reads_on_when_a_quarter_is_free(bench: Make) -> None:
    release = threading.Event()
    b = bench(max_waiting_samples=1000, max_delay=60.0, max_frame_bytes=1_000_000)
    b.clarify.steps.append(lambda body: release.wait(SECONDS))
    b.start()
    for _ in range(30):
        b.source.put(*series(100))
    wait_until(lambda: b.source.holds > 0, SECONDS, "held")
    left = b.source.left()
    assert left > 0
    release.set()
    wait_until(lambda: b.source.left() < left, SECONDS, "read on")
    b.finish()
    assert b.source.position == 3000


def test_a_partition_that_goes_away_is_settled_at_once_if_clarify_takes_it(bench: Make) -> None:
    b = bench(max_delay=60.0).start()
    b.source.put(*series(3))
    wait_until(lambda: b.pipeline.status.waiting()[0] == 3, SECONDS, "taken in")
    assert b.source.handover.settle("mqtt", ["p"], SECONDS)
    assert b.source.position == 3, "committed before the answer"
    assert b.source.handover.forget("mqtt", ["p"]) == 0
    b.finish()


def test_what_clarify_does_not_take_is_given_away_and_never_committed(bench: Make) -> None:
    b = bench(max_delay=0.01)
    away = True

    def answer(body: bytes) -> None:
        if away:
            b.clarify.steps.append(answer)
            raise Retryable("away")

    b.clarify.steps.append(answer)
    b.start()
    b.source.put(*series(3))
    wait_until(lambda: b.pipeline.destinations[""].sender.circuit.trouble is not None, SECONDS, "Clarify is away")
    assert not b.source.handover.settle("mqtt", ["p"], SECONDS), "no use waiting"
    assert b.source.handover.forget("mqtt", ["p"]) == 3
    assert b.pipeline.status.waiting() == (0, 0)
    away = False
    b.source.put(*series(2))
    b.committed(5)
    b.finish()
    assert b.source.messages() == Counts(received=2, inserted=2)
    assert b.pipeline.status.abandoned() == Abandoned(records=3, samples=3, late_samples=0)


def test_a_request_under_way_when_its_partition_goes_is_counted_as_late(bench: Make) -> None:
    asked, release = threading.Event(), threading.Event()
    b = bench()

    def slow(body: bytes) -> None:
        asked.set()
        release.wait(SECONDS)

    b.clarify.steps.append(slow)
    b.start()
    b.source.put(*series(3))
    assert asked.wait(SECONDS)
    assert not b.source.handover.settle("mqtt", ["p"], 0.01)
    assert b.source.handover.forget("mqtt", ["p"]) == 3
    release.set()
    wait_until(lambda: b.pipeline.status.abandoned().late_samples == 3, SECONDS, "settled late")
    b.finish()
    assert b.source.commits == []


def test_sources_that_end_end_the_pipeline(bench: Make) -> None:
    first, second = ListSource("first"), ListSource("second")
    b = bench(first, second, max_delay=60.0).start()
    first.put(*series(3))
    first.finish()
    wait_until(lambda: b.pipeline.status.waiting()[0] == 3, SECONDS, "taken in")
    assert not b.pipeline.stopped.wait(0.05), "the other one goes on"
    second.put(*series(2))
    second.finish()
    assert b.pipeline.stopped.wait(SECONDS)
    assert (first.position, second.position) == (3, 2)
    assert b.pipeline.failure is None


# -- down-sampling ---------------------------------------------------------------------------------

MINUTE = {"topic": "#", "thin": {"window": "1m", "by": "mean", "wait": "5s"}}


def minutes(n: int, second: int = 0) -> Record:
    """A value `second` seconds after the beginning of a minute."""
    return record(n, time_us=TIME // 60_000_000 * 60_000_000 + second * 1_000_000)


def test_nothing_of_a_window_is_committed_before_its_value_is_inserted(bench: Make) -> None:
    b = bench(mapper=Mapper([compile_rule(RuleSection.model_validate(MINUTE))]), clock=(clock := Clock())).start()
    b.source.put(minutes(1, 0), minutes(3, 30))
    taken_in(b, 2)
    assert (b.source.position, b.clarify.requests) == (0, [])
    b.source.put(minutes(7, 66))
    start = TIME // 60_000_000 * 60_000_000

    def committed() -> bool:
        clock.now += 0.1
        return b.source.position == 2

    wait_until(committed, SECONDS, "the first window", every=0.002)
    assert b.clarify.stored == {("t", start): 2.0}
    assert b.notes.windows == {"t": start + 60_000_000}
    assert b.source.messages() == Counts(received=2, inserted=1, filtered=1)

    def all_committed() -> bool:
        clock.now += 1.0
        return b.source.position == 3

    wait_until(all_committed, SECONDS, "the second, by the clock", every=0.002)
    assert b.clarify.stored[("t", start + 60_000_000)] == 7.0


def test_a_stop_leaves_open_windows_to_the_next_start(bench: Make) -> None:
    b = bench(mapper=Mapper([compile_rule(RuleSection.model_validate(MINUTE))]), clock=Clock()).start()
    b.source.put(minutes(1, 0), minutes(3, 30))
    taken_in(b, 2)
    b.pipeline.drain()
    assert b.pipeline.stopped.wait(SECONDS)
    assert (b.source.position, b.clarify.requests) == (0, [])


def test_a_window_whose_sample_clarify_rejects_is_settled(bench: Make) -> None:
    def judge(frame: Stored) -> None:
        raise InvalidParams("no", code=-32602, problems=[Problem("data.series.t", "no")])

    mapper = Mapper([compile_rule(RuleSection.model_validate(MINUTE))])
    b = bench(mapper=mapper, clarify=ScriptedClarify(judge=judge), clock=(clock := Clock())).start()
    b.source.put(minutes(1, 0), minutes(3, 30), minutes(7, 66))

    def committed() -> bool:
        clock.now += 1.0
        return b.source.position == 3

    wait_until(committed, SECONDS, "all of it", every=0.002)
    letters = [(letter.position, letter.rejects[0].value) for letter in b.letters.letters]
    assert letters == [(2, "2.0"), (3, "7.0")]
    assert b.source.messages() == Counts(received=3, dead_lettered=2, filtered=1)


def test_settling_does_not_wait_for_open_windows(bench: Make) -> None:
    b = bench(mapper=Mapper([compile_rule(RuleSection.model_validate(MINUTE))]), clock=Clock()).start()
    b.source.put(minutes(1, 0))
    taken_in(b, 1)
    assert not b.pipeline.settle("mqtt", ["p"], 3600.0), "at once, though the clock stands still"
    assert b.pipeline.forget("mqtt", ["p"]) == 1
    assert b.pipeline.status.waiting() == (0, 0)


# -- schema registries -----------------------------------------------------------------------------


class Registered:
    """A format whose registry is away for the payload 3."""

    name = "avro"
    away = True

    def decode(self, payload: bytes) -> object:
        if payload == b"3" and self.away:
            raise SchemaUnavailableError("the registry does not answer")
        return int(payload)


THINNED = {"topic": "#", "thin": {"change_only": True}, "time": "arrival"}


def registered(form: Registered) -> Mapper:
    return Mapper([replace(compile_rule(RuleSection.model_validate(THINNED)), format=form)])


def passes(clock: Clock, condition: Callable[[], object], what: str) -> None:
    """Wait while the clock goes on."""

    def passed() -> object:
        clock.now += 1.0
        return condition()

    wait_until(passed, SECONDS, what, every=0.002)


def test_records_whose_schema_cannot_be_had_wait_and_are_not_rejected(bench: Make) -> None:
    """Also not thinned a second time: what was mapped before stays mapped."""
    form = Registered()
    b = bench(mapper=registered(form), clock=(clock := Clock())).start()
    b.source.put(minutes(1, 0), minutes(2, 1), minutes(3, 2), minutes(4, 3))
    wait_until(b.pipeline.status.problems, SECONDS, "a problem", every=0.002)
    assert b.pipeline.status.problems() == ["mqtt: the registry does not answer"]
    b.source.put(minutes(5, 4))
    passes(clock, lambda: b.source.holds > 3, "the source is held")
    assert b.source.left() == 1, "the whole source waits: it has no other partition"
    form.away = False
    passes(clock, lambda: b.source.position == 5, "all of it")
    assert sorted(b.clarify.stored.values()) == [1, 2, 3, 4, 5]
    assert b.letters.letters == []
    assert b.pipeline.status.problems() == []


def test_only_the_partition_that_needs_the_schema_waits(bench: Make) -> None:
    source = ListSource("kafka")
    source.apart = True
    form = Registered()
    b = bench(source, mapper=registered(form), clock=(clock := Clock())).start()
    source.put(minutes(1, 0), minutes(3, 1), minutes(4, 2), partition="t[0]")
    wait_until(b.pipeline.status.problems, SECONDS, "a problem", every=0.002)
    assert b.pipeline.status.problems() == ["kafka: t[0] waits: the registry does not answer"]
    source.put(minutes(5, 3), partition="t[0]")
    source.put(minutes(6, 4), minutes(7, 5), partition="t[1]")
    passes(clock, lambda: source.commits, "the other partition goes on")
    assert [commit.partition for commit in source.commits] == ["t[1]"]
    passes(clock, lambda: b.clarify.stored, "stored")
    form.away = False
    passes(clock, lambda: len(b.clarify.stored) == 6, "all of it")
    passes(clock, lambda: source.commits[-1].position == 4, "committed")
    assert {commit.partition for commit in source.commits[1:]} == {"t[0]"}
    assert b.pipeline.status.problems() == []
    assert b.letters.letters == []


def test_what_waits_for_a_schema_is_bounded(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound the whole source waits, although its other partitions could go on."""
    monkeypatch.setattr(intake, "_MOST_WAITING_BYTES", 1000)
    source = ListSource("kafka")
    source.apart = True
    form = Registered()
    bench(source, mapper=registered(form), clock=(clock := Clock())).start()
    source.put(minutes(3, 0), *[minutes(4 + i, 1 + i) for i in range(3)], partition="t[0]")
    passes(clock, lambda: source.holds > 3, "the source is held")
    source.put(minutes(9, 9), partition="t[1]")
    passes(clock, lambda: source.holds > 6, "the source is held")
    assert source.left() == 1
    form.away = False
    passes(clock, lambda: {commit.partition for commit in source.commits} == {"t[0]", "t[1]"}, "all of it")


def test_what_waits_for_a_schema_is_forgotten_with_its_partition(bench: Make) -> None:
    source = ListSource("kafka")
    source.apart = True
    b = bench(source, mapper=registered(Registered()), clock=(clock := Clock())).start()
    source.put(minutes(3, 0), partition="t[0]")
    wait_until(b.pipeline.status.problems, SECONDS, "a problem", every=0.002)
    b.pipeline.forget("kafka", ["t[0]"])
    passes(clock, lambda: not source.held_back, "the new owner reads it again")
    assert b.pipeline.status.problems() == []
    assert (source.commits, b.letters.letters) == ([], [])


def test_a_source_with_an_end_is_not_at_its_end_while_a_partition_waits(bench: Make) -> None:
    source = ListSource("kafka")
    source.apart = True
    form = Registered()
    b = bench(source, mapper=registered(form), clock=(clock := Clock())).start()
    source.put(minutes(3, 0), partition="t[0]")
    source.finish()
    wait_until(b.pipeline.status.problems, SECONDS, "a problem", every=0.002)
    assert not b.pipeline.stopped.wait(0.05)
    form.away = False
    passes(clock, b.pipeline.stopped.is_set, "the end")
    assert list(b.clarify.stored.values()) == [3]


def test_a_stop_does_not_wait_for_a_schema(bench: Make) -> None:
    b = bench(mapper=registered(Registered())).start()
    b.source.put(minutes(3, 0))
    wait_until(b.pipeline.status.problems, SECONDS, "a problem", every=0.002)
    b.finish()
    assert b.source.commits == []


# -- chunks that become very much ------------------------------------------------------------------


def test_a_chunk_that_becomes_very_much_is_taken_in_in_parts_and_committed_as_a_whole(bench: Make) -> None:
    """Its source removes it as a whole: half of it must not be committed."""
    payload = b"{" + b",".join(b'"v%d":%d' % (i, i) for i in range(15_000)) + b"}"
    clarify = ScriptedClarify()
    b = bench(clarify=clarify, max_waiting_samples=30_000, max_frame_bytes=4_000_000)
    b.source.put(*[record(payload, time_us=TIME + i) for i in range(16)], record(b"nonsense"))
    b.source.put(record(1, "other"))
    clarify.gate.clear()
    b.start()
    wait_until(lambda: b.source.holds, SECONDS, "the rest of the chunk waits for room", every=0.002)
    records, samples = b.pipeline.status.waiting()
    assert records < 16
    assert samples <= 130_000
    clarify.gate.set()
    b.committed(18)
    assert b.source.commits[0].position >= 17
    assert b.source.messages() == Counts(received=18, inserted=17, dead_lettered=1)
    assert len(clarify.stored) == 16 * 15_000 + 1
    b.finish()


# -- sources that come and go ----------------------------------------------------------------------


def test_a_stopped_intake_goes_on_in_the_middle_of_its_chunk(bench: Make) -> None:
    """Its source gives each chunk once in a run: the rest of a chunk must not be lost between a stop and a resume."""
    payload = b"{" + b",".join(b'"v%d":%d' % (i, i) for i in range(15_000)) + b"}"
    b = bench(max_waiting_samples=30_000, max_frame_bytes=4_000_000)
    b.source.put(*[record(payload, time_us=TIME + i) for i in range(10)])
    b.clarify.gate.clear()
    b.start()
    wait_until(lambda: b.source.holds, SECONDS, "the rest of the chunk waits for room", every=0.002)
    for _ in range(2):
        assert b.pipeline.intakes.stop("mqtt", SECONDS)
        assert b.pipeline.intakes.is_over("mqtt")
        b.pipeline.intakes.resume("mqtt")
    b.clarify.gate.set()
    b.committed(10)
    assert len(b.clarify.stored) == 150_000
    assert b.source.messages() == Counts(received=10, inserted=10)
    b.finish()


def test_a_source_is_taken_away_and_another_one_takes_its_place(bench: Make) -> None:
    b = bench(max_delay=30.0).start()
    b.source.put(*series(5))
    b.source.put(*series(5, 5), partition="q")
    taken_in(b, 10)
    after = ListSource()
    with b.pipeline.kept_open():
        assert b.pipeline.intakes.stop("mqtt", SECONDS)
        before, left = b.pipeline.take_away("mqtt", SECONDS)
        assert (before, left) == (b.source, 0), "what was taken in was sent at once"
        assert len(b.clarify.stored) == 10
        assert not b.source.closed
        assert b.pipeline.status.sources() == []
        assert not b.pipeline.stopped.wait(0.05), "the pipeline waits for the next source"
    after.put(*series(5, 10))
    b.clarify.gate.clear()
    b.pipeline.intakes.add(after)
    b.pipeline.intakes.start("mqtt", b.pipeline)
    taken_in(b, 5)
    assert b.pipeline.intakes.stop("mqtt", SECONDS)
    assert b.pipeline.take_away("mqtt", 0.0) == (after, 5), "what cannot be settled in time stays with the source"
    assert after.commits == []
    assert b.pipeline.stopped.wait(SECONDS), "no source is left"
    assert b.pipeline.failure is None
    b.clarify.gate.set()


def test_a_source_that_fails_while_it_is_taken_away_stops_nothing(bench: Make) -> None:
    b = bench(ListSource("stays"), ListSource("goes")).start()
    goes = b.sources[1]
    b.pipeline.intakes.drain("goes")
    goes.fail("gone")
    wait_until(lambda: b.pipeline.intakes.is_over("goes"), SECONDS, "its intake has ended", every=0.002)
    b.pipeline.take_away("goes", 0.0)
    b.source.put(*series(3))
    b.committed(3)
    assert b.pipeline.failure is None
    b.finish()


def test_an_intake_that_cannot_write_letters_can_be_stopped_and_loses_nothing(bench: Make) -> None:
    mapper = Mapper([compile_rule(RuleSection.model_validate({"topic": "t", "thin": {"change_only": True}}))])
    b = bench(mapper=mapper)
    b.letters.failures = 10**9
    b.source.put(record(b"nonsense"), *series(1))
    b.start()
    wait_until(lambda: b.letters.failures < 10**9, SECONDS, "the letter was refused", every=0.002)
    assert b.pipeline.intakes.stop("mqtt", SECONDS)
    b.letters.failures = 0
    b.pipeline.intakes.resume("mqtt")
    b.committed(2)
    assert b.source.messages() == Counts(received=2, inserted=1, dead_lettered=1)
    b.finish()
