"""Signal metadata: saved when new or changed, remembered, and never in anybody's way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.clarify import ClarifyError, InvalidParams, NotAllowed, Problem, Retryable, TooLarge
from connector.delivery.signals import SignalSaver
from connector.delivery.slots import Slots
from connector.records import SignalMetadata
from connector.state import State
from tests.unit.scripted import Abort, Clock, ScriptedSignals
from tests.waiting import wait_until

SECONDS = 20.0
TEMP = SignalMetadata("Temperature", "of the boiler", "°C", labels=(("line", ("7",)),))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    found = State(tmp_path / "state.sqlite")
    yield found
    found.close()


Run = Callable[..., SignalSaver]


@pytest.fixture
def run(state: State) -> Iterator[Run]:
    """Starts a saver, as a start of the connector does; the one before it is closed."""
    savers: list[SignalSaver] = []

    def start(clarify: ScriptedSignals, memory: State = state) -> SignalSaver:
        for earlier in savers:
            earlier.close(SECONDS)
        clock = Clock()
        saver = SignalSaver(clarify, memory, Slots(1.0, Abort(clock), clock), chance=lambda: 0.5)
        savers.append(saver)
        saver.start()
        return saver

    yield start
    for saver in savers:
        saver.close(SECONDS)


def settled(saver: SignalSaver) -> None:
    wait_until(lambda: saver.waiting() == 0, SECONDS, "nothing waits", every=0.002)


def test_metadata_is_saved_complete(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify)
    saver.want([("boiler/temp", TEMP)])
    settled(saver)
    info = clarify.saved["boiler/temp"]
    assert (info.name, info.description, info.eng_unit, info.labels) == (
        "Temperature",
        "of the boiler",
        "°C",
        {"line": ["7"]},
    )
    wait_until(lambda: saver.saved == 1, SECONDS, "counted", every=0.002)


def test_what_clarify_has_is_not_saved_again_also_after_a_restart(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify)
    saver.want([("a", TEMP)])
    settled(saver)
    saver.want([("a", TEMP)])
    assert saver.waiting() == 0
    again = run(clarify)
    again.want([("a", TEMP)])
    assert again.waiting() == 0
    assert len(clarify.requests) == 1


def test_changed_metadata_is_saved_again(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify)
    saver.want([("a", TEMP)])
    settled(saver)
    again = run(clarify)
    again.want([("a", SignalMetadata("Other"))])
    settled(again)
    assert [request["a"].name for request in clarify.requests] == ["Temperature", "Other"]


def test_another_integration_has_signals_of_its_own(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify)
    saver.want([("a", TEMP)])
    settled(saver)
    other = ScriptedSignals()
    other.integration = "another one"
    saver = run(other)
    saver.want([("a", TEMP)])
    settled(saver)
    assert list(other.saved) == ["a"]


def test_the_newest_wish_counts_when_it_changes_while_it_waits(run: Run, state: State) -> None:
    clarify = ScriptedSignals()
    clock = Clock()
    saver = SignalSaver(clarify, state, Slots(1.0, Abort(clock), clock))
    saver.want([("a", SignalMetadata("old")), ("b", TEMP)])
    saver.want([("a", SignalMetadata("new"))])
    assert saver.waiting() == 2
    saver.start()
    settled(saver)
    saver.close(SECONDS)
    assert {input_id: info.name for input_id, info in clarify.saved.items()} == {"a": "new", "b": "Temperature"}


def test_exactly_the_signal_that_clarify_names_is_given_up(run: Run) -> None:
    def judge(ids: set[str]) -> None:
        if "b" in ids:
            raise InvalidParams("bad", code=-32602, problems=[Problem("signalsByInput.b.name", "bad")])

    clarify = ScriptedSignals(judge=judge)
    saver = run(clarify)
    saver.want([(name, TEMP) for name in "abc"])
    settled(saver)
    assert set(clarify.saved) == {"a", "c"}
    assert set(saver.failed) == {"b"}
    saver.want([("b", TEMP)])
    assert saver.waiting() == 0, "not again and again"
    tried = len(clarify.requests)
    saver.want([("b", SignalMetadata("another name"))])
    settled(saver)
    assert len(clarify.requests) == tried + 1, "but once more when the mapping says something else"


@pytest.mark.parametrize("error", [InvalidParams("something is wrong", code=-32602), TooLarge("too large", code=413)])
def test_one_bad_signal_without_a_name_is_found_by_halving(run: Run, error: ClarifyError) -> None:
    names = [f"n{i}" for i in range(40)]

    def judge(ids: set[str]) -> None:
        if "n17" in ids:
            raise error

    clarify = ScriptedSignals(judge=judge)
    saver = run(clarify)
    saver.want([(name, TEMP) for name in names])
    settled(saver)
    assert set(clarify.saved) == set(names) - {"n17"}
    assert set(saver.failed) == {"n17"}


def test_a_request_holds_a_bounded_number_of_signals(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify)
    saver.want([(f"n{i}", TEMP) for i in range(1200)])
    settled(saver)
    assert len(clarify.saved) == 1200
    assert max(len(request) for request in clarify.requests) == 500


@pytest.mark.parametrize(
    "error", [Retryable("time-out"), NotAllowed("no", code=403), ClarifyError("something new", code=-31999)]
)
def test_what_is_not_the_metadatas_fault_is_tried_again(run: Run, error: ClarifyError) -> None:
    clarify = ScriptedSignals([error] * 5)
    saver = run(clarify)
    saver.want([("a", TEMP)])
    settled(saver)
    assert list(clarify.saved) == ["a"]
    assert saver.failed == {}
    assert saver.trouble is None


def test_metadata_that_breaks_a_documented_rule_is_named_and_not_sent(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify)
    saver.want([("bad", SignalMetadata("x", unit="u" * 300)), ("good", TEMP)])
    settled(saver)
    assert list(clarify.saved) == ["good"]
    assert "engUnit" in saver.failed["bad"] or "eng_unit" in saver.failed["bad"]


def test_a_name_that_is_too_long_is_cut_and_an_empty_one_is_the_input_id(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify)
    saver.want([("long", SignalMetadata("x" * 500)), ("none", SignalMetadata(""))])
    settled(saver)
    assert clarify.saved["long"].name == "x" * 100
    assert clarify.saved["none"].name == "none"


class ForgetfulState:
    """A state whose disk is full."""

    def saved_signals(self, integration: str) -> dict[str, str]:
        return {}

    def add_saved_signals(self, integration: str, digests: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")


def test_a_full_disk_does_not_end_the_saving(run: Run) -> None:
    clarify = ScriptedSignals()
    saver = run(clarify, ForgetfulState())
    for name in "ab":
        saver.want([(name, TEMP)])
        settled(saver)
    assert set(clarify.saved) == {"a", "b"}


def test_a_saver_that_never_started_can_be_closed(state: State) -> None:
    clock = Clock()
    SignalSaver(ScriptedSignals(), state, Slots(1.0, Abort(clock), clock)).close(SECONDS)


def test_an_abort_ends_it_at_once(state: State) -> None:
    clock = Clock()
    abort = Abort(clock, in_wait=3)
    clarify = ScriptedSignals([Retryable("time-out")] * 1000)
    saver = SignalSaver(clarify, state, Slots(1.0, abort, clock))
    saver.start()
    saver.want([("a", TEMP)])
    wait_until(abort.is_set, SECONDS, "aborted", every=0.002)
    saver.close(SECONDS)
    assert len(clarify.requests) < 5
    assert state.saved_signals("integration") == {}
