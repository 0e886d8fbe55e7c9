"""`clarify-connector backfill`: a range of Kafka's records once more through the same mapping, beside the live one.

It has a ledger, dead letters and a lock of its own in `state_dir/backfill`, and shares what is known of input IDs.
The same command goes on where an interrupted one stopped: what tells two backfills apart is what they were asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from confluent_kafka import KafkaException

from connector.config.model import Config, KafkaSection, SourceSection
from connector.ledger.source_file import SourceFile
from connector.runtime.connector import Connector
from connector.runtime.state_dir import StartError
from connector.sources.kafka.range import KafkaRangeSource, OffsetRange, RangeError, RangeFinder, ends_of, remember_ends
from connector.sources.partitions import split_partition_name
from connector.sources.source import Source

_OFFSETS: Final = re.compile(r"(?P<topic>[a-zA-Z0-9._\-]+)\[(?P<number>\d+)\]=(?P<first>\d+):(?P<end>\d+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger(__name__)


class BackfillError(Exception):
    """The backfill cannot be done as asked; the text says why and what to write."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked: a span of time over all partitions, or offsets of some."""

    times_ms: tuple[int, int] | None
    offsets: tuple[OffsetRange, ...] = ()

    @property
    def digest(self) -> str:
        """Tells backfills apart."""
        return hashlib.sha256(repr((self.times_ms, self.offsets)).encode()).hexdigest()[:12]


def parse_time(option: str, text: str) -> int:
    """RFC 3339 with a zone → ms since the epoch."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BackfillError(f"{option}: {text!r} is no time; write for example 2026-05-01T06:00:00Z") from None
    if time.tzinfo is None:
        raise BackfillError(f"{option}: {text!r} has no zone; write for example {text}Z for UTC")
    return round((time - _EPOCH).total_seconds() * 1000)


def wanted(from_: str | None, to: str | None, offsets: Sequence[str]) -> Wanted:
    """What the options ask for."""
    if offsets:
        if from_ or to:
            raise BackfillError("give either --from and --to, or --offsets")
        return Wanted(None, tuple(sorted(map(_parse_offsets, offsets), key=lambda found: (found.topic, found.number))))
    if not from_ or not to:
        raise BackfillError("give --from and --to, or --offsets")
    span = parse_time("--from", from_), parse_time("--to", to)
    if span[0] >= span[1]:
        raise BackfillError(f"--from {from_} is not before --to {to}")
    return Wanted(span)


def _parse_offsets(text: str) -> OffsetRange:
    found = _OFFSETS.fullmatch(text)
    if not found:
        raise BackfillError(
            f"--offsets: {text!r} is not understood; write TOPIC[PARTITION]=FIRST:END, END not included, such as "
            "plant.telemetry[3]=1000:2000"
        )
    parsed = OffsetRange(found["topic"], int(found["number"]), int(found["first"]), int(found["end"]))
    if parsed.first >= parsed.end:
        raise BackfillError(f"--offsets: {text!r}: the first offset must be before the end")
    return parsed


def choose_source(config: Config, name: str | None) -> KafkaSection:
    """The Kafka source to read from."""
    kafka = [section for section in config.sources if isinstance(section, KafkaSection)]
    if not kafka:
        raise BackfillError("the configuration has no Kafka source; only Kafka's records can be read again")
    if name is None:
        if len(kafka) > 1:
            raise BackfillError(f"there are several Kafka sources; give --source {' or '.join(s.name for s in kafka)}")
        return kafka[0]
    for section in kafka:
        if section.name == name:
            return section
    raise BackfillError(f"there is no Kafka source {name!r}; there is {', '.join(s.name for s in kafka)}")


def state_folder(config: Config, section: KafkaSection, asked: Wanted) -> Path:
    """Where this backfill keeps its ledger and its dead letters."""
    return config.state_dir / "backfill" / f"{section.name}-{asked.digest}"


class Backfill:
    """One backfill, from its start to its end."""

    def __init__(self, config: Config, section: KafkaSection, asked: Wanted, share: float) -> None:
        """Finds the range, unless it was begun before. Raises `BackfillError` and what `Connector` raises."""
        self.folder = state_folder(config, section, asked)
        self.folder.mkdir(parents=True, exist_ok=True)
        delivery = config.delivery.model_copy(
            update={"requests_per_second": config.delivery.requests_per_second * share, "share": 1.0}
        )
        self.config = config.model_copy(update={"sources": [section], "delivery": delivery, "state_dir": self.folder})
        self._asked = asked
        self._source: KafkaRangeSource | None = None
        self.resumed = False
        self.ranges: dict[str, tuple[int, int]] = {}
        """Partition → (first offset, offset after the last) of the whole range."""
        try:
            self.connector = Connector(
                self.config, make_source=self._make_source, state_file=config.state_dir / "state.sqlite"
            )
        except (RangeError, StartError) as error:
            raise BackfillError(str(error)) from None

    @property
    def source(self) -> KafkaRangeSource:
        """Where it reads."""
        assert self._source is not None  # noqa: S101 - made with the connector
        return self._source

    def _make_source(self, section: SourceSection, file: SourceFile) -> Source:
        assert isinstance(section, KafkaSection)  # noqa: S101 - chosen above
        known = ends_of(file)
        self.resumed = bool(known)
        try:
            if not known:
                remember_ends(file, self._find(section))
                known = ends_of(file)
            self.ranges = dict(known)
            ranges = [OffsetRange(*split_partition_name(name), first, end) for name, (first, end) in known.items()]
            self._source = KafkaRangeSource(section, file, ranges, self._asked.times_ms)
        except KafkaException as error:
            raise BackfillError(f"source {section.name}: {error.args[0].str()}") from None
        return self._source

    def _find(self, section: KafkaSection) -> list[OffsetRange]:
        finder = RangeFinder(section)
        try:
            if self._asked.times_ms is not None:
                return finder.by_time(*self._asked.times_ms)
            existing = set(finder.partitions())
            ranges = []
            for found in self._asked.offsets:
                if (found.topic, found.number) not in existing:
                    raise RangeError(f"{found.topic}[{found.number}] is no partition of the source's topics")
                low, high = finder.bounds(found.topic, found.number)
                if found.first < low or found.end > high:
                    raise RangeError(
                        f"{found.topic}[{found.number}] has offsets {low} to before {high}, not {found.first} to "
                        f"before {found.end}"
                    )
                ranges.append(found)
            return ranges
        finally:
            finder.close()
