"""What becomes no sample, or is not taken by Clarify: a dead letter first, durably, and only then settled."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, Protocol

import structlog

from connector.dead_letters.letter import DeadLetter, letter_of
from connector.dead_letters.store import DeadLettersError
from connector.pipeline.notices import Notices
from connector.records import Chunk, Mapped, Part, Reason, Reject, Sample
from connector.sources.source import Source
from connector.threads.watched import moves

_LETTERS_AT_ONCE: Final = 1000
_REREAD_BYTES: Final = 8 * 1024 * 1024
_HOLD_SECONDS: Final = 0.2
"""How often a source that waits is held."""
_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 30.0
"""Seconds between attempts to write dead letters."""

_log = structlog.get_logger(__name__)


class DeadLetters(Protocol):
    """What is needed of the dead-letter store: durable when `add` returns."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these letters."""


class _Refused(NamedTuple):
    """What of one record Clarify did not take."""

    topic: str
    rejects: list[Reject]


Locate = Callable[[Iterable[int]], list[tuple[str, str, int, str]]]
"""(source, partition, position, topic) of the records with these tokens."""


class Rejects:
    """Writes dead letters. Safe for threads."""

    def __init__(
        self, sources: Mapping[str, Source], dead_letters: DeadLetters, aborted: threading.Event, notices: Notices
    ) -> None:
        self._notices = notices
        self._sources = sources
        self._dead_letters = dead_letters
        self._aborted = aborted
        self._lock = threading.Lock()
        self.reasons: Counter[str] = Counter()
        """Reason → letters with it."""
        self._said: set[tuple[str, str]] = set()
        """(source, reason) of which the first letter was said."""

    def keep(self, chunk: Chunk, parts: list[Part]) -> bool:
        """What mapping rejected of this chunk. False if aborted."""
        letters = [
            letter_of(
                chunk.source,
                chunk.partition,
                chunk.positions[index],
                chunk.records[index].topic,
                part.rejects,
                chunk.records[index],
            )
            for index, part in parts
            if isinstance(part, Mapped) and part.rejects
        ]
        return not letters or self._add_letters(letters, self._sources[chunk.source].hold)

    def keep_refused(self, records: Iterator[tuple[int, list[Sample]]], locate: Locate, reason: str) -> bool:
        """What Clarify did not take: the samples of each token. False if aborted."""
        while part := list(islice(records, _LETTERS_AT_ONCE)):  # a frame may hold the samples of very many records
            for (source, partition), refused in _by_partition(part, locate, reason).items():
                if not self._keep_again(source, partition, refused):
                    return False
        return True

    def _keep_again(self, source: str, partition: str, refused: dict[int, _Refused]) -> bool:
        """Letters about records that were mapped long ago: each is read again from its log, a part at a time, so that
        they never stand in memory together. False if aborted."""
        left = sorted(refused)
        while left:
            moves()
            again = self._sources[source].read_again(partition, left, _REREAD_BYTES)
            done = max(1, again.done)
            letters = []
            for position in left[:done]:
                about = refused[position]
                record = again.records.get(position)
                letters.append(letter_of(source, partition, position, about.topic, about.rejects, record, again.why))
            if not self._add_letters(letters):
                return False
            left = left[done:]
        return True

    def _add_letters(self, letters: list[DeadLetter], hold: Callable[[], None] = lambda: None) -> bool:
        """Nothing counts as settled before its letter is durable, so this goes on until it is; False if aborted.
        Meanwhile a source whose intake waits for it is held, so that it keeps its membership."""
        delay = _FIRST_DELAY
        while True:
            try:
                self._dead_letters.add(letters)
            except DeadLettersError as error:
                pause = delay * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter
                _log.error(
                    "dead_letters_not_written",
                    reason=str(error),
                    effect="intake waits, nothing is dropped",
                    next_try_in_seconds=round(pause, 1),
                )
                for _ in range(1 + int(pause / _HOLD_SECONDS)):
                    moves()
                    if self._aborted.wait(_HOLD_SECONDS):
                        return False
                    hold()
                delay = min(2 * delay, _LAST_DELAY)
            else:
                break
        self._count(letters)
        return True

    def _count(self, letters: list[DeadLetter]) -> None:
        """Count these letters by their reasons; the first of each source and reason is said."""
        first: list[tuple[str, DeadLetter]] = []
        again: Counter[tuple[str, str]] = Counter()
        with self._lock:
            for letter in letters:
                reasons = letter.reasons
                self.reasons.update(reasons)
                for reason in reasons:
                    if (letter.source, reason) in self._said:
                        again[letter.source, reason] += 1
                    else:
                        self._said.add((letter.source, reason))
                        first.append((reason, letter))
        for reason, letter in first:
            example = next((reject for reject in letter.rejects if reject.reason == reason), letter.rejects[0])
            self._notices.say(
                "first_dead_letter",
                letter.source,
                reason,
                f"the first dead letter for the reason {reason}: topic {letter.topic!r}, {example.message}",
                f"look at all of them: clarify-connector dead-letters list CONFIG --reason {reason}",
                topic=letter.topic,
            )
        for (source, reason), n in again.items():
            self._notices.again("first_dead_letter", source, reason, n)


def _by_partition(
    records: Sequence[tuple[int, list[Sample]]], locate: Locate, reason: str
) -> dict[tuple[str, str], dict[int, _Refused]]:
    """(source, partition) → position → what of its record Clarify did not take."""
    found: dict[tuple[str, str], dict[int, _Refused]] = {}
    places = locate([token for token, _ in records])
    for (_, samples), (source, partition, position, topic) in zip(records, places, strict=True):
        rejects = [
            Reject(Reason.INSERT_REJECTED, reason, None, repr(value), input_id, time_us)
            for input_id, time_us, value in samples
        ]
        found.setdefault((source, partition), {})[position] = _Refused(topic, rejects)
    return found
