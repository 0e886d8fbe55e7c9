"""Times: the source of a value's time, and the grid to which times are moved."""

from __future__ import annotations

from connector.mapping.rules.paths import parse_path
from connector.mapping.rules.rules import FIELD_TIME, HEADER_TIME, TimeSource
from connector.mapping.rules.section import AlignSection, TimeSection
from connector.mapping.time.align import Grid
from connector.mapping.time.reader import time_reader


def time_source_of(section: TimeSection) -> TimeSource:
    """Returns the section `time` in the form for the mapper. Durations become microseconds."""
    return TimeSource(
        kind=FIELD_TIME if section.field else HEADER_TIME if section.header else section.take,
        path=parse_path(section.field) if section.field else None,
        header=section.header or "",
        read=time_reader(tuple(section.format), section.unit, section.zone),
        or_arrival=section.missing == "arrival",
        correct_above_us=None if section.correct_clock is None else round(section.correct_clock * 1_000_000),
    )


def grid_of(section: AlignSection | None) -> Grid | None:
    """Returns the section `align` in the form for the aligner. Durations become microseconds."""
    if section is None:
        return None
    most = None if section.max_shift is None else round(section.max_shift * 1_000_000)
    return Grid(round(section.to * 1_000_000), section.how, most)
