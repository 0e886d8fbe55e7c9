"""Notices: what a person should look at although data flows. Each is one line in the log, and stands in `/readyz`."""

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
"""Notices that are kept: the first half stays, the second half gives way to newer ones."""
_MOST_SHOWN: Final = 50

_log = structlog.get_logger(__name__)


class _Key(NamedTuple):
    kind: str
    source: str
    subject: str


@dataclass(slots=True)
class Notice:
    """Something that a person should look at."""

    kind: str
    """One word, also the event in the log: `value_overwritten`, `subscription_silent` …"""
    source: str
    """The name of the source; empty for a notice about the whole connector."""
    subject: str
    """A topic, a rule, a subscription …; with the kind and the source it tells notices apart."""
    text: str
    """What was seen and what follows, with an example."""
    remedy: str
    """What to do."""
    first: float
    """When it was seen for the first time, in seconds since the epoch."""
    count: int = 1
    """How often it was seen, as far as somebody counts: at least once."""

    def as_json(self) -> dict[str, object]:
        """For `/readyz`: the time is RFC 3339 text."""
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
        """What the log has."""

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
        """Take a notice: `kind` is the event in the log, `subject` what it is about (a topic, a rule …). A notice with
        the same three is logged once, and shown until it is over; its text is the newest one. `times` is how often it
        was seen since it was said the last time: 0 where it still holds. `fields` stand in the log only. Without
        `logged`, the log has it already in another way."""
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
        """A notice was seen again, so often; nothing is done where it is not shown."""
        key = _Key(kind, source, subject)
        with self._lock:
            known = self._oldest.get(key) or self._newest.get(key)
            if known is not None:
                known.count += times

    def observed(self, observations: Iterable[Observation]) -> None:
        """Take what the mapping noticed."""
        for observation in observations:
            self.say(*observation)

    def over(self, kind: str, source: str, subject: str) -> None:
        """This notice does not hold any more."""
        key = _Key(kind, source, subject)
        with self._lock:
            if self._oldest.pop(key, None) is None:
                self._newest.pop(key, None)

    def shown(self) -> list[Notice]:
        """The notices that hold now, the oldest first: at most 50. Where there are more, the oldest and the newest,
        and between them a notice that says how many are left out."""
        with self._lock:
            found = [*self._oldest.values(), *self._newest.values()]
            return found if len(found) <= _MOST_SHOWN else self._cut(found)

    def counts(self) -> Counter[str]:
        """Kind → how many notices of it hold now."""
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
