"""Settings for numbers in text: what is read, what becomes a dead letter with a remedy, and what a rule cannot say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connector.mapping.section import MappingSection
from connector.records import Reason
from tests.unit.mapping.mappers import mapper, take


@pytest.mark.parametrize(
    ("settings", "value", "number"),
    [
        ({"number": "auto"}, "1\N{NARROW NO-BREAK SPACE}234,5", 1234.5),
        ({"number": "auto"}, "1\N{RIGHT SINGLE QUOTATION MARK}234.5", 1234.5),
        ({"number": "auto"}, "\N{MINUS SIGN}1.234.567", -1234567),
        ({"number": "auto"}, "0,234", 0.234),
        ({"number": "auto", "strip_unit": True}, "1 234,5 m³/h", 1234.5),
        ({"number": "auto"}, "1.234", 1.234),
        ({"thousands": "."}, "1.234", 1234),
        ({"thousands": ".", "decimal_comma": True}, "1.234,5", 1234.5),
        ({"thousands": " "}, "12\N{THIN SPACE}345.5", 12345.5),
        ({"decimal_comma": True}, "\N{MINUS SIGN}1.234.567,5", -1234567.5),
        ({"decimal_comma": True}, "- 1 234,5e1", -12345),
        ({"decimal_comma": True}, ",5", 0.5),
        ({"number": "hex"}, "16#1F4", 500),
        ({"number": "hex"}, "1F4h", 500),
        ({"number": "hex"}, "DW#16#000001F4", 500),
        ({"number": "hex"}, "&H1F4", 500),
        ({"number": "octal"}, "0o17", 15),
        ({"number": "binary"}, "2#1010", 10),
        ({"number": "duration"}, "1.02:03:04", 93784),
        ({"number": "duration"}, "P1DT2H3M4.5S", 93784.5),
        ({"number": "duration", "scale": 0.001}, "1h 5min", 3.9),
        ({"number": "duration"}, "T#1h5m3s500ms", 3903.5),
        ({"number": "duration"}, "1500 ms", 1.5),
        ({"number": "duration"}, "90 min", 5400),
        ({"number": "duration"}, "00:00:01,5", 1.5),
        ({"number": "duration"}, 754, 754),
        ({"limit": "value"}, "≥ 100", 100),
        ({"limit": "value", "strip_unit": True, "scale": 0.001}, "< 50 µg/l", 0.05),
        ({"scale": 0.1}, 12, 1.2),
        ({"scale": 0.1, "offset": -40}, 412.3, 1.23),
        ({"scale": 1.8, "offset": 32}, 36.6, 97.88),
    ],
)
def test_a_number_is_read_in_the_notation_of_its_rule(settings: dict[str, Any], value: object, number: float) -> None:
    for rule in ({"topic": "t", **settings}, {"topic": "t", "values": {"v": settings}}):
        using = mapper(rule)
        for _ in range(3):
            assert take(using, {"v": value, "w": "x"}).samples == [("t:v", 1_790_000_000_000_000, number)]


@pytest.mark.parametrize(
    ("settings", "value", "remedy"),
    [
        ({"number": "auto"}, "1,234", "decimal_comma: true"),
        ({"decimal_comma": True}, "1.2.3,5", "not between thousands"),
        ({"decimal_comma": True}, "1 2,5", "not between thousands"),
        ({"decimal_comma": True}, "1.234 567,5", "not between thousands"),
        ({"decimal_comma": True}, "01.05.2024,5", "not between thousands"),
        ({"decimal_comma": True, "strip_unit": True}, "1.2.3,5 bar", "not between thousands"),
        ({"number": "auto"}, "1 23", "notation"),
        ({"number": "auto"}, "12 34,5", "notation"),
        ({"number": "auto"}, "1.234 567,8", "notation"),
        ({"thousands": "."}, "1.23", "notation"),
        ({"number": "hex"}, 500, "format: text"),
        ({"number": "hex"}, "1F4FFFFFFFFFFFFFFFFF", "64 bits"),
        ({"number": "binary"}, "12", "notation"),
        ({"number": "duration"}, "12:34", "let the sender write three"),
        ({"number": "duration"}, "P1Y", "no fixed length"),
        ({"number": "duration"}, "1.5s 20ms", "one of both"),
        ({"number": "duration"}, "00:75:00", "notation"),
        ({"strip_unit": True}, "<0.05", "limit: value"),
        ({"text": "reject"}, "> 100", "limit: value"),
        ({"strip_unit": True}, "00:12:34", "number: duration"),
        ({"strip_unit": True}, "21.5 °C (fault)", "no unit"),
    ],
)
def test_what_may_mean_something_else_is_a_dead_letter_with_a_remedy(
    settings: dict[str, Any], value: object, remedy: str
) -> None:
    using = mapper({"topic": "t", "values": {"v": settings}})
    for _ in range(3):
        found = take(using, {"v": value, "w": 1})
        assert [reject.reason for reject in found.rejects] == [Reason.NOT_A_NUMBER]
        assert remedy in found.rejects[0].message
        assert [input_id for input_id, _, _ in found.samples] == ["t:w"]
    if isinstance(value, str):
        found = take(mapper({"topic": "t", "values": {"v": {**settings, "text": "drop"}}}), {"v": value, "w": 1})
        assert (found.rejects, found.filtered) == ([], 1)


def test_missing_values_are_left_out_and_counted_before_scaling() -> None:
    using = mapper({"topic": "t", "missing": [85, -127, "---", "N/A"], "scale": 0.1, "strip_unit": True})
    for _ in range(3):
        found = take(using, {"a": 85, "b": -127.0, "c": "85", "d": "---", "e": "n/a", "f": 850, "g": "85 °C"})
        assert [(name, value) for name, _, value in found.samples] == [("t:f", 85)]
        assert (found.filtered, found.rejects) == (6, [])
    alone = take(using, {"a": 85})
    assert (alone.samples, alone.rejects, alone.filtered, alone.why) == ([], [], 1, "left_out")
    assert len(take(mapper({"topic": "t", "missing": [1]}), {"a": True, "b": 1}).samples) == 1  # a boolean is no 1


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"number": "hex", "decimal_comma": True}, "remove these two"),
        ({"number": "duration", "strip_unit": True}, "remove strip_unit"),
        ({"thousands": ",", "decimal_comma": True}, "the comma is the decimal comma already"),
        ({"limit": "signal"}, "belongs to single values"),
        ({"values": {"v": {"bits": {"a": "3-2"}}}}, "not within the bits"),
        ({"values": {"v": {"bits": {"a": 0}, "scale": 2}}}, "no scale"),
        ({"values": {"v": {"bits": {"a": 0}, "states": {"x": 1}}}}, "is for numbers"),
        ({"scale": {"path": "{path}"}}, "needs a name beside it"),
        ({"states": {"x": 1}, "type": "numeric", "values": {"v": {"bits": {"a": 0}}}}, "for numbers"),
        ({"values": {"v": {}, "w": {"path": "[v][0]", "bits": {"a": 0}}, "w.": {"path": "w"}}}, "has the path"),
        ({"format": "sparkplug_b", "topic": "spBv1.0/#", "scale": {"path": "f"}}, "only numbers"),
        ({"format": "sparkplug_b", "topic": "spBv1.0/#", "values": {"v": {"bits": {"a": 0}}}}, "sparkplug_b"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        MappingSection.model_validate({"rules": [{"topic": "t", **settings}]})


def test_a_value_has_a_notation_of_its_own_beside_that_of_its_rule() -> None:
    using = mapper(
        {"topic": "t", "number": "auto", "values": {"a": {"decimal_comma": True}, "b": {"number": "hex"}, "c": {}}}
    )
    found = take(using, {"a": "1,234", "b": "1F4", "c": "1 234", "d": "0,5"})
    assert [value for _, _, value in found.samples] == [1.234, 500, 1234, 0.5]
