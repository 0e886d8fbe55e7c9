"""Several integrations in one pipeline: each has its own samples, rate and bound, and a position waits for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from connector.clarify import InvalidParams, NotAllowed
from connector.ledger.account import Counts
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.packing.planner import plan_frame
from connector.pipeline.destination import Integration
from connector.pipeline.pipeline import Pipeline
from connector.pipeline.under_way import Limits
from connector.records import Record
from tests.listeners import Letters, Notes
from tests.scripted import ListSource, ScriptedClarify
from tests.waiting import wait_until

TIME = 1_790_000_000_000_000
SECONDS = 60.0


def rule(topic: str, **more: object) -> RuleSection:
    return RuleSection.model_validate({"topic": topic, "input": "{field}", **more})


SITES = (rule("{site}/m", to="{site}"),)


class Plants:
    """A pipeline with the integrations `a` (the default one) and `b`."""

    def __init__(self, *rules: RuleSection, sources: int = 1, most: int = 1000, match_all: bool = False) -> None:
        self.sources = [ListSource(f"s{i}") for i in range(sources)]
        self.a, self.b = ScriptedClarify(), ScriptedClarify()
        self.letters = Letters()
        self.notes = Notes()
        self.mapper = Mapper(
            [compile_rule(found, number=i) for i, found in enumerate(rules or SITES)],
            integrations={"a": "", "b": "b"},
            match_all=match_all,
        )
        limits = Limits(0.01, 1_000_000, most)
        self.pipeline = Pipeline(
            self.sources,  # type: ignore[arg-type]
            self.mapper,
            [Integration(self.a, limits, 1000.0), Integration(self.b, limits, 1000.0, "b")],
            plan_frame,
            self.letters,
            self.notes,
            default="a",
        )
        self.pipeline.start()

    def put(self, topic: str, first: int, n: int = 1, source: int = 0) -> None:
        """n messages, a second apart, as one chunk."""
        self.sources[source].put(*(Record(topic, b'{"v": %d}' % i, TIME + i * 10**6) for i in range(first, first + n)))

    def wait(self, what: Callable[[], object], text: str) -> None:
        wait_until(lambda: bool(what()), SECONDS, text, every=0.002)


@pytest.fixture
def plants() -> Iterator[Callable[..., Plants]]:
    made: list[Plants] = []

    def make(*rules: RuleSection, **more: int) -> Plants:
        made.append(Plants(*rules, **more))
        return made[-1]

    yield make
    for found in made:
        found.a.gate.set()
        found.b.gate.set()
        found.pipeline.abort()
        found.pipeline.close(SECONDS)


def test_the_same_input_id_is_one_signal_in_each_integration(plants: Callable[..., Plants]) -> None:
    p = plants()
    p.put("a/m", 0, 10)
    p.put("b/m", 0, 10)
    p.wait(lambda: p.sources[0].position == 20, "all committed")
    assert p.a.stored == p.b.stored == {("v", TIME + i * 10**6): float(i) for i in range(10)}
    assert set(p.mapper.ids._claims) == {"v", "b|v"}
    assert p.sources[0].tallies()["a/m"].samples == Counts(received=10, inserted=10)
    assert p.sources[0].tallies()["b/m → b"].samples == Counts(received=10, inserted=10)


def test_a_position_waits_for_every_integration_that_it_concerns(plants: Callable[..., Plants]) -> None:
    p = plants()
    p.b.gate.clear()
    p.put("a/m", 0)
    p.put("b/m", 1)
    p.put("a/m", 2)
    p.wait(lambda: len(p.a.stored) == 2, "the other integration goes on")
    assert p.sources[0].position == 1, "what is before the waiting record, and no more"
    p.b.gate.set()
    p.wait(lambda: p.sources[0].position == 3, "all committed")


def test_a_record_may_go_to_two_integrations(plants: Callable[..., Plants]) -> None:
    p = plants(rule("+/m"), rule("+/m", to="b"), match_all=True)
    p.b.gate.clear()
    p.put("x/m", 0)
    p.wait(lambda: p.a.stored, "one of them has it")
    assert p.sources[0].position == 0
    p.b.gate.set()
    p.wait(lambda: p.sources[0].position == 1, "both have it")
    tally = p.sources[0].tallies()["x/m → a, b"]
    assert (tally.messages, tally.samples) == (Counts(received=1, inserted=1), Counts(received=2, inserted=2))


def test_a_full_integration_holds_only_the_sources_that_feed_it(plants: Callable[..., Plants]) -> None:
    p = plants(sources=2, most=100)
    p.b.steps.extend([NotAllowed("no")] * 1000)
    p.put("b/m", 0)
    p.wait(lambda: p.b.requests, "a frame is under way, which does not count as waiting")
    p.put("b/m", 1, 150)
    p.wait(lambda: p.sources[0].holds > 2, "the source that feeds it is held")
    for i in range(0, 300, 50):
        p.put("a/m", i, 50, source=1)
        p.wait(lambda last=i + 50: p.sources[1].position == last, "the other source is read on")
    assert p.sources[1].holds == 0
    p.put("a/m", 1000)
    polls = p.sources[0].polls
    p.put("a/m", 300, source=1)
    p.wait(lambda: p.sources[1].position == 301, "the other source is read on")
    assert p.sources[0].polls == polls, "a record of the full integration cannot be left out"
    assert p.pipeline.status.problems() == ["Clarify (integration b): no"]


def test_an_unknown_name_from_a_template_is_a_dead_letter(plants: Callable[..., Plants]) -> None:
    p = plants()
    p.put("c/m", 0)
    p.put("b/m", 1)
    p.wait(lambda: p.sources[0].position == 2, "it does not block what is behind it")
    (letter,) = p.letters.letters
    (reject,) = letter.rejects
    assert reject.reason == "unknown_integration"
    assert "'c'" in reject.message
    assert "a, b" in reject.message


def test_a_refused_value_names_its_integration(plants: Callable[..., Plants]) -> None:
    def judge(frame: object) -> None:
        raise InvalidParams("not good")

    p = plants()
    p.b.judge = judge
    p.put("a/m", 0)
    p.put("b/m", 1)
    p.wait(lambda: p.sources[0].position == 2, "all settled")
    ((letter,),) = [p.letters.letters]
    assert [reject.input_id for reject in letter.rejects] == ["b|v"]


def test_an_integration_has_windows_of_its_own(plants: Callable[..., Plants]) -> None:
    p = plants(rule("{site}/m", to="{site}", thin={"window": "10s", "by": "mean"}))
    p.put("a/m", 0, 10)
    p.put("b/m", 0, 10)
    p.sources[0].finish()
    p.pipeline.drain()
    assert p.pipeline.stopped.wait(SECONDS)
    assert p.a.stored == p.b.stored == {("v", TIME): 4.5}
    assert p.pipeline.status.waiting() == (0, 0)
