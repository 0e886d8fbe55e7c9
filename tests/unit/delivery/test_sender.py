"""The sender delivers one frame at a time, until all of it is inserted or set aside with a reason."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from connector.clarify import ClarifyError, InvalidParams, NotAllowed, Problem, Refused, Retryable, TooLarge
from connector.delivery.divided import by_record, joined, split_columns, values_in
from connector.delivery.policy import HOLD_DELAY
from connector.packing.frame import Column
from tests.delivery_desk import Cells, SenderDesk, all_settled, frame_of, gaps, stored
from tests.scripted import ScriptedClarify, Stored

SIX = {"a": [(1, 1.0), (2, 2.0)], "b": [(1, 3.0), (2, 4.0)], "c": [(1, 5.0), (3, 6.0)]}


def test_a_good_frame_is_one_request() -> None:
    desk = SenderDesk(ScriptedClarify())
    assert desk.deliver(SIX)
    assert desk.clarify.requests == [stored(SIX)]
    assert desk.account.settled == all_settled(SIX)
    assert (desk.sender.status.requests, desk.sender.status.failures) == (1, 0)
    assert desk.sender.status.bytes_sent == len(frame_of(SIX).body)


@pytest.mark.parametrize(
    "error",
    [
        Retryable("time-out", outcome_unknown=True),
        Retryable("unavailable", code=503),
        Retryable("busy", code=429, retry_after=30.0),
        ClarifyError("something new", code=-31999),
        NotAllowed("token refused", code=401),
        NotAllowed("not yours", code=-32003),
        Refused("no such version", code=400),
        InvalidParams("bad", code=-32602, problems=[Problem("integration", "unknown")]),
    ],
)
def test_what_is_not_the_datas_fault_is_tried_again_until_it_works(error: ClarifyError) -> None:
    desk = SenderDesk(ScriptedClarify([error] * 20))
    assert desk.deliver(SIX)
    assert desk.clarify.requests == [stored(SIX)] * 21, "the very same frame"
    assert desk.clarify.stored == stored(SIX)
    assert desk.account.settled == all_settled(SIX)
    assert desk.account.lost == {}
    assert all(gap >= 1.0 for gap in gaps(desk.clarify.at)), "never at once"
    assert desk.sender.status.failures == 20
    assert desk.circuit.trouble is None


TOO_MUCH = [
    Retryable("throttled", code=429),
    Retryable("try again", code=-32015),
    Retryable("overloaded", code=503, outcome_unknown=True),
    Retryable("later", code=500, retry_after=3.0),
]
NOT_TOO_MUCH = [
    Retryable("a bug", code=500, outcome_unknown=True),
    Retryable("no connection"),
    Retryable("the connection broke", outcome_unknown=True),
    NotAllowed("no access", code=401),
]


@pytest.mark.parametrize("error", TOO_MUCH + NOT_TOO_MUCH, ids=str)
def test_what_says_that_there_is_too_much_lowers_the_pace(error: ClarifyError) -> None:
    desk = SenderDesk(ScriptedClarify([error]))
    assert desk.deliver(SIX)
    assert (desk.pace.congestion < 1.0) == (error in TOO_MUCH)


def test_a_row_of_failures_lowers_the_pace_once() -> None:
    """Only the first failure of an outage lowers the rate: after the outage, a tenth of the rate must not be what is
    left."""
    desk = SenderDesk(ScriptedClarify([Retryable("overloaded", code=503)] * 30))
    assert desk.deliver(SIX)
    assert desk.pace.congestion == pytest.approx(0.75)


def test_a_time_out_lowers_the_pace() -> None:
    def no_answer(_: bytes) -> None:
        desk.clock.now += 20.0
        raise Retryable("No answer in time", outcome_unknown=True)

    desk = SenderDesk(ScriptedClarify([no_answer]))
    assert desk.deliver(SIX)
    assert desk.pace.congestion < 1.0


@pytest.mark.parametrize(("error", "held"), [(Retryable("time-out"), False), (NotAllowed("no", code=403), True)])
def test_trouble_shows_while_it_lasts(error: ClarifyError, held: bool) -> None:
    seen = []
    desk = SenderDesk(ScriptedClarify())
    desk.clarify.steps.extend([error, lambda body: seen.append((desk.circuit.trouble, desk.circuit.held))])
    assert desk.deliver(SIX)
    assert seen == [(str(error), held)]
    assert (desk.circuit.trouble, desk.circuit.held) == (None, False)


def bad_series(*names: str) -> Callable[[Stored], None]:
    """A Clarify that names these series whenever they are in a frame."""

    def judge(frame: Stored) -> None:
        guilty = sorted({name for name, _ in frame} & set(names))
        if guilty:
            raise InvalidParams("bad", code=-32602, problems=[Problem(f"data.series.{name}", "bad") for name in guilty])

    return judge


def test_exactly_the_series_that_clarify_names_are_set_aside() -> None:
    desk = SenderDesk(ScriptedClarify(judge=bad_series("b")))
    assert desk.deliver(SIX)
    assert desk.clarify.stored == stored(SIX, "b")
    assert set(desk.account.lost) == {"b"}
    assert "bad" in desk.account.lost["b"]
    assert desk.account.settled == all_settled(SIX)
    assert len(desk.clarify.requests) == 2


def test_all_series_may_be_bad() -> None:
    desk = SenderDesk(ScriptedClarify(judge=bad_series("a", "b", "c")))
    assert desk.deliver(SIX)
    assert desk.clarify.stored == {}
    assert set(desk.account.lost) == {"a", "b", "c"}
    assert desk.account.settled == all_settled(SIX)


def too_large_above(values: int) -> Callable[[Stored], None]:
    def judge(frame: Stored) -> None:
        if len(frame) > values:
            raise TooLarge("too large", code=413)

    return judge


@pytest.mark.parametrize("values", [1, 2, 5])
def test_a_frame_that_is_too_large_is_halved_until_it_fits(values: int) -> None:
    desk = SenderDesk(ScriptedClarify(judge=too_large_above(values)))
    assert desk.deliver(SIX)
    assert desk.clarify.stored == stored(SIX)
    assert desk.account.settled == all_settled(SIX)
    assert desk.account.lost == {}


def bad_values(*cells: tuple[str, int]) -> Callable[[Stored], None]:
    """A Clarify that refuses frames with any of these cells, and does not name them."""

    def judge(frame: Stored) -> None:
        if frame.keys() & set(cells):
            raise InvalidParams("something is wrong", code=-32602)

    return judge


def unnamed(cells: Cells, *bad: tuple[str, int]) -> int:
    """Deliver these cells, some of which are bad without being named. Checks that exactly the bad ones are set aside.
    Returns the number of requests."""
    desk = SenderDesk(ScriptedClarify(judge=bad_values(*bad)))
    assert desk.deliver(cells)
    wanted = stored(cells)
    for cell in bad:
        del wanted[cell]
    assert desk.clarify.stored == wanted
    assert desk.account.lost_cells == set(bad)
    assert desk.account.settled == all_settled(cells)
    return len(desk.clarify.requests)


@pytest.mark.parametrize("n", range(2, 34))
def test_one_bad_value_without_a_name_costs_at_most_2_log2_n_requests_more(n: int) -> None:
    """The search costs no more than promised beyond the request of the frame itself, for every shape of the frame and
    every place of the bad value."""
    for series in {1, 2, n // 2 or 1, n}:
        cells: Cells = {}
        for i in range(n):
            cells.setdefault(f"s{i % series}", []).append((i // series, float(i)))
        for cell in stored(cells):
            assert unnamed(cells, cell) - 1 <= 2 * math.log2(n), (series, cell)


def test_a_bad_value_in_a_large_frame_of_odd_shape() -> None:
    cells = {"long": [(t, 1.0) for t in range(1000)], **{f"s{i}": [(i, 1.0)] for i in range(999)}}
    for cell in (("long", 0), ("long", 999), ("s0", 0), ("s998", 998)):
        assert unnamed(cells, cell) - 1 <= 2 * math.log2(1999)


def test_several_bad_values_without_a_name_are_all_found() -> None:
    cells = {name: [(t, float(t)) for t in range(16)] for name in "abcd"}
    assert unnamed(cells, ("a", 0), ("c", 5), ("c", 6), ("d", 15)) - 1 <= 4 * 2 * math.log2(64)
    assert unnamed({"a": [(1, 1.0), (2, 2.0)]}, ("a", 1), ("a", 2)) <= 5


def test_a_value_is_given_up_only_after_it_failed_alone() -> None:
    """The server refused the frame for a reason other than its data: the same values pass in smaller frames."""

    def judge(frame: Stored) -> None:
        if len(frame) > 1:
            raise InvalidParams("something is wrong", code=-32602)

    desk = SenderDesk(ScriptedClarify(judge=judge))
    assert desk.deliver(SIX)
    assert desk.clarify.stored == stored(SIX)
    assert desk.account.lost == {}


@pytest.mark.parametrize("path", ["data.series.b[1]", "data.series.b.1"])
def test_a_single_value_that_clarify_names_is_set_aside_without_its_series(path: str) -> None:
    def judge(frame: Stored) -> None:
        if ("b", 2) in frame:
            raise InvalidParams("bad", code=-32602, problems=[Problem(path, "too large for a float")])

    desk = SenderDesk(ScriptedClarify(judge=judge))
    assert desk.deliver(SIX)
    wanted = stored(SIX)
    del wanted["b", 2]
    assert desk.clarify.requests == [stored(SIX), wanted], "the rest at once"
    assert desk.account.lost_cells == {("b", 2)}
    assert desk.account.settled == all_settled(SIX)


def test_a_row_that_clarify_names_is_set_aside_in_every_series() -> None:
    def judge(frame: Stored) -> None:
        if any(time_us == 2 for _, time_us in frame):
            raise InvalidParams("bad", code=-32602, problems=[Problem("data.times[1]", "no such time")])

    desk = SenderDesk(ScriptedClarify(judge=judge))
    assert desk.deliver(SIX)
    assert desk.account.lost_cells == {("a", 2), ("b", 2)}
    assert desk.clarify.stored == {("a", 1): 1.0, ("b", 1): 3.0, ("c", 1): 5.0, ("c", 3): 6.0}
    assert len(desk.clarify.requests) == 2


def test_a_named_value_takes_the_values_that_it_replaced_along() -> None:
    desk = SenderDesk(
        ScriptedClarify([InvalidParams("bad", code=-32602, problems=[Problem("data.series.a[0]", "too large")])])
    )
    assert desk.deliver({"a": [(1, 1.0), (2, 2.0), (1, 10.0)]})
    assert desk.clarify.stored == {("a", 2): 2.0}
    assert desk.account.settled == Counter(range(3))


def test_a_cell_without_a_value_or_an_index_that_the_frame_does_not_have_blames_nobody() -> None:
    for path in ("data.series.c[1]", "data.series.a[3]", "data.times[3]"):
        desk = SenderDesk(ScriptedClarify([InvalidParams("bad", code=-32602, problems=[Problem(path, "bad")])]))
        assert desk.deliver(SIX)
        assert desk.clarify.stored == stored(SIX), path
        assert desk.account.lost == {}


def test_a_path_that_may_mean_a_series_or_a_cell_is_not_guessed_at() -> None:
    cells: Cells = {"x": [(1, 1.0), (2, 2.0)], "x.1": [(1, 3.0), (2, 4.0)]}

    def judge(frame: Stored) -> None:
        if ("x", 2) in frame:
            row = sorted({time_us for _, time_us in frame}).index(2)
            raise InvalidParams("bad", code=-32602, problems=[Problem(f"data.series.x.{row}", "bad")])

    desk = SenderDesk(ScriptedClarify(judge=judge))
    assert desk.deliver(cells)
    assert desk.account.lost_cells == {("x", 2)}


def test_names_that_come_during_a_search_end_it() -> None:
    cells = {name: [(t, float(t)) for t in range(16)] for name in "abcd"}

    def judge(frame: Stored) -> None:
        if ("c", 5) in frame:
            names = [Problem("data.series.c", "bad")] if len({name for name, _ in frame}) <= 2 else []
            raise InvalidParams("bad", code=-32602, problems=names)

    desk = SenderDesk(ScriptedClarify(judge=judge))
    assert desk.deliver(cells)
    assert desk.clarify.stored == stored(cells, "c")
    assert len(desk.clarify.requests) <= 4


def test_the_later_value_of_one_time_never_travels_before_the_earlier() -> None:
    cells = {"a": [(1, 1.0), (2, 2.0), (1, 10.0), (2, 20.0), (1, 100.0)]}
    desk = SenderDesk(ScriptedClarify(judge=too_large_above(1)))
    assert desk.deliver(cells)
    assert desk.clarify.stored == {("a", 1): 100.0, ("a", 2): 20.0}
    assert desk.account.settled == all_settled(cells)


def test_a_single_value_that_is_too_large_is_held_slowly_not_given_up() -> None:
    one = {"a": [(1, 1.0)]}
    desk = SenderDesk(ScriptedClarify([TooLarge("a proxy with odd ideas", code=413)] * 3))
    assert desk.deliver(one)
    assert desk.clarify.stored == stored(one)
    assert desk.account.lost == {}
    assert all(gap >= HOLD_DELAY / 2 for gap in gaps(desk.clarify.at))


def test_a_single_value_that_clarify_finds_bad_without_a_name_is_set_aside() -> None:
    desk = SenderDesk(ScriptedClarify([InvalidParams("bad", code=-32602)]))
    assert desk.deliver({"a": [(1, 1.0)]})
    assert desk.account.lost == {"a": "bad"}


def test_every_request_takes_a_slot() -> None:
    desk = SenderDesk(ScriptedClarify(judge=too_large_above(1)))
    assert desk.deliver(SIX)
    assert len(desk.clarify.at) > 6
    assert all(gap >= 1.0 for gap in gaps(desk.clarify.at))


def waits_until_done(clarify: Callable[[], ScriptedClarify]) -> int:
    desk = SenderDesk(clarify())
    assert desk.deliver(SIX)
    return len(desk.abort.waits)


def troubled() -> ScriptedClarify:
    steps = [Retryable("time-out"), NotAllowed("no", code=403), Retryable("time-out")]
    return ScriptedClarify(steps, judge=too_large_above(2))


@pytest.mark.parametrize("in_wait", range(1, waits_until_done(troubled) + 1))
def test_an_abort_in_any_wait_leaves_the_rest_unsettled(in_wait: int) -> None:
    desk = SenderDesk(troubled(), abort_in_wait=in_wait)
    assert not desk.deliver(SIX)
    tokens = {(name, t): token for token, (name, t) in enumerate(stored(SIX))}
    assert desk.account.settled == Counter(tokens[key] for key in desk.clarify.stored), "settled is what Clarify has"
    assert desk.account.lost == {}


def test_an_interruption_is_not_swallowed() -> None:
    def interrupt(_: bytes) -> None:
        raise KeyboardInterrupt

    desk = SenderDesk(ScriptedClarify([interrupt]))
    with pytest.raises(KeyboardInterrupt):
        desk.deliver(SIX)
    assert desk.account.settled == Counter()


SAMPLES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=6)
"""(time, token)"""


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), SAMPLES, max_size=3), st.integers(0, 20))
def test_pieces_are_cut_joined_and_sorted_by_record_without_losing_a_value(
    cells: dict[str, list[tuple[int, int]]], n: int
) -> None:
    columns = {
        name: Column(
            array("q", [t for t, _ in found]), array("d", range(len(found))), array("q", [k for _, k in found])
        )
        for name, found in cells.items()
    }
    first, second = split_columns(columns, n)
    assert values_in(first) == min(n, values_in(columns))
    assert all(column.times for column in (*first.values(), *second.values()))
    assert joined(first, second) == columns
    records = list(by_record(columns))
    assert [token for token, _ in records] == sorted({k for found in cells.values() for _, k in found})
    assert Counter((token, *sample) for token, samples in records for sample in samples) == Counter(
        (token, name, t, float(i)) for name, found in cells.items() for i, (t, token) in enumerate(found)
    )


@pytest.mark.parametrize("bug", [OverflowError("int too large"), ValueError("bad header"), KeyError("x")], ids=repr)
def test_what_nobody_foresaw_is_sent_again_after_a_back_off_with_its_traceback_in_the_log(bug: Exception) -> None:
    def fail(_: bytes) -> None:
        raise bug

    desk = SenderDesk(ScriptedClarify([fail] * 8))
    with capture_logs() as logs:
        assert desk.deliver(SIX)
    assert desk.clarify.stored == stored(SIX)
    assert desk.account.settled == all_settled(SIX)
    assert desk.account.lost == {}
    assert [line["exc_info"] for line in logs if line["event"] == "exchange_bug"] == [bug] * 8
    assert all(gap >= 1.0 for gap in gaps(desk.clarify.at)), "never at once"
    assert desk.sender.status.failures == 8
    assert desk.pace.congestion == 1.0, "it was not too much"
    assert desk.circuit.trouble is None
