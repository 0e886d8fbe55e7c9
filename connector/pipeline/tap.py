"""A tap: shows messages as they are taken in, and what they become, while somebody looks.

A look is a question that is asked again and again. The first question arms the tap: the function that the intakes call
with each chunk is swapped. The tap disarms itself some seconds after the last question. Without a look, this function
does nothing: a chunk costs one call, and a message costs nothing.

A look changes nothing, and is bounded. It keeps the newest messages only, cut to a readable size, and shows a part of
the messages where more come than a person can read. Looking takes a small share of the time of the intakes: chunks
beyond this share are not looked at, and counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple, Self

import structlog

from connector import ConnectorError
from connector.mapping.rules.topics import PatternError, parse_pattern
from connector.pipeline.tapped import Tapped, outcomes, tapped
from connector.records import Chunk, Part, Record, Rows, of_integration

LINGER_SECONDS: Final = 5.0
"""A look ends this long after its last question."""
MOST_LOOKS: Final = 4
"""The largest number of looks at the same time, each with its own filters; of looks at whole messages, as many more.

One more look at whole messages ends the one that was asked the longest ago.
"""
MESSAGES_A_SECOND: Final = 100
"""The largest number of messages a second that a look shows; of more in a chunk, evenly spread ones."""
_KEPT: Final = 200
"""The messages that a look keeps for its next questions."""
WHOLE_LINGER_SECONDS: Final = 120.0
"""A look at whole messages ends this long after its last question: a person changes a mapping meanwhile."""
WHOLE_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of all whole messages that a look keeps."""
WHOLE_MESSAGE_BYTES: Final = 256 * 1024
"""A larger message is not kept, but counted."""
_SHARE: Final = 0.02
"""The largest share of the time of one core that looking takes."""
_BURST_SECONDS: Final = 0.05
_REMEMBERED: Final = 10_000
"""The topics and input IDs whose answer to a filter is remembered."""

_log = structlog.get_logger(__name__)


def nobody_looks(_chunk: Chunk, _parts: list[Part]) -> None:
    """Take a chunk while nobody looks."""


class QuestionError(ConnectorError, ValueError):
    """The question cannot be answered; the text says why and what to do."""


class TooManyLooksError(QuestionError):
    """Too many look already, each with other filters."""


class Question(NamedTuple):
    """The filters of a look; an empty text takes everything."""

    topic: str = ""
    """A pattern as in a rule of the mapping, or with `*` and `?` as in a shell."""
    input_id: str = ""
    """An input ID; `*` and `?` stand for other characters, as in a shell."""
    whole: bool = False
    """Whether whole messages are kept, to map them again, instead of messages with what they have become."""

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> tuple[Self, int | None]:
        """Returns the question and `after` (None without it) of the query of a page. Raises `QuestionError`."""
        if unknown := parameters.keys() - {"topic", "input_id", "after"}:
            raise QuestionError(f"there is no parameter {min(unknown)!r}; known are topic, input_id and after")
        found = cls(parameters.get("topic", ""), parameters.get("input_id", ""))
        after = parameters.get("after")
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 20):
            raise QuestionError("after is the number `next` of the last answer")
        found.takes_topic()
        return found, None if after is None else int(after)

    def takes_topic(self) -> Callable[[str], bool] | None:
        """Returns a function that tells whether a topic is asked for; None for all. Raises `QuestionError`."""
        text = self.topic
        if not text:
            return None
        if set(text) & set("*?["):
            return lru_cache(_REMEMBERED)(lambda topic: fnmatchcase(topic, text))
        try:
            pattern = parse_pattern(text)
        except PatternError as error:
            raise QuestionError(f"topic {text!r}: {error}") from None
        return lru_cache(_REMEMBERED)(lambda topic: pattern.match(topic) is not None)

    def takes_input(self) -> Callable[[str], bool] | None:
        """Returns a function that tells whether an input ID is asked for, in any integration; None for all."""
        text = self.input_id
        return lru_cache(_REMEMBERED)(lambda written: fnmatchcase(of_integration(written)[1], text)) if text else None


@dataclass(slots=True)
class Seen:
    """The messages that came during a look."""

    came: int = 0
    looked_at: int = 0
    """The others came faster than a look may read them."""
    matching: int = 0
    """Those that were looked at, and that the filters take."""


class Collected(NamedTuple):
    """The newest whole messages of a look."""

    messages: list[tuple[str, Record]]
    """(name of the source, message), the oldest first."""
    too_large: int
    """The number of messages that were too large to be kept."""
    seen: Seen
    """Since the begin of the look."""


class Answer(NamedTuple):
    """What a look has seen between two questions."""

    next: int
    """`after` of the next question."""
    messages: list[Tapped]
    """The oldest first."""
    seen: Seen
    """Since the begin of the look."""

    def as_json(self) -> dict[str, object]:
        """Returns the answer as JSON data."""
        return {"next": self.next, "messages": [one.as_json() for one in self.messages], "seen": asdict(self.seen)}


