"""How many requests the planner needs for what waits, against one frame of everything cut where it is full.

    python -m benchmarks.packing [--json] [WORKLOAD ...]

Each workload is given to the columns at once; the planner then makes frames until nothing is left. `union` is what
other clients send: the rows of all series together, in order of time, cut where a frame is full. The lower bound counts
every sample's digits and comma, each series' name and each time once, as if no frame had a null; it cannot be reached
where times differ. Every sample must leave exactly once. `mixed` is compared with the best of several methods that
have all the time they want (`packing_offline`). See also `packing_sustained` and `packing_growth`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.packing_offline import best_offline
from connector.packing.encoder import time_bytes, value_bytes
from connector.packing.frame import ENVELOPE, NULL, RowBlock, encode_frame
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped

MAX_BYTES: Final = 8 * 1024 * 1024 - 1024
START: Final = 1_777_615_200_000_000
SECOND: Final = 1_000_000
Messages = tuple[list[str], list[int]]
"""Inputs that are published together, and at which times, in µs."""
Workload = Callable[[random.Random], Iterator[Messages]]


def _ms(chance: random.Random) -> int:
    return chance.randrange(1000) * 1000


def aligned(_: random.Random) -> Iterator[Messages]:
    """1,000 signals, 60 common timestamps."""
    times = [START + n * SECOND for n in range(60)]
    for number in range(1000):
        yield [f"plant/line-{number // 50}/signal-{number}"], times


def devices(chance: random.Random) -> Iterator[Messages]:
    """500 devices of 10 values, 60 s at 1 Hz, clocks of their own."""
    for device in range(500):
        times = [START + n * SECOND + _ms(chance) for n in range(60)]
        yield [f"plant/device-{device}/value-{value}" for value in range(10)], times


def sporadic(chance: random.Random) -> Iterator[Messages]:
    """10,000 signals, one sample each within a minute."""
    for number in range(10_000):
        yield [f"plant/sporadic-{number}"], [START + chance.randrange(60_000) * 1000]


def sensors(chance: random.Random) -> Iterator[Messages]:
    """2,000 signals, 10 s at 1 Hz, random ms."""
    for number in range(2000):
        yield [f"plant/sensor-{number}"], [START + n * SECOND + _ms(chance) for n in range(10)]


def fast(chance: random.Random) -> Iterator[Messages]:
    """100 signals, 60 s at 10 Hz, random ms."""
    for number in range(100):
        yield [f"plant/fast-{number}"], [START + n * SECOND // 10 + chance.randrange(100) * 1000 for n in range(600)]


def mixed(chance: random.Random) -> Iterator[Messages]:
    """200 devices of 1 to 40 values, rates from 10 Hz to one an hour, a tenth aligned, an hour's backlog."""
    for device in range(200):
        period = round(0.1 * (36_000 ** chance.random()) * SECOND)
        is_aligned = chance.random() < 0.1
        shift = 0 if is_aligned else chance.randrange(period // 1000 or 1) * 1000
        jitter = 0 if is_aligned else max(1, period // 10_000)
        first = START // period * period + shift
        times = [first + n * period + chance.randrange(jitter or 1) * 1000 for n in range(3600 * SECOND // period or 1)]
        yield [f"plant/mixed-{device}/value-{value}" for value in range(chance.randint(1, 40))], times


def backfill(_: random.Random) -> Iterator[Messages]:
    """50 signals, 100,000 samples each, common timestamps."""
    times = [START + n * SECOND for n in range(100_000)]
    for number in range(50):
        yield [f"plant/history-{number}"], times


WORKLOADS: Final[Mapping[str, Workload]] = {
    work.__name__: work for work in (aligned, devices, sporadic, sensors, fast, mixed, backfill)
}


def pending_of(workload: Workload) -> Pending:
    """What waits."""
    chance = random.Random(1)
    pending = Pending()
    token = 0
    for inputs, times in workload(chance):
        mapped = [
            Mapped([(input_id, time_us, round(20 + chance.random() * 10, 2)) for input_id in inputs])
            for time_us in times
        ]
        pending.add(token, enumerate(mapped), 0.0)
        token += len(times)
    return pending


def plan_all(pending: Pending) -> dict[str, Any]:
    """Requests, bytes, density and CPU of the planner, until nothing waits."""
    waiting = pending.waiting
    requests = size = samples = cells = 0
    cpu = encoding = 0.0
    while pending.waiting:
        began = time.process_time()
        plan = plan_frame(pending, MAX_BYTES, 0.0)
        blocks = pending.take(plan, plan.texts)
        planned = time.process_time()
        frame = encode_frame(blocks)
        cpu += planned - began
        encoding += time.process_time() - planned
        assert len(frame.body) == plan.size <= MAX_BYTES
        requests += 1
        size += plan.size
        samples += frame.samples
        cells += frame.rows * frame.series
    assert samples == waiting, "every sample leaves exactly once"
    return {"samples": samples, "requests": requests, "bytes": size, "density": round(samples / cells, 4),
            "planner_cpu_s": round(cpu, 3), "encoder_cpu_s": round(encoding, 3)}  # fmt: skip


def union(blocks: Sequence[RowBlock]) -> dict[str, int]:
    """Requests and bytes of one frame of everything, cut by time where it is full. Sizes are exact."""
    rows: dict[int, int] = {}
    """Time → bytes of its values beyond what nulls in their place would take."""
    for block in blocks:
        width = len(block.inputs)
        for row, time_us in enumerate(block.times):
            digits = value_bytes(block.values[row * width : (row + 1) * width])
            rows[time_us] = rows.get(time_us, 0) + digits - width * (NULL - 1)
    names = [input_id for block in blocks for input_id in block.inputs]
    series = len(names)
    fixed = ENVELOPE + sum(len(name) + len('"":[],') for name in names) - 2 - series
    requests, total, size = 0, 0, 0
    for time_us in sorted(rows):
        row = time_bytes([time_us]) + 3 + NULL * series + rows[time_us]
        if size and size + row > MAX_BYTES:
            requests, total, size = requests + 1, total + size, 0
        size = (size or fixed) + row
    return {"union_requests": requests + 1, "union_bytes": total + size}


def lower_bound(blocks: Sequence[RowBlock]) -> int:
    """Bytes that no packing can save."""
    times = {time_us for block in blocks for time_us in block.times}
    names = sum(len(name) + len('"":[],') for block in blocks for name in block.inputs)
    cells = sum(value_bytes(block.values) + len(block.values) - len(block.inputs) for block in blocks)
    return ENVELOPE - 2 + names + cells + time_bytes(times) + 3 * len(times)


def measure(name: str) -> dict[str, Any]:
    """One workload."""
    pending = pending_of(WORKLOADS[name])
    blocks = [table.head(len(table.times)) for table in pending.tables()]
    bound = lower_bound(blocks)
    found = {"workload": name, **plan_all(pending), **union(blocks), "lower_bound_bytes": bound}
    found["bytes_to_bound"] = round(found["bytes"] / bound, 3)
    if name == "mixed":
        tried = best_offline(blocks, MAX_BYTES)
        found["best_offline_requests"] = min(tried.values())
        found["requests_to_offline"] = round(found["requests"] / found["best_offline_requests"], 3)
        found["offline"] = tried
    return found


def main(arguments: list[str]) -> None:
    """Print one JSON object a workload, or a table."""
    as_json = "--json" in arguments
    names = [argument for argument in arguments if not argument.startswith("-")] or list(WORKLOADS)
    for name in names:
        found = measure(name)
        if as_json:
            print(json.dumps(found), flush=True)
        else:
            print(
                f"{name:10} {found['samples']:>9,} samples  {found['requests']:>4} requests  "
                f"union {found['union_requests']:>5}  {found['bytes'] / 1e6:8.1f} MB  x{found['bytes_to_bound']:<6}"
                f"  density {found['density']:7.2%}  planner {found['planner_cpu_s']:7.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
