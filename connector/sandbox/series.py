"""The samples of an item that answer a query for data."""

from __future__ import annotations

import re
from typing import Final

from connector.sandbox.data_query import DataQuery
from connector.sandbox.method import Call
from connector.sandbox.store import ItemRow

_DURATION: Final = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


def item_samples(call: Call, row: ItemRow, data: DataQuery) -> list[tuple[int, float]]:
    """The samples in the window of the query as (time in µs, value), sorted by time.

    If the query asks for outside points and has no rollup, the result also has the nearest sample on each side.
    """
    stored_by = call.now - call.settings.read_delay
    samples = call.store.item_samples(row.id, data.first_us, data.end_us, stored_by)
    if not data.outside_points or data.rollup is not None:
        return samples
    before = call.store.item_neighbour(row.id, data.first_us, stored_by, before=True)
    after = call.store.item_neighbour(row.id, data.end_us, stored_by, before=False)
    return [*filter(None, [before]), *samples, *filter(None, [after])]


def gap_us(row: ItemRow) -> int | None:
    """The gap detection of an item in µs; None if the item has none."""
    text = row.attributes["gapDetection"]
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    weeks, days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = ((weeks * 7 + days) * 86_400) + hours * 3600 + minutes * 60 + seconds
    return round(total * 1_000_000) or None
