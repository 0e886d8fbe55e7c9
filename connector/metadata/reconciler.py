"""The reconciler: the metadata that a signal should have, compared with what Clarify has. No I/O and no clock.

A *desire* is the metadata that the mapping wants for a signal (its desired state). An `Entry` is everything known of
one signal: the digest of the metadata that Clarify has from us, and the desire that is outstanding. Each event is a
function from an entry to an entry, and the book (see `book`) carries it out in one transaction:

    wanted ──▶ waiting ──sending──▶ sent ──saved──▶ nothing is outstanding
                  ▲                  │
                  │                  ├─ unanswered: waiting, as before
                  └── a new desire ──┴─ rejected: failed, with its reason; tried again slowly

- A desire with the digest of what Clarify has is not outstanding. But from `sending` until a definite answer, nobody
  knows what Clarify has. So in this time a desire stays outstanding even if Clarify had the same *before*.
- A newer desire replaces a waiting one, also while a request with the older desire is under way.
- One signal is saved at most once in `SaveInterval.seconds`; changes between two saves are merged.
- A desire that breaks a documented rule is not sent (`INVALID`). A desire that Clarify rejects (`REJECTED`) is tried
  again after an hour, then more and more slowly. In both cases a different desire is sent without this delay.

`Batches` decides which signals the next request carries, and which signals may have caused a failure that names none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from connector.clarify import ClarifyError, InvalidParams, NotAllowed, Refused
from connector.delivery.policy import Action, judge_request

FIRST_RETRY: Final = 3600.0
LAST_RETRY: Final = 86400.0
"""Seconds until a rejected desire is tried again: the first time, and at most."""
LONGEST_REASON: Final = 500
"""The most characters of a reason that are kept."""


class FailureKind(StrEnum):
    """Why an outstanding desire has failed."""

    NONE = ""
    INVALID = "invalid"
    """The desire breaks a documented rule: it is sent only if the mapping wants something else."""
    REJECTED = "rejected"
    """Clarify rejected the desire."""


@dataclass(frozen=True, slots=True)
class Desire:
    """The metadata that a signal should have."""

    digest: str
    content: bytes
    problem: str = ""
    """The documented rule that the content breaks; empty if none."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A desire that Clarify does not have. Times are in seconds since the epoch."""

    digest: str
    content: bytes
    since: float
    due: float | None
    """The desire is not sent before this time; None: never."""
    sent: bool = False
    """Whether a request with this desire, or with one that it replaced, has no known result."""
    failure: FailureKind = FailureKind.NONE
    reason: str = ""
    failed_at: float = 0.0
    tries: int = 0
    """How often the desire was rejected."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Everything known of the metadata of one signal."""

    digest: str | None = None
    """The digest of the metadata that Clarify has from us; None if it has none, or if that is not known."""
    saved_at: float = 0.0
    """When this metadata was saved, in seconds since the epoch; 0 if that is not known."""
    note: str = ""
    """A text for a person about the last save; mostly empty."""
    outstanding: Outstanding | None = None


@dataclass(frozen=True, slots=True)
class OutstandingCounts:
    """How many desires are outstanding."""

    waiting: int = 0
    """Desires that have not failed."""
    postponed: int = 0
    """Desires that wait and are not due yet."""
    failed: int = 0


EntryChange = Callable[[str, Entry], Entry]
"""(input ID, its entry) → the changed entry."""


@dataclass(frozen=True, slots=True)
class SaveInterval:
    """How often one signal may be saved."""

    seconds: float
    """Seconds from a save of a signal, or from an attempt that failed, to the next save of the same signal."""
    run_began_at: float = 0.0
    """When this run began. Earlier saves do not count, so that a start with a changed mapping shows at once."""

    def next_after(self, at: float, now: float) -> float:
        """The time from which a signal may be saved again that was last saved at `at`."""
        return now if at < self.run_began_at else max(now, min(at, now) + self.seconds)


def wanted(entry: Entry, desire: Desire, now: float, interval: SaveInterval) -> Entry:
    """The mapping wants this desire for the signal."""
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
    if old is not None and old.failure is FailureKind.NONE:  # the newer desire keeps the place of the older one
        return replace(entry, outstanding=replace(old, digest=desire.digest, content=desire.content))
    last = max(entry.saved_at, old.failed_at if old is not None else 0.0)
    return replace(
        entry, outstanding=Outstanding(desire.digest, desire.content, now, interval.next_after(last, now), sent)
    )


