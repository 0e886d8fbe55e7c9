"""Values of several fields, and several of one: what is combined, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from connector.mapping.documents.walk import leaves
from tests.unit.mapping.mappers import mapper, take

F32 = {"type": "f32"}


@pytest.mark.parametrize(
    ("rule", "payload", "samples"),
    [
        ({"values": {"w": {"bits": {"on": 0, "mode": "1-3"}}}}, {"w": 11, "x": 1}, {"w.on": 1, "w.mode": 5, "x": 1}),
        ({"values": {"w": {"bits": {0: "on", "1-3": "mode"}}}}, {"w": 11.0}, {"w.on": 1, "w.mode": 5}),
        ({"values": {"w": {"bits": {"on": 1}}}, "other_values": "filter"}, {"w": 1, "x": 1}, {"w.on": 0}),
        ({"values": {"w": {"bits": {"on": 63}, "number": "hex"}}}, {"w": "0x8000000000000000"}, {"w.on": 1}),
        ({"values": {"alarm": {"path": "d.w", "bits": {"on": 0}}}}, {"d": {"w": 1, "x": 2}}, {"alarm.on": 1, "d.x": 2}),
        ({"scale": 0.1, "values": {"w": {"bits": {"on": 0}}}}, {"w": 1, "x": 12}, {"w.on": 1, "x": 1.2}),
        ({"values": {"alarm": {"path": "@", "bits": {"on": 0}}}}, 1, {"alarm.on": 1}),
        ({"values": {"f": {"words": {**F32, "of": ["a", "b"]}}}}, {"a": 16864, "b": 49552}, {"f": 28.094512939453125}),
        ({"values": {"f": {"words": F32}}}, {"f": [16864, 49552]}, {"f": 28.094512939453125}),
        ({"values": {"f": {"words": F32}}}, {"f": "[16864, 49552]", "x": 1}, {"f": 28.094512939453125, "x": 1}),
        ({"values": {"f": {"words": {**F32, "of": "@"}}}}, [16864, 49552], {"f": 28.094512939453125}),
        ({"values": {"f": {"words": {**F32, "of": ["0", "1"]}}}}, [16864, 49552, 7], {"f": 28.094512939453125, "2": 7}),
        ({"values": {"f": {"words": {**F32, "of": ["r.1", "r.2"]}}}}, {"r": [1, 16864, 49552]},
         {"r.0": 1, "f": 28.094512939453125}),
        ({"values": {"f": {"words": {"type": "i32", "endian": "big-swapped", "of": ["a", "b"]}, "scale": 0.1}}},
         {"a": -2, "b": -1}, {"f": -0.2}),
        ({"values": {"v": {"scale": {"path": "f"}, "offset": {"path": "o"}}}},
         {"v": "12", "f": "0.1", "o": 1}, {"v": 2.2}),
        ({"values": {"v": {"scale": {"path": "f"}, "offset": -0.2}}}, {"v": 3, "f": 0.1}, {"v": 0.1}),
        ({"values": {"v": {"scale": {"path": "f", "default": 10}}}}, {"v": 3}, {"v": 30}),
        ({"values": {"v": {"scale": {"path": "f"}, "max": 1, "out_of_range": "drop"}}},
         {"v": 3, "f": 1, "w": 1}, {"w": 1}),
        ({"scale": {"path": "{path}_SF", "power_of_ten": True}, "missing": [-32768]},
         {"m": {"W": 5, "W_SF": -2, "V": -32768, "V_SF": -32768}, "ts": 1_789_999_999}, {"m.W": 0.05}),
        ({"scale": {"path": "{path}_SF", "default": 1}, "values": {"v": {"scale": 2}, "s": {"states": {"on": 1}}}},
         {"v": 3, "s": "on", "b": True, "name": "x"}, {"v": 6, "s": 1, "b": 1}),
        ({"values": {"a.b": {"limit": "signal"}}}, {"a": {"b": "< 5"}}, {"a.b": 5, "a.b_limit": -1}),
        ({"values": {"a.b": {"limit": "signal"}}}, {"a.b": 5}, {"a.b": 5, "a.b_limit": 0}),
        ({"values": {"v": {"limit": "signal", "strip_unit": True}}}, {"v": ">= 5 mg"}, {"v": 5, "v_limit": 1}),
        ({"values": {"w": {"bits": {"on": 0}}, "f": {"words": F32}, "v": {"scale": {"path": "s"}}}}, {"x": 1, "s": 2},
         {"x": 1}),
        ({"values": {"v": {"scale": {"path": "s"}}, "s": {}}}, {"v": 1, "s": 2}, {"v": 2, "s": 2}),
        ({"values": {"l.alarms.v": {"bits": {"on": 0}}}}, {"l": [{"id": "x", "v": 3}, {"id": "alarms", "v": 1}]},
         {"l.x.v": 3, "l.alarms.v.on": 1}),
        ({"values": {"w": {"path": "l[?id=='alarms'].v | [0]", "bits": {"on": 0}}}},
         {"l": [{"id": "x", "v": 3}, {"id": "alarms", "v": 1}]}, {"w.on": 1}),
        ({"values": {"w": {"path": "[?id=='alarms'].v | [0]", "bits": {"on": 0}}}, "other_values": "map"},
         [{"id": "x", "v": 3}, {"id": "alarms", "v": 1}], {"x.v": 3, "alarms.v": 1, "w.on": 1}),
        ({"values": {"f": {"path": "[?r > `0`].v", "words": F32}}}, [{"r": 1, "v": 16864}, {"r": 2, "v": 49552}],
         {"f": 28.094512939453125}),
        ({"values": {"f": {"words": {**F32, "of": ["a.v", "b.v"]}}}},
         [{"id": "a", "v": 16864}, {"id": "b", "v": 49552}],
         {"f": 28.094512939453125}),
        ({"values": {"a.v": {"words": F32}}}, [{"id": "a", "v": [16864, 49552]}, {"id": "b", "v": 1}],
         {"a.v": 28.094512939453125, "b.v": 1}),
        ({"scale": {"path": "{path}_SF", "default": 1}, "values": {"l.a.v": {"scale": 2}}},
         {"l": [{"id": "a", "v": 1, "v_SF": 5}, {"id": "b", "v": 1, "v_SF": 5}]}, {"l.a.v": 2, "l.b.v": 5}),
        ({"values": {"w": {"bits": {"on": 0}}}}, {"w": None, "x": 1}, {"x": 1}),
    ],
)  # fmt: skip
def test_values_are_combined(rule: dict[str, Any], payload: object, samples: dict[str, float]) -> None:
    using = mapper({"topic": "t", "input": "{path}", **rule})
    for _ in range(2):
        found = take(using, payload)
        assert found.rejects == []
        assert {name: value for name, _, value in found.samples} == samples


@pytest.mark.parametrize(
    ("value", "payload", "remedy"),
    [
        ({"bits": {"on": 0}}, {"v": -1}, "WORD, UINT"),
        ({"bits": {"on": 0}}, {"v": 1.5}, "WORD, UINT"),
        ({"bits": {"on": 0}}, {"v": 2.0**60}, "WORD, UINT"),
        ({"words": {**F32, "of": ["a", "b"]}}, {"a": 1}, "no field 'b'"),
        ({"words": {**F32, "of": ["a", "b"]}}, {"a": 1, "b": 65536}, "no register of 16 bits"),
        ({"words": {**F32, "of": "a"}}, {"a": [1, 2, 3]}, "3 registers"),
        ({"words": F32}, {"v": "17008,x"}, "no register"),
        ({"words": F32}, {"v": [32704, 0]}, "NaN"),
        ({"scale": {"path": "f"}}, {"v": 5}, "scale.default"),
        ({"scale": {"path": "f"}}, {"v": 5, "f": "x"}, "no number"),
        ({"scale": {"path": "f", "power_of_ten": True}}, {"v": 5, "f": 0.5}, "no exponent"),
        ({"scale": {"path": "f", "power_of_ten": True}}, {"v": 5, "f": -32768}, "SunSpec"),
        ({"scale": {"path": "f"}}, {"v": 1e300, "f": 1e300}, "NaN and infinity"),
        ({"scale": {"path": "f"}, "strip_unit": True}, {"v": "12:34", "f": 1}, "no unit"),
    ],
)
def test_what_cannot_be_combined_is_refused_and_the_rest_gets_through(
    value: dict[str, Any], payload: dict[str, Any], remedy: str
) -> None:
    using = mapper({"topic": "t", "values": {"v": value}, "input": "{path}"})
    for _ in range(2):
        found = take(using, {**payload, "other": 1})
        assert [name for name, _, _ in found.samples] == ["other"]
        assert [reject.path for reject in found.rejects] == ["v"]
        assert remedy in found.rejects[0].message
        assert len(found.samples) + len(found.rejects) + found.filtered == max(1, leaves(payload)) + 1


def test_in_items_the_scale_is_looked_for_around_them_and_other_items_get_through() -> None:
    using = mapper({"topic": "t", "iterate": "values", "item_name": "n", "input": "{item}", "scale": {"path": "f"}})
    found = take(
        using, {"f": 0.1, "values": [{"n": "a", "v": 12}, {"n": "b", "v": 12, "f": 0.01}, {"n": "c", "f": "?", "v": 1}]}
    )
    assert [(name, value) for name, _, value in found.samples] == [("a", 1.2), ("b", 0.12)]
    assert [reject.path for reject in found.rejects] == ["c.v"]


def test_bits_have_states_units_and_names_as_any_value() -> None:
    using = mapper(
        {
            "topic": "t",
            "name": "{field}",
            "values": {
                "w": {"bits": {"mode": "0-1"}},
                "w.mode": {"enum_values": {0: "off", 1: "auto"}, "type": "enum"},
            },
        }
    )
    assert [value for _, _, value in take(using, {"w": 1}).samples] == [1]
    (metadata,) = [metadata for _, metadata in using.discovered]
    assert (metadata.name, metadata.value_type, metadata.enum_values) == ("mode", "enum", (("0", "off"), ("1", "auto")))


def test_a_mark_of_a_limit_has_not_the_unit_of_its_rule() -> None:
    using = mapper({"topic": "t", "unit": "mg/l", "values": {"lead": {"limit": "signal"}}})
    take(using, {"lead": "<0.05"})
    assert {name: metadata.unit for name, metadata in using.discovered} == {"t:lead": "mg/l", "t:lead_limit": ""}


def test_bits_are_thinned_as_their_integer_is() -> None:
    using = mapper({"topic": "t", "values": {"w": {"bits": {"a": 0, "b": 1}, "thin": {"change_only": True}}}})
    names = [
        [name for name, _, _ in take(using, {"w": word}, time_us=1_790_000_000_000_000 + n).samples]
        for n, word in enumerate([1, 1, 3])
    ]
    assert names == [["t:w.a", "t:w.b"], [], ["t:w.b"]]
