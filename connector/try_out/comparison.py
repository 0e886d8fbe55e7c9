"""What a change of mapping does to signals: which input IDs it would create, and which would get no more data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from connector.mapping.input_ids import Origin
from connector.try_out.preview import Preview


@dataclass(frozen=True, slots=True)
class Renamed:
    """One value that gets another input ID."""

    before: str
    after: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Comparison:
    """From the configuration to the other one, over the same records."""

    other: Path
    kept: int
    """Input IDs that both give."""
    renamed: list[Renamed]
    created: list[str]
    """Input IDs that only the other one gives, those of renamed values included: new, billable signals."""
    orphaned: list[str]
    """Input IDs that only this one gives, those of renamed values included: signals that would get no more data."""
    samples: tuple[int, int]
    """With this one, with the other one."""


def compare(now: Preview, other: Preview) -> Comparison:
    """What the other mapping changes."""
    before, after = set(now.signals), set(other.signals)
    where_now = _by_origin(now.mapping.origins, before)
    where_then = _by_origin(other.mapping.origins, after)
    renamed = [
        Renamed(input_id, where_then[origin], Origin(*origin, ""))
        for origin, input_id in where_now.items()
        if origin in where_then and where_then[origin] != input_id
    ]
    return Comparison(
        other=other.mapping.file,
        kept=len(before & after),
        renamed=sorted(renamed, key=lambda found: found.before),
        created=sorted(after - before),
        orphaned=sorted(before - after),
        samples=(now.samples, other.samples),
    )


def _by_origin(origins: Mapping[str, Origin], used: set[str]) -> dict[tuple[str, str, str], str]:
    """Where a value comes from → its input ID; without what several records of a topic tell apart by key or header."""
    found: dict[tuple[str, str, str], str] = {}
    for input_id, origin in origins.items():
        if input_id in used:
            found[origin.source, origin.topic, origin.path] = input_id
    return found
