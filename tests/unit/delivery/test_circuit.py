"""The circuit breakers of one API: when they open, when they close, and which method may send the probe."""

from __future__ import annotations

import pytest

from connector.clarify import ClarifyError, NotAllowed, Refused, Retryable
from connector.delivery.circuit import ALL, OPEN_FAILURES, Circuit, Circuits, CircuitState
from connector.delivery.policy import FIRST_DELAY, HOLD_DELAY, LAST_DELAY, RETRY_AFTER_BOUND
from tests.delivery_desk import Desk

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
AWAY = Retryable("no connection")
BUSY = Retryable("too many requests", code=429)
EVERYBODYS = [
    AWAY,
    Retryable("time-out", outcome_unknown=True),
    Retryable("unavailable", code=503),
    Retryable("a bug", code=500),
    NotAllowed("token refused", code=401),
    NotAllowed("no token", code=403, method="oauth/token"),
    Retryable("slow down", code=429, method="oauth/token"),
]
ITS_OWN = [
    BUSY,
    Retryable("try again", code=-32015),
    Retryable("internal error", code=-32603),
    Retryable("not even JSON", code=200),
    ClarifyError("something new", code=-31999),
    ClarifyError("something else"),
    NotAllowed("not yours", code=403),
    NotAllowed("not yours", code=-32003),
    Refused("no such method", code=-32601),
    Refused("nothing here", code=404),
]


class CircuitDesk(Desk):
    """The circuits of three methods, and a clock."""

    def __init__(self, chance: float = 0.5) -> None:
        super().__init__(chance=lambda: chance)
        self.insert = self.circuits.of("insert", first=True)
        self.save = self.circuits.of("saveSignals")
        self.select = self.circuits.of("selectItems")

    def wait_for(self, circuit: Circuit) -> float:
        """Move the clock until this method may be called, and begin a request. Returns the seconds that passed."""
        left = circuit.left(self.now)
        self.now += left
        assert circuit.begin(self.now)
        return left

    def fail(self, circuit: Circuit, error: ClarifyError = AWAY, times: int = 1, seconds: float = 0.0) -> None:
        for _ in range(times):
            self.wait_for(circuit)
            self.now += seconds
            circuit.failed(error, self.now)

    def answer(self, circuit: Circuit) -> None:
        self.wait_for(circuit)
        circuit.answered(self.now)

    def states(self) -> tuple[CircuitState, CircuitState]:
        """The status of the circuit of all methods, and of the inserts."""
        statuses = self.circuits.statuses(self.now)
        return statuses[ALL].state, statuses["insert"].state


def is_fresh(circuits: Circuits, now: float) -> bool:
    """Whether the circuits are as if nothing had ever failed."""
    fresh = Circuits()
    statuses = circuits.statuses(now)
    for method in statuses:
        if method != ALL:
            fresh.of(method)
    return statuses == fresh.statuses(now)


def test_what_works_is_never_waited_for() -> None:
    desk = CircuitDesk()
    for _ in range(5):
        assert desk.wait_for(desk.insert) == 0.0
        assert not desk.insert.is_probe
        desk.insert.answered(desk.now)
    assert is_fresh(desk.circuits, desk.now)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_failures_in_a_row_are_backed_off_from_and_then_open_the_circuit(chance: float) -> None:
    desk = CircuitDesk(chance)
    longest = [FIRST_DELAY * 2**n for n in range(OPEN_FAILURES - 1)]
    for failures, most in enumerate(longest, 1):
        desk.fail(desk.insert, BUSY)
        assert (desk.insert.status(desk.now).failures, desk.states()) == (failures, (CLOSED, CLOSED))
        assert desk.insert.left(desk.now) == pytest.approx(most if chance else most / 10)
    for _ in range(10):
        desk.fail(desk.insert, BUSY)
        assert desk.states() == (CLOSED, OPEN)
        assert desk.insert.left(desk.now) == pytest.approx(LAST_DELAY if chance else LAST_DELAY / 4)
    desk.wait_for(desk.insert)
    assert desk.insert.is_probe
    assert desk.states() == (CLOSED, HALF_OPEN)
    desk.insert.answered(desk.now)
    assert is_fresh(desk.circuits, desk.now)


