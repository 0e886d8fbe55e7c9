"""The guarded client: it asks the circuit before a call, and reports the result of the call to it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from connector.clarify import (
    ClarifyError,
    InvalidParams,
    NotAllowed,
    Retryable,
    SaveSignalsResult,
    SignalInfo,
    TooLarge,
)
from connector.delivery.circuit import ALL, OPEN_FAILURES, CircuitState
from connector.delivery.guarded import GuardedClient
from tests.delivery_desk import Desk

SAVE, SELECT = "integration.saveSignals", "admin.selectSignals"


class Metadata:
    """A Clarify that answers according to a script."""

    integration = "integration"

    def __init__(self, *steps: Exception | None) -> None:
        self.steps = list(steps)
        self.calls: list[str] = []

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        self.call(SAVE, {})
        return SaveSignalsResult({})

    def call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        self.calls.append(method)
        step = self.steps.pop(0) if self.steps else None
        if step is not None:
            raise step
        return {"data": [], **params}


class GuardedDesk(Desk):
    def __init__(self, *steps: Exception | None, abort_in_wait: int | None = None) -> None:
        super().__init__(abort_in_wait)
        self.clarify = Metadata(*steps)
        self.client = GuardedClient(self.clarify, self.circuits, self.abort, self.clock)

    def state(self, method: str) -> CircuitState:
        return self.circuits.statuses(self.now)[method].state


def test_what_works_goes_through_without_a_wait() -> None:
    desk = GuardedDesk()
    assert desk.client.integration == "integration"
    assert desk.client.save_signals({}) == SaveSignalsResult({})
    assert desk.client.call(SELECT, {"limit": 1}) == {"data": [], "limit": 1}
    assert desk.clarify.calls == [SAVE, SELECT]
    assert desk.abort.waits == []


def test_what_fails_is_raised_and_counts_for_its_method() -> None:
    error = NotAllowed("not yours", code=-32003)
    desk = GuardedDesk(error)
    with pytest.raises(NotAllowed) as caught:
        desk.client.call(SELECT, {})
    assert caught.value is error
    assert desk.circuits.of(SELECT).held
    desk.client.save_signals({})
    assert desk.abort.waits == [], "another method is not stopped by that"


@pytest.mark.parametrize("error", [InvalidParams("bad", code=-32602), TooLarge("too large", code=413)])
def test_a_complaint_about_the_data_is_an_answer(error: ClarifyError) -> None:
    desk = GuardedDesk(*[Retryable("away")] * OPEN_FAILURES, error)
    for _ in range(OPEN_FAILURES):
        with pytest.raises(Retryable):
            desk.client.save_signals({})
    assert desk.state(ALL) is CircuitState.OPEN
    with pytest.raises(type(error)):
        desk.client.save_signals({})
    assert desk.state(ALL) is desk.state(SAVE) is CircuitState.CLOSED


def test_a_call_waits_until_its_circuit_lets_it_through() -> None:
    desk = GuardedDesk(Retryable("busy", code=429, retry_after=30.0))
    with pytest.raises(Retryable):
        desk.client.save_signals({})
    began = desk.clock.now
    desk.client.save_signals({})
    assert desk.clock.now - began == pytest.approx(30.0)
    assert max(desk.abort.waits) <= 1.0, "an answer to another method may come sooner"


def test_a_wait_ends_when_the_connector_stops() -> None:
    desk = GuardedDesk(Retryable("away"), abort_in_wait=1)
    with pytest.raises(Retryable, match="away"):
        desk.client.save_signals({})
    with pytest.raises(Retryable, match="stops"):
        desk.client.save_signals({})
    assert desk.clarify.calls == [SAVE]


def test_what_breaks_a_rule_is_no_failure_of_the_api() -> None:
    desk = GuardedDesk()
    with pytest.raises(ValueError, match="cannot be an input ID"):
        desk.client.save_signals({"no ID": SignalInfo(name="x")})
    assert desk.clarify.calls == []
    assert desk.circuits.of(SAVE).trouble is None
    desk.client.save_signals({})
    assert desk.abort.waits == []


@pytest.mark.parametrize("bug", [OverflowError("int too large"), ValueError("bad header"), KeyError("x")], ids=repr)
@pytest.mark.parametrize("method", [SAVE, SELECT])
def test_what_nobody_foresaw_is_tried_again_after_a_back_off_with_its_traceback_in_the_log(
    method: str, bug: Exception
) -> None:
    desk = GuardedDesk(bug, bug)

    def ask() -> object:
        return desk.client.save_signals({}) if method == SAVE else desk.client.call(method, {})

    for _ in range(2):
        with capture_logs() as logs, pytest.raises(Retryable, match=rf"A bug \({type(bug).__name__}\)"):
            ask()
        assert [line["exc_info"] for line in logs if line["event"] == "exchange_bug"] == [bug]
    assert desk.circuits.of(method).status(desk.clock.now).failures == 2
    began = desk.clock.now
    ask()
    assert desk.clock.now > began, "never at once"
    assert desk.state(method) is CircuitState.CLOSED
