"""The reconciler against a model: whatever happens, Clarify ends with the metadata that was last wanted, or the book
says why not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Final
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connector.clarify import (
    ClarifyError,
    InvalidParams,
    NotAllowed,
    Problem,
    Refused,
    Retryable,
    Saved,
    SaveSignalsResult,
    SignalInfo,
    TooLarge,
)
from connector.delivery.slots import Slots
from connector.metadata.book import MetadataKind, MetadataStatus, read_lines, retry
from connector.metadata.reconciler import FailureKind, SaveInterval
from connector.metadata.signals import SignalSaver, desire_of
from connector.records import SignalMetadata
from connector.state.state import State
from tests.scripted import Abort, Clock, FragileBook

MOST: Final = 2
"""Signals of a request in these tests; 500 in the connector."""
SIGNALS: Final = ["a", "a.b", "c[0]"]
NAMES: Final = [*["one", "two"] * 4, "bad", "worse", "invalid"]
"""Names of signals: Clarify rejects two of them, and one breaks a documented rule."""
REJECTED: Final = ("bad", "worse")
ANSWERS: Final[Mapping[str, ClarifyError]] = {
    "away": Retryable("connection refused"),
    "unknown": ClarifyError("something new", code=-31999),
    "not allowed": NotAllowed("no", code=403),
    "refused": Refused("wrong version"),
    "not the data": InvalidParams("no", code=-32602, problems=[Problem("integration", "unknown")]),
}
DAY: Final = 86400.0
_IN_MEMORY: Final = next((path for path in ("/dev/shm",) if os.access(path, os.W_OK)), None)
"""The tests do not wait for the disk: only the process crashes, not the computer."""


class CrashError(BaseException):
    """The process has crashed."""


def metadata(name: str) -> SignalMetadata:
    return SignalMetadata(name, unit="u" * 300 if name == "invalid" else "")


@cache
def digest(name: str) -> str:
    return desire_of("x", metadata(name)).digest


class Clarify:
    """A Clarify that has signals with names, and remembers which of the names the connector can know."""

    integration = "integration"

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        """Input ID → the name of the signal, whoever gave it."""
        self.certain: dict[str, str] = {}
        """Input ID → the name that the connector gave and knows: it has sent no other name since without an answer."""
        self.lenient = False
        self.says_which = True
        self.largest = MOST
        self.next = "ok"
        self.meanwhile: list[tuple[str, str]] = []
        self.saver: SignalSaver | None = None
        self.requests = 0

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        self.requests += 1
        assert 0 < len(signals_by_input) <= MOST
        names = {input_id: info.name for input_id, info in signals_by_input.items()}
        for input_id, name in names.items():
            assert self.certain.get(input_id) != name, f"{input_id} has that already, and a person may have edited it"
        assert "invalid" not in names.values()
        meanwhile, self.meanwhile = self.meanwhile, []
        assert self.saver is not None
        for input_id, name in meanwhile:
            self.saver.want([(input_id, metadata(name))])
        step, self.next = self.next, "ok"
        if step in ANSWERS:
            if step in {"away", "unknown"}:  # what the answer would have been, nobody knows
                self._uncertain(names)
            raise ANSWERS[step]
        if step == "crash before":
            self._uncertain(names)
            raise CrashError
        if len(names) > self.largest:
            self._uncertain(names)  # it may have been the answer that was too large
            raise TooLarge("too large", code=413)
        bad = [] if self.lenient else [input_id for input_id, name in names.items() if name in REJECTED]
        if bad:
            problems = [Problem(f"signalsByInput.{input_id}.name", "is ugly") for input_id in bad]
            raise InvalidParams("invalid params", code=-32602, problems=problems if self.says_which else [])
        self.names |= names
        if step in {"lost", "crash after"}:
            self._uncertain(names)
            raise CrashError if step == "crash after" else Retryable("time-out", outcome_unknown=True)
        self.certain |= names
        return SaveSignalsResult({input_id: Saved("id", True, False) for input_id in names})

    def _uncertain(self, inputs: Collection[str]) -> None:
        for input_id in inputs:
            self.certain.pop(input_id, None)


class ReconcilerMachine(RuleBasedStateMachine):
    """A saver without its thread, on a real state file."""

    @initialize()
    def begin(self) -> None:
        self.patched = patch("connector.metadata.signals._PER_REQUEST", MOST)
        self.patched.start()
        self.folder = tempfile.TemporaryDirectory(dir=_IN_MEMORY)
        self.path = Path(self.folder.name) / "state.sqlite"
        self.clarify = Clarify()
        self.wall = Clock(1_800_000_000.0)
        self.wanted: dict[str, str] = {}
        """Input ID → the name that was last wanted."""
        self.wanted_before: dict[str, str] = {}
        """Input ID → the name that was wanted before that."""
        self.unwritten: set[str] = set()
        self.crash_when_full = False
        self.open()

    def open(self) -> None:
        self.state = State(self.path)
        self.book = FragileBook(self.state, MetadataKind.SIGNAL, self.clarify.integration)
        clock = Clock()
        self.slots = Slots(1.0, Abort(clock), clock)
        self.slots.pause = self.pause  # type: ignore[method-assign]
        self.saver = self.clarify.saver = SignalSaver(
            self.clarify, self.book, self.slots, SaveInterval(60.0, self.wall()), clock=self.wall, chance=lambda: 0.5
        )
        self.saver.outbox.begin()

    def pause(self, seconds: float) -> bool:
        """The pause of the saver: on a full disk, a wait must end."""
        self.wall.now += seconds
        if self.book.full and self.crash_when_full:
            raise CrashError
        self.book.full = False
        return True

    def crashed(self) -> None:
        self.state.close()
        self.open()
        forgotten, self.unwritten = self.unwritten, set()
        self.want({input_id: self.wanted[input_id] for input_id in forgotten})  # as the next records do

    def change_model(self, names: Mapping[str, str]) -> None:
        for input_id, name in names.items():
            before = self.wanted.get(input_id)
            if before not in {None, name}:
                self.wanted_before[input_id] = str(before)
            self.wanted[input_id] = name

    # -- what the mapping wants ---------------------------------------------------------------------

    def want(self, names: Mapping[str, str]) -> None:
        self.change_model(names)
        if self.book.full:
            self.unwritten |= names.keys()
        else:
            self.unwritten.clear()
        self.saver.want([(input_id, metadata(name)) for input_id, name in names.items()])

    @rule(names=st.dictionaries(st.sampled_from(SIGNALS), st.sampled_from(NAMES), min_size=1), full=st.booleans())
    def change(self, names: dict[str, str], full: bool) -> None:
        self.book.full = full
        self.want(names)

    @rule()
    def change_back(self) -> None:
        self.want(dict(self.wanted_before))

    @rule()
    def say_the_same_again(self) -> None:
        self.want(dict(self.wanted))

    # -- what happens to a request --------------------------------------------------------------------

    @rule(
        names=st.dictionaries(st.sampled_from(SIGNALS), st.sampled_from(NAMES), max_size=3),
        seconds=st.sampled_from([61.0, 61.0, 0.0]),
        step=st.sampled_from(["ok", "ok", "ok", "lost", "lost", "crash before", "crash after", *ANSWERS]),
        meanwhile=st.one_of(st.just({}), st.dictionaries(st.sampled_from(SIGNALS), st.sampled_from(NAMES), max_size=3)),
        back=st.booleans(),
        disk=st.sampled_from(["works"] * 6 + ["full until it waits", "full and crashes"]),
    )
    def change_and_send(
        self, names: dict[str, str], seconds: float, step: str, meanwhile: dict[str, str], back: bool, disk: str
    ) -> None:
        self.book.full = False
        self.want(names)
        self.wall.now += seconds
        self.send(step, meanwhile, disk)
        if back:
            self.want(dict(self.wanted_before))

    @rule(names=st.dictionaries(st.sampled_from(SIGNALS), st.sampled_from(["one", "two"]), min_size=1))
    def all_is_well(self, names: dict[str, str]) -> None:
        self.book.full = False
        self.want(names)
        self.wall.now += 61
        for _ in SIGNALS:
            self.save()

    def send(self, step: str, meanwhile: dict[str, str], disk: str) -> None:
        self.clarify.next = step
        self.clarify.meanwhile = list(meanwhile.items())
        self.crash_when_full = disk == "full and crashes"
        requests = self.clarify.requests
        filling = FillingDisk(self, disk != "works")
        crashed = False
        try:
            with filling:
                self.save()
        except CrashError:
            crashed = True
        if self.clarify.requests > requests:
            self.change_model(meanwhile)
        if crashed:
            for input_id in filling.sent:
                self.clarify.certain.pop(input_id, None)
            self.book.full = False
            self.crashed()
        self.clarify.next, self.clarify.meanwhile = "ok", []

    def save(self) -> None:
        if self.saver.outbox.look():
            if not self.book.full:
                self.unwritten.clear()
            assert self.saver.save()

    @rule(says_which=st.booleans(), largest=st.sampled_from([1, MOST]), lenient=st.booleans())
    def the_server_is_another(self, says_which: bool, largest: int, lenient: bool) -> None:
        self.clarify.says_which, self.clarify.largest, self.clarify.lenient = says_which, largest, lenient

    @rule(input_id=st.sampled_from(SIGNALS))
    def a_person_edits(self, input_id: str) -> None:
        if input_id in self.clarify.names:
            self.clarify.names[input_id] = "by hand"

    # -- what happens to the process ------------------------------------------------------------------

    @rule()
    def crash(self) -> None:
        self.book.full = False
        self.crashed()

    @rule(seconds=st.sampled_from([1.0, 61.0, 601.0, 2 * 3600.0, 2 * DAY, -3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.wall.now += seconds

    @rule()
    def a_person_has_it_tried_again(self) -> None:
        retry(self.path, read_lines(self.path, [MetadataStatus.FAILED]), self.wall())

    # -- what always holds ----------------------------------------------------------------------------

    @invariant()
    def what_is_written_is_what_is_wanted(self) -> None:
        if not hasattr(self, "book") or self.unwritten:
            return
        for input_id, entry in self.book.entries(self.wanted.keys()).items():
            name = self.wanted[input_id]
            assert digest(name) == (entry.digest if entry.outstanding is None else entry.outstanding.digest)
            if entry.outstanding is not None and entry.outstanding.failure is FailureKind.REJECTED:
                assert name in REJECTED, "only what Clarify rejected counts as rejected"

    def teardown(self) -> None:
        """If the server works again and time passes, everything is saved or has failed with a reason."""
        if not hasattr(self, "book"):
            return
        self.book.full = False
        self.crash_when_full = False
        self.clarify.largest = MOST
        for _ in range(4):
            self.wall.now += 2 * DAY
            for _ in range(10_000):
                if not self.saver.outbox.look():
                    break
                assert self.saver.save()
            else:
                raise AssertionError("it goes on sending for ever")
        listed = {line.input_id: line for line in read_lines(self.path, list(MetadataStatus))}
        for input_id, name in self.wanted.items():
            line = listed[input_id]
            assert line.digest == digest(name)
            if line.status is MetadataStatus.SAVED:
                assert self.clarify.names[input_id] in {name, "by hand"}
                continue
            refused = name in REJECTED and not self.clarify.lenient
            assert name == "invalid" or refused, "all that can be saved is saved"
            expected = FailureKind.INVALID if name == "invalid" else FailureKind.REJECTED
            assert (line.status, line.failure, bool(line.reason)) == (MetadataStatus.FAILED, expected, True)
        self.state.close()
        self.folder.cleanup()
        self.patched.stop()


class FillingDisk:
    """Fills the disk when a request was sent, so that its result cannot be stored."""

    def __init__(self, machine: ReconcilerMachine, fill: bool) -> None:
        self._machine = machine
        self._fill = fill
        self._save = machine.clarify.save_signals
        self.sent: list[str] = []

    def __enter__(self) -> None:
        self._machine.clarify.save_signals = self.save_signals  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        self._machine.clarify.save_signals = self._save  # type: ignore[method-assign]

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        self.sent = list(signals_by_input)
        try:
            return self._save(signals_by_input)
        finally:
            self._machine.book.full = self._machine.book.full or self._fill


TestReconciler = ReconcilerMachine.TestCase
TestReconciler.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