def test_few_failures_of_each_of_several_methods_are_no_long_outage() -> None:
    desk = CircuitDesk(chance=0.0)
    for _ in range(OPEN_FAILURES - 1):
        for circuit in (desk.insert, desk.save, desk.select):
            desk.fail(circuit)
            assert desk.states() == (CLOSED, CLOSED)
    assert desk.circuits.statuses(desk.now)[ALL].failures > OPEN_FAILURES


def test_slow_failures_open_it_sooner() -> None:
    desk = CircuitDesk()
    desk.fail(desk.insert, Retryable("time-out", outcome_unknown=True), times=2, seconds=20.0)
    assert desk.states() == (CLOSED, CLOSED)
    desk.fail(desk.insert, Retryable("time-out", outcome_unknown=True), seconds=20.0)
    assert desk.states() == (OPEN, OPEN)
    assert desk.insert.status(desk.now).failing_seconds >= 30.0


def test_an_answer_in_between_breaks_the_row() -> None:
    desk = CircuitDesk()
    for _ in range(5):
        desk.fail(desk.insert, AWAY, times=OPEN_FAILURES - 1)
        desk.answer(desk.insert)
        assert is_fresh(desk.circuits, desk.now)


@pytest.mark.parametrize("chance", [0.0, 1.0])
@pytest.mark.parametrize("error", [NotAllowed("no", code=-32003), Refused("no", code=404)])
def test_where_a_person_must_act_it_opens_at_once_and_is_tried_slowly(error: ClarifyError, chance: float) -> None:
    desk = CircuitDesk(chance)
    for _ in range(20):
        desk.fail(desk.insert, error)
        assert (desk.insert.held, desk.insert.trouble) == (True, "no")
        assert desk.states() == (CLOSED, OPEN)
        assert desk.insert.left(desk.now) == HOLD_DELAY * (1.0 if chance else 0.5)
    desk.answer(desk.insert)
    assert (desk.insert.held, desk.insert.trouble) == (False, None)


def test_the_caller_may_know_better_that_a_person_must_act() -> None:
    desk = CircuitDesk()
    desk.wait_for(desk.insert)
    desk.insert.failed(ClarifyError("the integration is unknown", code=-32602), desk.now, held=True)
    assert desk.insert.held


@pytest.mark.parametrize("error", EVERYBODYS, ids=str)
def test_what_is_everybodys_trouble_has_one_probe_for_all(error: ClarifyError) -> None:
    desk = CircuitDesk()
    desk.fail(desk.insert, error, times=1 if isinstance(error, NotAllowed) else OPEN_FAILURES)
    assert desk.states() == (OPEN, OPEN)
    desk.fail(desk.save, error)
    assert desk.save.status(desk.now).state is OPEN
    assert desk.save.left(desk.now) >= LAST_DELAY / 4, "it has found out for itself, and waits with the others"
    desk.wait_for(desk.insert)
    assert desk.states() == (HALF_OPEN, HALF_OPEN)
    assert not desk.save.begin(desk.now + 100), "one probe at a time"
    assert desk.save.left(desk.now + 100) > 0
    desk.insert.answered(desk.now)
    assert desk.save.left(desk.now) == 0, "it works again, for all"
    desk.answer(desk.save)
    assert is_fresh(desk.circuits, desk.now)


@pytest.mark.parametrize("error", ITS_OWN, ids=str)
def test_what_is_a_methods_own_trouble_does_not_stop_others(error: ClarifyError) -> None:
    desk = CircuitDesk()
    desk.fail(desk.save, error, times=20)
    assert desk.save.status(desk.now).state is OPEN
    assert desk.states() == (CLOSED, CLOSED)
    desk.answer(desk.insert)
    assert desk.save.status(desk.now).state is OPEN, "and theirs is no answer to it"
    assert desk.save.left(desk.now) > 0


def test_a_method_that_has_not_failed_is_not_stopped_by_one_that_has() -> None:
    """Only publishing is broken on the server: inserts go on, and their answers close the circuit of all methods at
    once."""
    desk = CircuitDesk()
    desk.fail(desk.select, Retryable("a bug", code=500), times=20)
    assert desk.states()[0] is OPEN
    assert desk.wait_for(desk.insert) == 0.0
    assert desk.insert.is_probe, "a small one will do"
    desk.insert.answered(desk.now)
    assert desk.states() == (CLOSED, CLOSED)
    desk.fail(desk.select, Retryable("a bug", code=500))
    assert desk.select.left(desk.now) >= LAST_DELAY / 4, "its own row was not broken"
    assert desk.states() == (CLOSED, CLOSED)


