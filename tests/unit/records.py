"""A record as a source hands it over, for tests that care about a part of it only."""

from __future__ import annotations

from typing import Any, Final

from connector.records import Record

ARRIVAL: Final = 1_790_000_000_000_000
"""When a record arrives, in µs, unless the test says otherwise."""


def record(payload: object = b'{"v": 1}', topic: str = "t", time_us: int = ARRIVAL, **more: Any) -> Record:
    """A record with this payload, a payload other than bytes as its text; `more` are further fields of `Record`."""
    return Record(topic, payload if isinstance(payload, bytes) else str(payload).encode(), time_us, **more)
