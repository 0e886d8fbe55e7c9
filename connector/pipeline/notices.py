"""Notices: problems that a person should see although data flows; each notice is in the log once, and in `/readyz`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from connector.mapping.observations import Observation
from connector.mapping.time.times import format_time

_MOST: Final = 1_000
"""Greatest number of kept notices: the oldest half stays; in the other half, new notices replace old notices."""
_MOST_SHOWN: Final = 50

_log = structlog.get_logger(__name__)


class _Key(NamedTuple):
    kind: str
    source: str
    subject: str


@dataclass(slots=True)
class Notice:
    """A problem that a person should see."""

    kind: str
    """One word, which is also the event in the log: `value_overwritten`, `subscription_silent` …"""
    source: str
    """The name of the source; empty for a notice about the whole connector."""
    subject: str
    """A topic, a rule, a subscription …; kind, source and subject together identify a notice."""
    text: str
    """The observation and its effect, with an example."""
    remedy: str
    """Advice for the person."""
    first: float
    """Time of the first observation, in seconds since the epoch."""
    count: int = 1
    """Number of observations, if they are counted; else 1."""

    def as_json(self) -> dict[str, object]:
        """Returns the notice as JSON data for `/readyz`; the time is text as in RFC 3339."""
        return {
            "kind": self.kind,
            "source": self.source,
            "subject": self.subject,
            "text": self.text,
            "remedy": self.remedy,
            "first": format_time(int(self.first) * 1_000_000),
            "count": self.count,
        }

    def __str__(self) -> str:
        return f"{self.source}: {self.text}; {self.remedy}" if self.source else f"{self.text}; {self.remedy}"


class Notices:
    """The notices of a connector. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self._clock = clock
        self._lock = threading.Lock()
        self._oldest: dict[_Key, Notice] = {}
        self._newest: dict[_Key, Notice] = {}
        """The notices that came when `_oldest` was full, the oldest first."""
        self._said: set[_Key] = set()
        """The keys of all notices that are in the log."""

    def say(
        self,
        kind: str,
        source: str,
        subject: str,
        text: str,
        remedy: str,
        *,
        times: int = 1,
        logged: bool = True,
        **fields: object,
    ) -> None:
        """Add a notice, or renew the notice with the same `kind`, `source` and `subject`.

        A notice is logged once, with the event `kind` and with `fields`, and shown until `over` is called. The newest
        text replaces an older text. `times` is the number of observations since the last call; 0 means that an earlier
        observation still holds. `logged=False` is for a problem that has another line in the log.
        """
        key = _Key(kind, source, subject)
        with self._lock:
            known = self._oldest.get(key) or self._newest.get(key)
            if known is not None:
                known.text, known.remedy = text, remedy
                known.count += times
                return
            self._keep(key, Notice(kind, source, subject, text, remedy, self._clock(), max(1, times)))
            if not logged or key in self._said or len(self._said) > _MOST:
                return
            self._said.add(key)
            more = len(self._said) > _MOST
        if more:
            _log.warning("more_notices", effect="further notices are not logged", remedy="see /readyz and the metrics")
        else:
            _log.warning(kind, source=source, subject=subject, **fields, detail=text, remedy=remedy)

    def again(self, kind: str, source: str, subject: str, times: int = 1) -> None:
        """Add `times` to the count of a notice; does nothing if the notice is not kept."""
        key = _Key(kind, source, subject)
        with self._lock:
            known = self._oldest.get(key) or self._newest.get(key)
            if known is not None:
                known.count += times

    def observed(self, observations: Iterable[Observation]) -> None:
        """Add a notice for each observation of the mapping."""
        for observation in observations:
            self.say(*observation)

    def over(self, kind: str, source: str, subject: str) -> None:
        """Remove a notice, because its problem has ended."""
        key = _Key(kind, source, subject)
        with self._lock:
            if self._oldest.pop(key, None) is None:
                self._newest.pop(key, None)

    def shown(self) -> list[Notice]:
        """Returns the present notices, the oldest first; at most 50.

        If there are more, returns the oldest and the newest notices, and between them a notice with the number of
        notices that are left out.
        """
        with self._lock:
            found = [*self._oldest.values(), *self._newest.values()]
            return found if len(found) <= _MOST_SHOWN else self._cut(found)

    def counts(self) -> Counter[str]:
        """Returns kind → number of present notices of this kind."""
        with self._lock:
            return Counter(key.kind for kept in (self._oldest, self._newest) for key in kept)

    def _keep(self, key: _Key, notice: Notice) -> None:
        if len(self._oldest) < _MOST // 2 and not self._newest:
            self._oldest[key] = notice
            return
        if len(self._newest) >= _MOST // 2:
            del self._newest[next(iter(self._newest))]
        self._newest[key] = notice

    def _cut(self, found: list[Notice]) -> list[Notice]:
        half = (_MOST_SHOWN - 1) // 2
        first, last = found[:half], found[-half:]
        left = len(found) - 2 * half
        more = Notice(
            "more_notices", "", "", f"{left} more notices are not shown", "see the log", found[half].first, left
        )
        return [*first, more, *last]
