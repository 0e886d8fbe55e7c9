"""Signals of earlier runs: without a message, the rules give them the ID and the metadata that a message would give."""

from __future__ import annotations

from typing import Any

import pytest

from connector.formats.sparkplug.datatypes import DataType
from connector.mapping.mapper import Mapper
from connector.mapping.signals.input_ids import Origin
from connector.records import Record, SignalMetadata
from tests.sparkplug_payloads import bd_seq, metric, payload
from tests.unit.mapping.mappers import mapper, take

PUBLISHED = {"name": "{line} {field}", "publish": {"labels": {"line": "{line}"}}}
PLAIN = {"topic": "p/{line}", **PUBLISHED, "values": {"hidden": {"publish": False}, "oil": {"unit": "bar"}}}


def ran(rule: dict[str, Any], payload: Any, topic: str, **more: Any) -> tuple[Mapper, dict[str, SignalMetadata]]:
    """A mapper that has mapped a message, and what it has discovered."""
    using = mapper(rule)
    assert take(using, payload, topic, **more).samples
    return using, dict(using.take_discovered())


def recalled(using: Mapper, before: Mapper) -> dict[str, Any]:
    """Input ID of before → what a mapper recalls of it."""
    return {claimed: using.recall(claimed, origin) for claimed, origin in before.ids.new_claims}


@pytest.mark.parametrize(
    ("rule", "payload", "more"),
    [
        (PLAIN, {"oil": 1, "hidden": 2, "other": {"deep": 3}}, {}),
        ({"topic": "p/{line}", "key": "{device}", **PUBLISHED, "labels": {"d": "{device}"}}, {"v": 1}, {"key": b"d7"}),
        (
            {"topic": "p/{line}", "iterate": "tags", "item_name": "id", **PUBLISHED, "description": "{item}"},
            {"tags": [{"id": "a", "v": 1}, {"id": "b", "v": 2}]},
            {},
        ),
        (
            {"topic": "p/{line}", "input": "{payload.site}/{path}", **PUBLISHED, "labels": {"s": "{payload.site}"}},
            {"site": "oslo", "v": 1},
            {},
        ),
        (
            {"topic": "p/{line}", **PUBLISHED, "values": {"max(a)": {"input": "{line}/top", "unit": "kW"}}},
            {"a": [1, 3]},
            {},
        ),
        (
            {"topic": "p/{line}", **PUBLISHED, "quality": {"path": "q", "good": [192], "bad": "signal"}},
            {"v": 1, "q": 0},
            {},
        ),
        ({"topic": "p/{line}", **PUBLISHED, "unknown_state": "learn"}, {"mode": "RUN"}, {}),
    ],
    ids=["plain", "key", "items", "payload in the input ID", "expression", "quality", "learned states"],
)
def test_what_is_recalled_is_what_a_message_gives(rule: dict[str, Any], payload: Any, more: dict[str, Any]) -> None:
    before, discovered = ran(rule, payload, "p/l7", **more)
    states = {input_id: before.states.of(input_id) for input_id, _ in before.ids.new_claims}
    again = mapper(rule, claims=dict(before.ids.new_claims), states=states)
    found = recalled(again, before)
    assert discovered
    assert {one.input_id: one.metadata for one in found.values() if one.metadata is not None} == discovered
    assert not any(one.why_unknown for one in found.values())
    assert again.take_discovered() == [], "what was recalled is not discovered"


@pytest.mark.parametrize(
    "more",
    [
        {"labels": {"site": "{payload.site}"}},
        {"name": "{payload.site|unknown} {field}"},
        {"publish": {"name": "{key}"}},
    ],
    ids=["label", "name with a default", "item's name by the key"],
)
def test_what_only_a_message_can_tell_is_not_guessed(more: dict[str, Any]) -> None:
    rule = {"topic": "p/{line}", **PUBLISHED, **more}
    before, _ = ran(rule, {"site": "oslo", "v": 1}, "p/l7")
    (found,) = recalled(mapper(rule, claims=dict(before.ids.new_claims)), before).values()
    assert "content of its messages" in found.why_unknown
    assert found.metadata is None


