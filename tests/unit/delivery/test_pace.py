"""The pace: a share of the allowed rate, and less while the server is slow."""

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
    """Two workers: both have a Kafka source with 6 partitions, and the first has an MQTT source, too."""
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


@pytest.mark.parametrize("first", [1, 20_000, 300_000])
def test_after_many_small_frames_a_large_one_takes_its_time(first: int) -> None:
    """A local server answers a small frame in 2 ms and 8 MiB in seconds: 300 times longer than in proportion."""
    pace = Pace(1.0)
    for _ in range(50):
        pace.answered(0.002, first)
    for _ in range(3):
        pace.answered(4.0, 8 * MIB)
        assert pace.congestion == 1.0
    for size in range(MIB, 8 * MIB, MIB // 8):
        pace.answered(4.0 * size / (8 * MIB), size)
        assert pace.congestion == 1.0


def test_a_small_frame_that_takes_longer_than_a_large_one_is_congestion() -> None:
    pace = Pace(1.0)
    pace.answered(0.5, 8 * MIB)
    pace.answered(4.0, 1000)
    assert pace.congestion == pytest.approx(0.7)


def test_what_was_usual_for_large_frames_is_forgotten_when_there_are_none() -> None:
    pace = Pace(1.0)
    pace.answered(0.1, 8 * MIB)
    for _ in range(200):
        pace.answered(2.0, 1000)
    assert pace.congestion == 1.0


@pytest.mark.parametrize("share", [0.01, 1 / 64, 0.02])
def test_a_small_share_is_kept(share: float) -> None:
    """64 workers together must not send three times the allowed rate."""
    pace = Pace(1.0)
    pace.share = share
    assert pace.rate == share


def test_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    pace = Pace(2.0)
    for _ in range(5):
        pace.throttled("429")
    for _ in range(50):
        pace.answered(0.1, MIB)
    pace.throttled("a little, while it comes back")
    for _ in range(200):
        pace.answered(0.1, MIB)
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("pace_lowered") for line in lines] == [1, 0]
    assert "429" in lines[0]
    assert "pace_back_to_normal" in lines[1]
    assert "requests_per_second=2.0" in lines[1]


@pytest.mark.parametrize(("members", "size"), [(2, MIB), (6, 1000), (6, MIB), (9, MIB)])
def test_several_with_one_limit_keep_its_queue_short(members: int, size: int) -> None:
    """A server that takes one request a second in order of arrival, and drops a request that has waited for 10 s."""
    paces = [Pace(1.0) for _ in range(members)]
    due = [i / members for i in range(members)]
    free, waits = 0.0, []
    for _ in range(3000):
        member = min(range(members), key=lambda i: due[i])
        now = due[member]
        slot = max(now, free)
        free = slot + 1.0
        waits.append(slot - now)
        answered = now + waits[-1] + 0.1
        paces[member].answered(answered - now, size)
        due[member] = max(answered, now + 1.0 / paces[member].rate)
    assert sum(waits[1500:]) / 1500 < 5.0, "without a pace: as many seconds as there are members"
    assert max(waits[1500:]) < 10.0
    assert 3000 / max(due) > 0.8, "and what the server can do is used"


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
        assert 0.01 * per_second * 0.999999 <= pace.rate <= max(share, 0.05) * per_second * 1.000001
    for _ in range(1000):
        pace.answered(0.1, 1000)
    assert pace.congestion == 1.0, "prompt answers always bring it back"
