"""What planning costs as the number of series grows, and what a waiting sample takes in memory.

    python -m benchmarks.packing_growth [--json]

Growth: 1,000, 10,000 and 100,000 series with ten samples each at times of their own. One slot is planned, taken and
encoded; `first` is the first slot after all of it came, `later` the median of the next ones. The yardstick is
`orjson.dumps` of a dense frame of a million floats in the same process.
Memory: the process's heap before and after samples are added, as tracemalloc sees it, in bytes a sample; the names of
the inputs are not counted, since the mapping has them anyway.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import sys
import time
import tracemalloc
from typing import Any

import orjson

from benchmarks.packing import MAX_BYTES, SECOND, START
from connector.packing.frame import encode_frame
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped
from connector.runtime.connector import calm_collector

_SERIES = (1_000, 10_000, 100_000)
_SHAPES = {
    # name: (devices, values in a message, messages each)
    "3,000 devices of 10 values, 27 s at 1 Hz": (3_000, 10, 27),
    "10,000 signals of their own, 100 samples each": (10_000, 1, 100),
    "100,000 signals of their own, 10 samples each": (100_000, 1, 10),
}


def dense_dumps() -> float:
    """CPU seconds of `orjson.dumps` for a dense frame of a million floats: the best of seven."""
    values = [round(20 + random.random() * 10, 2) for _ in range(1_000_000)]
    series = {f"plant/signal-{i}": values[i * 1000 : (i + 1) * 1000] for i in range(1000)}
    frame = {"times": [f"2026-11-01T00:{n // 60:02}:{n % 60:02}Z" for n in range(1000)], "series": series}
    best = 1e9
    for _ in range(7):
        began = time.process_time()
        orjson.dumps(frame)
        best = min(best, time.process_time() - began)
    return best


def one_slot(pending: Pending) -> tuple[float, float]:
    """CPU seconds of planning (with taking out), and of encoding."""
    began = time.process_time()
    plan = plan_frame(pending, MAX_BYTES, 0.0)
    blocks = pending.take(plan, plan.texts)
    pending.forget_before(plan.left)
    planned = time.process_time()
    frame = encode_frame(blocks)
    encoded = time.process_time()
    assert len(frame.body) <= MAX_BYTES
    return planned - began, encoded - planned


def fill(devices: int, values: int, messages: int) -> Pending:
    """Samples at times of their own."""
    chance = random.Random(1)
    pending = Pending()
    token = 0
    inputs = [[f"plant/device-{device}/value-{value}" for value in range(values)] for device in range(devices)]
    for n in range(messages):
        for first in range(0, devices, 1000):
            batch = []
            for names in inputs[first : first + 1000]:
                time_us = START + n * SECOND + chance.randrange(1000) * 1000
                batch.append(Mapped([(name, time_us, round(20 + chance.random() * 10, 2)) for name in names]))
            pending.add(token, enumerate(batch), float(n))
            token += len(batch)
    return pending


def growth() -> list[dict[str, Any]]:
    """A row for each number of series."""
    yardstick = dense_dumps()
    rows = []
    for series in _SERIES:
        pending = fill(series, 1, 10)
        gc.collect()
        gc.freeze()
        slots = [one_slot(pending) for _ in range(6) if pending.waiting]
        later = slots[1:] if pending.waiting else slots[:1]
        rows.append(
            {
                "series": series,
                "plan_ms_first": round(slots[0][0] * 1000, 1),
                "plan_ms_later": round(statistics.median(plan for plan, _ in later) * 1000, 1),
                "encode_ms": round(statistics.median(encode for _, encode in slots) * 1000, 1),
                "dense_dumps_ms": round(yardstick * 1000, 1),
                "ratio_first": round(sum(slots[0]) / yardstick, 2),
                "ratio_later": round(statistics.median(map(sum, later)) / yardstick, 2),
            }
        )
        gc.unfreeze()
    return rows


def memory() -> list[dict[str, Any]]:
    """Bytes a waiting sample, for each shape."""
    rows = []
    for name, (devices, values, messages) in _SHAPES.items():
        names = fill(devices, values, 1)  # the names exist already, as they do beside a mapping
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        pending = fill(devices, values, messages)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        texts = sum(sys.getsizeof(text) for table in pending.tables() for text in table.inputs)
        rows.append(
            {
                "shape": name,
                "samples": pending.waiting,
                "bytes_per_sample": round((used - texts) / pending.waiting, 1),
            }
        )
        del names, pending
    return rows


def main(arguments: list[str]) -> None:
    """Print both, a line each."""
    calm_collector()
    for row in [*growth(), *memory()]:
        print(json.dumps(row) if "--json" in arguments else "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
