"""The policy: the kind of a failure decides the verdict, and every wait has bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.clarify import (
    ClarifyError,
    InvalidParams,
    NamedInFrame,
    NotAllowed,
    Problem,
    Refused,
    Retryable,
    TooLarge,
)
from connector.delivery.policy import FIRST_DELAY, HOLD_DELAY, LAST_DELAY, Action, Verdict, judge_frame, judge_request

KEYS = ["a", "a.b", "c"]


def verdict(error: ClarifyError, attempt: int = 1, chance: float = 0.5, prefix: str = "data.series") -> Verdict:
    return judge_request(error, attempt, KEYS, prefix, lambda: chance)


def invalid(*paths: str) -> InvalidParams:
    return InvalidParams("bad", code=-32602, problems=[Problem(path, "bad") for path in paths])


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (Retryable("time-out"), Action.RETRY),
        (Retryable("unavailable", code=503), Action.RETRY),
        (Retryable("try again", code=-32015), Action.RETRY),
        (ClarifyError("something new"), Action.RETRY),
        (TooLarge("too large", code=413), Action.HALVE),
        (TooLarge("not sent"), Action.HALVE),
        (invalid(), Action.HALVE),
        (invalid("data.times"), Action.HALVE),
        (invalid("data.series"), Action.HALVE),
        (invalid("data.series.unknown"), Action.HALVE),
        (invalid("data.series.a"), Action.SET_ASIDE),
        (invalid("data.series.a", "integration"), Action.SET_ASIDE),
        (invalid("integration"), Action.HOLD),
        (NotAllowed("no", code=401), Action.HOLD),
        (NotAllowed("no", code=403), Action.HOLD),
        (NotAllowed("no", code=-32003), Action.HOLD),
        (Refused("no such method", code=-32601), Action.HOLD),
    ],
)
def test_the_table(error: ClarifyError, action: Action) -> None:
    assert verdict(error).action is action


def test_exactly_the_series_named_are_guilty() -> None:
    assert verdict(invalid("data.series.a.b[3]", "data.series.c")).guilty == {"a.b", "c"}
    assert verdict(invalid("data.series.a[3]")).guilty == {"a"}
    assert verdict(invalid("signalsByInput.c.name"), prefix="signalsByInput").guilty == {"c"}


def test_only_a_problem_with_the_data_blames_data() -> None:
    for error in (NotAllowed("no", code=401), Refused("no", code=404), Retryable("no"), TooLarge("no", code=413)):
        assert verdict(error).guilty == frozenset()


def test_delays_double_up_to_a_bound_and_are_jittered() -> None:
    error = Retryable("time-out")
    longest = [verdict(error, attempt, chance=1.0).delay for attempt in range(1, 60)]
    shortest = [verdict(error, attempt, chance=0.0).delay for attempt in range(1, 60)]
    assert longest[:4] == [FIRST_DELAY * 2**n for n in range(4)]
    assert max(longest) == LAST_DELAY
    assert longest == sorted(longest)
    assert all(0 < low < high for low, high in zip(shortest, longest, strict=True))


def test_a_server_that_asks_for_time_gets_it_within_reason() -> None:
    assert verdict(Retryable("busy", retry_after=45.0), chance=0.0).delay == 45.0
    assert verdict(Retryable("busy", retry_after=0.001), chance=1.0).delay == FIRST_DELAY
    assert verdict(Retryable("busy", retry_after=10**9)).delay == 600.0


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_holding_is_slow_but_goes_on(chance: float) -> None:
    delay = verdict(NotAllowed("no", code=403), attempt=50, chance=chance).delay
    assert HOLD_DELAY / 2 <= delay <= HOLD_DELAY * 2


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["data.series.a"], NamedInFrame(series=frozenset({"a"}))),
        (["data.series.a[3]"], NamedInFrame(cells=frozenset({("a", 3)}))),
        (["data.series.a.3"], NamedInFrame(cells=frozenset({("a", 3)}))),
        (["data.series.a[0]", "data.series.c.9"], NamedInFrame(cells=frozenset({("a", 0), ("c", 9)}))),
        (["data.series.a[3]", "data.series.a"], NamedInFrame(series=frozenset({"a"}))),
        (["data.series.a[3].value"], NamedInFrame(cells=frozenset({("a", 3)}))),
        (["data.series.a.b"], NamedInFrame(series=frozenset({"a.b"}))),
        (["data.series.a.b.2"], NamedInFrame(cells=frozenset({("a.b", 2)}))),
        (["data.series.a.7", "data.series.a.7.1"], NamedInFrame(cells=frozenset({("a.7", 1)}))),
        (["data.times[4]"], NamedInFrame(rows=frozenset({4}))),
        (["data.times.4", "data.series.c"], NamedInFrame(series=frozenset({"c"}), rows=frozenset({4}))),
        (["data.times"], None),
        (["data.times[10]"], None),
        (["data.series.a[10]"], None),
        (["data.series.a.7"], None),
        (["data.series.unknown[1]"], None),
    ],
)
def test_what_of_a_frame_is_named(paths: list[str], named: NamedInFrame | None) -> None:
    """A frame has ten rows and the series `a` and `a.7`. The name `a.7` may be the series or a cell of `a`, so the bad
    value is searched for."""
    found = judge_frame(invalid(*paths), [*KEYS, "a.7"], 10)
    assert found.named == named
    assert found.action is (Action.HALVE if named is None else Action.SET_ASIDE)


def test_a_frame_is_judged_like_any_request_where_data_is_not_to_blame() -> None:
    for error in (invalid("integration"), NotAllowed("no", code=401), Retryable("no"), TooLarge("no", code=413)):
        assert judge_frame(error, KEYS, 10) == replace(verdict(error), delay=0.0)
