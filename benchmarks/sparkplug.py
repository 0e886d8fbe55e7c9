"""Sparkplug B: microseconds a metric, from bytes to samples, against bare Protobuf.

Bare is what anybody has to do: decode the payload and read each metric's alias, time and value. The connector's path
adds the births, sequence numbers, types, input IDs and everything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from connector.config.mapping import MappingSection
from connector.formats.sparkplug.schema import PayloadMessage
from connector.mapping.mapper import Mapper
from connector.records import Record

_NOW_US: Final = 1_790_000_000_000_000
_FLOAT: Final = 9


def _payload(seq: int, metrics: list[dict[str, Any]]) -> bytes:
    made: bytes = PayloadMessage(timestamp=_NOW_US // 1000 + seq, seq=seq % 256, metrics=metrics).SerializeToString()
    return made


def _least(rounds: int, run: Callable[[], int]) -> float:
    """µs for each of what `run` counts, of its best round."""
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        count = run()
        found.append((time.perf_counter() - begin) / count * 1e6)
    return min(found)


def compare(messages: int = 1000, metrics: int = 100, rounds: int = 5) -> dict[str, float]:
    """µs a metric of bare Protobuf and of the mapping, with data by alias, and the ratio of both."""
    names = range(1, metrics + 1)
    birth = _payload(0, [{"name": f"line/{n}", "alias": n, "datatype": _FLOAT, "float_value": 0.5} for n in names])
    data = [
        _payload(
            seq,
            [{"alias": n, "timestamp": _NOW_US // 1000 + seq, "float_value": seq + n / 2} for n in names],
        )
        for seq in range(1, messages + 1)
    ]
    records = [Record("spBv1.0/g/NDATA/n", payload, _NOW_US + seq) for seq, payload in enumerate(data, 1)]

    def bare() -> int:
        count = 0
        for payload in data:
            for metric in PayloadMessage.FromString(payload).metrics:
                count += bool((metric.alias, metric.timestamp, metric.float_value))
        return count

    def mapped() -> int:
        mapper = Mapper(MappingSection(rules=[{"preset": "sparkplug"}]).compile())  # type: ignore[list-item]
        mapper.map("mqtt", Record("spBv1.0/g/NBIRTH/n", birth, _NOW_US))
        return sum(len(mapper.map("mqtt", record).samples) for record in records)

    bare_us, mapped_us = _least(rounds, bare), _least(rounds, mapped)
    return {
        "sparkplug_bare_us": round(bare_us, 3),
        "sparkplug_us": round(mapped_us, 3),
        "sparkplug_ratio": round(mapped_us / bare_us, 2),
    }
