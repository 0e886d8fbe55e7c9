"""A load that does not fit is reported once, before data is at risk; the end of it is reported once, too."""

from __future__ import annotations

from structlog.testing import capture_logs

from connector.delivery.load import Load
from connector.packing.frame import encode_frame
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Mapped


def test_too_much_is_reported_once_and_so_is_its_end() -> None:
    pending, load, token = Pending(), Load(2000, 1000), 0

    def second(now: float, samples: int) -> None:
        nonlocal token
        records = [Mapped([(f"i{n}", round(now * 1e6) + n, 1.5)]) for n in range(samples)]
        pending.add(token, enumerate(records), now)
        token += samples
        load.came(samples, now)
        waiting = pending.waiting
        plan = plan_frame(pending, 2000, now)
        load.made(encode_frame(pending.take(plan)), waiting, pending, 1.0, now)

    with capture_logs() as logs:
        for n in range(90):
            second(float(n), 300)
        (found,) = (entry for entry in logs if entry["event"].startswith("load"))
        assert found["event"] == "load_not_sustainable"
        assert found["factor"] < 1
        assert "align" in found["remedy"]
        pending.take(plan_frame(pending, 10**9, 0.0))
        for n in range(90, 400):
            second(float(n), 1)
    assert [entry["event"] for entry in logs if entry["event"].startswith("load")] == [
        "load_not_sustainable",
        "load_fits_again",
    ]
    account = load.account(0, 1.0, 400.0)
    assert account is not None
    assert account.requests == 400
    assert account.full_requests > 60
    assert account.factor is not None
    assert account.factor > 1


def test_signals_that_are_too_fast_are_reported_every_few_hours() -> None:
    pending, load = Pending(), Load(10**6, 10**6)
    with capture_logs() as logs:
        for n in range(8000):
            pending.add(n, enumerate([Mapped([("fast", n * 1_000_000, 1.0)])]), float(n))
            load.came(1, float(n))
            frame = encode_frame(pending.take(plan_frame(pending, 10**6, float(n))))
            load.made(frame, 1, pending, 1.0, float(n))
    (found,) = (entry for entry in logs if entry["event"] == "signals_faster_than_clarify_asks_for")
    assert found["more_than_one_a_minute"] == 1
    assert found["fastest"] == {"fast": "1.02/s"}


def test_rates_are_those_of_a_burst_only_until_the_next_window_has_ended() -> None:
    """Also if no frame comes after it: then nothing but the page asks."""
    pending, load = Pending(), Load(10**6, 10**6)
    assert load.rates(pending, 0.0) is None
    for n in range(100):
        pending.add(n, enumerate([Mapped([("fast", n * 1_000_000, 1.0)])]), float(n))
        load.came(1, float(n))
        load.made(encode_frame(pending.take(plan_frame(pending, 10**6, float(n)))), 1, pending, 1.0, float(n))
    found = load.rates(pending, 100.0)
    assert found is not None
    assert (found.signals, found.over_average) == (1, 1)
    load.rates(pending, 700.0)
    quiet = load.rates(pending, 1400.0)
    assert quiet is not None
    assert (quiet.signals, quiet.over_average, quiet.fastest) == (0, 0, ())
    account = load.account(0, 1.0, 1400.0)
    assert account is not None
    assert (account.inflow, account.factor) == (0.0, None)