def sending(entry: Entry) -> Entry:
    """A request with the outstanding desire leaves now."""
    old = entry.outstanding
    return entry if old is None or old.sent else replace(entry, outstanding=replace(old, sent=True))


def saved(entry: Entry, digest: str, now: float, interval: SaveInterval, note: str = "") -> Entry:
    """Clarify has saved the desire with this digest."""
    old = entry.outstanding
    if old is not None and old.digest == digest:
        old = None
    elif old is not None:
        old = replace(old, sent=False, due=_later(old, interval.next_after(now, now)))
    return Entry(digest, now, note, old)


def unanswered(entry: Entry, was_sent: bool) -> Entry:
    """The request was refused as a whole: Clarify has what it had before. `was_sent` is the value of `Outstanding.sent`
    before the request."""
    old = entry.outstanding
    if old is None or old.sent == was_sent:
        return entry
    return _unless_had(replace(entry, outstanding=replace(old, sent=was_sent)))


def rejected(entry: Entry, digest: str, reason: str, was_sent: bool, now: float, interval: SaveInterval) -> Entry:
    """Clarify rejected the desire with this digest. `was_sent` is the value for `Outstanding.sent` from here on."""
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
    """The desire with this digest was found to break a documented rule."""
    old = entry.outstanding
    if old is None or old.digest != digest:
        return entry
    broken = replace(
        old, failure=FailureKind.INVALID, reason=_cut(reason), failed_at=now, tries=old.tries + 1, due=None
    )
    return replace(entry, outstanding=broken)


def later(entry: Entry, due: float) -> Entry:
    """The outstanding desire cannot be sent before this time, which is no failure."""
    old = entry.outstanding
    return entry if old is None else replace(entry, outstanding=replace(old, due=_later(old, due)))


def retried(entry: Entry, now: float, failed_before: float) -> Entry:
    """If the desire was rejected before `failed_before`, it is due now."""
    old = entry.outstanding
    if old is None or old.failure is not FailureKind.REJECTED or old.failed_at >= failed_before:
        return entry
    return replace(entry, outstanding=replace(old, due=now))


def dropped(entry: Entry) -> Entry:
    """Forget the outstanding desire. If a request with it has no known result, it is unknown what Clarify has."""
    old = entry.outstanding
    return Entry(None if old is not None and old.sent else entry.digest, entry.saved_at, entry.note)


def _unless_had(entry: Entry) -> Entry:
    """Without the outstanding desire, if Clarify certainly has the same already."""
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
    """The consequences of a failed request for its batch."""

    delay: float = 0.0
    """Seconds to wait before the next request."""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Input ID → reason, for the signals that are rejected."""
    definite: bool = True
    """Whether Clarify certainly carried out no part of the request."""


class Batches:
    """Decides which signals the next request carries. If a batch of n signals fails and the server names none of them,
    its halves are sent separately: one bad signal is found with at most 2·log2(n) more requests. For one thread."""

    def __init__(self) -> None:
        self._suspects: list[list[str]] = []
        """Parts of a batch that failed, the next part last. Together they never have more signals than the batch."""
        self._attempt = 0

    def suspects(self) -> Sequence[str]:
        """The signals of the next request while a bad signal is searched for; else empty."""
        return self._suspects[-1] if self._suspects else ()

    def gone(self) -> None:
        """None of the present suspects has anything to send any more."""
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
        """The request with this batch failed. `keys` maps the name of each signal below `root` in the request to its
        input ID; `chance` gives numbers from 0 to 1."""
        self._attempt += 1
        verdict = judge_request(error, self._attempt, keys, root, chance)
        definite = isinstance(
            error, InvalidParams | NotAllowed | Refused
        )  # TooLarge is not: the answer may be too large
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
    """Input ID → the messages of the server on it, for the signals that the server names."""
    said: dict[str, list[str]] = {}
    for problem in error.problems if isinstance(error, InvalidParams) else ():
        for key in InvalidParams("", problems=[problem]).guilty(root, keys):
            where = problem.path.removeprefix(f"{root}.{key}").lstrip(".")
            said.setdefault(keys[key], []).append(f"{where}: {problem.message}" if where else problem.message)
    return {input_id: "; ".join(texts) for input_id, texts in said.items()}
