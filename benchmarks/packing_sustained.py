"""The largest fleet that keeps up, with a virtual clock: an hour of slots, arrivals and frames in a few minutes.

    python -m benchmarks.packing_sustained [--json] [--devices N] [--seconds S]

Each device sends its values together once a second, with a clock of its own: its messages are spread evenly over the
second, at times in ms that agree with no other's on purpose. A slot opens every 1.005 s, as the connector's do. The
columns have the configuration's bounds: when they are full, messages wait outside, and get old. `union` is what other
clients send: all that waits as one frame, cut by time where it is full; it keeps up while a second's rows fit.

A fleet keeps up if at the end the 95th percentile of the age at insertion is at most 60 s, over the last half.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from array import array
from collections import Counter, deque
from typing import Any, Final

from benchmarks.packing import MAX_BYTES, SECOND, START
from connector.delivery.section import DeliverySection
from connector.packing.encoder import value_bytes
from connector.packing.frame import ENVELOPE, NULL
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.pipeline.room import OPEN_RECORDS
from connector.records import Mapped

VALUES: Final = 10
SLOT_SECONDS: Final = 1.005
MOST_AGE: Final = 60.0
_MAX_WAITING: Final[int] = DeliverySection.model_fields["max_waiting_samples"].default


def simulate(devices: int, seconds: int) -> dict[str, Any]:
    """A fleet for so many seconds."""
    chance = random.Random(1)
    inputs = [[f"plant/device-{device}/value-{value}" for value in range(VALUES)] for device in range(devices)]
    readings = [[round(20 + chance.random() * 10, 2) for _ in range(VALUES)] for _ in range(97)]
    pending = Pending()
    ages: Counter[int] = Counter()
    """Age at insertion in tenths of a second → samples, over the second half."""
    outside: deque[tuple[int, int]] = deque()
    token = settled = frames = sent = held = 0
    planning = 0.0
    next_slot = 0.0
    for second in range(seconds):
        outside.extend((second, device) for device in range(devices))
        used = max(pending.waiting / _MAX_WAITING, (token - settled) / OPEN_RECORDS)
        if used < 1:
            batch = []
            for _ in range(len(outside)):
                sent_second, device = outside.popleft()
                time_us = START + sent_second * SECOND + chance.randrange(1000) * 1000
                numbers = readings[(device + second) % 97]
                batch.append(
                    Mapped([(key, time_us, number) for key, number in zip(inputs[device], numbers, strict=True)])
                )
            pending.add(token, enumerate(batch), float(second))
            token += len(batch)
        else:
            held += 1
        while next_slot <= second:
            began = time.process_time()
            plan = plan_frame(pending, MAX_BYTES, next_slot)
            planning += time.process_time() - began
            assert plan.size <= MAX_BYTES
            blocks = pending.take(plan, plan.texts)
            pending.forget_before(plan.left)
            settled = token if plan.left is None else plan.left
            frames += 1
            for block in blocks:
                sent += block.samples
                if second >= seconds // 2:
                    for time_us in block.times:
                        ages[round(next_slot * 10 - (time_us - START) / 100_000)] += len(block.inputs)
            next_slot += SLOT_SECONDS
    return {
        "devices": devices,
        "samples_per_second": devices * VALUES,
        "seconds": seconds,
        "age_p50_s": _percentile(ages, 0.5),
        "age_p95_s": _percentile(ages, 0.95),
        "age_max_s": max(ages) / 10,
        "samples_per_request": round(sent / frames),
        "waiting_samples": pending.waiting + len(outside) * VALUES,
        "seconds_held": held,
        "planner_ms_per_slot": round(planning / frames * 1000, 1),
        "keeps_up": _percentile(ages, 0.95) <= MOST_AGE and not outside,
    }


def _percentile(counts: Counter[int], share: float) -> float:
    wanted = share * counts.total()
    seen = 0
    for tenths in sorted(counts):
        seen += counts[tenths]
        if seen >= wanted:
            return tenths / 10
    return 0.0


def union_fleet() -> int:
    """The largest fleet of which a second's rows, as one frame, fit into a slot's request."""
    digits = value_bytes(array("d", [round(20 + n / 97, 2) for n in range(970)])) / 970
    devices = 1
    while True:
        rows, series = devices * SLOT_SECONDS, devices * VALUES
        keys = series * (len("plant/device-100/value-1") + len('"":[],'))
        samples = rows * VALUES
        size = ENVELOPE + rows * (len("2026-11-01T00:00:00.123Z") + 3) + keys + samples * (digits + 1)
        if size + NULL * (rows * series - samples) > MAX_BYTES:
            return devices - 1
        devices += 1


def largest_fleet(seconds: int) -> int:
    """The largest fleet that keeps up, to 50 devices."""
    low, high = 1000, 8000
    while high - low > 50:
        middle = (low + high) // 2
        if simulate(middle, seconds)["keeps_up"]:
            low = middle
        else:
            high = middle
    return low


def main() -> None:
    """Print what an hour does to a fleet of 3,000, and the largest fleets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--devices", type=int, default=3000)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--search-seconds", type=int, default=240, help="virtual seconds of each try; 0: no search")
    arguments = parser.parse_args()
    began = time.monotonic()
    found = simulate(arguments.devices, arguments.seconds)
    found["union_largest_fleet"] = union_fleet()
    if arguments.search_seconds:
        found["largest_fleet"] = largest_fleet(arguments.search_seconds)
    found["took_s"] = round(time.monotonic() - began)
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:22} {value}")


if __name__ == "__main__":
    main()