def test_inserts_are_first_in_the_queue_for_the_probe() -> None:
    desk = CircuitDesk()
    desk.fail(desk.save, times=OPEN_FAILURES)
    desk.fail(desk.select)
    desk.fail(desk.insert)
    for _ in range(20):
        assert desk.insert.left(desk.now) < min(desk.save.left(desk.now), desk.select.left(desk.now))
        desk.fail(desk.insert)
    desk.now += desk.save.left(desk.now)
    assert desk.save.begin(desk.now), "but where there is nothing to insert the others find out"


def test_an_answer_of_any_kind_shows_that_the_api_is_there() -> None:
    desk = CircuitDesk()
    desk.fail(desk.insert, AWAY, times=OPEN_FAILURES)
    desk.fail(desk.save, NotAllowed("not yours", code=-32003))
    assert desk.states()[0] is CLOSED
    assert desk.insert.left(desk.now) == 0.0
    assert desk.save.left(desk.now) >= HOLD_DELAY / 2


def test_the_server_gets_the_time_that_it_asks_for_within_reason() -> None:
    desk = CircuitDesk()
    desk.fail(desk.save, AWAY, times=OPEN_FAILURES)
    desk.fail(desk.insert, Retryable("later", code=503, retry_after=90.0))
    assert desk.insert.left(desk.now) == 90.0
    assert desk.save.left(desk.now) >= 90.0
    desk.answer(desk.select)
    assert desk.insert.left(desk.now) == 90.0, "though others were answered"
    assert desk.save.left(desk.now) == 0.0
    desk.fail(desk.insert, Retryable("later", code=503, retry_after=1e9))
    assert desk.insert.left(desk.now) == RETRY_AFTER_BOUND


def test_a_probe_that_is_not_sent_after_all_is_free_again() -> None:
    desk = CircuitDesk()
    desk.fail(desk.insert, times=OPEN_FAILURES)
    desk.fail(desk.save)
    desk.wait_for(desk.insert)
    desk.insert.not_sent()
    assert desk.states() == (OPEN, OPEN)
    desk.now += 2.0
    assert desk.save.begin(desk.now)


def test_an_answer_to_a_request_from_before_counts(capsys: pytest.CaptureFixture[str]) -> None:
    desk = CircuitDesk()
    assert desk.save.begin(desk.now)
    desk.fail(desk.insert, times=OPEN_FAILURES)
    desk.save.answered(desk.now)
    assert desk.states() == (CLOSED, OPEN)
    desk.answer(desk.insert)
    assert is_fresh(desk.circuits, desk.now)


def test_opening_and_closing_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    desk = CircuitDesk()
    desk.fail(desk.insert, Retryable("HTTP 503. Try again later.", code=503), times=30)
    desk.fail(desk.save, Retryable("HTTP 503. Try again later.", code=503), times=30)
    since = desk.now - desk.circuits.statuses(desk.now)[ALL].failing_seconds
    desk.answer(desk.insert)
    opened, closed = capsys.readouterr().out.splitlines()
    assert "circuit_open" in opened
    assert "method=all" in opened
    assert "HTTP 503. Try again later." in opened
    assert "the data is kept" in opened
    assert "circuit_closed" in closed
    assert f"after_seconds={round(desk.now - since, 1)}" in closed
    assert "failures=60" in closed


def test_that_a_person_must_act_is_said_even_if_it_was_open_already(capsys: pytest.CaptureFixture[str]) -> None:
    desk = CircuitDesk()
    desk.fail(desk.insert, AWAY, times=10)
    desk.fail(desk.insert, NotAllowed("create new credentials", code=401), times=10)
    desk.answer(desk.insert)
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("circuit_open") for line in lines] == [1, 1, 0]
    assert "create new credentials" in lines[1]
    assert "a person must act" in lines[1]
    assert "error" in lines[1]


def test_a_methods_own_circuit_is_said_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    desk = CircuitDesk()
    desk.fail(desk.save, BUSY, times=10)
    desk.answer(desk.save)
    opened, closed = capsys.readouterr().out.splitlines()
    assert "method=saveSignals" in opened
    assert "method=saveSignals" in closed
