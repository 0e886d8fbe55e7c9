"""The messages of a run, and the file that remembers them.

Every message carries a mark of its own, `chaos:STREAM:NUMBER`, by which it is found again in dead letters and in
journals. A stream is what one session (m0, m1, m2) or one Kafka partition (p0, p1, …) carries, in order. A line of the
truth is written before its message leaves: what is not in it was invented.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

MARK: Final = re.compile(rb"chaos:[a-z]\d+:\d+")
KAFKA_TOPIC: Final = "chaos"
ANEW_TOPIC: Final = "anew"
"""One partition; it is deleted and made anew."""
HELD_TOPIC: Final = "held"
"""One partition, in which transactions are left open."""
TOPICS: Final = (KAFKA_TOPIC, ANEW_TOPIC, HELD_TOPIC)
_POISON_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Message:
    """What was published, and what must become of it."""

    mark: str
    topic: str
    payload: str
    key: tuple[str, int] | None
    """(input ID, time in µs) of its sample; None if it is poison, and must become a dead letter."""
    value: float = 0.0


class Truth:
    """Makes messages, and writes each down before anybody else sees it."""

    def __init__(self, path: Path, seed: int) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", buffering=1)
        self._chance = random.Random(seed)
        self._numbers: dict[str, int] = {}
        self._last_us = 0
        self.poison_due = 0

    def message(self, stream: str, topic: str, field: str, *, good: bool = False) -> Message:
        """The next message of a stream; now and then, and as long as `poison_due` says so, one that cannot be read."""
        number = self._numbers[stream] = self._numbers.get(stream, 0) + 1
        mark = f"chaos:{stream}:{number}"
        self._last_us = max(self._last_us + 1, time.time_ns() // 1000)
        if not good and (self.poison_due > 0 or self._chance.random() < _POISON_SHARE):
            self.poison_due = max(0, self.poison_due - 1)
            message = Message(mark, topic, self._chance.choice(('{{"id": "{0}", ', "{0}", '["{0}"')).format(mark), None)
        else:
            value = round(self._chance.uniform(-1000, 1000), self._chance.randrange(0, 6))
            payload = json.dumps({"ts": self._last_us, "id": mark, field: value})
            message = Message(mark, topic, payload, (f"{topic}:{field}", self._last_us), value)
        self._file.write(json.dumps([message.mark, message.topic, message.payload, message.key, message.value]) + "\n")
        return message


def read_truth(path: Path) -> Iterator[Message]:
    """All messages of a file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            mark, topic, payload, key, value = json.loads(line)
            yield Message(mark, topic, payload, None if key is None else (str(key[0]), int(key[1])), float(value))


def stream_of(mark: str) -> str:
    """The stream of a mark."""
    return mark.split(":")[1]


def number_of(mark: str) -> int:
    """The number of a mark in its stream."""
    return int(mark.split(":")[2])
