"""Prometheus, Graphite and pairs of keys and values: which documents lines become, and what is refused."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from connector.formats.format import BadDocument, Format
from connector.formats.text.graphite import GraphiteFormat
from connector.formats.text.key_value import KeyValueFormat
from connector.formats.text.prometheus import PrometheusFormat
from connector.records import Reason
from tests.unit.mapping.mappers import mapper, take


def documents(format_: Format, payload: str) -> list[Any]:
    found = format_.decode(payload.encode())
    assert isinstance(found, list)
    return list(found)


def bad(format_: Format, line: str) -> BadDocument:
    good, found = documents(format_, f"{GOOD[format_.name]}\n{line}")
    assert not isinstance(good, BadDocument)
    assert isinstance(found, BadDocument)
    assert found.where == "line 2"
    return found


GOOD = {"prometheus": "up 1", "graphite": "a 1", "key_value": "a=1"}

# -- Prometheus ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("up 1", {"name": "up", "labels": {}, "series": "up", "value": 1}),
        (
            'temp{zone="a",id="7"} 21.5 1777615200000',
            {"name": "temp", "labels": {"zone": "a", "id": "7"}, "series": "temp/id:7/zone:a", "value": 21.5,
             "time": 1_777_615_200_000},
        ),
        (r'x{ p = "C:\\a\"b\n" , } -Inf', {"name": "x", "labels": {"p": 'C:\\a"b\n'}, "value": -inf}),
        ('h_bucket{le="0.5"} 3 # {trace_id="a"} 0.4 1777615200.1', {"labels": {"le": "0.5"}, "value": 3}),
        ('{"my.metric",e="x"} 1 1777615200.5', {"name": "my.metric", "labels": {"e": "x"}, "time": 1_777_615_200.5}),
        ('m{"a b"="c"} NaN', {"labels": {"a b": "c"}, "value": None}),
    ],
)  # fmt: skip
def test_a_sample_of_prometheus(line: str, expected: dict[str, object]) -> None:
    (found,) = documents(PrometheusFormat(), line)
    assert {key: found[key] for key in expected} == expected


def test_a_family_of_metrics_describes_its_series() -> None:
    text = "# HELP h How long it took\n# TYPE h histogram\n# UNIT h seconds\nh_sum 4\nh_count 2\nother 1\n# EOF\n"
    first, second, other = documents(PrometheusFormat(), text)
    assert (first["type"], first["unit"], first["help"]) == ("histogram", "seconds", "How long it took")
    assert second["type"] == "histogram"
    assert other.keys() == {"name", "labels", "series", "value"}


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        ("a{b=1} 2", Reason.INVALID_LINE, 'expected label="value"'),
        ('a{b="1" c="2"} 2', Reason.INVALID_LINE, "comma or a closing brace"),
        ('a{b="1',  Reason.INVALID_LINE, "column 3"),
        ('a{b="1",b="2"} 2', Reason.DUPLICATE_KEY, "'b' stands twice"),
        ("a", Reason.INVALID_LINE, "a number is expected"),
        ("a x", Reason.INVALID_LINE, "a number is expected"),
        ('{b="1"} 2', Reason.INVALID_LINE, "no name"),
        ("a 1 1..2", Reason.TIME_UNREADABLE, "1..2"),
    ],
)  # fmt: skip
def test_a_bad_line_of_prometheus_costs_only_itself(line: str, reason: Reason, said: str) -> None:
    found = bad(PrometheusFormat(), line)
    assert found.reason is reason
    assert said in found.message


def test_labels_tell_the_series_apart_and_are_no_values() -> None:
    text = 'h_bucket{le="0.5",code="200"} 3\nh_bucket{le="1",code="200"} 4\nh_sum NaN\nbad{\n'
    mapped = take(mapper({"topic": "t", "format": "prometheus"}), text.encode())
    assert [(name, value) for name, _, value in mapped.samples] == [
        ("t:h_bucket/code:200/le:0.5", 3), ("t:h_bucket/code:200/le:1", 4)]  # fmt: skip
    assert [reject.reason for reject in mapped.rejects] == [Reason.INVALID_LINE]


def test_series_of_one_name_with_times() -> None:
    text = '# TYPE temp gauge\ntemp{zone="a"} 21.5 1777615200000\ntemp{zone="b"} 22.5 1777615200000\n'
    mapped = take(mapper({"topic": "prom", "format": "prometheus"}), text.encode(), "prom")
    time_us = 1_777_615_200_000_000
    assert mapped.samples == [("prom:temp/zone:a", time_us, 21.5), ("prom:temp/zone:b", time_us, 22.5)]


def test_a_rule_may_name_the_value_and_use_what_the_payload_says() -> None:
    rule = {"topic": "t", "format": "prometheus", "input": "{payload.series}", "values": {"value": {"scale": 10}}}
    mapped = take(mapper({**rule, "unit": "{payload.unit|}"}), b'a{b="2"} 1\n')
    assert [(name, value) for name, _, value in mapped.samples] == [("a/b:2", 10)]


# -- Graphite --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "plant.temp 21.5 1777615200",
            {"name": "plant.temp", "tags": {}, "series": "plant.temp", "value": 21.5, "time": 1_777_615_200},
        ),
        (
            "temp;zone=a;id=7 3 -1",
            {"name": "temp", "tags": {"zone": "a", "id": "7"}, "series": "temp/id:7/zone:a", "value": 3},
        ),
        ("a\t1", {"name": "a", "tags": {}, "series": "a", "value": 1}),
        ("a nan N", {"name": "a", "tags": {}, "series": "a", "value": None}),
    ],
)
def test_a_line_of_graphite(line: str, expected: dict[str, object]) -> None:
    assert documents(GraphiteFormat(), f"# comment\n{line}\n") == [expected]


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        ("a", Reason.INVALID_LINE, "expected a path"),
        ("a x 1", Reason.INVALID_LINE, "without spaces"),
        ("a x", Reason.INVALID_LINE, "'x' is no number"),
        ("a b 1 2", Reason.INVALID_LINE, "has spaces"),
        ("a;b 1 2", Reason.INVALID_LINE, "expected tag=value"),
        (";b=1 1 2", Reason.INVALID_LINE, "path is empty"),
        ("a;b=1;b=2 1 2", Reason.DUPLICATE_KEY, "'b' stands twice"),
        ("a 1 x", Reason.TIME_UNREADABLE, "'x'"),
    ],
)
def test_a_bad_line_of_graphite_costs_only_itself(line: str, reason: Reason, said: str) -> None:
    found = bad(GraphiteFormat(), line)
    assert found.reason is reason
    assert said in found.message


def test_paths_and_tags_of_graphite_make_the_input_ids() -> None:
    mapped = take(mapper({"topic": "t", "format": "graphite"}), b"a.b 1 1777615200\nx;rack=12 2 1777615200\n")
    assert mapped.samples == [("t:a.b", 1_777_615_200_000_000, 1), ("t:x/rack:12", 1_777_615_200_000_000, 2)]


# -- pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "payload", "expected"),
    [
        ({}, "temp=21.5 on=true id=007 s=run x= flag", [
            {"temp": 21.5, "on": True, "id": "007", "s": "run", "x": None, "flag": None}]),
        ({}, r'msg="all \"well\" a=1" n=-3 e=1e3', [{"msg": 'all "well" a=1', "n": -3, "e": 1000.0}]),
        ({}, "a=1\n\nb=2\r\n", [{"a": 1}, {"b": 2}]),
        ({"separator": ";"}, "T=21.5;H = 40;", [{"T": 21.5, "H": 40}]),
        ({"separator": ",", "assign": ":"}, "T:21.5,H: 40 %", [{"T": 21.5, "H": "40 %"}]),
        ({"separator": "&"}, "t=1&h=2", [{"t": 1, "h": 2}]),
        ({"separator": ";", "decimal": ","}, "t=21,5", [{"t": 21.5}]),
        ({}, 'a="x"y b=2', [{"a": '"x"y', "b": 2}]),
    ],
)  # fmt: skip
def test_pairs_of_a_line(settings: dict[str, Any], payload: str, expected: list[object]) -> None:
    assert documents(KeyValueFormat(**settings), payload) == expected


def test_pairs_on_lines_of_their_own_are_one_document() -> None:
    found = KeyValueFormat(separator="\n", assign=":").decode(b"T: 21.5\r\n\nname: pump 7\n")
    assert found == {"T": 21.5, "name": "pump 7"}


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        ("all is well", Reason.INVALID_LINE, "no pair"),
        ("=5", Reason.INVALID_LINE, "expected a key"),
        ("a=1 a=2", Reason.DUPLICATE_KEY, "'a' stands twice"),
    ],
)
def test_a_bad_line_of_pairs_costs_only_itself(line: str, reason: Reason, said: str) -> None:
    found = bad(KeyValueFormat(), line)
    assert found.reason is reason
    assert said in found.message
