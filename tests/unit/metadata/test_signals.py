"""The signal saver: metadata is saved when it is new or changed, remembered over restarts, and never delays inserts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from connector.clarify import ClarifyError, InvalidParams, NotAllowed, Problem, Retryable, TooLarge
from connector.delivery.slots import Slots
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.reconciler import FailureKind, Outstanding, SaveInterval
from connector.metadata.signals import SignalSaver
from connector.records import SignalMetadata
from connector.state.state import State
from tests.scripted import Abort, Clock, FragileBook, ScriptedSignals
from tests.unit.metadata.desk import SECONDS, WALL, Desk
from tests.waiting import wait_until

TEMP = SignalMetadata("Temperature", "of the boiler", "°C", labels=(("line", ("7",)),))


class SignalDesk(Desk):
    """A running saver with its book and its clocks."""

    def __init__(self, clarify: ScriptedSignals, state: State, wall: Clock, abort: Abort | None = None) -> None:
        clock = Clock()
        abort = abort or Abort(clock)
        self.book = FragileBook(state, MetadataKind.SIGNAL, clarify.integration)
        self.saver = SignalSaver(
            clarify,
            self.book,
            Slots(1.0, abort, clock),
            SaveInterval(60.0, wall()),
            clock=wall,
            chance=lambda: 0.5,
        )
        super().__init__(self.saver, abort, wall)

    def want(self, *signals: tuple[str, SignalMetadata]) -> None:
        self.saver.want(signals)

    def settled(self) -> None:
        """Wait until no waiting desire is due."""
        wait_until(
            lambda: self.saver.counts().waiting == self.saver.counts().postponed, SECONDS, "nothing waits", every=0.002
        )

    def rejected(self, *, times: int) -> Outstanding:
        """The outstanding desire of `a`, after it was rejected so often."""

        def found() -> Outstanding | None:
            wants = self.book.entries(["a"])["a"].outstanding
            return wants if wants is not None and wants.tries == times else None

        return wait_until(found, SECONDS, "rejected", every=0.002)  # type: ignore[return-value]

    def failed(self) -> dict[str, str]:
        """Input ID → reason of the failure."""
        entries = self.book.entries([*"abc", "bad", *(f"n{i}" for i in range(40))])
        return {
            key: entry.outstanding.reason
            for key, entry in entries.items()
            if entry.outstanding and entry.outstanding.failure
        }


Run = Callable[..., SignalDesk]


@pytest.fixture
def wall() -> Clock:
    return Clock(WALL)


@pytest.fixture
def run(state: State, wall: Clock) -> Iterator[Run]:
    """Starts a saver as a start of the connector does, and closes the saver before it."""
    desks: list[SignalDesk] = []

    def start(clarify: ScriptedSignals, *, running: bool = True) -> SignalDesk:
        for earlier in desks:
            earlier.saver.close(SECONDS)
        desks.append(SignalDesk(clarify, state, wall))
        if running:
            desks[-1].saver.start()
        return desks[-1]

    yield start
    for desk in desks:
        desk.close()


def test_metadata_is_saved_complete(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(("boiler/temp", TEMP))
    desk.settled()
    info = clarify.saved["boiler/temp"]
    assert (info.name, info.description, info.eng_unit, info.labels) == (
        "Temperature",
        "of the boiler",
        "°C",
        {"line": ["7"]},
    )
    assert desk.saver.saved == 1


def test_what_clarify_has_is_not_saved_again_also_after_a_restart(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(("a", TEMP))
    desk.settled()
    desk.want(("a", TEMP))
    assert desk.saver.counts().waiting == 0
    again = run(clarify)
    again.want(("a", TEMP))
    assert again.saver.counts().waiting == 0
    assert len(clarify.requests) == 1


def test_another_mapping_shows_at_once_after_a_start(run: Run, wall: Clock) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(("a", TEMP))
    desk.settled()
    wall.now += 1
    again = run(clarify)
    again.want(("a", SignalMetadata("Other")))
    again.settled()
    assert [request["a"].name for request in clarify.requests] == ["Temperature", "Other"]


def test_a_signal_that_changes_often_is_saved_once_a_minute(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    for second in range(180):
        desk.want(("a", SignalMetadata(f"at {second}")))
        if second % 30 == 0:
            desk.settled()
        desk.later(1)
    desk.later(60)
    desk.settled()
    names = [request["a"].name for request in clarify.requests]
    assert 3 <= len(names) <= 5
    assert names[-1] == "at 179"
    assert desk.saver.outbox.desires.merged >= 170
    assert desk.saver.counts().waiting == 0


def test_another_integration_has_signals_of_its_own(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(("a", TEMP))
    desk.settled()
    other = ScriptedSignals()
    other.integration = "another one"
    desk = run(other)
    desk.want(("a", TEMP))
    desk.settled()
    assert list(other.saved) == ["a"]


def test_the_newest_wish_counts_when_it_changes_while_it_waits(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify, running=False)
    desk.want(("a", SignalMetadata("old")), ("b", TEMP))
    desk.want(("a", SignalMetadata("new")))
    assert desk.saver.counts().waiting == 2
    desk.saver.start()
    desk.settled()
    assert {input_id: info.name for input_id, info in clarify.saved.items()} == {"a": "new", "b": "Temperature"}


def test_what_was_wanted_before_a_crash_is_saved_after_it_without_being_wanted_again(run: Run) -> None:
    clarify = ScriptedSignals()
    run(clarify, running=False).want(("a", TEMP))
    run(clarify).settled()
    assert list(clarify.saved) == ["a"]


def test_exactly_the_signal_that_clarify_names_is_given_up(run: Run) -> None:
    def judge(ids: set[str]) -> None:
        if "b" in ids:
            raise InvalidParams("bad", code=-32602, problems=[Problem("signalsByInput.b.name", "bad")])

    clarify = ScriptedSignals(judge=judge)
    desk = run(clarify)
    desk.want(*((name, TEMP) for name in "abc"))
    desk.settled()
    assert set(clarify.saved) == {"a", "c"}
    assert list(desk.failed()) == ["b"]
    assert "bad" in desk.failed()["b"]
    tried = len(clarify.requests)
    desk.want(("b", TEMP))
    desk.settled()
    assert len(clarify.requests) == tried, "not again and again"
    desk.later(60)
    desk.want(("b", SignalMetadata("another name")))
    desk.settled()
    assert len(clarify.requests) == tried + 1, "but once more when the mapping says something else"


def test_what_was_rejected_is_tried_again_slowly_and_on_a_restart(run: Run, wall: Clock) -> None:
    rejection = InvalidParams("bad", code=-32602, problems=[Problem("signalsByInput.a.name", "bad")])
    clarify = ScriptedSignals([rejection] * 3)
    desk = run(clarify)
    desk.want(("a", TEMP))
    assert desk.rejected(times=1).due == wall() + 3600
    desk.later(3600)
    assert desk.rejected(times=2).due == wall() + 7200
    wall.now += 599
    desk = run(clarify)
    desk.saver.close(SECONDS)
    assert desk.rejected(times=2).due == wall() - 599 + 7200, "a crash loop is no storm"
    wall.now += 2
    desk = run(clarify)
    desk.rejected(times=3)
    wall.now += 601
    desk = run(clarify)
    wait_until(lambda: desk.saver.counts().failed == 0, SECONDS, "and it is taken at last", every=0.002)
    assert len(clarify.requests) == 4


@pytest.mark.parametrize("error", [InvalidParams("something is wrong", code=-32602), TooLarge("too large", code=413)])
def test_one_bad_signal_without_a_name_is_found_by_halving(run: Run, error: ClarifyError) -> None:
    names = [f"n{i}" for i in range(40)]

    def judge(ids: set[str]) -> None:
        if "n17" in ids:
            raise error

    clarify = ScriptedSignals(judge=judge)
    desk = run(clarify)
    desk.want(*((name, TEMP) for name in names))
    desk.settled()
    assert set(clarify.saved) == set(names) - {"n17"}
    assert list(desk.failed()) == ["n17"]
    assert len(clarify.requests) <= 1 + 2 * 6


def test_a_request_holds_a_bounded_number_of_signals(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(*((f"n{i}", TEMP) for i in range(1200)))
    desk.settled()
    assert len(clarify.saved) == 1200
    assert max(len(request) for request in clarify.requests) == 500


def test_a_request_holds_a_bounded_number_of_bytes(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(*((f"n{i}", SignalMetadata("n", labels=(("l", ("x" * 1_000_000,)),))) for i in range(10)))
    desk.settled()
    assert [len(request) for request in clarify.requests] == [4, 4, 2]


@pytest.mark.parametrize(
    "error", [Retryable("time-out"), NotAllowed("no", code=403), ClarifyError("something new", code=-31999)]
)
def test_what_is_not_the_metadatas_fault_is_tried_again(run: Run, error: ClarifyError) -> None:
    clarify = ScriptedSignals([error] * 5)
    desk = run(clarify)
    desk.want(("a", TEMP))
    desk.settled()
    assert list(clarify.saved) == ["a"]
    assert desk.failed() == {}
    wait_until(lambda: desk.saver.outbox.trouble is None, SECONDS, "no trouble", every=0.002)


def test_metadata_that_breaks_a_documented_rule_is_named_and_not_sent(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(("bad", SignalMetadata("x", unit="u" * 300)), ("good", TEMP))
    desk.settled()
    assert list(clarify.saved) == ["good"]
    assert "engUnit" in desk.failed()["bad"] or "eng_unit" in desk.failed()["bad"]
    desk.want(("bad", TEMP))
    desk.later(60)
    desk.settled()
    assert set(clarify.saved) == {"good", "bad"}


def test_a_rule_that_only_the_client_knows_does_not_end_the_saving(run: Run) -> None:
    def judge(ids: set[str]) -> None:
        if "b" in ids:
            raise ValueError("no such input")

    clarify = ScriptedSignals(judge=judge)
    desk = run(clarify)
    desk.want(*((name, TEMP) for name in "abc"))
    desk.settled()
    assert set(clarify.saved) == {"a", "c"}
    assert "no such input" in desk.failed()["b"]


def test_a_bug_does_not_end_the_saving_in_silence(run: Run) -> None:
    bugs = [KeyError("a bug")]

    def judge(_: set[str]) -> None:
        if bugs:
            raise bugs.pop()

    clarify = ScriptedSignals(judge=judge)
    desk = run(clarify)
    desk.want(("a", TEMP))
    desk.settled()
    assert list(clarify.saved) == ["a"]


def test_what_an_earlier_version_wrote_and_nobody_can_read_is_named(run: Run, state: State) -> None:
    clarify = ScriptedSignals()
    run(clarify, running=False).want(("a", TEMP), ("b", TEMP))
    with state.transaction() as connection:
        connection.execute("UPDATE outstanding_metadata SET content = ? WHERE input = 'a'", (b"[]",))
    desk = run(clarify)
    desk.settled()
    assert list(clarify.saved) == ["b"]
    assert list(desk.failed()) == ["a"]


def test_a_name_that_is_too_long_is_cut_and_an_empty_one_is_the_input_id(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(("long", SignalMetadata("x" * 500)), ("none", SignalMetadata("")))
    desk.settled()
    assert clarify.saved["long"].name == "x" * 100
    assert clarify.saved["none"].name == "none"


def test_what_is_wanted_while_the_disk_is_full_is_saved_when_it_is_not(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.book.full = True
    desk.want(("a", SignalMetadata("old")), ("b", TEMP))
    desk.want(("a", TEMP))
    assert clarify.requests == []
    desk.book.full = False
    desk.later(0)
    wait_until(lambda: len(clarify.saved) == 2, SECONDS, "saved", every=0.002)
    assert clarify.saved["a"].name == "Temperature"


def test_memory_for_what_cannot_be_written_is_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.metadata.desire_writer._MAX_UNWRITTEN", 3)
    clarify = ScriptedSignals()
    desk = run(clarify, running=False)
    desk.book.full = True
    desk.want(*((f"n{i}", TEMP) for i in range(5)))
    desk.want(("n0", SignalMetadata("newer")))
    assert desk.saver.outbox.desires.forgotten == 2
    desk.book.full = False
    desk.saver.start()
    wait_until(lambda: len(clarify.saved) == 3, SECONDS, "saved", every=0.002)
    assert clarify.saved["n0"].name == "newer"


def test_what_could_not_be_remembered_is_not_saved_again_and_again(run: Run) -> None:
    def fill(_: set[str]) -> None:
        desk.book.full = True

    clarify = ScriptedSignals(judge=fill)
    desk = run(clarify)
    desk.want(("a", TEMP))
    wait_until(lambda: len(desk.abort.waits) > 5, SECONDS, "it tries to remember", every=0.002)
    assert len(clarify.requests) == 1
    desk.book.full = False
    desk.settled()
    assert len(clarify.requests) == 1


def test_a_change_back_while_the_change_is_under_way_is_saved(run: Run) -> None:
    def change_back(_: set[str]) -> None:
        if len(clarify.requests) == 2:
            desk.want(("a", TEMP))

    clarify = ScriptedSignals(judge=change_back)
    desk = run(clarify)
    desk.want(("a", TEMP))
    desk.settled()
    desk.later(60)
    desk.want(("a", SignalMetadata("Other")))
    wait_until(lambda: len(clarify.requests) == 2, SECONDS, "the change", every=0.002)
    wait_until(lambda: desk.book.entries(["a"])["a"].saved_at == desk.wall.now, SECONDS, "remembered", every=0.002)
    desk.later(60)
    desk.settled()
    assert [request["a"].name for request in clarify.requests] == ["Temperature", "Other", "Temperature"]


def test_a_clock_that_is_put_back_does_not_hold_anything_up(run: Run) -> None:
    clarify = ScriptedSignals()
    desk = run(clarify)
    desk.want(("a", TEMP))
    desk.settled()
    desk.want(("a", SignalMetadata("Other")))
    assert desk.saver.counts().postponed == 1
    desk.later(-86400 * 365)
    wait_until(lambda: len(clarify.requests) == 2, SECONDS, "saved", every=0.002)


def test_only_one_process_saves(run: Run, state: State, wall: Clock) -> None:
    clarify, mine = ScriptedSignals(), threading.Event()
    abort = Abort(Clock())
    book = MetadataBook(state, MetadataKind.SIGNAL, clarify.integration)
    other = SignalSaver(clarify, book, Slots(1.0, abort), SaveInterval(60.0), may_save=mine.is_set, clock=wall)
    other.start()
    other.want([("a", TEMP)])
    assert other.finish(SECONDS), "that is for the other process"
    assert (clarify.requests, other.counts().waiting) == ([], 1)
    desk = run(clarify)
    desk.settled()
    assert list(clarify.saved) == ["a"]
    other.close(SECONDS)


def test_a_saver_that_never_started_can_be_closed(run: Run) -> None:
    run(ScriptedSignals(), running=False).saver.close(SECONDS)


def test_closing_waits_no_longer_than_it_may_for_a_request_that_hangs(run: Run) -> None:
    hanging, under_way = threading.Event(), threading.Event()

    def hang(_: set[str]) -> None:
        under_way.set()
        hanging.wait(SECONDS)

    desk = run(ScriptedSignals(judge=hang))
    desk.want(("a", TEMP))
    assert under_way.wait(SECONDS)
    before = time.monotonic()
    desk.want(("b", TEMP))
    desk.saver.close(0.2)
    assert time.monotonic() - before < SECONDS / 2
    hanging.set()


def test_an_abort_ends_it_at_once(state: State, wall: Clock) -> None:
    clock = Clock()
    abort = Abort(clock, in_wait=3)
    clarify = ScriptedSignals([Retryable("time-out")] * 1000)
    desk = SignalDesk(clarify, state, wall, abort)
    desk.saver.start()
    desk.want(("a", TEMP))
    wait_until(abort.is_set, SECONDS, "aborted", every=0.002)
    desk.saver.close(SECONDS)
    assert len(clarify.requests) < 5
    entry = desk.book.entries(["a"])["a"]
    assert entry.digest is None
    assert entry.outstanding is not None
    assert entry.outstanding.failure is FailureKind.NONE
