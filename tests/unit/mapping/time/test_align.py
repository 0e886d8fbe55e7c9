"""Times move to the grid, no farther than they may, and what that does is counted."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.mapping.time.align import Aligner, Grid
from connector.records import Record

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("how", "time_us", "placed"),
    [
        ("nearest", 10_400_000, 10_000_000),
        ("nearest", 10_500_000, 11_000_000),
        ("nearest", 10_600_000, 11_000_000),
        ("nearest", -600_000, -1_000_000),
        ("floor", 10_999_999, 10_000_000),
        ("floor", 10_000_000, 10_000_000),
        ("floor", -1, -1_000_000),
    ],
)
def test_where_a_time_belongs(how: Literal["nearest", "floor"], time_us: int, placed: int) -> None:
    assert Grid(SECOND, how).place(time_us) == placed


@given(
    st.integers(-(10**16), 10**16),
    st.sampled_from([1000, 100_000, SECOND, 7 * SECOND]),
    st.sampled_from(["nearest", "floor"]),
)
def test_a_place_is_on_the_grid_and_near(time_us: int, step: int, how: Literal["nearest", "floor"]) -> None:
    placed = Grid(step, how).place(time_us)
    assert placed % step == 0
    assert abs(placed - time_us) < step if how == "floor" else abs(placed - time_us) <= step / 2
    assert Grid(step, how).place(placed) == placed


def test_what_was_done_is_counted() -> None:
    aligner = Aligner()
    grid = Grid(SECOND)
    samples = [("a", 10_100_000, 1.0), ("b", 10_000_000, 2.0), ("a", 10_300_000, 3.0), ("a", 11_000_000, 4.0)]
    assert aligner.align(samples, grid) == [
        ("a", 10_000_000, 1.0),
        ("b", 10_000_000, 2.0),
        ("a", 10_000_000, 3.0),
        ("a", 11_000_000, 4.0),
    ]
    shifts = aligner.shifts
    assert (shifts.aligned, shifts.left, shifts.collisions, shifts.greatest_us) == (2, 0, 1, 300_000)


def test_the_same_sample_again_is_no_collision() -> None:
    aligner = Aligner()
    aligner.align([("a", 10_100_000, 1.0)], Grid(SECOND))
    aligner.align([("a", 10_100_000, 1.0)], Grid(SECOND))
    assert aligner.shifts.collisions == 0


def test_a_rule_aligns_its_samples_and_no_other_does() -> None:
    rules = [
        {"topic": "a/#", "align": "1s"},
        {"topic": "b/{d}", "align": {"to": "100ms", "how": "floor"}, "when": {"ok": True}},
        {"topic": "#"},
    ]
    mapper = Mapper([compile_rule(RuleSection.model_validate(rule)) for rule in rules])
    times = []
    for topic, payload in (("a/x", b'{"v": 1}'), ("b/x", b'{"v": 1, "ok": true}'), ("c", b'{"v": 1}')):
        mapped = mapper.map("mqtt", Record(topic, payload, 1_790_000_000_678_900))
        times.append({time_us for _, time_us, _ in mapped.samples})
    assert times == [{1_790_000_001_000_000}, {1_790_000_000_600_000}, {1_790_000_000_678_900}]
    assert mapper.aligner.shifts.aligned == 3
    assert mapper.aligner.shifts.greatest_us == 321_100


def test_what_would_be_moved_too_far_stays() -> None:
    aligner = Aligner()
    grid = Grid(SECOND, max_shift_us=200_000)
    samples = [("a", 10_150_000, 1.0), ("a", 10_400_000, 2.0)]
    assert aligner.align(samples, grid) == [("a", 10_000_000, 1.0), ("a", 10_400_000, 2.0)]
    assert aligner.shifts.left == 1
    assert aligner.shifts.greatest_us == 150_000
