"""SignalInfo and DataFrame: complete on the wire, and every broken rule named with its place."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from fractions import Fraction
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from connector.clarify import DataFrame, SignalInfo
from connector.clarify.validation import broken_rules

T0 = "2026-05-01T06:00:00Z"


def test_the_smallest_signal_is_complete_on_the_wire() -> None:
    assert SignalInfo(name="Boiler").to_wire() == {
        "name": "Boiler",
        "description": "",
        "labels": {},
        "sourceType": "measurement",
        "valueType": "numeric",
        "engUnit": "",
        "enumValues": {},
        "sampleInterval": None,
        "gapDetection": None,
    }


def test_python_names_and_wire_names_mean_the_same() -> None:
    ours = SignalInfo(
        name="Mode",
        description="What it does",
        labels={"site": ["Oslo", "Bergen"]},
        source_type="prediction",
        value_type="enum",
        eng_unit="-",
        enum_values={0: "off", 9999: "on"},
        sample_interval=timedelta(seconds=10),
        gap_detection="PT5M",
        annotations={"acme/line": "3"},
    )
    wire: dict[str, object] = {
        "name": "Mode",
        "description": "What it does",
        "labels": {"site": ["Oslo", "Bergen"]},
        "sourceType": "prediction",
        "valueType": "enum",
        "engUnit": "-",
        "enumValues": {"0": "off", "9999": "on"},
        "sampleInterval": "PT10S",
        "gapDetection": "PT5M",
        "annotations": {"acme/line": "3"},
    }
    assert ours.to_wire() == wire
    assert SignalInfo.model_validate(wire) == ours


def test_limits_are_inclusive() -> None:
    SignalInfo(
        name="n" * 100,
        description="d" * 1000,
        eng_unit="u" * 255,
        labels={"k" * 40: ["v"]},
        enum_values={9999: "t" * 128},
    )


@pytest.mark.parametrize(
    ("change", "place", "rule"),
    [
        ({"name": ""}, "name", "at least 1 character"),
        ({"name": "n" * 101}, "name", "at most 100 characters"),
        ({"name": None}, "name", "valid string"),
        ({"description": "d" * 1001}, "description", "at most 1000 characters"),
        ({"eng_unit": "u" * 256}, "engUnit", "at most 255 characters"),
        ({"labels": {"k" * 41: []}}, "labels", "1 to 40 letters"),
        ({"labels": {"a b": []}}, "labels.a b", "1 to 40 letters"),
        ({"labels": {"": []}}, "labels", "1 to 40 letters"),
        ({"labels": {"site": "Oslo"}}, "labels.site", "valid list"),
        ({"annotations": {"a.b": "x"}}, "annotations.a.b", "1 to 40 letters"),
        ({"annotations": {"a": 1}}, "annotations.a", "valid string"),
        ({"sourceType": "aggregate"}, "sourceType", "'aggregation'"),
        ({"value_type": "text"}, "valueType", "'numeric' or 'enum'"),
        ({"enumValues": {"10000": "x"}}, "enumValues.10000", "0 to 9999"),
        ({"enumValues": {-1: "x"}}, "enumValues.-1", "0 to 9999"),
        ({"enumValues": {"01": "x"}}, "enumValues.01", "0 to 9999"),
        ({"enumValues": {"9" * 5000: "x"}}, "enumValues", "0 to 9999"),
        ({"enumValues": {True: "x"}}, "enumValues", "0 to 9999"),
        ({"enumValues": {1.0: "x"}}, "enumValues", "0 to 9999"),
        ({"enumValues": {"1": ""}}, "enumValues.1", "at least 1 character"),
        ({"enumValues": {"1": "t" * 129}}, "enumValues.1", "at most 128 characters"),
        ({"sampleInterval": "P1M"}, "sampleInterval", "no fixed duration"),
        ({"gap_detection": 300}, "gapDetection", "ISO 8601 text"),
        ({"gapDetection": timedelta(seconds=-1)}, "gapDetection", "below zero"),
        ({"unit": "bar"}, "unit", "not permitted"),
    ],
)
def test_a_broken_rule_names_the_field(change: dict[str, object], place: str, rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SignalInfo.model_validate({"name": "Boiler"} | change)
    said = broken_rules(caught.value)
    # Some versions of pydantic name the field as it was given, some as it is on the wire.
    assert said.replace("_", "").lower().startswith(place.lower())
    assert rule in said
    assert "\n" not in said


def test_a_frame_on_the_wire() -> None:
    frame = DataFrame(
        times=[T0, datetime(2026, 5, 1, 6, 0, 10, 500_000, tzinfo=UTC), 1_777_615_220_000_001],
        series={"mill/feed_rate": [81.5, 82, None], "mill/on": [True, False, math.nan]},
    )
    assert frame.to_wire_bytes() == (
        b'{"times":["2026-05-01T06:00:00Z","2026-05-01T06:00:10.5Z","2026-05-01T06:00:20.000001Z"],'
        b'"series":{"mill/feed_rate":[81.5,82,null],"mill/on":[1,0,null]}}'
    )
    assert DataFrame.from_dict(orjson.loads(frame.to_wire_bytes())) == frame
    assert repr(frame) == "DataFrame(3 times, 2 series)"


class _Mode(IntEnum):
    ON = 1


class _Float(float):
    pass


def test_every_kind_of_real_number_can_be_sent() -> None:
    # Fraction: a number of any kind will do at run time, although the type asks for float and int.
    values: list[Any] = [_Mode.ON, _Float(2.5), Fraction(1, 4), 2**64 - 1, 2**64, -(2**63) - 1, _Float("nan")]
    frame = DataFrame(times=range(7), series={"a": values})
    assert orjson.loads(frame.to_wire_bytes())["series"]["a"] == [
        1,
        2.5,
        0.25,
        18446744073709551615,
        1.8446744073709552e19,
        -9.223372036854775808e18,
        None,
    ]


def test_series_may_be_any_iterable_and_are_copied() -> None:
    mutable = [1.0, 2.0]
    frame = DataFrame(times=iter([0, 1]), series={"a": mutable, "b": (x for x in (1, 2))})
    mutable.append(3.0)
    assert frame.series == {"a": (1.0, 2.0), "b": (1, 2)}


def test_an_empty_frame() -> None:
    assert DataFrame(times=[], series={}).to_wire_bytes() == b'{"times":[],"series":{}}'


@pytest.mark.parametrize(
    ("times", "series", "said"),
    [
        ([T0], {"a": [math.inf]}, r"series 'a', value 0: inf cannot be stored"),
        ([T0, T0], {"a": [1.0, -math.inf]}, r"series 'a', value 1: -inf cannot be stored"),
        ([T0], {"a": [10**400]}, r"series 'a', value 0: inf"),
        ([T0], {"a": ["1"]}, r"series 'a', value 0: '1' is no number"),
        ([T0], {"a": "1"}, r"series 'a' must be a list"),
        ([T0], {"a": 1}, r"series 'a' must be a list"),
        ([T0], {"a": []}, r"series 'a' has 0 values for 1 times"),
        ([T0], {"a": [1], "b": [1, 2]}, r"series 'b' has 2 values for 1 times"),
        ([T0], {"a b": [1]}, r"'a b' cannot be an input ID"),
        ([T0], {1: [1]}, r"1 cannot be an input ID"),
        ([T0, "2026-05-01T06:00:00"], {}, r"times\[1\]: .* no time zone"),
        ([datetime(2026, 5, 1)], {}, r"times\[0\]: .* no time zone"),  # noqa: DTZ001
        (T0, {}, r"times must be a list"),
    ],
)
def test_refused_frames(times: object, series: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataFrame(times=times, series=series)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "frame", [{}, {"times": []}, {"series": {}}, {"times": [], "series": []}, {"times": [], "series": {}, "x": 1}]
)
def test_a_dict_must_be_a_frame(frame: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a data frame is"):
        DataFrame.from_dict(frame)