def test_rules_that_only_a_message_can_choose_between_are_not_guessed() -> None:
    rules = [
        {"topic": "p/{line}", "when": {"kind": "x"}, "publish": {"name": "X"}},
        {"topic": "p/{line}", "publish": {"name": "Y"}},
    ]
    before, _ = ran(rules[1], {"v": 1}, "p/l7")
    (found,) = recalled(mapper(*rules, claims=dict(before.ids.new_claims)), before).values()
    assert found.why_unknown


def test_a_rule_that_publishes_nothing_asks_for_no_message() -> None:
    rule = {"topic": "p/{line}", "labels": {"site": "{payload.site}"}}
    before, _ = ran(rule, {"site": "oslo", "v": 1}, "p/l7")
    (found,) = recalled(mapper(rule, claims=dict(before.ids.new_claims)), before).values()
    assert (found.metadata, found.why_unknown) == (None, "")


def test_a_changed_mapping_gives_the_id_of_today_or_says_that_it_cannot_tell() -> None:
    before, _ = ran(PLAIN, {"oil": 1}, "p/l7")
    claims = dict(before.ids.new_claims)
    (renamed,) = recalled(mapper({**PLAIN, "input": "new/{path}"}, claims=claims), before).values()
    assert (renamed.input_id, renamed.metadata.item.labels) == ("new/oil", (("line", ("l7",)),))
    (moved,) = recalled(mapper({**PLAIN, "input": "{payload.site}/{path}"}, claims=claims), before).values()
    assert "other parts of the message" in moved.why_unknown
    assert recalled(mapper({"topic": "p/{line}", "skip": True}, claims=claims), before) == {"p/l7:oil": None}
    assert recalled(mapper({**PLAIN, "topic": "q/{line}"}, claims=claims), before) == {"p/l7:oil": None}


def test_what_messages_have_described_is_recalled() -> None:
    names = {"topic": "n/{line}", "describes": {"signal": "p/{line}:v", "name": "{payload.name}"}}
    rules = [names, {"topic": "p/{line}", "publish": True}]
    before = mapper(*rules)
    take(before, {"name": "Oil"}, "n/l7")
    take(before, {"v": 1}, "p/l7")
    again = mapper(*rules, claims=dict(before.ids.new_claims), descriptions=before.take_descriptions())
    (found,) = recalled(again, before).values()
    assert {found.input_id: found.metadata} == dict(before.take_discovered())
    assert found.metadata.name == "Oil"


def test_births_of_sparkplug_are_recalled() -> None:
    format_ = {"type": "sparkplug_b", "bad_quality": "signal", "online": True}
    rule = {"preset": "sparkplug", "publish": {"labels": {"group": "{group}"}}, "format": format_}
    before = mapper(rule)
    oil = metric("Oil", DataType.FLOAT, 0.5, said={"engUnit": "°C", "Quality": 0})
    for seq, (topic, *metrics) in enumerate([("NBIRTH/n", bd_seq(0)), ("DBIRTH/n/d", oil)]):
        said = payload(*metrics, seq=seq, time_ms=1_790_000_000_000)
        before.map("mqtt", Record(f"spBv1.0/g/{topic}", said, 1_790_000_000_000_000 + seq))
    births = {"mqtt": [change for change in before.sparkplug.take_changes("mqtt") if change.data is not None]}
    again = mapper(rule, claims=dict(before.ids.new_claims), births=births)
    found = recalled(again, before)
    discovered = dict(before.take_discovered())
    assert {one.input_id: one.metadata for one in found.values() if one.metadata is not None} == discovered
    assert discovered["g/n/d/Oil"].unit == "°C"
    assert len(discovered) >= 3, "also whether they are online"


def test_sparkplug_needs_a_birth() -> None:
    using = mapper({"preset": "sparkplug", "publish": True})
    found = using.recall("oil", Origin("mqtt", "spBv1.0/g/DDATA/n/d", "oil"))
    assert found is not None
    assert "birth" in found.why_unknown
