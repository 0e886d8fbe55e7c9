"""Questions about what is stored: frames are written, and all signals are read back together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from connector.commands.probe.answers import READING, Answer, Question, unsettled
from connector.commands.probe.session import Said

if TYPE_CHECKING:
    from connector.commands.probe.run import Probe

Frame = Sequence[tuple[str, float | None]]
"""(seconds after the beginning of the probe's hour, value)."""

_INVALID: Final = -32602
_PARTIAL: Final = -32021


@dataclass(frozen=True, slots=True)
class Written:
    """What was said to each frame, and the values that are stored, by time; None if nothing can be read."""

    said: Sequence[Said]
    values: Mapping[str, float] | None
    why: str = ""
    """The reason if nothing can be read."""

    @property
    def refused(self) -> Said | None:
        """The first reply that is not a success; None if all frames were accepted."""
        return next((one for one in self.said if one.result is None), None)


@dataclass(frozen=True, slots=True)
class Experiment:
    """The frames of one question, sent one after the other, and the judgement of what was then stored.

    `beside` has more series of each frame, by the end of the input; `metadata` is saved first.
    """

    name: str
    asks: str
    how: str
    frames: Sequence[Frame]
    judge: Callable[[Written], Answer]
    beside: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    metadata: Mapping[str, object] | None = None

    def question(self) -> Question:
        """The row for the table of questions."""

        def ask(probe: Probe) -> Answer:
            return self.judge(probe.written(self.name))

        inputs = (self.name, *(self.name + end for end in self.beside))
        return Question(self.name, self.asks, self.how, ask, len(self.frames), inputs)


def _needs_reading(judge: Callable[[Written, Mapping[str, float]], Answer]) -> Callable[[Written], Answer]:
    """The judgement of frames that were accepted and can be read."""

    def full(written: Written) -> Answer:
        if (refused := written.refused) is not None:
            return unsettled(f"the write ended with: {refused}", "the reason of this refusal; then ask again")
        if written.values is None:
            return unsettled(f"accepted; what is stored cannot be read: {written.why}", READING)
        return judge(written, written.values)

    return full


def _overwrite(written: Written) -> Answer:
    if (refused := written.refused) is not None and refused.code == _INVALID and written.said[0].result is not None:
        return Answer(f"the second value is refused ({refused})", {"duplicate_times": "error"})

    def judge(_: Written, values: Mapping[str, float]) -> Answer:
        kept = values.get("0")
        if kept == 2:
            return Answer("the newest value wins", {"duplicate_times": "newest"})
        if kept == 1:
            return Answer("the first value stays", {"duplicate_times": "first"})
        return unsettled(f"values 1 and 2 were sent, and {kept} is stored", "an answer of Clarify's support")

    return _needs_reading(judge)(written)


@_needs_reading
def _null(_: Written, values: Mapping[str, float]) -> Answer:
    if "0" in values:
        return Answer("the value stays", {"null_values": "ignore"})
    return Answer("the null erases the value", {"null_values": "erase"})


def _order_in_frame(written: Written) -> Answer:
    if (refused := written.refused) is not None and refused.code == _INVALID:
        return Answer(f"times that are not sorted are refused ({refused})", {"unordered_times": "reject"})

    def judge(_: Written, values: Mapping[str, float]) -> Answer:
        if (values.get("60"), values.get("0")) == (1, 2):
            return Answer("accepted, and all values are stored", {"unordered_times": "accept"})
        return unsettled(f"accepted, but stored is {dict(values)}", "an answer of Clarify's support")

    return _needs_reading(judge)(written)


def _repeated(written: Written) -> Answer:
    if (refused := written.refused) is not None and refused.code == _INVALID:
        return Answer(f"a time that is there twice is refused ({refused})")

    def judge(_: Written, values: Mapping[str, float]) -> Answer:
        kept = {1: "first", 2: "last"}.get(int(values.get("0", 0)))
        if kept is None:
            return unsettled(f"accepted, but stored is {dict(values)}", "an answer of Clarify's support")
        return Answer(f"accepted: the {kept} value wins", detail={"wins": kept})

    return _needs_reading(judge)(written)


@_needs_reading
def _older(_: Written, values: Mapping[str, float]) -> Answer:
    if values.get("0") == 2:
        return Answer("an older sample is stored after a newer sample")
    if values.get("60") != 1:
        return unsettled(f"accepted, but stored is {dict(values)}", "an answer of Clarify's support")
    return Answer("an older sample is accepted and DROPPED after a newer sample", detail={"dropped": True})


def _partial(written: Written) -> Answer:
    (said,) = written.said
    stored = written.values is not None and "0" in written.values
    kept = "the good series is stored" if stored else "nothing is stored"
    if written.values is None:
        kept = "what is stored cannot be read"
    if said.code == _PARTIAL:
        return Answer(f"{said}; {kept}", {"partial_failure": "on"})
    if said.code == _INVALID:
        needs = READING if written.values is None else ""
        follows = {} if stored or needs else {"partial_failure": "off"}
        return Answer(f"{said}; {kept}", follows, needs=needs)
    return unsettled(f"{said}; {kept}", "an answer of Clarify's support")


@_needs_reading
def _precision(_: Written, values: Mapping[str, float]) -> Answer:
    found = next(iter(sorted(at for at in values if at.partition(".")[0] in {"0", "1"})), None)
    digits = {"0.123456789": "kept in nanoseconds", "0.123456": "cut to microseconds", "0": "cut to seconds",
              "0.123457": "rounded to microseconds", "0.123": "cut to milliseconds"}  # fmt: skip
    if found not in digits:
        return unsettled(f"0.123456789 s was sent, and {found} s is stored", "an answer of Clarify's support")
    return Answer(f"times are {digits[found]}", detail={"sent": "0.123456789", "stored": found})


def _enum(written: Written) -> Answer:
    names = dict(zip(("fraction", "negative", "10000"), written.said, strict=True))
    if (late := next((said for said in written.said if said.is_passing), None)) is not None:
        return unsettled(f"a write ended with: {late}", "the reason of this refusal; then ask again")
    taken = [name for name, said in names.items() if said.result is not None]
    refused = [name for name in names if name not in taken]
    parts = [f"accepted: {', '.join(taken)}"] if taken else []
    parts += [f"refused: {', '.join(refused)} ({names[refused[0]]})"] if refused else []
    detail: dict[str, object] = {"accepted": taken, "refused": refused}
    if not taken:
        return Answer("; ".join(parts), detail=detail)
    if written.values is None:
        return Answer(
            "; ".join(parts) + f"; what is stored cannot be read: {written.why}", detail=detail, needs=READING
        )
    detail["stored"] = [value for at, value in written.values.items() if at in {"0", "60", "120"}]
    return Answer("; ".join(parts) + f"; stored as {detail['stored']}", detail=detail)


def _nulls_only(written: Written) -> Answer:
    (said,) = written.said
    if said.is_passing:
        return unsettled(f"the write ended with: {said}", "the reason of this refusal; then ask again")
    if said.result is None:
        return Answer(f"refused: {said}")
    made = said.result.get("signalsByInput")
    return Answer("accepted; the signal is created" if made else "accepted; no signal is created")


EXPERIMENTS: Final = (
    Experiment(
        "overwrite",
        "Which value counts if an input and a time are sent again?",
        "1, then 2 at the same time",
        ((("0", 1.0),), (("0", 2.0),)),
        _overwrite,
    ),
    Experiment(
        "null", "What does null do over a stored value?", "1, then null at the same time",
        ((("0", 1.0),), (("0", None),)), _null,
    ),
    Experiment(
        "order", "May the times of one frame be unsorted?", "one frame with a later and an earlier time",
        ((("60", 1.0), ("0", 2.0)),), _order_in_frame,
    ),
    Experiment(
        "repeated", "May a time be twice in one frame?", "one frame with 1 and 2 at the same time",
        ((("0", 1.0), ("0", 2.0)),), _repeated,
    ),
    Experiment(
        "older", "Is an older sample stored after a newer one?", "two frames, the later time first",
        ((("60", 1.0),), (("0", 2.0),)), _older,
    ),
    Experiment(
        "partial", "What becomes of the good series beside a bad one?", "one frame with a series that is too long",
        ((("0", 1.0),),), _partial, beside={"/bad": (1.0, 2.0)},
    ),
    Experiment(
        "precision", "Which digits of a time are kept?", "a time with nanoseconds", ((("0.123456789", 1.0),),),
        _precision,
    ),
    Experiment(
        "enum", "Which values may a signal with states have?", "1.5, -1 and 10000 for a signal of valueType enum",
        ((("0", 1.5),), (("60", -1.0),), (("120", 10000.0),)), _enum,
        metadata={"valueType": "enum", "enumValues": {"0": "off", "1": "on"}},
    ),
    Experiment(
        "nulls-only", "Does a series of nulls create its signal?", "a frame with a null", ((("0", None),),),
        _nulls_only,
    ),
)  # fmt: skip
