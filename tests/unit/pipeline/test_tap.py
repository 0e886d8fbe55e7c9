"""A tap shows what flows and what becomes of it, within bounds, and is gone when nobody looks."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.pipeline import tap as tapping
from connector.pipeline.tap import Question, QuestionError, Tap, TooManyLooksError, nobody_looks
from connector.pipeline.tapped import PAYLOAD_BYTES
from connector.records import Chunk, Mapped, Reason, Record, Reject
from tests.scripted import Clock
from tests.unit.pipeline.test_pipeline import Bench
from tests.unit.records import ARRIVAL, record


class Desk:
    """A tap of one intake, with a mapping."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self.clock = Clock()
        self.tap = Tap(self.clock)
        compiled = [compile_rule(RuleSection.model_validate(rule)) for rule in rules]
        self._chunks = ChunkMapper(Mapper(compiled, unmatched="filter"))
        self._position = 0

    def take_in(self, *records: Record) -> None:
        """As an intake does."""
        done, parts = self._chunks.map("plant", list(records))
        assert done == len(records)
        positions = range(self._position, self._position + len(records))
        self._position += len(records)
        self.tap.took_in(Chunk("plant", "0", positions, list(records)), parts)

    @property
    def armed(self) -> bool:
        return self.tap.took_in != nobody_looks

    def look(self, topic: str = "", input_id: str = "") -> Look:
        return Look(self, Question(topic, input_id))


class Look:
    """Somebody who looks, and asks for what is new."""

    def __init__(self, desk: Desk, question: Question) -> None:
        self._desk, self._question = desk, question
        self._next = desk.tap.ask(question).next

    def more(self) -> list[dict[str, Any]]:
        answer = self._desk.tap.ask(self._question, self._next)
        self._next = answer.next
        self.seen = answer.seen
        found: list[dict[str, Any]] = answer.as_json()["messages"]  # type: ignore[assignment]
        return found


def test_a_look_shows_messages_and_what_they_become() -> None:
    desk = Desk({"topic": "plant/{m}", "input": "{m}/{field}"}, {"topic": "no/+", "skip": True})
    look = desk.look()
    desk.take_in(
        record('{"ts": "2026-05-01T06:00:00Z", "v": 1.5, "w": 2}', "plant/a"),
        record('{"ts": "2026-05-01T06:00:01Z", "v": 2.5, "w": 3}', "plant/a"),
        record("{broken", "plant/b"),
        record('{"v": 1}', "no/rule", retained=True),
        record(b'{"v": NaN, "x": "text", "w": 1}', "plant/c", key=b"\xff"),
    )
    first, second, broken, skipped, partly = look.more()
    assert (first["source"], first["topic"], first["partition"], first["position"]) == ("plant", "plant/a", "0", 0)
    assert first["payload"] == '{"ts": "2026-05-01T06:00:00Z", "v": 1.5, "w": 2}'
    assert first["samples"] == [
        {"input": "a/v", "time": "2026-05-01T06:00:00Z", "value": 1.5},
        {"input": "a/w", "time": "2026-05-01T06:00:00Z", "value": 2.0},
    ]
    assert [sample["value"] for sample in second["samples"]] == [2.5, 3.0], "also the messages that became rows"
    assert [reject["reason"] for reject in broken["rejects"]] == ["invalid_json"]
    assert "not JSON" in broken["rejects"][0]["message"]
    assert (skipped["samples"], skipped["retained"], skipped["left_out_because"]) == ([], True, "a rule says skip")
    assert (partly["key"], partly["values_left_out"]) == ("\\xff", 1)
    assert [reject["path"] for reject in partly["rejects"]] == ["v"]
    assert [sample["input"] for sample in partly["samples"]] == ["c/w"]
    numbers = [one["number"] for one in (first, second, broken, skipped, partly)]
    assert numbers == sorted(set(numbers))
    assert look.more() == [], "no message comes twice"


