"""Every sample leaves exactly once, every frame is as long as the planner said, the last write wins."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector.packing.frame import Frame, build_frame
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped

BASE = 1_790_000_000_000_000
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

inputs = st.sampled_from([f"plant/line{i}:value.{'x' * i}" for i in range(8)])
times = st.integers(0, 40).map(lambda n: BASE + n * 12_345) | st.integers(-(10**12), 10**15)
values = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.booleans()
samples = st.tuples(inputs, times, values)
records = st.lists(st.lists(samples, min_size=1, max_size=6), max_size=60)


def decode(frame: Frame) -> dict[tuple[str, int], float]:
    body = orjson.loads(frame.body)
    found = {}
    for name, cells in body["series"].items():
        assert len(cells) == len(body["times"])
        for text, cell in zip(body["times"], cells, strict=True):
            if cell is not None:
                found[name, (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)] = cell
    return found


@settings(max_examples=300, deadline=None)
@given(records=records, max_bytes=st.sampled_from([150, 200, 400, 1000, 10_000, 8 * 1024 * 1024]))
def test_every_sample_leaves_exactly_once_in_frames_within_the_limit(
    records: list[list[tuple[str, int, float]]], max_bytes: int
) -> None:
    pending = Pending()
    expected: dict[tuple[str, int], float] = {}
    came_in: Counter[int] = Counter()
    for token, record in enumerate(records):
        pending.add(token, [Mapped(record)], now=float(token))
        for name, time_us, value in record:
            expected[name, time_us] = float(value)
            came_in[token] += 1
    assert pending.waiting == came_in.total()

    stored: dict[tuple[str, int], float] = {}
    settled: Counter[int] = Counter()
    while pending.columns:
        plan = plan_frame(pending.columns, max_bytes)
        assert plan, "something waits, so something must go"
        frame = build_frame(pending.take(plan))
        assert len(frame.body) <= max_bytes
        content = decode(frame)
        assert len(content) == frame.samples == frame.inserted.total()
        stored.update(content)
        settled += frame.inserted + frame.superseded
    assert pending.waiting == 0
    assert stored == expected
    assert settled == came_in


@settings(max_examples=200, deadline=None)
@given(records=records.filter(bool))
def test_the_planner_knows_the_size_to_the_byte(records: list[list[tuple[str, int, float]]]) -> None:
    pending = Pending()
    for token, record in enumerate(records):
        pending.add(token, [Mapped(record)], now=0.0)
    assume(pending.waiting > 1)  # a single sample goes whatever the limit
    everything = {name: len(column.times) for name, column in pending.columns.items()}
    exact = len(build_frame(pending.columns).body)
    assert plan_frame(pending.columns, exact) == everything
    assert plan_frame(pending.columns, exact - 1) != everything
