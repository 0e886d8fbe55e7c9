"""Sparkplug B for `benchmarks.mapping`: data by alias after a birth, bare and mapped.

Bare is what anybody has to do: decode the payload and read each metric's alias, time and value. The connector's path
adds the births, sequence numbers, types, input IDs and everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any, Final

from connector.formats.sparkplug.schema import PayloadMessage
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Mapped, Record

_NOW_US: Final = 1_790_000_000_000_000
_FLOAT: Final = 9
_SEQUENCE: Final = 256


def _payload(seq: int, metrics: list[dict[str, Any]]) -> bytes:
    made: bytes = PayloadMessage(timestamp=_NOW_US // 1000 + seq, seq=seq % 256, metrics=metrics).SerializeToString()
    return made


def works(metrics: int = 100) -> tuple[bytes, Callable[[], object], Callable[[], Mapped]]:
    """One message with so many metrics, and what decodes the next one, and maps the next one, of an endless row."""
    names = range(1, metrics + 1)
    birth = _payload(0, [{"name": f"line/{n}", "alias": n, "datatype": _FLOAT, "float_value": 0.5} for n in names])
    data = [
        _payload(
            seq,
            [{"alias": n, "timestamp": _NOW_US // 1000 + seq, "float_value": seq + n / 2} for n in names],
        )
        for seq in range(1, _SEQUENCE + 1)
    ]
    mapper = Mapper(MappingSection(rules=[{"preset": "sparkplug"}]).compile())  # type: ignore[list-item]
    mapper.map("mqtt", Record("spBv1.0/g/NBIRTH/n", birth, _NOW_US))
    payloads = cycle(data)
    records = cycle(Record("spBv1.0/g/NDATA/n", payload, _NOW_US + seq) for seq, payload in enumerate(data, 1))

    def bare() -> int:
        count = 0
        for metric in PayloadMessage.FromString(next(payloads)).metrics:
            count += bool((metric.alias, metric.timestamp, metric.float_value))
        return count

    return data[0], bare, lambda: mapper.map("mqtt", next(records))
