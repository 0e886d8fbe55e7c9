"""Whatever happens between the requests: every value is inserted, exactly the bad ones are set aside, and finding those
costs no more requests than is promised."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from random import Random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.clarify import ClarifyError, InvalidParams, NotAllowed, Problem, Refused, Retryable, TooLarge
from connector.delivery.circuit import OPEN_FAILURES, Circuits
from connector.delivery.policy import LAST_DELAY, RETRY_AFTER_BOUND
from tests.delivery_desk import Cells, SenderDesk, all_settled, frame_of
from tests.scripted import ScriptedClarify, Stored

retry_afters = st.none() | st.floats(0, 90) | st.just(1e9)
transient = (
    st.builds(
        Retryable,
        st.just("not now"),
        code=st.sampled_from([None, 200, 408, 429, 500, 503, 504, -32015, -32603, -32000]),
        retry_after=retry_afters,
        outcome_unknown=st.booleans(),
    )
    | st.builds(ClarifyError, st.just("new"), code=st.none() | st.sampled_from([-31999, -1]))
    | st.builds(NotAllowed, st.just("no"), code=st.sampled_from([401, 403, -32003]))
    | st.builds(Refused, st.just("no"), code=st.sampled_from([400, 404, -32600]))
    | st.just(InvalidParams("no such", code=-32602, problems=[Problem("integration", "unknown")]))
)


@dataclass(frozen=True)
class Step:
    """The fate of one request."""

    seconds: float
    error: ClarifyError | None
    is_done: bool
    """Whether the server carries out the request all the same."""


# spells of one trouble, as they are in life, and single ones
spells = st.lists(
    st.builds(Step, st.floats(0, 0.5) | st.floats(0, 25), st.none() | transient, st.booleans()).flatmap(
        lambda step: st.integers(1, 10).map(lambda n: [step] * n)
    ),
    max_size=6,
).map(lambda found: [step for spell in found for step in spell])


@st.composite
def frames(draw: st.DrawFn, most_bad: int) -> tuple[Cells, set[tuple[str, int]]]:
    """Series of different lengths with distinct values, and which values are bad. Some frames are far larger than a
    probe."""
    lengths = draw(st.lists(st.integers(1, 12) | st.integers(1, 150), min_size=1, max_size=5))
    cells: Cells = {
        f"s{i}": [(t * (i % 2 + 1), float(1000 * i + t)) for t in range(length)] for i, length in enumerate(lengths)
    }
    every = [(name, t) for name, samples in cells.items() for t, _ in samples]
    return cells, set(draw(st.lists(st.sampled_from(every), max_size=most_bad)))


@dataclass
class Server:
    """A server that goes through the steps and then works. It names bad values, or does not."""

    desk: SenderDesk
    bad: set[tuple[str, int]]
    names: bool
    most_values: int
    steps: deque[Step]
    answers: int = 0
    failures: int = 0
    spells: int = 0
    """How often failures in a row opened the circuit."""
    probing: bool = False
    not_before: float = 0.0

    def handle(self, frame: Stored) -> None:
        desk, now = self.desk, self.desk.clock.now
        step = self.steps.popleft() if self.steps else Step(0.1, None, False)
        starts = desk.clarify.at
        assert desk.pace.rate <= 1.0
        assert len(starts) < 2 or starts[-1] - starts[-2] >= 1.0 / desk.pace.rate, "never faster than the slots allow"
        assert now >= self.not_before, "the server asked for time"
        if desk.circuit.is_probe:
            assert len(frame) <= 100
            self.spells += not self.probing
            self.probing = True
        desk.clock.now += step.seconds
        if step.error is None:
            self.answer(frame)
            return
        if step.is_done and not frame.keys() & self.bad and len(frame) <= self.most_values:
            desk.clarify.stored |= frame
        self.failures += 1
        asked = getattr(step.error, "retry_after", None) or 0.0
        self.not_before = desk.clock.now + min(asked, RETRY_AFTER_BOUND)
        raise step.error

    def answer(self, frame: Stored) -> None:
        self.answers += 1
        self.probing = False
        if len(frame) > self.most_values:
            raise TooLarge("too large", code=413)
        if guilty := frame.keys() & self.bad:
            rows = sorted({t for _, t in frame})
            problems = [Problem(f"data.series.{name}[{rows.index(t)}]", "bad") for name, t in guilty]
            raise InvalidParams("bad", code=-32602, problems=problems if self.names else [])


def run(
    cells: Cells,
    bad: set[tuple[str, int]],
    steps: list[Step],
    random: Random,
    *,
    names: bool = False,
    most_values: int = 10**6,
) -> Server:
    """Deliver these frames, and check that every value is accounted for."""
    clarify = ScriptedClarify()
    desk = SenderDesk(clarify, chance=random.random)
    server = Server(desk, bad, names, most_values, deque(steps))
    clarify.judge = server.handle
    assert desk.deliver(cells)
    every = {(name, t): value for name, samples in cells.items() for t, value in samples}
    assert clarify.stored == {cell: value for cell, value in every.items() if cell not in bad}
    assert desk.account.lost_cells == bad
    assert desk.account.settled == all_settled(cells), "each of them once"
    fresh = Circuits()
    fresh.of("insert")
    assert desk.circuits.statuses(desk.clock.now) == fresh.statuses(desk.clock.now)
    assert len(clarify.requests) == server.answers + server.failures
    return server


@settings(max_examples=150)
@given(frames(most_bad=3), spells, st.randoms(use_true_random=False))
def test_bad_values_without_a_name_are_found_in_as_few_requests_as_promised(
    made: tuple[Cells, set[tuple[str, int]]], steps: list[Step], random: Random
) -> None:
    cells, bad = made
    server = run(cells, bad, steps, random)
    n = sum(map(len, cells.values()))
    assert server.answers <= 1 + server.spells + len(bad) * 2 * math.log2(max(n, 2))


@settings(max_examples=75)
@given(frames(most_bad=20), spells, st.randoms(use_true_random=False))
def test_named_values_cost_one_request_more_for_each_piece(
    made: tuple[Cells, set[tuple[str, int]]], steps: list[Step], random: Random
) -> None:
    cells, bad = made
    server = run(cells, bad, steps, random, names=True)
    assert server.answers <= 2 * (1 + server.spells)


@settings(max_examples=75)
@given(frames(most_bad=2), spells, st.integers(1, 200), st.booleans(), st.randoms(use_true_random=False))
def test_a_limit_on_the_size_changes_nothing_of_that(
    made: tuple[Cells, set[tuple[str, int]]], steps: list[Step], most_values: int, names: bool, random: Random
) -> None:
    cells, bad = made
    run(cells, bad, steps, random, names=names, most_values=most_values)


@settings(max_examples=75)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=300), spells, st.integers(1, 200))
def test_the_latest_of_several_values_at_one_time_is_what_stays(
    times: list[int], steps: list[Step], most_values: int
) -> None:
    cells: Cells = {"s": [(t, float(n)) for n, t in enumerate(times)]}
    clarify = ScriptedClarify()
    desk = SenderDesk(clarify)
    clarify.judge = Server(desk, set(), False, most_values, deque(steps)).handle
    assert desk.deliver(cells)
    assert clarify.stored == {("s", t): float(n) for n, t in enumerate(times)}
    assert desk.account.settled == Counter(range(len(times)))


@pytest.mark.parametrize("seconds", [2, 5, 10, 20, 60, 600])
def test_after_an_outage_data_goes_on_soon(seconds: int) -> None:
    random = Random(seconds)
    waits = sorted(wait_after(seconds * random.uniform(0.95, 1.05), random) for _ in range(100))
    print(f"\n{seconds} s: mean {mean(waits):.1f}, 95 % {waits[94]:.1f}, longest {waits[-1]:.1f} s")
    assert waits[-1] <= LAST_DELAY + 2.0, "the slow probe, and a slot"
    assert mean(waits) <= LAST_DELAY / 2


def wait_after(seconds: float, random: Random) -> float:
    """The seconds from the end of an outage to the first request."""
    clarify = ScriptedClarify()
    desk = SenderDesk(clarify, chance=random.random)
    until = desk.clock.now + seconds
    answered: list[float] = []

    def away(body: bytes) -> None:
        if desk.clock.now < until:
            clarify.steps.append(away)
            raise Retryable("unavailable", code=503)
        answered.append(desk.clock.now)

    clarify.steps.append(away)
    assert desk.deliver({"a": [(1, 1.0)]})
    return answered[0] - until


def test_a_long_outage_costs_small_requests_only() -> None:
    """Ten hours of 503 for a frame of 3,000 values."""
    cells: Cells = {f"s{i}": [(t * 20 + i, float(t)) for t in range(150)] for i in range(20)}
    clarify = ScriptedClarify()
    desk = SenderDesk(clarify)
    until = desk.clock.now + 36_000
    sizes: list[int] = []

    def away(body: bytes) -> None:
        sizes.append(len(body))
        if desk.clock.now < until:
            clarify.steps.append(away)
            raise Retryable("unavailable", code=503)

    clarify.steps.append(away)
    assert desk.deliver(cells)
    whole = len(frame_of(cells).body)
    assert whole > 300_000
    assert sizes[:OPEN_FAILURES] == [whole] * OPEN_FAILURES
    assert max(sizes[OPEN_FAILURES:]) < 8192
    assert 36_000 / LAST_DELAY < len(sizes) < 36_000 / LAST_DELAY * 4
    assert desk.account.settled == all_settled(cells)
    assert desk.clock.now - until < LAST_DELAY + 2.0, "and it goes on soon"
