"""Rebirth requests: patient, more and more seldom, never many at once, and only where the rule allows them."""

from __future__ import annotations

from connector.formats.sparkplug.rebirths import RebirthPace, Rebirths, rebirth_command
from connector.formats.sparkplug.schema import PayloadMessage
from connector.mapping.sparkplug import NodeEvent
from connector.runtime.rebirths import RebirthRequester
from tests.waiting import wait_until

PACE = RebirthPace(patience=5, pause=60, longest_pause=200, between=1, stale=30, most=3)


def asked(rebirths: Rebirths, begin: float, end: float) -> list[float]:
    """The seconds at which the node is asked."""
    return [float(now) for now in range(int(begin), int(end)) if rebirths.due(float(now))]


def test_a_node_that_never_answers_is_asked_ever_more_seldom() -> None:
    rebirths = Rebirths(PACE)
    rebirths.want("g", "n", 100, 0)
    assert asked(rebirths, 100, 1000) == [105, 165, 285, 485, 685, 885], "pauses of 60, 120 and then 200 s"
    assert rebirths.asked == 6


def test_births_that_come_by_themselves_are_not_asked_for() -> None:
    rebirths = Rebirths(PACE)
    rebirths.want("g", "n", 100, 0)
    rebirths.born("g", "n", 104)
    assert asked(rebirths, 100, 1000) == []


def test_a_node_that_is_soon_in_need_again_waits_longer_and_after_a_good_while_it_does_not() -> None:
    rebirths = Rebirths(PACE)
    rebirths.want("g", "n", 100, 0)
    assert asked(rebirths, 100, 106) == [105]
    rebirths.born("g", "n", 106)
    rebirths.want("g", "n", 110, 0)
    assert asked(rebirths, 110, 166) == [165], "60 s after the first request"
    rebirths.born("g", "n", 166)
    rebirths.want("g", "n", 1000, 0)
    assert asked(rebirths, 1000, 1100) == [1005, 1065], "the pauses begin anew"


def test_what_waited_long_in_the_journal_does_not_count() -> None:
    rebirths = Rebirths(PACE)
    rebirths.want("g", "n", 100, 31)
    assert asked(rebirths, 100, 1000) == []


def test_many_nodes_are_asked_one_after_the_other_and_not_more_than_are_thought_of() -> None:
    rebirths = Rebirths(PACE)
    for node in "abcde":
        rebirths.want("g", node, 100, 0)
    assert [rebirths.due(float(now)) for now in range(105, 109)] == [[("g", "a")], [("g", "b")], [("g", "c")], []]


def test_the_request_is_the_command_of_the_specification() -> None:
    command = rebirth_command("g", "n", 1_790_000_000_000)
    assert command.topic == "spBv1.0/g/NCMD/n"
    payload = PayloadMessage.FromString(command.payload)
    assert payload.timestamp == 1_790_000_000_000
    assert not payload.HasField("seq")
    (metric,) = payload.metrics
    assert (metric.name, metric.datatype, metric.boolean_value) == ("Node Control/Rebirth", 11, True)


def note(node: str, source: str = "mqtt", *, born: bool = False, ask: bool = True, arrived: float = 1000) -> NodeEvent:
    return NodeEvent(source, "g", node, 0, "" if born else "no birth", born, round(arrived * 1e6), ask)


def test_only_what_may_be_asked_is_asked_and_only_where_something_can_be_published() -> None:
    sent: list[str] = []
    now = [0.0]

    def publish(topic: str, payload: bytes) -> bool:
        sent.append(topic)
        return len(sent) > 1  # not connected at first

    requester = RebirthRequester(
        {"mqtt": publish},
        pace=RebirthPace(patience=5, pause=60, between=0),
        clock=lambda: now[0],
        wall_clock=lambda: 1000.0,
    )
    requester.note([note("asked"), note("silent", ask=False), note("elsewhere", "file"), note("old", arrived=0)])
    requester.note([note("well"), note("well", born=True)])
    now[0] = 6.0
    wait_until(lambda: sent, 10, "the thread asks")
    assert sent == ["spBv1.0/g/NCMD/asked"]
    assert requester.sent == 0
    now[0] = 70.0
    wait_until(lambda: requester.sent == 1, 10, "again later")
    requester.close(5)


def test_nothing_runs_where_nothing_is_to_be_asked() -> None:
    requester = RebirthRequester({"mqtt": lambda _topic, _payload: True})
    requester.note([note("n", ask=False)])
    assert requester.thread is None
    requester.close(1)
