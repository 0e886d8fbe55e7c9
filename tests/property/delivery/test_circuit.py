"""Circuits with failures, answers and time in any order, against a model that keeps only lists of failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.clarify import ClarifyError, NotAllowed, Refused, Retryable
from connector.delivery.circuit import ALL, OPEN_FAILURES, OPEN_SECONDS, Circuits, CircuitState
from connector.delivery.policy import FIRST_DELAY, HOLD_DELAY, LAST_DELAY, RETRY_AFTER_BOUND

METHODS = ["insert", "saveSignals", "selectItems"]
LEAST = FIRST_DELAY / 10
TURN = 1.0
"""How much later than inserts other methods send the probe, and how often they ask again."""

retry_afters = st.none() | st.floats(0, 120) | st.just(1e6)
everybodys = st.builds(
    Retryable, st.just("away"), code=st.sampled_from([None, 500, 502, 503, 504, 599]), retry_after=retry_afters
) | st.builds(NotAllowed, st.just("no token"), code=st.just(401))
its_own = (
    st.builds(Retryable, st.just("busy"), code=st.sampled_from([408, 429, -32015, -32603]), retry_after=retry_afters)
    | st.builds(ClarifyError, st.just("new"), code=st.none() | st.sampled_from([-31999, 200, 600]))
    | st.builds(NotAllowed, st.just("no"), code=st.sampled_from([403, -32003]))
    | st.builds(Refused, st.just("no"), code=st.sampled_from([404, -32601]))
)


def asked_by(error: ClarifyError) -> float:
    return min(getattr(error, "retry_after", None) or 0.0, RETRY_AFTER_BOUND)


def needs_a_person(error: ClarifyError) -> bool:
    return isinstance(error, NotAllowed | Refused)


@dataclass
class Row:
    """Failures in a row, without an answer between them: (time, error)."""

    failures: list[tuple[float, ClarifyError]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    """The methods of these failures."""

    @property
    def is_open(self) -> bool:
        if not self.failures:
            return False
        spread = self.failures[-1][0] - self.failures[0][0]
        return (
            max(Counter(self.methods).values()) >= OPEN_FAILURES
            or spread >= OPEN_SECONDS
            or any(needs_a_person(error) for _, error in self.failures)
        )

    @property
    def asked_until(self) -> float:
        return max((at + asked_by(error) for at, error in self.failures), default=0.0)

    @property
    def latest(self) -> float:
        """The latest time of the next try."""
        if not self.failures:
            return 0.0
        at, error = self.failures[-1]
        return max(self.asked_until, at + (HOLD_DELAY if needs_a_person(error) else LAST_DELAY))


class CircuitMachine(RuleBasedStateMachine):
    """Three methods of one API, and the model."""

    @initialize(chances=st.lists(st.floats(0, 1), min_size=1, max_size=7))
    def begin_with(self, chances: list[float]) -> None:
        self.now = 1000.0
        self.draws = 0
        self.chances = chances
        self.circuits = Circuits(self.chance)
        self.circuit = {method: self.circuits.of(method, first=method == "insert") for method in METHODS}
        self.rows = {method: Row() for method in METHODS}
        self.everybody = Row()
        self.under_way: dict[str, bool] = {}
        """Method → whether its request was sent while the circuit of all methods was open."""
        self.freed: set[str] = set()
        """Methods that failed before an answer to another method closed the circuit of all methods."""

    def chance(self) -> float:
        self.draws += 1
        return self.chances[self.draws % len(self.chances)]

    @rule(seconds=st.floats(0, 3) | st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(method=st.sampled_from(METHODS))
    def time_comes(self, method: str) -> None:
        self.now += self.circuit[method].left(self.now)

    @precondition(lambda self: len(self.under_way) < len(METHODS))
    @rule(method=st.sampled_from(METHODS))
    def ask(self, method: str) -> None:
        if method in self.under_way:
            return
        circuit, row = self.circuit[method], self.rows[method]
        left = circuit.left(self.now)
        assert circuit.begin(self.now) == (left == 0)
        if left > 0:
            return
        if row.failures:
            at = row.failures[-1][0]
            assert self.now >= row.asked_until
            assert method in self.freed or self.now >= at + (0.0 if self.everybody.is_open else LEAST)
        assert not (self.everybody.is_open and any(self.under_way.values())), "one probe at a time"
        assert circuit.is_probe == (row.is_open or self.everybody.is_open)
        self.under_way[method] = self.everybody.is_open

    def answered_to_all(self) -> None:
        if self.everybody.is_open:
            last = {method: row.failures[-1][1] for method, row in self.rows.items() if row.failures}
            self.freed |= {method for method, error in last.items() if self.is_everybodys(error)}
            self.under_way = dict.fromkeys(self.under_way, False)
        self.everybody = Row()

    @staticmethod
    def is_everybodys(error: ClarifyError) -> bool:
        return isinstance(error, Retryable | NotAllowed) and error.code in (None, 401, *range(500, 600))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        method = data.draw(st.sampled_from(sorted(self.under_way)))
        del self.under_way[method]
        self.circuit[method].answered(self.now)
        self.rows[method] = Row()
        self.freed.discard(method)
        self.answered_to_all()
        assert self.circuit[method].left(self.now) == 0
        self.is_fresh([method])

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), error=everybodys | its_own)
    def fail(self, data: st.DataObject, error: ClarifyError) -> None:
        method = data.draw(st.sampled_from(sorted(self.under_way)))
        del self.under_way[method]
        self.circuit[method].failed(error, self.now)
        self.freed.discard(method)
        self.rows[method].failures.append((self.now, error))
        self.rows[method].methods.append(method)
        if self.is_everybodys(error):
            self.everybody.failures.append((self.now, error))
            self.everybody.methods.append(method)
        else:
            self.answered_to_all()
        left = self.circuit[method].left(self.now)
        assert left >= max(LEAST, asked_by(error)) * 0.999999
        assert self.circuit[method].held == needs_a_person(error)
        assert self.circuit[method].trouble == str(error)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        method = data.draw(st.sampled_from(sorted(self.under_way)))
        del self.under_way[method]
        self.circuit[method].not_sent()

    def is_fresh(self, methods: list[str]) -> None:
        fresh = Circuits()
        for method in methods:
            assert self.circuit[method].status(self.now) == fresh.of(method).status(self.now)
        assert self.circuits.statuses(self.now)[ALL] == fresh.statuses(self.now)[ALL]

    @invariant()
    def states_are_what_the_rows_say(self) -> None:
        statuses = self.circuits.statuses(self.now)
        assert (statuses[ALL].state is not CircuitState.CLOSED) == self.everybody.is_open
        assert (statuses[ALL].state is CircuitState.HALF_OPEN) == any(self.under_way.values())
        assert statuses[ALL].failures == len(self.everybody.failures)
        for method, row in self.rows.items():
            status = statuses[method]
            assert status.failures == len(row.failures)
            last_is_everybodys = bool(row.failures) and self.is_everybodys(row.failures[-1][1])
            assert (status.state is not CircuitState.CLOSED) == (
                row.is_open or (last_is_everybodys and self.everybody.is_open)
            )

    @invariant()
    def nobody_waits_without_a_cause_or_for_ever(self) -> None:
        probing = any(self.under_way.values())
        for method, row in self.rows.items():
            left = self.circuit[method].left(self.now)
            asked = max(0.0, row.asked_until - self.now)
            assert left >= asked - 1e-6
            if not probing and (not row.failures or (method in self.freed and not self.everybody.is_open)):
                assert left <= asked + 1e-6
            bound = max(row.latest, self.everybody.latest) - self.now
            assert left <= max(bound + TURN, TURN) + 1e-6

    def teardown(self) -> None:
        """However long the failures went on: after an answer to each method, nothing of them is left."""
        if not hasattr(self, "circuits"):
            return
        for method in METHODS:
            if method not in self.under_way:
                while not self.circuit[method].begin(self.now):
                    self.now += self.circuit[method].left(self.now)
                    for other in list(self.under_way):
                        del self.under_way[other]
                        self.circuit[other].answered(self.now)
            self.under_way.pop(method, None)
            self.circuit[method].answered(self.now)
        self.is_fresh(METHODS)


TestCircuits = CircuitMachine.TestCase
TestCircuits.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
