"""Notices: what a person should look at although data flows. Each is one line in the log, and stands in `/readyz`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import structlog

from connector.mapping.observations import Observation

_MOST: Final = 1_000
_MOST_SHOWN: Final = 50

_log = structlog.get_logger(__name__)


class _Key(NamedTuple):
    kind: str
    source: str
    subject: str


class Notices:
    """The notices of a connector. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[_Key, str] = {}
        self._said: set[_Key] = set()

    def say(self, kind: str, source: str, subject: str, text: str, remedy: str) -> None:
        """Take a notice: `kind` is the event in the log, `subject` what it is about (a topic, a rule …). A notice with
        the same three is logged once, and shown until it is over."""
        key = _Key(kind, source, subject)
        with self._lock:
            if len(self._now) >= _MOST and key not in self._now:
                return
            self._now[key] = f"{source}: {text}; {remedy}" if source else f"{text}; {remedy}"
            if key in self._said or len(self._said) >= 2 * _MOST:
                return
            self._said.add(key)
        _log.warning(kind, source=source, subject=subject, detail=text, remedy=remedy)

    def observed(self, observations: Iterable[Observation]) -> None:
        """Take what the mapping noticed."""
        for observation in observations:
            self.say(*observation)

    def over(self, kind: str, source: str, subject: str) -> None:
        """This notice does not hold any more."""
        with self._lock:
            self._now.pop(_Key(kind, source, subject), None)

    def texts(self) -> list[str]:
        """The notices that hold now, the oldest first, as text for people: at most 50, then how many more."""
        with self._lock:
            texts = list(self._now.values())
        more = len(texts) - _MOST_SHOWN
        return texts[:_MOST_SHOWN] + ([f"{more} more notices; see the log"] if more > 0 else [])

    def counts(self) -> Counter[str]:
        """Kind → how many notices of it hold now."""
        with self._lock:
            return Counter(key.kind for key in self._now)
