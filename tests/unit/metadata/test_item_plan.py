"""The plan of items without a network: its lines, and what happens while it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from connector.clarify import InvalidParams, NotAllowed, Problem, TooLarge
from connector.metadata.item_plan import Applied, ApplyError, LineStatus, PlanLine, apply_plan, plan_items
from connector.metadata.item_views import Items
from connector.metadata.signals import as_saved
from connector.records import ItemMetadata, Overwrite, SignalMetadata
from tests.unit.metadata.test_items import ID, Clarify

ITEM = ItemMetadata(None, None, None, True, Overwrite.UNEDITED)
AS_IS = SignalMetadata("", item=ITEM, saved=False)


class Desk:
    """A plan for all signals of a Clarify, and what becomes of it."""

    def __init__(self, clarify: Clarify, wanted: SignalMetadata = AS_IS) -> None:
        self.clarify = clarify
        self.wanted = dict.fromkeys(clarify.inputs, wanted)
        self.items = Items(clarify.integration, self._call)
        self.settled: dict[str, str] = {}

    def _call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        return self.clarify.call(method, params)  # a test may replace it

    def plan(self) -> dict[str, PlanLine]:
        return {line.input_id: line for part in plan_items(self.items, self.wanted, self.settled) for line in part}

    def apply(self, plan: Mapping[str, PlanLine]) -> Applied:
        return apply_plan(self.items, self.wanted, self.settled, plan.values(), chance=lambda: 0.0)


def refuse(clarify: Clarify, refuses: Callable[[Mapping[str, Any]], Exception | None]) -> None:
    """Let Clarify refuse requests with these items."""
    original = clarify.call

    def call(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        error = refuses(params["itemsBySignal"]) if method == "admin.publishSignals" else None
        if error is not None:
            clarify.calls.append(method)
            raise error
        return original(method, params)

    clarify.call = call  # type: ignore[method-assign]


def test_many_signals_are_looked_up_and_published_in_full_requests() -> None:
    clarify = Clarify(*(f"s{n:04d}" for n in range(1100)))
    desk = Desk(clarify)
    plan = desk.plan()
    assert clarify.calls == ["admin.selectSignals"] * 3
    assert {line.status for line in plan.values()} == {LineStatus.NEW}
    assert desk.apply(plan) == Applied(1100)
    assert clarify.calls[3:] == ["admin.selectSignals", "admin.publishSignals"] * 3
    assert {line.status for line in desk.plan().values()} == {LineStatus.UNCHANGED}


def test_metadata_that_the_connector_would_save_first_holds_the_item_back() -> None:
    desk = Desk(Clarify("a"), SignalMetadata("a", unit="mbar", labels=(("b", ("2", "1")),), item=ITEM))
    line = desk.plan()["a"]
    assert line.status is LineStatus.WAITS
    assert line.reason.startswith("the connector saves the signal's metadata first: engUnit, name")
    assert line.changes["engUnit"] == (None, "mbar")
    assert desk.apply({"a": line}) == Applied()
    assert "admin.publishSignals" not in desk.clarify.calls

    desk.settled["a"] = as_saved("a", desk.wanted["a"])[1]  # saved before, and then edited by a person
    assert desk.plan()["a"].status is LineStatus.NEW
    assert desk.plan()["a"].changes["engUnit"] == (None, "bar")


def test_what_changes_between_plan_and_request_is_left_out_and_said() -> None:
    clarify = Clarify("a", "b")
    desk = Desk(clarify)
    assert desk.apply(desk.plan()).published == 2
    named = replace(ITEM, name="new")
    desk.wanted = dict.fromkeys("ab", SignalMetadata("", item=named, saved=False))
    plan = desk.plan()
    assert plan["a"].changes == {"name": ("n0", "new")}
    clarify.items[ID.format(0)]["description"] = "by hand"
    applied = desk.apply(plan)
    assert applied.published == 1
    ((planned, now),) = applied.outdated
    assert (planned, now.status) == (plan["a"], LineStatus.LEFT_ALONE)
    assert [clarify.items[ID.format(n)]["name"] for n in range(2)] == ["n0", "new"]


@pytest.mark.parametrize("names_it", [True, False], ids=["named", "searched for"])
def test_an_item_that_clarify_rejects_costs_only_itself(names_it: bool) -> None:
    clarify = Clarify(*"abcdefg")
    bad = ID.format(5)
    problem = Problem(f"itemsBySignal.{bad}.name", "too odd")

    def refuses(sent: Mapping[str, Any]) -> Exception | None:
        if bad not in sent:
            return None
        return InvalidParams("no", problems=[problem]) if names_it else TooLarge("too large")

    refuse(clarify, refuses)
    desk = Desk(clarify)
    applied = desk.apply(desk.plan())
    assert applied.published == 6
    assert list(applied.rejected) == ["f"]
    assert ("too odd" in applied.rejected["f"]) == names_it
    assert sorted(clarify.items) == [ID.format(n) for n in range(7) if n != 5]


def test_a_refusal_ends_it_and_says_how_far_it_came() -> None:
    clarify = Clarify(*(f"s{n:04d}" for n in range(600)))
    refuse(clarify, lambda _: NotAllowed("Operation not permitted") if len(clarify.items) == 500 else None)
    desk = Desk(clarify)
    with pytest.raises(ApplyError, match="not permitted") as caught:
        desk.apply(desk.plan())
    assert caught.value.applied.published == len(clarify.items) == 500


@pytest.mark.parametrize(
    ("overwrite", "status", "reason"),
    [
        (Overwrite.UNEDITED, LineStatus.LEFT_ALONE, "may not read the item"),
        (Overwrite.ALWAYS, LineStatus.CHANGED, "may not read the item"),
        (Overwrite.NEVER, LineStatus.LEFT_ALONE, "overwrite is never"),
    ],
)
def test_items_that_cannot_be_read(overwrite: Overwrite, status: LineStatus, reason: str) -> None:
    clarify = Clarify("a")
    desk = Desk(clarify)
    desk.apply(desk.plan())
    original = clarify.call

    def call(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if method == "clarify.selectItems":
            raise NotAllowed("Operation not permitted")
        if params.get("include"):
            raise InvalidParams("no", problems=[Problem("include.0", "no enum values registered")])
        return original(method, params)

    clarify.call = call  # type: ignore[method-assign]
    desk.wanted["a"] = replace(AS_IS, item=replace(ITEM, name="new", overwrite=overwrite))
    line = desk.plan()["a"]
    assert line.status is status
    assert reason in line.reason
