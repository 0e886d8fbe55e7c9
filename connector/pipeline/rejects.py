"""Rejected values, of the mapping or of Clarify: the dead letter is durable before the value counts as settled."""

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
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import moves

_LETTERS_AT_ONCE: Final = 1000
_REREAD_BYTES: Final = 8 * 1024 * 1024
_HOLD_SECONDS: Final = 0.2
"""Time between two calls of `hold` of a source that waits."""
_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 30.0
"""Longest time between two attempts to write dead letters; the times rise from `_FIRST_DELAY` to this time."""

_log = structlog.get_logger(__name__)


class DeadLetters(Protocol):
    """The part of the dead-letter writer that the pipeline needs."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these letters; they are durable when the call returns. Raises `DeadLettersError`."""


class _Refused(NamedTuple):
    """The values of one record that Clarify refused, and the record's topic."""

    topic: str
    rejects: list[Reject]


Locate = Callable[[Iterable[int]], list[tuple[str, str, int, str]]]
"""Returns (source, partition, position, topic) of the record of each token."""


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
        """Reason → number of letters with this reason."""
        self._said: set[tuple[str, str]] = set()
        """Each (source, reason) with a notice about its first letter."""

    def keep(self, chunk: Chunk, parts: list[Part]) -> bool:
        """Write dead letters for all values of a chunk that the mapping rejected; returns False if aborted."""
        rejected = [(index, part.rejects) for index, part in parts if isinstance(part, Mapped) and part.rejects]
        if not rejected:
            return True
        source = self._sources[chunk.source]
        log = source.log(chunk.partition)
        letters = [
            letter_of(
                chunk.source,
                chunk.partition,
                chunk.positions[index],
                chunk.records[index].topic,
                rejects,
                chunk.records[index],
                log=log,
            )
            for index, rejects in rejected
        ]
        return self._add_letters(letters, source.hold)

    def keep_refused(self, records: Iterator[tuple[int, list[Sample]]], locate: Locate, reason: str) -> bool:
        """Write dead letters for samples that Clarify refused for `reason`; returns False if aborted.

        `records` yields the token of a record and its refused samples.
        """
        while part := list(islice(records, _LETTERS_AT_ONCE)):  # a frame may hold the samples of very many records
            for (source, partition), refused in _by_partition(part, locate, reason).items():
                if not self._keep_again(source, partition, refused):
                    return False
        return True

    def _keep_again(self, source: str, partition: str, refused: dict[int, _Refused]) -> bool:
        """Write dead letters for records that were mapped long ago; returns False if aborted.

        Each record is read again from its log, part by part, so that the records are never in memory all at once.
        """
        left = sorted(refused)
        log = self._sources[source].log(partition)
        while left:
            moves()
            again = self._sources[source].read_again(partition, left, _REREAD_BYTES)
            done = max(1, again.done)
            letters = []
            for position in left[:done]:
                about = refused[position]
                record = again.records.get(position)
                letters.append(
                    letter_of(source, partition, position, about.topic, about.rejects, record, again.why, log)
                )
            if not self._add_letters(letters):
                return False
            left = left[done:]
        return True

    def _add_letters(self, letters: list[DeadLetter], hold: Callable[[], None] = lambda: None) -> bool:
        """Write the letters, with repetition until they are durable; returns False if aborted.

        A record counts as settled only when its letter is durable. During the repetition `hold` is called, so that a
        source whose intake waits keeps its membership.
        """
        delay = _FIRST_DELAY
        failing = RepeatedFailure("dead_letters_not_written", "dead_letters_written_again")
        while True:
            try:
                self._dead_letters.add(letters)
            except DeadLettersError as error:
                pause = delay * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter
                failing.failed(
                    str(error), effect="intake waits, nothing is dropped", next_try_in_seconds=round(pause, 1)
                )
                for _ in range(1 + int(pause / _HOLD_SECONDS)):
                    moves()
                    if self._aborted.wait(_HOLD_SECONDS):
                        return False
                    hold()
                delay = min(2 * delay, _LAST_DELAY)
            else:
                break
        failing.works()
        self._count(letters)
        return True

    def _count(self, letters: list[DeadLetter]) -> None:
        """Count these letters by reason, with a notice for the first letter of each source and reason."""
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
    """Returns (source, partition) → position → the refused values of the record at this position."""
    found: dict[tuple[str, str], dict[int, _Refused]] = {}
    places = locate([token for token, _ in records])
    for (_, samples), (source, partition, position, topic) in zip(records, places, strict=True):
        rejects = [
            Reject(Reason.INSERT_REJECTED, reason, None, repr(value), input_id, time_us)
            for input_id, time_us, value in samples
        ]
        found.setdefault((source, partition), {})[position] = _Refused(topic, rejects)
    return found
