"""Lines in the log about trouble with Kafka: at most one a minute about one trouble, whatever numbers it contains."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import structlog

_SECONDS: Final = 60.0
"""Seconds between two lines about the same trouble."""
_MOST: Final = 200
"""Troubles that are told apart; the longest unheard is forgotten first."""
_NUMBERED: Final = re.compile(r"\S*\d\S*")
"""A word with a digit: a port, an address, an ID, a time."""

_log = structlog.get_logger(__name__)


class TroubleLog:
    """Writes a trouble into the log when it comes, and once a minute while it repeats."""

    def __init__(self, source: str, clock: Callable[[], float]) -> None:
        """`clock` gives seconds of any clock that only rises."""
        self._source = source
        self._clock = clock
        self._lines: dict[tuple[str, str], tuple[float, int]] = {}
        """(subject, words) of a trouble → (time of its last line, repeats since)."""

    def say(self, subject: str, text: str, words: str = "") -> None:
        """Write a trouble. `words` stand for the texts of one cause; default: the text."""
        if (repeats := self._due(subject, words or text)) is not None:
            _log.warning("kafka_trouble", source=self._source, reason=text, effect="trying again", **repeats)

    def say_of_topic(self, topic: str, text: str) -> None:
        """Write a trouble of a topic."""
        if (repeats := self._due(f"topic {topic}", text)) is not None:
            _log.error("kafka_topic_trouble", source=self._source, topic=topic, reason=text, **repeats)

    def _due(self, subject: str, text: str) -> dict[str, int] | None:
        """None if a line about the trouble was written within a minute; else the number of repeats, for the line."""
        now, key = self._clock(), (subject, _NUMBERED.sub("#", text))
        at, repeats = self._lines.pop(key, (-_SECONDS, 0))
        written = now - at >= _SECONDS
        self._lines[key] = (now, 0) if written else (at, repeats + 1)
        if len(self._lines) > _MOST:
            del self._lines[next(iter(self._lines))]
        if not written:
            return None
        return {"repeated": repeats} if repeats else {}
