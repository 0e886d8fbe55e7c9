"""Signals that have stopped: each is seen in time, for little work, and none while the source itself is away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import pytest

from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.mapping.signals.input_ids import Origin
from connector.pipeline.notices import Notices
from connector.records import Mapped, Part, Record
from connector.runtime.silence import Silence
from tests.scripted import Clock

NOW = 1_790_000_000.0


class Plant:
    """Signals of one source, and the look at them; the clock is ours."""

    def __init__(
        self, *rules: dict[str, object], note: str = "", claims: dict[str, Origin] | None = None, at: float = 1_000.0
    ) -> None:
        self.clock = Clock()
        self.clock.now = at
        self.notices = Notices()
        self.kept: list[str] = []
        self.silence = Silence(self.notices, self.kept.append, self.clock, lambda: NOW + self.clock.now)
        compiled = [compile_rule(RuleSection.model_validate(rule), number=n) for n, rule in enumerate(rules)]
        self.mapper = Mapper(compiled, claims=claims or {})
        self.silence.begin(self.mapper.rules, note)
        for found in self.mapper.expected(claims or {}):
            self.silence.recall(*found)
        self.mapper.watch_signals(self.silence.expect, self.silence.left_out)
        self.read_since: float | None = 0.0
        self.whole = {"s"}

    def receive(self, *topics: str, payload: bytes = b"1") -> None:
        us = round((NOW + self.clock.now) * 1e6)
        self.silence.saw([(n, self.mapper.map("s", Record(topic, payload, us))) for n, topic in enumerate(topics)])

    def after(self, seconds: float) -> list[str]:
        """The silent signals, when the thread has looked at each of its times until then."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(until, self.clock.now + self.silence.tick)
            self.silence.look({"s": self.read_since}, self.whole)
        return [one.input for one in self.silence.signals("", 1_000, None)]

    def said(self) -> list[str]:
        return [str(notice) for notice in self.notices.shown()]


FIVE_MINUTES = {"topic": "p/#", "expect_every": "5m"}
LEARNED = {"topic": "p/#", "expect_every": "learned"}


def test_a_signal_that_stops_is_silent_within_a_tenth_more_than_its_period_and_comes_back() -> None:
    plant = Plant(FIVE_MINUTES, {"topic": "q"})
    plant.receive("p/a", "p/b", "q")
    assert plant.after(299) == []
    plant.receive("p/b")
    assert plant.after(31) == ["p/a"]
    (said,) = plant.said()
    assert "1 of 2 signals of rule 1 (p/#) are silent for longer than 5 min: p/a" in said
    (one,) = plant.silence.signals("", 10, None)
    assert (one.source, one.rule, one.since, one.expect_every) == ("s", 1, NOW + 1_000, 300.0)
    assert json.loads(plant.kept[-1])["signals"] == [["p/a", "s", 1, NOW + 1_000, 300.0]]
    plant.receive("p/a")
    assert plant.after(10) == []
    assert plant.said() == []


def test_one_silent_signal_among_a_hundred_thousand_is_seen_in_time_for_less_than_two_percent_of_a_core() -> None:
    plant = Plant({"topic": "p/#", "expect_every": "1m"})
    rule = plant.mapper.rules[0]
    names = [f"p/{n}" for n in range(100_000)]
    for name in names:
        plant.silence.expect(name, "s", rule)
    chunks: list[list[Part]] = [
        [(n, Mapped([(name, 0, 1.0)])) for n, name in enumerate(names[start : start + 1_000])]
        for start in range(0, len(names), 1_000)
    ]
    began, simulated, silent = time.process_time(), 0.0, []
    while not silent:
        for chunk in chunks:
            plant.silence.saw(chunk if simulated < 30 else chunk[1:] if chunk is chunks[7] else chunk)
        silent = plant.after(10)
        simulated += 10
    cpu = time.process_time() - began
    assert silent == ["p/7000"]
    (one,) = plant.silence.signals("", 10, None)
    assert plant.clock.now + NOW - one.since <= 1.2 * 60
    assert cpu < 0.02 * simulated, f"{cpu:.2f} s of the processor in {simulated:.0f} s"


def test_many_silent_signals_are_one_notice_and_bounded_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.runtime.silence._MOST_KEPT", 1_000)
    plant = Plant(FIVE_MINUTES, {"topic": "q/#", "expect_every": "1h"})
    plant.receive(*(f"p/{n:05}" for n in range(1_200)), "q/1")
    assert len(plant.after(331)) == 1_000
    (said,) = plant.said()
    assert "1200 of 1200 signals" in said
    assert "and 1197 more" in said
    (first, *_, last) = plant.silence.signals("p/00099", 50, 1)
    assert (first.input, last.input) == ("p/00100", "p/00149")
    assert plant.silence.signals("", 50, 2) == []
    kept = json.loads(plant.kept[-1])
    assert (len(kept["signals"]), kept["more"]) == (1_000, 200)
    assert [(rule.number, watched, silent) for rule, watched, silent in plant.silence.counts()] == [
        (1, 1_200, 1_200),
        (2, 1, 0),
    ]


def test_no_signal_is_silent_while_its_source_is_not_read_nor_before_its_period_is_over_again() -> None:
    plant = Plant(FIVE_MINUTES)
    plant.receive("p/a")
    plant.read_since = None
    assert plant.after(3_600) == []
    plant.read_since = plant.clock.now
    assert plant.after(299) == []
    assert plant.after(31) == ["p/a"]
    (one,) = plant.silence.signals("", 10, None)
    assert one.since == NOW + 1_000


