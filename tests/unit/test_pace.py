"""How fast to send: a share of the rate, less while the server is slow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.delivery.pace import Pace, effective_share

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("setting", "shares", "wanted"),
    [("auto", [1.0], 1.0), ("auto", [0.5, 0.0], 0.25), ("auto", [], 1.0), (0.3, [1.0], 0.3)],
)
def test_the_share_is_set_or_the_mean_of_our_parts(setting: float | str, shares: list[float], wanted: float) -> None:
    assert effective_share(setting, shares) == wanted  # type: ignore[arg-type]


def test_shares_of_all_workers_make_a_whole() -> None:
    """Two workers, a Kafka source of 6 partitions in both and an MQTT source in the first."""
    first, second = effective_share("auto", [4 / 6, 1.0]), effective_share("auto", [2 / 6, 0.0])
    assert first + second == pytest.approx(1.0)


def test_slow_answers_lower_the_rate_and_prompt_ones_bring_it_back() -> None:
    pace = Pace(1.0)
    for _ in range(10):
        pace.answered(0.2, MIB)
    assert pace.rate == 1.0
    pace.answered(5.0, MIB)
    assert pace.rate == pytest.approx(0.7)
    pace.throttled("429")
    assert pace.rate == pytest.approx(0.49)
    for _ in range(11):
        pace.answered(0.2, MIB)
    assert pace.rate == 1.0


def test_a_large_frame_is_not_congestion() -> None:
    pace = Pace(1.0)
    pace.answered(0.15, 10_000)
    pace.answered(2.5, 8 * MIB)
    pace.answered(0.15, 10_000)
    assert pace.rate == 1.0


def test_a_server_that_is_always_slow_becomes_the_usual() -> None:
    pace = Pace(1.0)
    pace.answered(0.2, MIB)
    for _ in range(400):
        pace.answered(2.0, MIB)
    assert pace.congestion == 1.0


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 8 * MIB)) | st.none(), max_size=60),
    st.floats(0, 1),
    st.floats(0.01, 100),
)
def test_the_rate_is_never_above_our_share_and_never_nothing(
    answers: list[tuple[float, int] | None], share: float, per_second: float
) -> None:
    pace = Pace(per_second)
    pace.share = share
    for answer in answers:
        if answer is None:
            pace.throttled("time-out")
        else:
            pace.answered(*answer)
        assert 0.05 * per_second <= pace.rate <= max(share, 0.05) * per_second * 1.000001
