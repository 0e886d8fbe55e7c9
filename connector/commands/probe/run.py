"""One probe: the questions in their order, what they share, and the bounds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connector.clarify import Credentials
from connector.commands.probe.answers import Answer, Question, unsettled
from connector.commands.probe.limits import LIMITS, Pace
from connector.commands.probe.line import Line
from connector.commands.probe.session import DATA, INSERT, PUBLISH, SAVE, ProbeError, Said, Session
from connector.commands.probe.single import FIRST, SINGLE
from connector.commands.probe.stored import EXPERIMENTS, Frame, Written

QUESTIONS: Final = (*FIRST, *(one.question() for one in EXPERIMENTS), *SINGLE, *LIMITS)
"""All questions, in the order in which they are asked."""

_LOOKS: Final = 30
_QUICK_LOOKS: Final = 10
_SLOW_SECONDS: Final = 5.0
_SHARED: Final = 12 + 4 + 2 * _LOOKS
"""Requests of no single question: tokens, metadata, two marks, publishing, and the looks for the marks."""
_SECOND: Final = 2
"""Requests of the second integration by itself: tokens. Its insert is a part of a burst of the first."""
_EXPERIMENTS: Final = frozenset(one.name for one in EXPERIMENTS)
_WRITES: Final = sum(len(one.frames) for one in EXPERIMENTS)
_MARKS: Final = ("7200", "7260")
_READ_TOO: Final = ("gap", "edges", "rate")
"""Ends of further inputs that get a signal at once; all but `gap` are published."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a probe sends at most."""

    questions: Sequence[Question]
    inputs: Sequence[str]

    @property
    def requests(self) -> int:
        """The greatest number of requests."""
        return _SHARED + _SECOND + _WRITES + sum(one.requests for one in self.questions if one.name not in _EXPERIMENTS)

    @property
    def bytes(self) -> int:
        """The greatest number of bytes of large requests."""
        return sum(one.bytes for one in self.questions)


def plan(prefix: str, skip: Collection[str] = ()) -> Plan:
    """The plan of a probe whose inputs begin with `prefix`."""
    asked = tuple(one for one in QUESTIONS if one.name not in skip)
    always = [end for one in EXPERIMENTS for end in one.question().inputs]
    ends = dict.fromkeys([*always, *_READ_TOO, *(end for one in asked for end in one.inputs)])
    return Plan(asked, [prefix + end for end in ends])


@dataclass(slots=True)
class Reading:
    """What can be read back. `why` is the reason if nothing can be read."""

    signals: dict[str, str] = field(default_factory=dict)
    """Input → ID of the signal."""
    items: dict[str, str] = field(default_factory=dict)
    """Input → ID of the item."""
    stored: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """Input → time → value."""
    delay: tuple[float | None, float] | None = None
    """Seconds after an insert: of the last look that missed the sample (None: the first look saw it), and of the look
    that saw it. None if nothing can be read."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A question with its answer."""

    question: Question
    answer: Answer


