"""Why a value has its input ID: the parts of the explanation make the ID, for live signals and for earlier ones."""

from __future__ import annotations

from typing import Any

import pytest

from connector.formats.sparkplug.datatypes import DataType
from connector.mapping.mapper import Mapper
from connector.mapping.signals.explained import Explained
from tests.sparkplug_payloads import bd_seq, metric, payload
from tests.unit.mapping.mappers import mapper, take


def of(using: Mapper, topic: str) -> dict[str, Explained]:
    return {one.written: one for one in using.explained("mqtt", topic, "", 100)}


@pytest.mark.parametrize(
    ("rule", "sent", "more", "parts"),
    [
        (
            {"topic": "p/{line}/+", "input": "{line}-{field}"},
            {"oil": {"temp": 1}},
            {},
            (("{line}", "l7"), ("", "-"), ("{field}", "temp")),
        ),
        ({"topic": "p/#"}, {"a": {"b": 1}}, {}, (("{topic}", "p/l7/x"), ("", ":"), ("{path}", "a.b"))),
        ({"topic": "p/#"}, 5, {}, (("{topic}", "p/l7/x"),)),
        (
            {"topic": "p/#", "key": "{device}"},
            {"v": 1},
            {"key": b"d7"},
            (("{topic}", "p/l7/x"), ("", "/"), ("{key}", "d7"), ("", ":"), ("{path}", "v")),
        ),
        (
            {"topic": "p/#", "iterate": "tags", "item_name": "id"},
            {"tags": [{"id": "a", "v": 1}]},
            {},
            (("{topic}", "p/l7/x"), ("", ":"), ("{item}", "a"), ("", "."), ("{path}", "v")),
        ),
        (
            {"topic": "p/#", "input": "{payload.site|nowhere}/{path}", "values": {"v": {}}},
            {"v": 1},
            {},
            (("{payload.site}", "nowhere"), ("", "/"), ("{path}", "v")),
        ),
    ],
)
def test_the_parts_make_the_id_of_a_live_signal_and_of_an_earlier_one(
    rule: dict[str, Any], sent: Any, more: dict[str, Any], parts: tuple[tuple[str, str], ...]
) -> None:
    using = mapper({"topic": "other"}, rule)
    assert using.explained("mqtt", "p/l7/x", "", 9) == [], "no message came"
    assert take(using, sent, "p/l7/x", **more).samples
    (found,) = of(using, "p/l7/x").values()
    assert (found.rule, found.pattern, found.parts) == (1, rule["topic"], parts)
    assert "".join(text for _, text in parts) == found.written
    assert found.template == rule.get("input", "")
    claims = dict(using.ids.new_claims)
    later = mapper({"topic": "other"}, rule, claims=claims)
    assert later.explained_today(found.written, claims[found.written]) == found
    gone = mapper({"topic": "other"}, claims=claims)
    assert gone.explained_today(found.written, claims[found.written]) is None


def test_what_else_made_the_id_is_noted() -> None:
    using = mapper({"topic": "a/{x}", "input": "same"}, {"topic": "b/{x}", "input": "{x}"})
    take(using, 1, "a/1")
    take(using, 1, "a/2")
    take(using, 1, "b/ä")
    (first,), (second,), (cleaned,) = (of(using, topic).values() for topic in ("a/1", "a/2", "b/ä"))
    assert first.notes == ()
    assert "another value has this ID already" in second.notes[0]
    assert "the text was cleaned" in cleaned.notes[0]
    shared = mapper({"topic": "a/{x}", "input": "same", "shared_inputs": True})
    take(shared, 1, "a/1")
    assert "on purpose" in of(shared, "a/1")["same"].notes[0]


def test_topics_without_a_rule_of_the_configuration_and_of_sparkplug() -> None:
    built_in = mapper()
    take(built_in, {"v": 1}, "t")
    assert of(built_in, "t")["t:v"].rule is None
    sparkplug = mapper({"topic": "spBv1.0/#", "format": "sparkplug_b"})
    take(sparkplug, payload(bd_seq(0), metric("temp", DataType.DOUBLE, 5.0), seq=0), "spBv1.0/g/NBIRTH/n")
    born = of(sparkplug, "spBv1.0/g/NBIRTH/n")
    assert "temp" in {one.path for one in born.values()}
    take(sparkplug, payload(metric("temp", DataType.DOUBLE, 6.0), seq=1), "spBv1.0/g/NDATA/n")
    assert of(sparkplug, "spBv1.0/g/NDATA/n") == born, "births and data of a node have the same signals"


def test_only_so_many_are_explained_and_only_those_with_the_text() -> None:
    using = mapper()
    take(using, {f"v{n}": n for n in range(50)}, "t")
    assert len(using.explained("mqtt", "t", "", 7)) == 7
    assert [one.written for one in using.explained("mqtt", "t", "v49", 7)] == ["t:v49"]
