"""The time to a loss: agrees with simply going on as before, and is calm where nothing points to a loss."""

from __future__ import annotations

import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from connector.sources.journal.journal import JournalFill
from connector.sources.kafka.loss import KafkaHorizons, PartitionView
from connector.sources.loss import Horizon, Trend, seconds_to_loss, threats
from connector.sources.mqtt.loss import MqttHorizons, MqttSituation

amounts = st.floats(0, 1e12)
rates = st.floats(1e-6, 1e9)


@given(room=amounts, inflow=rates, outflow=rates)
def test_going_on_as_before_ends_at_the_forecast_time(room: float, inflow: float, outflow: float) -> None:
    seconds = seconds_to_loss(room, inflow - outflow)
    if outflow >= inflow:
        assert seconds == math.inf
    else:
        assert seconds >= 0
        assert math.isclose(seconds * (inflow - outflow), room, rel_tol=1e-6, abs_tol=1e-6)


@given(room=amounts, more=amounts, shrinking=rates)
def test_more_room_never_means_less_time(room: float, more: float, shrinking: float) -> None:
    assert seconds_to_loss(room + more, shrinking) >= seconds_to_loss(room, shrinking)
    assert seconds_to_loss(room, shrinking * 2) <= seconds_to_loss(room, shrinking)


@given(st.floats(max_value=0, allow_nan=False, allow_infinity=False), rates)
def test_no_room_is_now(room: float, shrinking: float) -> None:
    assert seconds_to_loss(room, shrinking) == 0


horizons = st.builds(
    Horizon, st.sampled_from(["journal", "disk", "retention"]), amounts, st.floats(-1e6, 1e6), st.just("")
)


@given(st.lists(horizons))
def test_each_cause_is_named_once_with_its_soonest_time_and_in_order(found: list[Horizon]) -> None:
    said = threats(found)
    assert [threat.seconds for threat in said] == sorted(threat.seconds for threat in said)
    assert {threat.cause: threat.seconds for threat in said} == {
        cause: min(seconds_to_loss(h.room, h.shrinking) for h in found if h.cause == cause)
        for cause in {h.cause for h in found}
    }
    assert len(said) == len({h.cause for h in found})


@given(rate=st.floats(-1e6, 1e6), start=st.floats(0, 1e6), steps=st.integers(2, 200))
def test_a_steady_growth_is_found_and_a_short_one_says_nothing(rate: float, start: float, steps: int) -> None:
    trend = Trend(window=300, shortest=60)
    for i in range(steps):
        trend.see(start + 5.0 * i, rate * 5.0 * i)
    if 5.0 * (steps - 1) < 60:
        assert trend.growth == 0
    else:
        assert math.isclose(trend.growth, rate, rel_tol=1e-6, abs_tol=1e-6)


@given(before=st.lists(st.floats(0, 1e9), min_size=130, max_size=130), rate=st.floats(0, 1e3))
def test_what_was_long_ago_does_not_count(before: list[float], rate: float) -> None:
    trend = Trend(window=300, shortest=60)
    for i, value in enumerate(before):
        trend.see(i * 5.0, value)
    for i in range(130, 260):
        trend.see(i * 5.0, rate * (i - 130) * 5.0)
    assert math.isclose(trend.growth, rate, rel_tol=1e-6, abs_tol=1e-6)


def situation(used: float, received: float, *, connected: bool = True) -> MqttSituation:
    return MqttSituation(JournalFill(round(used), 1000), round(received), connected=connected)


def seconds(found: list[Horizon]) -> dict[str, float]:
    return {threat.cause: threat.seconds for threat in threats(found)}


def test_a_journal_that_fills_says_when_it_is_full(tmp_path: Path) -> None:
    watch = MqttHorizons(tmp_path, 1000, 3600)
    for i in range(13):
        found = watch.look(i * 10.0, situation(i * 10.0, i * 100.0))
    assert seconds(found) == {"journal": 880.0}


def test_while_we_are_away_the_brokers_queue_and_our_session_run_out(tmp_path: Path) -> None:
    watch = MqttHorizons(tmp_path, 1000, 3600)
    for i in range(13):
        watch.look(i * 10.0, situation(0, i * 100.0))
    watch.look(120.0, situation(0, 1200.0, connected=False))
    found = seconds(watch.look(150.0, situation(0, 1200.0, connected=False)))
    assert found["broker_queue"] == 70.0, "ten a second for 30 s are queued"
    assert found["session_expiry"] == 3570.0
    back = seconds(watch.look(160.0, situation(0, 1300.0)))
    assert set(back) == {"journal"}


def view(low: int, position: int, record_time: float | None = None, lag: int = 5) -> PartitionView:
    return PartitionView("t[0]", "t", low, position, lag, record_time)


def test_a_log_start_that_comes_nearer_says_when_it_is_there() -> None:
    watch = KafkaHorizons()
    for i in range(13):
        found = watch.look(i * 10.0, 0, [view(low=i * 30, position=1000 + i * 10)], {})
    assert seconds(found) == {"retention": (1120 - 360) / 2.0}


def test_a_record_that_gets_too_old_says_when() -> None:
    watch = KafkaHorizons()
    for i in range(13):
        found = watch.look(i * 10.0, 5000 + i * 10.0, [view(0, 100, record_time=4000.0)], {"t": 3600.0})
    assert seconds(found)["retention"] == 3600 - 1120


def test_where_nothing_waits_nothing_is_ahead() -> None:
    watch = KafkaHorizons()
    for i in range(13):
        found = watch.look(i * 10.0, 0, [view(low=i * 30, position=1000, record_time=1.0, lag=0)], {"t": 60.0})
    assert seconds(found) == {"retention": math.inf}
