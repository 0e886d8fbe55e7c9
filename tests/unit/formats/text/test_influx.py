"""InfluxDB line protocol, against the examples and rules of its documentation:
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from connector.formats.format import BadDocument, Documents, PayloadError
from connector.formats.text.influx import InfluxFormat
from connector.records import Reason

STAMP = datetime(2019, 5, 2, 16, 12, 41, 98000, tzinfo=UTC)
"""1556813561098000000 ns."""


def points(text: str, precision: str = "ns") -> list[object]:
    found = InfluxFormat(precision=precision).decode(text.encode())
    assert isinstance(found, Documents)
    return [without_series(document) for document in found]


def without_series(document: object) -> object:
    """The series says nothing that measurement and tags do not say."""
    if isinstance(document, dict):
        assert document["series"].count("/") == len(document["tags"])
        return {key: value for key, value in document.items() if key != "series"}
    return document


def point(measurement: str, fields: dict[str, object], tags: dict[str, str] | None = None) -> dict[str, object]:
    return {"measurement": measurement, "tags": tags or {}, "fields": fields}


def test_the_series_is_the_measurement_with_all_tags() -> None:
    series = [
        document["series"]
        for line in (
            "m v=1",
            "m,b=2,a=1 v=1",
            "m,a=1,b=2 v=1",
            "m,a=1 v=1",
            "m/a:1 v=1",
            r"m,a=1/b:2 v=1",
            "m%,a=1 v=1",
        )
        for document in InfluxFormat().decode(line.encode())
    ]
    assert series == ["m", "m/a:1/b:2", "m/a:1/b:2", "m/a:1", "m%2Fa%3A1", "m/a:1%2Fb%3A2", "m%25/a:1"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('myMeasurement,tag1=value1,tag2=value2 fieldKey="fieldValue"',
         point("myMeasurement", {"fieldKey": "fieldValue"}, {"tag1": "value1", "tag2": "value2"})),
        # data types
        ("myMeasurement fieldKey=1.0", point("myMeasurement", {"fieldKey": 1.0})),
        ("myMeasurement fieldKey=1", point("myMeasurement", {"fieldKey": 1.0})),
        ("myMeasurement fieldKey=-1.234456e+78", point("myMeasurement", {"fieldKey": -1.234456e78})),
        ("myMeasurement fieldKey=1i", point("myMeasurement", {"fieldKey": 1})),
        ("myMeasurement fieldKey=12485903i", point("myMeasurement", {"fieldKey": 12485903})),
        ("myMeasurement fieldKey=-12485903i", point("myMeasurement", {"fieldKey": -12485903})),
        ("myMeasurement fieldKey=9223372036854775807i", point("myMeasurement", {"fieldKey": 2**63 - 1})),
        ("myMeasurement fieldKey=18446744073709551615u", point("myMeasurement", {"fieldKey": 2**64 - 1})),
        ('myMeasurement fieldKey="this is a string"', point("myMeasurement", {"fieldKey": "this is a string"})),
        ("myMeasurement fieldKey=true", point("myMeasurement", {"fieldKey": True})),
        ("myMeasurement fieldKey=false", point("myMeasurement", {"fieldKey": False})),
        ("myMeasurement fieldKey=t", point("myMeasurement", {"fieldKey": True})),
        ("myMeasurement fieldKey=FALSE", point("myMeasurement", {"fieldKey": False})),
        ('myMeasurement fieldKey="true"', point("myMeasurement", {"fieldKey": "true"})),
        # special characters
        (r'my\ Measurement fieldKey="string value"', point("my Measurement", {"fieldKey": "string value"})),
        (r'my\,Measurement fieldKey=1', point("my,Measurement", {"fieldKey": 1.0})),
        (r'myMeasurement fieldKey="\"string\" within a string"',
         point("myMeasurement", {"fieldKey": '"string" within a string'})),
        (r"myMeasurement,tag\ Key1=tag\ Value1,tag\ Key2=tag\ Value2 fieldKey=100",
         point("myMeasurement", {"fieldKey": 100.0}, {"tag Key1": "tag Value1", "tag Key2": "tag Value2"})),
        (r"m,a\=b=c\,d e\=f\,g=1", point("m", {"e=f,g": 1.0}, {"a=b": "c,d"})),
        ('myMeasurement,tagKey=🍭 fieldKey="Launch 🚀"',
         point("myMeasurement", {"fieldKey": "Launch 🚀"}, {"tagKey": "🍭"})),
        # backslashes: the first of two escapes the second, a single one is itself
        (r"m,path=C:\Temp v=1", point("m", {"v": 1.0}, {"path": r"C:\Temp"})),
        (r"m,path=C:\\Temp v=1", point("m", {"v": 1.0}, {"path": r"C:\Temp"})),
        (r"m,path=C:\\ v=1", point("m", {"v": 1.0}, {"path": "C:\\"})),
        (r'm v="C:\Temp\\"', point("m", {"v": "C:\\Temp\\"})),
        # quotes in names are part of them
        ('"m",t="x" "v"=1', point('"m"', {'"v"': 1.0}, {"t": '"x"'})),
        # room around and between
        ("  m  v=1  ", point("m", {"v": 1.0})),
        ("m v=1\r", point("m", {"v": 1.0})),
        ('m v="",w=2i', point("m", {"v": "", "w": 2})),
        ('m v="a,b c=d # e"', point("m", {"v": "a,b c=d # e"})),
    ],
)  # fmt: skip
def test_documented_lines(line: str, expected: dict[str, object]) -> None:
    assert points(line) == [expected]
    assert points(f"{line.rstrip()} 1556813561098000000") == [{**expected, "time": STAMP}]


def test_types_are_kept_apart() -> None:
    fields = points('m a=1i,b=1,c="1",d=t')[0]["fields"]  # type: ignore[index,call-overload]
    assert [type(value) for value in fields.values()] == [int, float, str, bool]


@pytest.mark.parametrize(
    ("ticks", "precision", "expected"),
    [
        ("1556813561098000000", "ns", STAMP),
        ("1556813561098000", "us", STAMP),
        ("1556813561098", "ms", STAMP),
        ("1556813561", "s", STAMP.replace(microsecond=0)),
        ("1556813561098000999", "ns", STAMP),
        ("-1", "ns", datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("0", "ns", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_timestamps(ticks: str, precision: str, expected: datetime) -> None:
    assert points(f"m v=1 {ticks}", precision) == [{**point("m", {"v": 1.0}), "time": expected}]


def test_comments_and_empty_lines_mean_nothing() -> None:
    text = "# This is a comment\n\nm v=1 1556813561098000000\r\n   \n  # another\nm v=2\n"
    assert points(text) == [{**point("m", {"v": 1.0}), "time": STAMP}, point("m", {"v": 2.0})]


def test_a_text_may_hold_line_breaks() -> None:
    found = points('m v="one\n# two\n",w=1\nm v=x\nm v=3')
    assert found[0] == point("m", {"v": "one\n# two\n", "w": 1.0})
    assert isinstance(found[1], BadDocument)
    assert found[1].where == "line 4"
    assert found[2] == point("m", {"v": 3.0})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("m", "column 2: expected a space and fields; found the end of the line"),
        ("m ", "expected the name of a field"),
        ("m v", "expected = behind the name of the field 'v'"),
        ("m v=", "column 5: expected a field's value"),
        ("m v=abc", "column 5: expected a number"),
        ("m v=1.5i", "expected a number"),
        ("m v=9223372036854775808i", "64 bits"),
        ("m v=-1u", "64 bits"),
        ('m v="open', "closing quote"),
        ('m v="x"y', "column 8: expected the end of the line"),
        ("m,t= v=1", "expected a tag's value"),
        ("m,t v=1", "expected = behind the name of the tag 't'"),
        ("m,=x v=1", "expected the name of a tag"),
        (",t=x v=1", "expected a measurement"),
        ("m v=1 12.5", "a timestamp, which is a whole number"),
        ("m v=1 2024-05-01T00:00:00Z", "a timestamp"),
        ("m v=1 1 1", "expected the end of the line"),
        ("m v=1, w=2", "expected the name of a field"),
    ],
)
def test_a_line_that_cannot_be_read_says_where_and_costs_only_itself(line: str, said: str) -> None:
    found = points(f"m v=1\n{line}\nm v=3\n")
    assert (found[0], found[2]) == (point("m", {"v": 1.0}), point("m", {"v": 3.0}))
    assert isinstance(found[1], BadDocument)
    assert (found[1].where, found[1].reason, found[1].text) == ("line 2", Reason.INVALID_LINE_PROTOCOL, line)
    assert said in found[1].message


@pytest.mark.parametrize("line", ["m,t=1,t=2 v=1", "m v=1,v=2"])
def test_a_name_that_stands_twice_is_not_lost_in_silence(line: str) -> None:
    found = points(f"m v=0\n{line}")
    assert isinstance(found[1], BadDocument)
    assert found[1].reason is Reason.DUPLICATE_KEY


def test_a_time_in_no_year_names_the_precision() -> None:
    found = points("m v=1\nm v=1 1556813561098000000", "s")
    assert isinstance(found[1], BadDocument)
    assert (found[1].reason, "precision" in found[1].message) == (Reason.TIME_OUT_OF_RANGE, True)


def test_values_that_are_not_finite_do_not_cost_their_neighbours() -> None:
    fields = points("m a=NaN,b=-inf,c=1e999,d=2")[0]["fields"]  # type: ignore[index,call-overload]
    assert math.isnan(fields["a"])
    assert (fields["b"], fields["c"], fields["d"]) == (-math.inf, math.inf, 2.0)


def test_a_payload_of_something_else_is_refused_whole() -> None:
    with pytest.raises(PayloadError) as error:
        points('{"a": 1}')
    assert error.value.reason is Reason.INVALID_LINE_PROTOCOL
    with pytest.raises(PayloadError) as error:
        points("# only a comment\n")
    assert error.value.reason is Reason.EMPTY_PAYLOAD


@pytest.mark.parametrize(
    "text", ["\\" * 1_000_000, "m " + "1" * 1_000_000 + "x", 'm v="' + "\\" * 999_999, "m,a=b" * 200_000]
)
def test_a_megabyte_of_anything_is_looked_at_once(text: str) -> None:
    with pytest.raises(PayloadError):
        points(text)
