"""The item publisher without a network: its requests, its decisions, and its reaction to failures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from connector.clarify import ClarifyError, InvalidParams, NotAllowed, Problem, Retryable
from connector.delivery.slots import Slots
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.item_views import ANNOTATION, digest_of
from connector.metadata.items import LEFT_ALONE, ItemPublisher
from connector.metadata.reconciler import FailureKind, SaveInterval
from connector.records import ItemMetadata, Overwrite, SignalMetadata
from connector.state.state import State
from tests.scripted import Clock
from tests.unit.metadata.desk import WALL, Desk
from tests.waiting import wait_until

ID = "cq3t8v5e1k7n4m0r2s{:02d}"


class Clarify:
    """Signals and items, in the shape in which the methods of Clarify return them."""

    integration = "cp1a5c9e3g7i2k6m0o4q"

    def __init__(self, *inputs: str) -> None:
        self.inputs = list(inputs)
        self.items: dict[str, dict[str, Any]] = {}
        self.annotations: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.failures: list[Exception] = []

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(method)
        if self.failures:
            raise self.failures.pop(0)
        if method == "admin.publishSignals":
            for signal, view in params["itemsBySignal"].items():
                annotations = self.annotations.setdefault(signal, {})
                annotations |= view["annotations"]
                self.items[signal] = {key: value for key, value in view.items() if key != "annotations"}
            return {"itemsBySignal": {}}
        wanted = params["query"]["filter"]
        if method == "clarify.selectItems":
            return {"data": [self.item(signal) for signal in self.items if signal in wanted["id"]["$in"]]}
        signals = [self.signal(n) for n, key in enumerate(self.inputs) if key in wanted["input"]["$in"]]
        included = {"items": [self.item(signal) for signal in self.items]} if params["include"] else None
        return {"data": signals, "included": included}

    def signal(self, number: int) -> dict[str, Any]:
        signal = ID.format(number)
        attributes = {"name": f"n{number}", "input": self.inputs[number], "labels": {"b": ["2", "1"]}, "engUnit": "bar"}
        item = {"type": "items", "id": signal} if signal in self.items else None
        return {"id": signal, "attributes": attributes, "relationships": {"item": {"data": item}}}

    def item(self, signal: str) -> dict[str, Any]:
        return {"id": signal, "attributes": self.items[signal], "meta": {"annotations": self.annotations[signal]}}


class ItemDesk(Desk):
    """A running publisher."""

    def __init__(self, clarify: Clarify, state: State, described: Callable[[str], bool] | None = None):
        abort, wall = threading.Event(), Clock(WALL)
        self.book = MetadataBook(state, MetadataKind.ITEM, clarify.integration)
        is_described = described or (lambda _: True)
        self.paused: list[float] = []
        slots = Slots(1000.0, abort)
        slots.pause = self.pause  # type: ignore[method-assign]
        self.publisher = ItemPublisher(
            clarify,
            self.book,
            slots,
            SaveInterval(0.0),
            lambda inputs: {key for key in inputs if not is_described(key)},
            chance=lambda: 0.0,
            clock=wall,
        )
        super().__init__(self.publisher, abort, wall)
        self.publisher.start()

    def pause(self, seconds: float) -> bool:
        self.paused.append(seconds)
        return not self.abort.wait(0.01)

    def want(self, *inputs: str, overwrite: Overwrite = Overwrite.UNEDITED, name: str | None = None) -> None:
        item = ItemMetadata(name, None, None, True, overwrite)
        self.publisher.want([(key, SignalMetadata(name=key, item=item)) for key in inputs])

    def settle(self) -> None:
        wait_until(lambda: self.publisher.counts().waiting == 0, 5, "all is done")


@pytest.fixture
def desks(state: State) -> Any:
    opened: list[ItemDesk] = []

    def make(clarify: Clarify, **more: Any) -> ItemDesk:
        opened.append(ItemDesk(clarify, state, **more))
        return opened[-1]

    yield make
    for desk in opened:
        desk.close()


def test_a_signal_becomes_an_item_like_itself(desks: Any) -> None:
    clarify = Clarify("a")
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    item = clarify.items[ID.format(0)]
    assert (item["name"], item["engUnit"], item["labels"], item["visible"]) == ("n0", "bar", {"b": ["2", "1"]}, True)
    assert clarify.annotations[ID.format(0)] == {ANNOTATION: digest_of(item)}
    assert desk.publisher.published == 1
    desk.close()
    again = desks(clarify)
    again.want("a")
    assert again.publisher.counts().waiting == 0
    assert clarify.calls == ["admin.selectSignals", "admin.publishSignals"]


def test_what_comes_back_has_the_digest_of_what_was_sent() -> None:
    sent = {
        "name": "a",
        "labels": {"x": ["2", "1", "2"], "y": []},
        "enumValues": {},
        "visible": False,
        "gapDetection": None,
    }
    back = {"name": "a", "labels": {"x": ["1", "2"]}, "visible": False, "description": "", "gapDetection": "PT1H30M"}
    assert digest_of(sent) == digest_of(back)
    assert digest_of(sent) != digest_of({**back, "visible": True})


@pytest.mark.parametrize(
    ("edited", "overwrite", "name"),
    [
        (False, Overwrite.UNEDITED, "new"),
        (True, Overwrite.UNEDITED, "by hand"),
        (True, Overwrite.ALWAYS, "new"),
        (False, Overwrite.NEVER, "n0"),
    ],
)
def test_items_that_exist(desks: Any, edited: bool, overwrite: Overwrite, name: str) -> None:
    clarify = Clarify("a")
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    if edited:
        clarify.items[ID.format(0)]["name"] = "by hand"
    desk.want("a", overwrite=overwrite, name="new")
    desk.settle()
    assert clarify.items[ID.format(0)]["name"] == name
    assert desk.publisher.left_alone == (name != "new")


def test_an_item_without_our_mark_is_somebody_elses(desks: Any) -> None:
    clarify = Clarify("a")
    clarify.items[ID.format(0)], clarify.annotations[ID.format(0)] = {"name": "mine"}, {}
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    assert clarify.items[ID.format(0)] == {"name": "mine"}
    assert desk.publisher.left_alone == 1


def test_where_items_are_not_shown_beside_signals_they_are_asked_for(desks: Any) -> None:
    clarify = Clarify("a", "b")
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    clarify.failures = [InvalidParams("no", problems=[Problem("include.0", "no enum values registered")])]
    desk.want("a", name="new")
    desk.settle()
    assert clarify.calls[-4:] == [
        "admin.selectSignals",
        "admin.selectSignals",
        "clarify.selectItems",
        "admin.publishSignals",
    ]
    assert clarify.items[ID.format(0)]["name"] == "new"


def test_where_items_cannot_be_seen_those_that_exist_are_left_alone(desks: Any) -> None:
    clarify = Clarify("a", "b")
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    original = clarify.call

    def call(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if method == "clarify.selectItems":
            raise NotAllowed("Operation not permitted")
        if params.get("include"):
            raise InvalidParams("no", problems=[Problem("include.0", "no enum values registered")])
        return original(method, params)

    clarify.call = call  # type: ignore[method-assign]
    desk.want("a", "b", name="new")
    desk.settle()
    assert clarify.items[ID.format(0)]["name"] == "n0"
    assert clarify.items[ID.format(1)]["name"] == "new"


def test_a_signal_that_does_not_exist_yet_is_looked_for_later(desks: Any) -> None:
    clarify = Clarify()
    desk = desks(clarify)
    desk.want("late")
    wait_until(lambda: clarify.calls == ["admin.selectSignals"], 5, "looked for")
    clarify.inputs.append("late")
    wait_until(lambda: desk.publisher.counts().postponed == 1, 5, "postponed")
    desk.later(10)
    desk.settle()
    assert ID.format(0) in clarify.items


def test_an_item_waits_for_its_signals_metadata(desks: Any) -> None:
    clarify = Clarify("a")
    described: list[str] = []
    desk = desks(clarify, described=described.__contains__)
    desk.want("a")
    assert clarify.calls == []
    wait_until(lambda: desk.publisher.counts().postponed == 1, 5, "postponed")
    assert clarify.calls == []
    described.append("a")
    desk.later(10)
    desk.settle()
    assert clarify.items


@pytest.mark.parametrize("error", [Retryable("later"), NotAllowed("Operation not permitted")])
def test_failures_are_tried_again(desks: Any, error: ClarifyError) -> None:
    clarify = Clarify("a")
    clarify.failures = [error]
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    assert len(desk.paused) == 1
    wait_until(lambda: desk.publisher.outbox.trouble is None, 5, "no trouble")


def test_what_clarify_names_as_bad_is_set_aside_and_the_rest_published(desks: Any) -> None:
    clarify = Clarify("a", "b")
    original, problem = clarify.call, Problem(f"itemsBySignal.{ID.format(0)}.name", "too odd")

    def call(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if ID.format(0) in params.get("itemsBySignal", {}):
            raise InvalidParams("no", problems=[problem])
        return original(method, params)

    clarify.call = call  # type: ignore[method-assign]
    desk = desks(clarify)
    desk.want("a", "b")
    desk.settle()
    assert list(clarify.items) == [ID.format(1)]
    assert desk.publisher.counts().failed == 1
    failed = desk.book.entries(["a"])["a"].outstanding
    assert failed is not None
    assert (failed.failure, "too odd" in failed.reason, failed.tries) == (FailureKind.REJECTED, True, 1)


def test_what_was_wanted_before_a_crash_is_published_after_it(desks: Any) -> None:
    clarify = Clarify("a")
    desk = desks(clarify, described=lambda _: False)
    desk.want("a")
    desk.close()
    assert clarify.calls == []
    again = desks(clarify)
    again.later(10)
    again.settle()
    assert clarify.items


def test_an_item_that_breaks_a_rule_is_named_and_costs_only_itself(desks: Any) -> None:
    clarify = Clarify("a", "b")
    desk = desks(clarify)
    item = ItemMetadata(None, "x" * 10_000, None, True, Overwrite.UNEDITED)
    desk.publisher.want([("a", SignalMetadata("a", item=item))])
    desk.want("b")
    desk.settle()
    assert list(clarify.items) == [ID.format(1)]
    failed = desk.book.entries(["a"])["a"].outstanding
    assert failed is not None
    assert (failed.failure, failed.due) == (FailureKind.INVALID, None)
    assert "description" in failed.reason


def test_an_item_that_is_left_alone_says_so_in_the_book(desks: Any) -> None:
    clarify = Clarify("a")
    clarify.items[ID.format(0)], clarify.annotations[ID.format(0)] = {"name": "mine"}, {}
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    assert desk.book.entries(["a"])["a"].note == LEFT_ALONE


def test_an_answer_that_makes_no_sense_is_asked_for_again(desks: Any) -> None:
    clarify = Clarify("a")
    original, answers = clarify.call, [{"data": [{"id": 5}]}, {"data": 7}]

    def call(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return answers.pop() if answers else original(method, params)

    clarify.call = call  # type: ignore[method-assign]
    desk = desks(clarify)
    desk.want("a")
    desk.settle()
    assert len(desk.paused) == 2
    assert clarify.items


def test_before_the_end_what_has_come_into_being_is_published(desks: Any) -> None:
    clarify = Clarify()
    desk = desks(clarify)
    desk.want("late")
    wait_until(lambda: clarify.calls == ["admin.selectSignals"], 5, "looked for")
    clarify.inputs.append("late")
    assert desk.publisher.finish(5.0)
    assert clarify.items