def test_where_partitions_have_moved_a_signal_is_judged_when_it_comes_again_or_this_process_has_all() -> None:
    plant = Plant(FIVE_MINUTES)
    plant.receive("p/a", "p/b", "p/c")
    plant.after(200)
    plant.receive("p/a", "p/b")
    assert plant.after(131) == ["p/c"]
    plant.silence.forget("s")
    plant.whole = set()
    assert plant.after(1_000) == []
    plant.receive("p/a")
    assert plant.after(331) == ["p/a"]
    plant.whole = {"s"}
    assert plant.after(331) == ["p/a", "p/b", "p/c"]


def test_a_value_that_is_thinned_out_is_no_silence() -> None:
    plant = Plant({**FIVE_MINUTES, "thin": {"change_only": True}})
    for _ in range(10):
        plant.receive("p/a")
        assert plant.after(200) == []
    assert plant.after(200) == ["p/a"]


def receive_every(plant: Plant, seconds: Iterable[float]) -> list[str]:
    found: list[str] = []
    for pause in seconds:
        plant.receive("p/a")
        found += plant.after(pause)
    plant.receive("p/a")
    return found


def test_a_period_is_learned_from_the_pauses_and_a_false_alarm_doubles_it() -> None:
    plant = Plant(LEARNED)
    assert receive_every(plant, [20, 40] * 10) == []
    assert plant.after(119) == []
    assert plant.after(15) == ["p/a"]
    (one,) = plant.silence.signals("", 10, None)
    assert one.expect_every == pytest.approx(120, abs=5)
    plant.receive("p/a")
    assert plant.after(200) == []
    assert plant.after(60) == ["p/a"]
    fast = Plant(LEARNED)
    receive_every(fast, [0.5] * 140)
    assert fast.after(29) == []
    assert fast.after(6) == ["p/a"]


def test_before_a_period_is_learned_no_signal_is_silent() -> None:
    plant = Plant(LEARNED)
    assert receive_every(plant, [30] * 5) == []
    assert plant.after(86_400) == []


def test_what_is_silent_survives_a_restart_and_other_periods_begin_anew() -> None:
    claims = {f"p/{name}": Origin("s", f"p/{name}", "") for name in "abc"} | {"q": Origin("s", "q", "")}
    before = Plant(FIVE_MINUTES, {"topic": "q"})
    before.receive("p/a", "p/b", "p/c")
    before.after(200)
    before.receive("p/b", "p/c")
    assert before.after(131) == ["p/a"]
    after = Plant(FIVE_MINUTES, {"topic": "q"}, note=before.kept[-1], claims=claims, at=50.0)
    assert after.after(200) == ["p/a"]
    (one,) = after.silence.signals("", 10, None)
    assert one.since == NOW + 1_000
    after.receive("p/b")
    assert after.after(131) == ["p/a", "p/c"]
    assert [watched for _, watched, _ in after.silence.counts()] == [3]
    without = Plant({"topic": "p/#"}, note=before.kept[-1], claims=claims)
    assert without.after(1_000) == []


def test_other_rules_take_over_what_is_known_of_their_signals() -> None:
    claims = {name: Origin("s", name, "") for name in ("p/a", "p/b", "p/c", "q")}
    plant = Plant(FIVE_MINUTES, {"topic": "q", "expect_every": "1h"})
    plant.receive("p/a", "p/b", "q")
    plant.after(200)
    plant.receive("p/b")
    assert plant.after(131) == ["p/a"]
    rules = [{"topic": "p/#", "expect_every": "10m"}, {"topic": "q"}]
    compiled = [compile_rule(RuleSection.model_validate(rule), number=n) for n, rule in enumerate(rules)]
    plant.mapper = Mapper(compiled, claims=claims)
    plant.silence.renew(compiled, plant.mapper.expected(claims))
    plant.mapper.watch_signals(plant.silence.expect, plant.silence.left_out)
    assert [(rule.every, n, silent) for rule, n, silent in plant.silence.counts()] == [(600.0, 3, 1)]
    assert plant.after(460) == ["p/a"]
    assert plant.after(60) == ["p/a", "p/b"]
    plant.receive("p/a", "p/b")
    assert plant.after(120) == ["p/c"]


def test_after_thirty_days_a_signal_is_gone_also_after_a_restart_until_it_comes_again() -> None:
    plant = Plant({"topic": "p/#", "expect_every": "1d"})
    plant.receive("p/a")
    assert plant.after(29 * 86_400) == ["p/a"]
    assert plant.after(1.1 * 86_400) == []
    again = Plant({"topic": "p/#", "expect_every": "1d"}, note=plant.kept[-1], claims={"p/a": Origin("s", "p/a", "")})
    assert again.after(2 * 86_400) == []
    again.receive("p/a")
    assert again.after(1.1 * 86_400) == ["p/a"]


def test_more_signals_than_can_be_watched_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.runtime.silence._MOST", 2)
    plant = Plant(FIVE_MINUTES)
    plant.receive("p/a", "p/b", "p/c")
    assert plant.after(331) == ["p/a", "p/b"]
    assert any("only the first 2 signals with expect_every are watched" in said for said in plant.said())


@pytest.mark.parametrize(
    ("text", "said"), [("10", "a duration needs"), ("500ms", "the least time is 1s"), ("usual", "'usual' is no")]
)
def test_a_period_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RuleSection.model_validate({"topic": "p/#", "expect_every": 10 if text == "10" else text})


def test_zero_and_null_expect_nothing() -> None:
    for nothing in ("0s", None):
        section = RuleSection.model_validate({"topic": "p/#", "expect_every": nothing})
        assert compile_rule(section).expect_every is None
