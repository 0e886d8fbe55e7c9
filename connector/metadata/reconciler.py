"""The reconciler: compares the metadata that a signal should have with the metadata in Clarify. No I/O and no clock.

A *desire* is the metadata that the mapping wants for a signal (its desired state). An `Entry` has all facts about one
signal: the digest of the metadata that the connector has saved in Clarify, and the outstanding desire. Each event is a
function from an entry to an entry, and the book (see `book`) carries the event out in one transaction:

    wanted ──▶ waiting ──sending──▶ sent ──saved──▶ nothing is outstanding
                  ▲                  │
                  │                  ├─ unanswered: waiting, as before
                  └── a new desire ──┴─ rejected: failed, with its reason; tried again slowly

- A desire with the digest of the saved metadata is not outstanding. But from `sending` until a definite answer, nobody
  knows the metadata in Clarify. So in this time a desire stays outstanding even if Clarify had the same *before*.
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

from connector.clarify.errors import ClarifyError, InvalidParams, NotAllowed, Refused
from connector.delivery.policy import Action, judge_request

FIRST_RETRY: Final = 3600.0
LAST_RETRY: Final = 86400.0
"""Seconds until a rejected desire is tried again: the first time, and at most."""
LONGEST_REASON: Final = 500
"""The most characters of a reason that are kept."""


class FailureKind(StrEnum):
    """The reason why an outstanding desire has failed."""

    NONE = ""
    INVALID = "invalid"
    """The desire breaks a documented rule: only another desire of the mapping is sent."""
    REJECTED = "rejected"
    """Clarify rejected the desire."""


@dataclass(frozen=True, slots=True)
class Desire:
    """The metadata that a signal should have."""

    digest: str
    content: bytes
    problem: str = ""
    """The documented rule that the content breaks; empty if there is none."""


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
    """Number of times that the desire was rejected."""


@dataclass(frozen=True, slots=True)
class Entry:
    """All facts about the metadata of one signal."""

    digest: str | None = None
    """The digest of the metadata that the connector has saved in Clarify; None if there is none, or it is unknown."""
    saved_at: float = 0.0
    """The time of this save, in seconds since the epoch; 0 if it is unknown."""
    note: str = ""
    """A text for a person about the last save; mostly empty."""
    outstanding: Outstanding | None = None


@dataclass(frozen=True, slots=True)
class OutstandingCounts:
    """The numbers of outstanding desires."""

    waiting: int = 0
    """Number of desires that have not failed."""
    postponed: int = 0
    """Number of waiting desires that are not due yet."""
    failed: int = 0


EntryChange = Callable[[str, Entry], Entry]
"""(input ID, its entry) → the changed entry."""


@dataclass(frozen=True, slots=True)
class SaveInterval:
    """The least time between two saves of one signal."""

    seconds: float
    """Seconds from a save of a signal, or from an attempt that failed, to the next save of the same signal."""
    run_began_at: float = 0.0
    """The start of this run. Earlier saves do not count, so that a start with a changed mapping shows at once."""

    def next_after(self, at: float, now: float) -> float:
        """Returns the earliest time of the next save, for a signal that was last saved at `at`."""
        return now if at < self.run_began_at else max(now, min(at, now) + self.seconds)


def wanted(entry: Entry, desire: Desire, now: float, interval: SaveInterval) -> Entry:
    """Returns the entry after the mapping has wanted `desire` for the signal."""
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
    """Returns the entry when a request with the outstanding desire is sent."""
    old = entry.outstanding
    return entry if old is None or old.sent else replace(entry, outstanding=replace(old, sent=True))


def saved(entry: Entry, digest: str, now: float, interval: SaveInterval, note: str = "") -> Entry:
    """Returns the entry after Clarify has saved the desire with this digest."""
    old = entry.outstanding
    if old is not None and old.digest == digest:
        old = None
    elif old is not None:
        old = replace(old, sent=False, due=_later(old, interval.next_after(now, now)))
    return Entry(digest, now, note, old)


def unanswered(entry: Entry, was_sent: bool) -> Entry:
    """Returns the entry after a request was refused as a whole: the metadata in Clarify has not changed.

    `was_sent` is the value of `Outstanding.sent` before the request.
    """
    old = entry.outstanding
    if old is None or old.sent == was_sent:
        return entry
    return _unless_had(replace(entry, outstanding=replace(old, sent=was_sent)))


def rejected(entry: Entry, digest: str, reason: str, was_sent: bool, now: float, interval: SaveInterval) -> Entry:
    """Returns the entry after Clarify has rejected the desire with this digest.

    `was_sent` is the new value for `Outstanding.sent`.
    """
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
    """Returns the entry after the desire with this digest was found to break a documented rule."""
    old = entry.outstanding
    if old is None or old.digest != digest:
        return entry
    broken = replace(
        old, failure=FailureKind.INVALID, reason=_cut(reason), failed_at=now, tries=old.tries + 1, due=None
    )
    return replace(entry, outstanding=broken)


def later(entry: Entry, due: float) -> Entry:
    """Returns the entry whose outstanding desire cannot be sent before the time `due`; this is no failure."""
    old = entry.outstanding
    return entry if old is None else replace(entry, outstanding=replace(old, due=_later(old, due)))


def retried(entry: Entry, now: float, failed_before: float) -> Entry:
    """Returns the entry whose desire is due now, if it was rejected before `failed_before`."""
    old = entry.outstanding
    if old is None or old.failure is not FailureKind.REJECTED or old.failed_at >= failed_before:
        return entry
    return replace(entry, outstanding=replace(old, due=now))


def dropped(entry: Entry) -> Entry:
    """Returns the entry without its outstanding desire.

    If a request with this desire has no known result, the metadata in Clarify is unknown.
    """
    old = entry.outstanding
    return Entry(None if old is not None and old.sent else entry.digest, entry.saved_at, entry.note)


def _unless_had(entry: Entry) -> Entry:
    """Returns the entry without its outstanding desire, if Clarify certainly has the same metadata already."""
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
    """Decides which signals the next request carries. For one thread.

    If a batch of n signals fails and the server names none of them, its halves are sent separately. So one bad signal
    is found with at most 2·log2(n) more requests.
    """

    def __init__(self) -> None:
        self._suspects: list[list[str]] = []
        """Parts of a batch that failed, the next part last. Together they never have more signals than the batch."""
        self._attempt = 0

    def suspects(self) -> Sequence[str]:
        """The signals of the next request while a bad signal is searched for; else empty."""
        return self._suspects[-1] if self._suspects else ()

    def gone(self) -> None:
        """Drop the present suspects, because none of them has a desire to send any more."""
        if self._suspects:
            self._suspects.pop()

    def succeeded(self) -> None:
        """Record that Clarify has carried out the request."""
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
        """Record that the request with this batch failed; returns the consequences.

        `keys` maps the name of each signal below `root` in the request to its input ID. `chance` returns random numbers
        from 0 to 1.
        """
        self._attempt += 1
        verdict = judge_request(error, self._attempt, keys, root, chance)
        definite = isinstance(
            error, InvalidParams | NotAllowed | Refused
        )  # TooLarge is not definite: the answer, too, may be too large
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
    """Returns input ID → the messages of the server about the signal, for the signals that the server names."""
    said: dict[str, list[str]] = {}
    for problem in error.problems if isinstance(error, InvalidParams) else ():
        for key in InvalidParams("", problems=[problem]).guilty(root, keys):
            where = problem.path.removeprefix(f"{root}.{key}").lstrip(".")
            said.setdefault(keys[key], []).append(f"{where}: {problem.message}" if where else problem.message)
    return {input_id: "; ".join(texts) for input_id, texts in said.items()}