def test_filters_choose_messages_and_samples() -> None:
    desk = Desk({"topic": "plant/{m}/x", "input": "{m}/{field}"})
    by_topic, by_glob, by_input = desk.look("plant/+/x"), desk.look("*b/x"), desk.look(input_id="a/v*")
    desk.take_in(
        *(record('{"v": 1, "w": 2}', f"plant/{m}/x") for m in "ab"),
        record('{"v": 1, "w": 2, "note": [1]}', "plant/a/x"),
        record("1", "else"),
    )
    assert [one["topic"] for one in by_topic.more()] == ["plant/a/x", "plant/b/x", "plant/a/x"]
    assert [one["topic"] for one in by_glob.more()] == ["plant/b/x"]
    found = by_input.more()
    assert [[sample["input"] for sample in one["samples"]] for one in found] == [["a/v"], ["a/v"]]
    assert [one["samples_in_all"] for one in found] == [2, 3]
    assert (by_topic.seen.came, by_topic.seen.looked_at, by_topic.seen.matching) == (4, 4, 3)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"topic": "plant/#/x"}, "'#' may stand only at the end"),
        ({"after": "x"}, "after is the number"),
        ({"limit": "1"}, "there is no parameter 'limit'"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(parameters: dict[str, str], said: str) -> None:
    with pytest.raises(QuestionError, match=said):
        Question.of(parameters)


def test_a_flood_is_shown_in_part_evenly_and_counted() -> None:
    desk = Desk()
    look = desk.look("t/#")
    desk.take_in(*(record('{"v": 1}', f"t/{n}") for n in range(1000)))
    found = look.more()
    assert [one["position"] for one in found] == list(range(0, 1000, 10))
    assert (look.seen.came, look.seen.matching) == (1000, 1000)
    desk.take_in(record('{"v": 1}', "t/0"))
    assert look.more() == [], "all of this second were shown"
    desk.clock.now += 1.0
    desk.take_in(*(record('{"v": 1}', f"t/{n}") for n in range(100)))
    assert len(look.more()) == 100


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapping, "_BURST_SECONDS", 60.0)  # however busy the machine is
    desk = Desk()
    look = desk.look()
    big = b'{"a": "' + b"x" * 100_000 + b'", "v": 1}'
    for _ in range(4):
        desk.clock.now += 1.0
        desk.take_in(*(record(big, "t/" + "y" * 60_000) for _ in range(100)))
    kept = desk.tap._looks[Question()].kept
    assert len(kept) == 200
    assert max(len(one.record.payload or b"") for one in kept) == PAYLOAD_BYTES
    assert max(len(one.record.topic) for one in kept) == 500
    (last,) = look.more()[-1:]
    assert (len(last["payload"]), last["payload_bytes"]) == (PAYLOAD_BYTES, len(big))


def test_binary_payloads_are_hexadecimal_and_texts_are_cut_between_characters() -> None:
    desk = Desk()
    look = desk.look()
    desk.take_in(
        record(b"\xff\x00"), record(("x" + "å" * PAYLOAD_BYTES).encode()), Record("t", None, 10**30), record(b"")
    )
    binary, text, tombstone, empty = look.more()
    assert (binary["payload_hex"], "payload" in binary) == ("ff00", False)
    assert text["payload"] == "x" + "å" * (PAYLOAD_BYTES // 2 - 1)
    assert (tombstone["payload"], tombstone["time"]) == (None, 10**30)
    assert empty["payload"] == ""


def test_looking_takes_a_share_of_the_time_and_counts_what_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1_000))
    monkeypatch.setattr(tapping.time, "perf_counter", lambda: float(next(ticks)))  # each look takes a second
    desk = Desk()
    look = desk.look()
    for _ in range(3):
        desk.take_in(record())
    assert len(look.more()) == 1
    assert (look.seen.came, look.seen.looked_at) == (3, 1)
    for _ in range(50):  # three seconds are 2 % of less than this time
        desk.clock.now += 4.0
        look.more()
    desk.take_in(record())
    assert len(look.more()) == 1
    assert (look.seen.came, look.seen.looked_at) == (4, 2)


def test_a_look_ends_by_itself_and_the_intake_is_as_before() -> None:
    desk = Desk()
    look = desk.look()
    assert desk.armed
    desk.clock.now += tapping.LINGER_SECONDS - 1
    look.more()
    desk.clock.now += tapping.LINGER_SECONDS - 1
    desk.take_in(record())
    assert desk.armed, "it was asked for"
    desk.clock.now += 2.0
    desk.take_in(record())
    assert not desk.armed