class Probe:
    """Asks the questions of a plan. `found` has the answers so far, also after KeyboardInterrupt."""

    def __init__(
        self, line: Line, credentials: Credentials, the_plan: Plan, prefix: str, second: Credentials | None = None
    ) -> None:
        """`second` are the credentials of another integration, for the question `integrations`."""
        self.second = None if second is None else Session(line, second, _SECOND)
        self.session = Session(line, credentials, the_plan.requests)
        self.plan = the_plan
        self.found: list[Found] = []
        self.reading = Reading()
        self.inserts: Pace | None = None
        """What a burst of inserts met; None before the question `rates`."""
        self.began = datetime.fromtimestamp(line.wall(), UTC)
        self._hour = self.began.replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
        self._prefix = prefix
        self._samples = 0
        self._said: dict[str, list[Said]] | None = None

    def run(self, progress: Callable[[Question], None], answered: Callable[[Found], None]) -> None:
        """Ask all questions. Raises ProbeError if the credentials give no access."""
        self.session.log_in()
        for question in self.plan.questions:
            progress(question)
            try:
                answer = question.ask(self)
            except ProbeError as error:  # no token any more, or the announced requests are spent
                answer = unsettled(f"not asked to its end: {error}", "another probe")
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                # Nobody has seen all answers of the real Clarify: one of an unknown shape must not end the probe.
                text = f"an answer has a shape that the probe does not know ({type(error).__name__}: {error})"
                answer = unsettled(text, "the answer, as a report to the makers of the connector")
            self.found.append(Found(question, answer))
            answered(self.found[-1])

    # -- for the questions ----------------------------------------------------------------------------------------

    def input(self, end: str) -> str:
        """The input of a signal of this probe."""
        return self._prefix + end

    def time(self, at: str, *, days: int = 0) -> str:
        """The text of a time: `at` seconds after the beginning of the probe's hour, with all digits of `at`."""
        whole, _, fraction = at.partition(".")
        moment = self._hour + timedelta(seconds=int(whole), days=days)
        return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"

    def one_sample(self, end: str) -> dict[str, object]:
        """The parameters of an insert of one sample, each time at another time."""
        self._samples += 1
        data = {"times": [self.time(str(self._samples))], "series": {self.input(end): [1.0]}}
        return {"integration": self.session.integration, "data": data}

    def data(self, items: Sequence[str], first: str, end: str, *, rollup: str | None = None) -> Said:
        """What Clarify says to a query for the data of items."""
        query = {"filter": {"id": {"$in": list(items)}}, "limit": len(items)}
        data = {"filter": {"times": {"$gte": first, "$lt": end}}, "rollup": rollup}
        return self.session.call(DATA, {"query": query, "data": data})

    def values(self, said: Said, key: str) -> dict[str, float]:
        """The values of a series of a data frame, by time as in `time`."""
        frame = (said.result or {}).get("data") or {}
        series = frame.get("series", {}).get(key, [])
        times = frame.get("times", [])
        return {self._at(text): value for text, value in zip(times, series, strict=False) if value is not None}

    def written(self, name: str) -> Written:
        """What became of the frames of an experiment. The first call writes and reads those of all experiments."""
        if self._said is None:
            self._said = {}
            self._write(self._said)
            self._read()
        key = self.input(name)
        values = self.reading.stored.get(key)
        why = self.reading.why or "its item shows no data"
        return Written(self._said.get(name, []), values, "" if values is not None else why)

    def _at(self, text: str) -> str:
        whole, _, fraction = text.removesuffix("Z").removesuffix("+00:00").partition(".")
        seconds = int((datetime.fromisoformat(whole + "+00:00") - self._hour).total_seconds())
        fraction = fraction.rstrip("0")
        return f"{seconds}.{fraction}" if fraction else str(seconds)

    # -- writing and reading for all experiments ------------------------------------------------------------------

    def _write(self, said: dict[str, list[Said]]) -> None:
        integration = self.session.integration
        views = {self.input(one.name): one.metadata for one in EXPERIMENTS if one.metadata is not None}
        self.session.call(SAVE, {"integration": integration, "signalsByInput": views})
        for one in EXPERIMENTS:
            beside = {self.input(one.name + end): values for end, values in one.beside.items()}
            for frame in one.frames:
                params = {"integration": integration, "data": self._frame(one.name, frame, beside)}
                said.setdefault(one.name, []).append(self.session.call(INSERT, params))

    def _frame(self, name: str, frame: Frame, beside: Mapping[str, object]) -> dict[str, object]:
        series = {self.input(name): [value for _, value in frame], **beside}
        return {"times": [self.time(at) for at, _ in frame], "series": series}

    def _read(self) -> None:
        """Mark the end of every series, publish the signals, and read when the marks can be read."""
        reading = self.reading
        inputs = [self.input(one.name) for one in EXPERIMENTS] + [self.input(end) for end in _READ_TOO]
        made = self._mark(inputs, _MARKS[0])
        for key, state in ((made.result or {}).get("signalsByInput") or {}).items():
            reading.signals[key] = state["id"]
        if made.result is None:
            reading.why = f"the insert of a mark ended with: {made}"
            return
        published = {key: signal for key, signal in reading.signals.items() if key != self.input("gap")}
        views = {signal: self._view(key) for key, signal in published.items()}
        said = self.session.call(PUBLISH, {"integration": self.session.integration, "itemsBySignal": views})
        if said.result is None:
            reading.why = f"publishing the signals ended with: {said}"
            return
        items = said.result["itemsBySignal"]
        reading.items |= {key: items[signal]["id"] for key, signal in published.items() if signal in items}
        if self._look(_MARKS[0]) is None:
            return
        marked = self._mark(list(published), _MARKS[1])
        seen = self._look(_MARKS[1]) if marked.result is not None else None
        if seen is None:
            reading.why = reading.why or f"the insert of a mark ended with: {marked}"
            return
        missed, (began, said) = seen
        inserted = marked.reply.ended
        reading.delay = (None if missed is None else max(0.0, missed - inserted), max(0.0, began - inserted))
        for key, item in reading.items.items():
            values = self.values(said, item)
            reading.stored[key] = {at: value for at, value in values.items() if at not in _MARKS}

    def _view(self, key: str) -> dict[str, object]:
        metadata = next((one.metadata for one in EXPERIMENTS if self.input(one.name) == key), None)
        return {**(metadata or {}), "name": key, "visible": True}

    def _mark(self, inputs: Sequence[str], at: str) -> Said:
        data: dict[str, Any] = {"times": [self.time(at)], "series": {key: [1.0] for key in inputs}}
        return self.session.call(INSERT, {"integration": self.session.integration, "data": data})

    def _look(self, mark: str) -> tuple[float | None, tuple[float, Said]] | None:
        """Look until the mark is in all items: the time of the last look without it, and the look that saw it."""
        missed: float | None = None
        items = list(self.reading.items.values())
        for number in range(_LOOKS):
            said = self.data(items, self.time("0"), self.time("7320"))
            if said.result is None:
                self.reading.why = f"reading ended with: {said}"
                return None
            if all(mark in self.values(said, item) for item in items):
                return missed, (said.reply.began, said)
            missed = said.reply.began
            if number >= _QUICK_LOOKS:
                self.session.line.sleep(_SLOW_SECONDS)
        self.reading.why = f"{_LOOKS} looks did not see the samples"
        return None


def unasked(probe: Probe) -> list[Found]:
    """The questions that an interrupted probe left out."""
    asked = {one.question.name for one in probe.found}
    rest = [one for one in probe.plan.questions if one.name not in asked]
    return [Found(one, unsettled("not asked: the probe was interrupted", "another probe")) for one in rest]
