"""The effect of another mapping on signals: input IDs that would be new, and input IDs that would get no more data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from connector.mapping.signals.input_ids import Origin
from connector.records import of_integration
from connector.try_out.capture import Taken
from connector.try_out.differences import Differences
from connector.try_out.mapping import RuleAt
from connector.try_out.preview import Preview
from connector.try_out.to_copy import changed_rules, tests_of


@dataclass(frozen=True, slots=True)
class Renamed:
    """A value that gets another input ID."""

    before: str
    after: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class MappingComparison:
    """The difference between the current mapping and the other mapping, over the same records."""

    other: Path
    kept: int
    """The number of input IDs that both mappings give."""
    renamed: list[Renamed]
    created: list[str]
    """Input IDs that only the other mapping gives, including renamed values: new, billable signals."""
    orphaned: list[str]
    """Input IDs that only the current mapping gives, including renamed values: signals that would get no more data."""
    samples: tuple[int, int]
    """(number of samples with the current mapping, number of samples with the other mapping)."""
    requests: tuple[int, int]
    """The number of requests in the order of arrival, with each mapping."""
    frame_bytes: tuple[int, int]
    """The bytes of the frames of all samples at once, with each mapping."""
    differences: Differences
    room: dict[str, int]
    """Integration (as before its input IDs) → signals that `signals.max` of the other configuration still has room
    for, with all input IDs that the other mapping knows; negative if the last ones would be held."""
    published: int
    """The number of new signals that the other mapping publishes as items."""
    rules: list[tuple[RuleAt, str]]
    """The rules of the other configuration that the current one does not have, each with its text."""
    tests: list[str]
    """Tests of messages with differences, as YAML."""


def _compare(now: Preview, other: Preview, differences: Differences) -> MappingComparison:
    """Returns the difference between the previews `now` and `other` of the same records; `differences` has seen all."""
    before, after = set(now.signals), set(other.signals)
    names = {section.name for section in now.mapping.config.sources}
    shared = names & {section.name for section in other.mapping.config.sources}
    where_now = _Origins(now.mapping.origins, before, shared)
    where_then = _Origins(other.mapping.origins, after, shared)
    renamed = []
    for input_id, origin in where_now.by_input.items():
        then = where_then.input_of(origin)
        if then is not None and then != input_id and where_now.input_of(origin) == input_id:
            renamed.append(Renamed(input_id, then, origin))
    created = sorted(after - before)
    metadata = other.mapping.metadata
    return MappingComparison(
        other=other.mapping.file,
        kept=len(before & after),
        renamed=sorted(renamed, key=lambda found: found.before),
        created=created,
        orphaned=sorted(before - after),
        samples=(now.samples, other.samples),
        requests=(now.pace.requests, other.pace.requests),
        frame_bytes=(_frame_bytes(now), _frame_bytes(other)),
        differences=differences,
        room=_room(other, after),
        published=sum(bool((found := metadata.get(one)) and found.item) for one in created),
        rules=changed_rules(now.mapping, other.mapping),
        tests=tests_of(other.mapping, differences),
    )


class Comparing:
    """Two mappings that take the same records."""

    def __init__(self, now: Preview, other: Preview) -> None:
        self._now = now
        self.other = other
        self._differences = Differences(now.mapping.origins.get, other.mapping.origins.get)

    def take(self, taken: Taken) -> None:
        """Maps one record with both mappings, and compares the outcomes."""
        before, after = self._now.take(taken), self.other.take(taken)
        if before is not None and after is not None:  # else a schema is away, and the outcome is not known
            self._differences.see(taken, self._now.shown(before), self.other.shown(after), after)

    def finish(self) -> MappingComparison:
        """Returns the differences, after the last record; `now` must have been finished."""
        self.other.finish()
        return _compare(self._now, self.other, self._differences)


def _frame_bytes(preview: Preview) -> int:
    return sum(frame.bytes for frame in preview.packer.frames)


def _room(other: Preview, inputs: set[str]) -> dict[str, int]:
    most = other.mapping.config.signals.max
    if most is None:
        return {}
    known = Counter(of_integration(one)[0] for one in inputs | set(other.mapping.origins))
    return {integration: most - n for integration, n in known.items()}


class _Origins:
    """The origin of a value → the input ID: by the exact origin, or by source, topic and path if only one ID fits.

    Two configurations may name a source differently. The configurations may also distinguish the records of a topic by
    different keys and headers. A place with several input IDs then has no answer.
    """

    def __init__(self, origins: Mapping[str, Origin], used: set[str], sources: set[str]) -> None:
        self._sources = sources
        self.by_input = {input_id: origin for input_id, origin in origins.items() if input_id in used}
        self._exact = {self._named(origin): input_id for input_id, origin in self.by_input.items()}
        self._by_place: dict[tuple[str, str, str], list[str]] = {}
        for input_id, origin in self.by_input.items():
            self._by_place.setdefault(self._named(origin)[:3], []).append(input_id)

    def input_of(self, origin: Origin) -> str | None:
        """Returns the input ID of values from `origin`; None if no single input ID fits."""
        named = self._named(origin)
        at_place = self._by_place.get(named[:3], [])
        return self._exact.get(named) or (at_place[0] if len(at_place) == 1 else None)

    def _named(self, origin: Origin) -> Origin:
        return origin if origin.source in self._sources else origin._replace(source="")