def test_a_number_of_another_life_begins_anew() -> None:
    """The connector was restarted, and its clock was set back: what comes is shown all the same."""
    desk = Desk()
    desk.look()
    desk.take_in(record())
    later = desk.tap.ask(Question(), 10**18)
    assert [one.position for one in later.messages] == [0]
    assert later.next < 10**18


def test_few_may_look_with_filters_of_their_own() -> None:
    desk = Desk()
    for number in range(tapping.MOST_LOOKS):
        desk.look(f"t/{number}")
    with pytest.raises(TooManyLooksError, match="try again"):
        desk.look("t/more")
    desk.look("t/0")
    desk.clock.now += tapping.LINGER_SECONDS + 1
    desk.look("t/more")
    assert list(desk.tap._looks) == [Question("t/more")]


def test_a_bug_of_a_look_ends_all_looks_and_no_data_waits_for_it() -> None:
    desk = Desk()
    desk.look()
    assert desk.armed
    with capture_logs() as log:
        desk.tap.took_in(Chunk("plant", "0", [], [record()]), [])  # a record without a position
    assert not desk.armed
    assert [line["event"] for line in log] == ["tap_failed"]


def test_a_pipeline_has_the_tap_only_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look, the intakes call a function that does nothing: nothing is asked for each message."""
    bench = Bench()
    tap = bench.pipeline.tap
    assert tap.took_in is nobody_looks
    began = tap.ask(Question())
    bench.source.put(*(record(f'{{"v": {n}}}', time_us=ARRIVAL + n) for n in range(3)))
    bench.start().committed(3)
    found = tap.ask(Question(), began.next).messages
    assert [(one.position, one.samples[0][2]) for one in found] == [(1, 0.0), (2, 1.0), (3, 2.0)]
    monkeypatch.setattr(tapping, "LINGER_SECONDS", 0.0)
    tap.ask(Question())
    bench.source.put(record())
    bench.committed(4)
    assert tap.took_in is nobody_looks
    bench.finish()


def test_a_value_that_is_not_let_in_is_shown_as_a_reject() -> None:
    desk = Desk()
    look = desk.look()
    assert desk.armed
    part = Mapped([("plant-b|x", ARRIVAL, 1.0)], [Reject(Reason.SIGNAL_HELD, "held", input_id="a/v")])
    desk.tap.took_in(Chunk("plant", "0", [0], [record()]), [(0, part)])
    (found,) = look.more()
    assert found["rejects"] == [
        {"reason": "signal_held", "path": None, "value": None, "message": "held", "input": "a/v"}
    ]
    sample = {"integration": "plant-b", "input": "x", "time": "2026-09-21T14:13:20Z", "value": 1.0}
    assert found["samples"] == [sample], "an input of another integration is not taken for one of the default one"


def test_whole_messages_are_kept_within_bounds_while_somebody_looks() -> None:
    desk = Desk({"topic": "#"})
    assert desk.tap.collect("plant/#").messages == []
    payloads = [b"x" * 100_000, b"y" * (tapping.WHOLE_MESSAGE_BYTES + 1), b"z"]
    desk.take_in(*(record(payload, "plant/a") for payload in payloads), record("1", "other"))
    found = desk.tap.collect("plant/#")
    assert [(source, one.payload) for source, one in found.messages] == [("plant", payloads[0]), ("plant", b"z")]
    assert (found.too_large, found.seen.matching, found.seen.came) == (1, 3, 4)
    for _ in range(60):
        desk.clock.now += 1
        desk.take_in(record(payloads[0], "plant/a"))
    kept = desk.tap.collect("plant/#").messages
    assert 30 < len(kept) < 60
    assert sum(len(one.payload or b"") for _, one in kept) <= tapping.WHOLE_BYTES
    for n in range(300):
        desk.clock.now += 0.1
        desk.take_in(record(str(n), "plant/a"))
    assert len(desk.tap.collect("plant/#").messages) == 200
    for topic in "abcd":  # further looks end the one that was asked the longest ago, and no other kind of look
        desk.clock.now += 1
        desk.tap.collect(topic)
    assert desk.tap.collect("plant/#").messages == []
    desk.tap.ask(Question("plant/#"))
    desk.clock.now += tapping.WHOLE_LINGER_SECONDS + 1
    desk.take_in(record("1", "plant/a"))
    assert not desk.armed
    with pytest.raises(QuestionError):
        desk.tap.collect("plant/#/x")
