"""The observed topics: the number of messages on each topic, and samples of the payloads, in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from connector.records import Record, TimeKind
from connector.try_out.sniff import Sniffed, sniff

_MAX_TOPICS: Final = 5_000
_SAMPLES: Final = 8
_MAX_KEYS: Final = 200
_MAX_SNIFFED: Final = 1024 * 1024
_MAX_PATHS: Final = 2000
_MAX_DEPTH: Final = 8


@dataclass(slots=True)
class TopicSeen:
    """The observations of one topic."""

    topic: str
    messages: int = 0
    retained: int = 0
    records: list[Record] = field(default_factory=list)
    """The first few records. `sniffed` has the recognised payload of each of these records."""
    sniffed: list[Sniffed] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)

    @property
    def kind(self) -> tuple[str, str]:
        """(format, compression) of most payloads; empty payloads do not count."""
        kinds = Counter((seen.format, seen.compression) for seen in self.sniffed if seen.format != "empty")
        return kinds.most_common(1)[0][0] if kinds else ("empty", "none")

    @property
    def documents(self) -> list[object]:
        """The documents of the payloads that have the kind `kind`."""
        kind = self.kind
        return [doc for seen in self.sniffed if (seen.format, seen.compression) == kind for doc in seen.documents]

    @property
    def paths(self) -> frozenset[str]:
        """The dotted paths of all values; `*` stands for a list element."""
        found: set[str] = set()
        for document in self.documents:
            _collect(document, "", found, 0)
        return frozenset(found)


@dataclass(slots=True)
class Observed:
    """The observations of all topics."""

    topics: dict[tuple[str, str], TopicSeen] = field(default_factory=dict)
    """(source, topic) → the observations of the topic."""
    messages: int = 0
    unread: int = 0
    """The number of lines of a capture that are no records."""
    unread_such_as: str = ""
    """The first line that is no record, with the reason."""
    other_topics: int = 0
    """The number of messages on topics beyond the limit of topics."""
    stamped: int = 0
    """The number of messages with a key, or with a time of the producer or broker: messages of Kafka."""

    def add(self, source: str, record: Record, line: int = 0) -> None:
        """Counts one message; `line` is the line of the message in a capture."""
        if record.problem:
            self.unread += 1
            self.unread_such_as = self.unread_such_as or f"line {line}: {record.problem}"
            return
        self.messages += 1
        self.stamped += record.time_kind != TimeKind.ARRIVAL or record.key is not None
        seen = self.topics.get((source, record.topic))
        if seen is None:
            if len(self.topics) >= _MAX_TOPICS:
                self.other_topics += 1
                return
            seen = self.topics[source, record.topic] = TopicSeen(record.topic)
        seen.messages += 1
        seen.retained += record.retained
        if record.key is not None and len(seen.keys) < _MAX_KEYS:
            seen.keys.add(record.key)
        payload = record.payload
        if payload is not None and len(seen.sniffed) < _SAMPLES and len(payload) <= _MAX_SNIFFED:
            seen.records.append(record)
            seen.sniffed.append(sniff(payload))


def _collect(node: object, path: str, found: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH or len(found) >= _MAX_PATHS:
        return
    if isinstance(node, dict):
        for key, value in node.items():
            _collect(value, f"{path}.{key}" if path else str(key), found, depth + 1)
    elif isinstance(node, list):
        for value in node:
            _collect(value, f"{path}.*" if path else "*", found, depth + 1)
    else:
        found.add(path)
