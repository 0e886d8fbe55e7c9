"""What Clarify should have of a signal, against what it has: the life of a desire, without I/O and without a clock.

An `Entry` is what is known of one signal: the digest of what Clarify has from us, and what is outstanding. Everything
that happens to it is a function from an entry to an entry, which the book (see `book`) carries out in one
transaction:

    wanted ──▶ waiting ──sending──▶ sent ──saved──▶ nothing is outstanding
                  ▲                  │
                  │                  ├─ unanswered: waiting, as before
                  └── a new desire ──┴─ rejected: failed, with its reason; tried again slowly

- What Clarify has is not wanted again: the digests are the same. But from `sending` until a definite answer nobody
  knows what Clarify has, so a desire that is what it had *before* stays outstanding.
- A newer desire takes the place of one that waits, also while a request with the older one is under way.
- One signal is saved at most once in `SaveInterval.seconds`; what it wants in between is merged into the next save.
- What breaks a documented rule is not sent (`INVALID`), what Clarify rejects (`REJECTED`) is tried again after an hour,
  then ever more slowly; both at once when something else is wanted.

`Batches` says what the next request carries, and which signals a failure that names none of them may be about.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from connector.clarify import ClarifyError, InvalidParams, NotAllowed, Refused
from connector.delivery.policy import Action, judge

FIRST_RETRY: Final = 3600.0
LAST_RETRY: Final = 86400.0
"""Seconds until what was rejected is tried again by itself: the first time, and at most."""
LONGEST_REASON: Final = 500
"""Characters of a reason that are kept."""


class FailureKind(StrEnum):
    """Why an outstanding desire is not sent now."""

    NONE = ""
    INVALID = "invalid"
    """It breaks a documented rule: only another desire helps."""
    REJECTED = "rejected"
    """Clarify did not take it."""


@dataclass(frozen=True, slots=True)
class Desire:
    """What a signal should have."""

    digest: str
    content: bytes
    problem: str = ""
    """Which documented rule it breaks; empty if none."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A desire that Clarify does not have. Times are in seconds since the epoch."""

    digest: str
    content: bytes
    since: float
    due: float | None
    """Not to be sent before; None: never."""
    sent: bool = False
    """Whether Clarify may have got this desire, or one that it replaced, without our knowing."""
    failure: FailureKind = FailureKind.NONE
    reason: str = ""
    failed_at: float = 0.0
    tries: int = 0
    """How often it was rejected."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One signal."""

    digest: str | None = None
    """Of what Clarify has from us."""
    saved_at: float = 0.0
    """When that was saved, in seconds since the epoch; 0 if that is not known."""
    note: str = ""
    """What became of it, where that is not plain."""
    outstanding: Outstanding | None = None


@dataclass(frozen=True, slots=True)
class OutstandingCounts:
    """How many desires are outstanding."""

    waiting: int = 0
    postponed: int = 0
    """Of those that wait: not due yet."""
    failed: int = 0


Change = Callable[[str, Entry], Entry]
"""What becomes of the entry of this input ID."""


@dataclass(frozen=True, slots=True)
class SaveInterval:
    """How often one signal may be saved."""

    seconds: float
    """Seconds from a save, or an attempt that failed, to the next of the same signal."""
    run_began_at: float = 0.0
    """When this run began: what was saved before does not count, so that a start with another mapping shows at once."""

    def next_after(self, at: float, now: float) -> float:
        """When a signal may be saved that was last saved at `at`."""
        return now if at < self.run_began_at else max(now, min(at, now) + self.seconds)


def wanted(entry: Entry, desire: Desire, now: float, interval: SaveInterval) -> Entry:
    """The mapping wants this of the signal."""
    old = entry.outstanding
    if (
        old is not None
        and old.digest == desire.digest
        and (old.failure is not FailureKind.INVALID or old.reason == _cut(desire.problem))
    ):
        return entry
    sent = old is not None and old.sent
    if entry.digest == desire.digest and not sent:
        return replace(entry, outstanding=None)
    if desire.problem:
        broken = Outstanding(
            desire.digest, desire.content, now, None, sent, FailureKind.INVALID, _cut(desire.problem), now, 1
        )
        return replace(entry, outstanding=broken)
    if old is not None and old.failure is FailureKind.NONE:  # it keeps its place
        return replace(entry, outstanding=replace(old, digest=desire.digest, content=desire.content))
    last = max(entry.saved_at, old.failed_at if old is not None else 0.0)
    return replace(
        entry, outstanding=Outstanding(desire.digest, desire.content, now, interval.next_after(last, now), sent)
    )


def sending(entry: Entry) -> Entry:
    """A request with it leaves now."""
    old = entry.outstanding
    return entry if old is None or old.sent else replace(entry, outstanding=replace(old, sent=True))


def saved(entry: Entry, digest: str, now: float, interval: SaveInterval, note: str = "") -> Entry:
    """Clarify has what this digest stands for."""
    old = entry.outstanding
    if old is not None and old.digest == digest:
        old = None
    elif old is not None:
        old = replace(old, sent=False, due=_later(old, interval.next_after(now, now)))
    return Entry(digest, now, note, old)