@dataclass(slots=True)
class _Look:
    topic: Callable[[str], bool] | None
    input_id: Callable[[str], bool] | None
    until: float
    kept: deque[Tapped] = field(default_factory=lambda: deque(maxlen=_KEPT))
    seen: Seen = field(default_factory=Seen)
    allowed: float = MESSAGES_A_SECOND
    at: float = 0.0
    whole: deque[tuple[str, Record]] = field(default_factory=deque)
    whole_bytes: int = 0
    too_large: int = 0

    def keep(self, source: str, record: Record) -> None:
        """Keep a whole message, and forget the oldest ones beyond the bounds."""
        size = _size(record)
        if size > WHOLE_MESSAGE_BYTES:
            self.too_large += 1
            return
        self.whole.append((source, record))
        self.whole_bytes += size
        while len(self.whole) > _KEPT or self.whole_bytes > WHOLE_BYTES:
            self.whole_bytes -= _size(self.whole.popleft()[1])

    def matching(self, records: Sequence[Record], parts: Sequence[Part]) -> Sequence[int]:
        """The places of the records that the filters take, rising."""
        topic, input_id = self.topic, self.input_id
        found: Sequence[int] = range(len(records))
        if topic is not None:
            found = [index for index, record in enumerate(records) if topic(record.topic)]
        if input_id is not None and found:
            having = set(_having(parts, input_id))
            found = [index for index in found if index in having]
        return found

    def chosen(self, found: Sequence[int], now: float) -> Sequence[int]:
        """As many of these places as may be shown now, evenly spread."""
        self.allowed = min(MESSAGES_A_SECOND, self.allowed + (now - self.at) * MESSAGES_A_SECOND)
        self.at = now
        most = min(len(found), int(self.allowed))
        self.allowed -= most
        return found if most == len(found) else [found[rank * len(found) // most] for rank in range(most)]


class Tap:
    """The looks at a pipeline. Safe for threads: the intakes give chunks, and pages ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self.took_in: Callable[[Chunk, list[Part]], object] = nobody_looks
        """Takes a chunk that was taken in, with its parts; each intake calls what stands here."""
        self._clock = clock
        self._lock = threading.Lock()
        self._looks: dict[Question, _Look] = {}
        self._number = 0
        self._time = 0.0
        """Seconds that looking may take now; negative after a long look."""
        self._at = 0.0

    def ask(self, question: Question, after: int | None = None) -> Answer:
        """Returns the messages that came after the number `after`; the first question (None) only begins a look.

        Raises `TooManyLooksError`.
        """
        with self._lock:
            look = self._look_of(question, LINGER_SECONDS)
            self._number = max(self._number, time.time_ns() // 1000)
            since = self._number if after is None else after if after <= self._number else 0  # the clock was set back
            return Answer(self._number, [one for one in look.kept if one.number > since], Seen(**asdict(look.seen)))

    def collect(self, topic: str) -> Collected:
        """Returns the newest whole messages of the topics; the first question only begins to keep them.

        Raises `QuestionError`.
        """
        with self._lock:
            look = self._look_of(Question(topic, whole=True), WHOLE_LINGER_SECONDS)
            return Collected(list(look.whole), look.too_large, Seen(**asdict(look.seen)))

    def _look_of(self, question: Question, linger: float) -> _Look:
        now = self._clock()
        self._end_old(now)
        look = self._looks.get(question)
        if look is None:
            takes = question.takes_topic(), question.takes_input()
            alike = [one for one in self._looks if one.whole is question.whole]
            if len(alike) >= MOST_LOOKS:
                if not question.whole:
                    raise TooManyLooksError(
                        f"{MOST_LOOKS} others look with other filters; try again when one has ended"
                    )
                del self._looks[min(alike, key=lambda one: self._looks[one].until)]
            look = _Look(*takes, 0.0, at=now)
            if not self._looks:
                self._time, self._at = _BURST_SECONDS, now
                self.took_in = self._watch
            self._looks[question] = look
        look.until = now + linger
        return look

    def _end_old(self, now: float) -> None:
        for question in [question for question, look in self._looks.items() if look.until < now]:
            del self._looks[question]

    def _watch(self, chunk: Chunk, parts: list[Part]) -> None:
        """Look at a chunk, in the thread of its intake. A bug here ends all looks, and no data waits for it."""
        began = time.perf_counter()
        try:
            with self._lock:
                now = self._clock()
                self._end_old(now)
                if not self._looks:
                    self.took_in = nobody_looks
                    return
                self._time = min(_BURST_SECONDS, self._time + (now - self._at) * _SHARE)
                self._at = now
                for question, look in self._looks.items():
                    look.seen.came += len(chunk.records)
                    if self._time > 0:
                        self._look(look, chunk, parts, now, whole=question.whole)
                self._time -= time.perf_counter() - began
        except Exception:  # noqa: BLE001 - data flows on, whatever a look does
            _log.exception("tap_failed", source=chunk.source)
            with self._lock:
                self._looks.clear()
                self.took_in = nobody_looks

    def _look(self, look: _Look, chunk: Chunk, parts: list[Part], now: float, *, whole: bool) -> None:
        found = look.matching(chunk.records, parts)
        look.seen.looked_at += len(chunk.records)
        look.seen.matching += len(found)
        chosen = look.chosen(found, now)
        if not chosen:
            return
        if whole:
            for index in chosen:
                look.keep(chunk.source, chunk.records[index])
            return
        became = outcomes(parts, chosen)
        for index in chosen:
            self._number = max(self._number + 1, time.time_ns() // 1000)
            look.kept.append(tapped(self._number, chunk, index, became[index], look.input_id))


def _size(record: Record) -> int:
    """The bytes of a message, nearly."""
    headers = sum(len(name) + len(text) for name, text in record.headers)
    return len(record.payload or b"") + len(record.topic) + len(record.key or b"") + headers


def _having(parts: Sequence[Part], takes: Callable[[str], bool]) -> Iterator[int]:
    """The places of the records with a sample, or a refused sample, of an input that is asked for."""
    for index, part in parts:
        if type(part) is Rows:
            if any(map(takes, part.inputs)):
                yield from part.indexes
        elif any(takes(sample[0]) for sample in part.samples) or any(
            one.input_id is not None and takes(one.input_id) for one in part.rejects
        ):
            yield index
