"""Every sample leaves exactly once, every frame is as long as the planner said, the oldest leaves first, the last
write wins: for any content, any limits and any order of slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector.packing import planner
from connector.packing.encoder import encode_times, time_bytes, time_texts
from connector.packing.frame import Frame, encode_frame
from connector.packing.pending import Pending
from connector.packing.planner import FramePlan, plan_frame
from connector.records import Mapped

BASE = 1_790_000_000_000_000
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
Sample = tuple[str, int, float]

inputs = st.sampled_from([f"plant/line{i}:value.{'x' * i}" for i in range(8)])
times = st.integers(0, 40).map(lambda n: BASE + n * 12_345) | st.integers(-(10**12), 10**15)
values = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.booleans()
anything = st.lists(st.tuples(inputs, times, values), min_size=1, max_size=6)
DEVICES = [[f"d{device}/v{value}" for value in range(1 + 2 * device)] for device in range(4)]
of_a_device = st.builds(
    lambda device, time_us, numbers: [(name, time_us, number) for name, number in zip(device, numbers, strict=False)],
    st.sampled_from(DEVICES),
    times,
    st.lists(values, min_size=7, max_size=7),
)
records = st.lists(anything | of_a_device, max_size=60)
limits = st.sampled_from([150, 200, 400, 1000, 10_000, 8 * 1024 * 1024])


@pytest.fixture(autouse=True, scope="module")
def texts_of_small_tables() -> Iterator[None]:
    """The planner keeps the texts of tables with many rows. The tables here have few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "_WORTH_KEEPING", 2)
        yield


def decode(frame: Frame) -> dict[tuple[str, int], float]:
    body = orjson.loads(frame.body)
    assert len(body["times"]) == len(set(body["times"])) == frame.rows
    assert len(body["series"]) == frame.series
    found = {}
    for name, cells in body["series"].items():
        assert len(cells) == len(body["times"])
        for text, cell in zip(body["times"], cells, strict=True):
            if cell is not None:
                found[name, (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)] = cell
    return found


class Bench:
    """Waiting samples, and the content of all frames so far."""

    def __init__(self) -> None:
        self.pending = Pending()
        self.token = 0
        self.now = 0.0
        self.arrived: list[float] = []
        """Token → time of arrival of its record."""
        self.came_in: Counter[int] = Counter()
        self.settled: Counter[int] = Counter()
        self.expected: dict[tuple[str, int], float] = {}
        self.stored: dict[tuple[str, int], float] = {}

    def add(self, *added: list[Sample]) -> None:
        self.pending.add(self.token, enumerate([Mapped(record) for record in added]), self.now)
        for record in added:
            self.arrived.append(self.now)
            for name, time_us, value in record:
                self.expected[name, time_us] = float(value)
                self.came_in[self.token] += 1
            self.token += 1

    def slot(self, max_bytes: int) -> FramePlan:
        oldest = min((self.came_in - self.settled), default=None)
        plan = plan_frame(self.pending, max_bytes, self.now)
        assert bool(plan) == (oldest is not None), "something waits, so something must go"
        if oldest is None:
            return plan
        blocks = self.pending.take(plan, plan.texts)
        frame = encode_frame(blocks)
        assert frame.body == encode_frame([replace(block, texts=None) for block in blocks]).body
        assert all(block.texts is None for block in frame.blocks), "a frame that waits keeps no text twice"
        assert len(frame.body) == plan.size <= max_bytes
        assert oldest in frame.inserted + frame.superseded, "what has waited longest goes"
        self.pending.forget_before(plan.left)
        assert (plan.left is None) == (self.pending.waiting == 0)
        content = decode(frame)
        assert len(content) == frame.samples == frame.inserted.total()
        self.stored.update(content)
        self.settled += frame.inserted + frame.superseded
        assert self.pending.waiting == self.came_in.total() - self.settled.total()
        assert plan.left == min(self.came_in - self.settled, default=None)
        if plan.left is not None:
            assert self.pending.oldest() == self.pending.arrived(plan.left) == self.arrived[plan.left]
        return plan

    def finish(self, max_bytes: int) -> None:
        while self.pending.waiting:
            self.slot(max_bytes)
        assert self.pending.oldest() is None
        assert self.stored == self.expected
        assert self.settled == self.came_in


@settings(max_examples=300, deadline=None)
@given(records=records, max_bytes=limits)
def test_every_sample_leaves_exactly_once_in_frames_within_the_limit(
    records: list[list[Sample]], max_bytes: int
) -> None:
    bench = Bench()
    for record in records:
        bench.add(record)
        bench.now += 1.0
    assert bench.pending.waiting == bench.came_in.total()
    bench.finish(max_bytes)


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(st.lists(anything | of_a_device, min_size=1, max_size=8) | limits, max_size=40), max_bytes=limits)
def test_slots_may_open_whenever_they_want(steps: list[list[list[Sample]] | int], max_bytes: int) -> None:
    bench = Bench()
    for step in steps:
        if isinstance(step, int):
            bench.slot(step)
        else:
            bench.add(*step)
        bench.now += 0.5
        oldest = bench.pending.oldest()
        assert (oldest is None) == (bench.pending.waiting == 0)
    bench.finish(max_bytes)


@settings(max_examples=200, deadline=None)
@given(records=records.filter(bool))
def test_the_planner_knows_the_size_to_the_byte(records: list[list[Sample]]) -> None:
    bench = Bench()
    for record in records:
        bench.add(record)
    assume(bench.pending.waiting > 1)  # a single sample goes whatever the limit
    exact = len(encode_frame([table.head(len(table.times)) for table in bench.pending.tables()]).body)
    assert plan_frame(bench.pending, exact - 1, 0.0).left is not None
    whole = plan_frame(bench.pending, exact, 0.0)
    assert whole.left is None
    assert whole.size == exact


@settings(max_examples=100, deadline=None)
@given(records=records, lost=st.sets(st.integers(0, 60)), max_bytes=limits)
def test_what_is_dropped_does_not_leave(records: list[list[Sample]], lost: set[int], max_bytes: int) -> None:
    bench = Bench()
    bench.add(*records)
    dropped = bench.pending.drop(lambda token: token in lost)
    assert dropped == Counter({token: n for token, n in bench.came_in.items() if token in lost})
    bench.came_in -= dropped
    while bench.pending.waiting:
        bench.slot(max_bytes)
    assert bench.settled == bench.came_in


@given(records=records, now=st.floats(0, 1e6))
def test_the_same_content_gives_the_same_plan(records: list[list[Sample]], now: float) -> None:
    plans = []
    for _ in range(2):
        bench = Bench()
        bench.add(*records)
        plan = plan_frame(bench.pending, 400, now)
        plans.append([(table.inputs, rows) for table, rows in plan])
    assert plans[0] == plans[1]


@given(st.sets(times | st.integers(0, 4 * 10**15) | st.integers(0, 3000).map(lambda ms: BASE + 1000 * ms)))
def test_times_are_written_together_as_one_by_one(some: set[int]) -> None:
    assert orjson.loads(b"[%b]" % encode_times(sorted(some))) == time_texts(sorted(some))


@given(st.lists(times | st.integers(0, 4 * 10**15)))
def test_the_length_of_times_is_known_without_their_text(some: list[int]) -> None:
    assert time_bytes(some) == sum(map(len, time_texts(some)))