def unanswered(entry: Entry, was_sent: bool) -> Entry:
    """The request was refused as a whole, so Clarify has what it had when `was_sent` was last looked at."""
    old = entry.outstanding
    if old is None or old.sent == was_sent:
        return entry
    return _unless_had(replace(entry, outstanding=replace(old, sent=was_sent)))


def rejected(entry: Entry, digest: str, reason: str, was_sent: bool, now: float, interval: SaveInterval) -> Entry:
    """Clarify did not take what this digest stands for."""
    old = entry.outstanding
    if old is None:
        return entry
    if old.digest != digest:
        newer = replace(old, sent=was_sent, due=_later(old, interval.next_after(now, now)))
        return _unless_had(replace(entry, outstanding=newer))
    tries = old.tries + 1
    due = now + min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(tries - 1, 10))
    failed = replace(
        old, sent=was_sent, failure=FailureKind.REJECTED, reason=_cut(reason), failed_at=now, tries=tries, due=due
    )
    return replace(entry, outstanding=failed)


def invalid(entry: Entry, digest: str, reason: str, now: float) -> Entry:
    """What this digest stands for turned out to break a documented rule."""
    old = entry.outstanding
    if old is None or old.digest != digest:
        return entry
    broken = replace(
        old, failure=FailureKind.INVALID, reason=_cut(reason), failed_at=now, tries=old.tries + 1, due=None
    )
    return replace(entry, outstanding=broken)


def later(entry: Entry, due: float) -> Entry:
    """It cannot be sent before this time, which is nobody's fault."""
    old = entry.outstanding
    return entry if old is None else replace(entry, outstanding=replace(old, due=_later(old, due)))


def retried(entry: Entry, now: float, failed_before: float) -> Entry:
    """What was rejected before that time may be taken now."""
    old = entry.outstanding
    if old is None or old.failure is not FailureKind.REJECTED or old.failed_at >= failed_before:
        return entry
    return replace(entry, outstanding=replace(old, due=now))


def dropped(entry: Entry) -> Entry:
    """Nobody wants it any more. Where Clarify may have got it, it is not known any more what Clarify has."""
    old = entry.outstanding
    return Entry(None if old is not None and old.sent else entry.digest, entry.saved_at, entry.note)


def _unless_had(entry: Entry) -> Entry:
    old = entry.outstanding
    if old is not None and old.digest == entry.digest and not old.sent:
        return replace(entry, outstanding=None)
    return entry


def _later(old: Outstanding, due: float) -> float | None:
    return None if old.due is None else max(old.due, due)


def _cut(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"


@dataclass(frozen=True, slots=True)
class BatchVerdict:
    """What follows from a failed request."""

    delay: float = 0.0
    """Seconds to wait before the next request."""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Input ID → why it is rejected."""
    definite: bool = True
    """Whether it is certain that Clarify took nothing of the request."""


class Batches:
    """What the next request carries. Of a batch that failed without a name the halves are tried by themselves, so one
    bad signal is found with at most 2·log2(n) more requests. For one thread."""

    def __init__(self) -> None:
        self._suspects: list[list[str]] = []
        """Parts of a batch that failed, the next one last; together never more than that batch had."""
        self._attempt = 0

    def suspects(self) -> Sequence[str]:
        """The signals that the next request is about, where one is being searched for; else empty."""
        return self._suspects[-1] if self._suspects else ()

    def gone(self) -> None:
        """Nothing of these suspects is to be sent any more."""
        if self._suspects:
            self._suspects.pop()

    def succeeded(self) -> None:
        """Clarify took the request."""
        self._attempt = 0
        self.gone()

    def failed(
        self,
        batch: Collection[str],
        error: ClarifyError,
        root: str,
        keys: Mapping[str, str],
        chance: Callable[[], float],
    ) -> BatchVerdict:
        """Clarify did not take the request with this batch. `keys` are what its signals are called below `root` in the
        request, with their input IDs; `chance` gives numbers from 0 to 1."""
        self._attempt += 1
        verdict = judge(error, self._attempt, keys, root, chance)
        definite = isinstance(error, InvalidParams | NotAllowed | Refused)  # too large may be the answer, too
        if verdict.action is Action.SET_ASIDE:
            self._attempt = 0
            return BatchVerdict(rejected=_reasons(error, root, keys), definite=definite)
        if verdict.action is Action.HALVE:
            self._attempt = 0
            self.gone()
            if len(batch) == 1:
                return BatchVerdict(rejected=dict.fromkeys(batch, str(error)), definite=definite)
            listed = list(batch)
            half = len(listed) // 2
            self._suspects += [listed[half:], listed[:half]]
            return BatchVerdict(definite=definite)
        return BatchVerdict(verdict.delay, definite=definite)


def _reasons(error: ClarifyError, root: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Input ID → what the server says of it, for those that it names."""
    said: dict[str, list[str]] = {}
    for problem in error.problems if isinstance(error, InvalidParams) else ():
        for key in InvalidParams("", problems=[problem]).guilty(root, keys):
            where = problem.path.removeprefix(f"{root}.{key}").lstrip(".")
            said.setdefault(keys[key], []).append(f"{where}: {problem.message}" if where else problem.message)
    return {input_id: "; ".join(texts) for input_id, texts in said.items()}
