"""The Sparkplug host, message by message: births, data, deaths, losses, and messages that cannot be read."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

import pytest

from connector.formats.format import PayloadError
from connector.formats.sparkplug.datatypes import DataType
from connector.formats.sparkplug.host import Host, SparkplugMessage
from connector.formats.sparkplug.nodes import HostLimits
from connector.formats.sparkplug.topic import Owner
from connector.records import Reason
from tests.sparkplug_payloads import bd_seq, metric, payload

NOW = 1_790_000_000_000_000
MS = NOW // 1000


class Broker:
    """Brings messages to a host, one each millisecond."""

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or Host()
        self.now_us = NOW

    def send(self, topic: str, *metrics: dict[str, Any], seq: int | None = None, **more: Any) -> SparkplugMessage:
        return self.raw(topic, payload(*metrics, seq=seq, time_ms=more.pop("time_ms", MS), **more))

    def raw(self, topic: str, data: bytes) -> SparkplugMessage:
        self.now_us += 1000
        return self.host.decode("spBv1.0/" + topic, data, self.now_us)


def values(decoded: SparkplugMessage) -> list[tuple[str, object]]:
    assert decoded.problems == []
    return [(value.path, value.value) for value in decoded.values]


def problems(decoded: SparkplugMessage) -> list[tuple[Reason, str | None]]:
    return [(problem.reason, problem.path) for problem in decoded.problems]


# -- types ---------------------------------------------------------------------------------------------

TYPED = [
    (DataType.INT8, "int_value", 0xFF, -1),
    (DataType.INT8, "int_value", 0xFFFFFF80, -128),
    (DataType.INT8, "long_value", (1 << 64) - 1, -1),
    (DataType.INT8, "int_value", 127, 127),
    (DataType.INT16, "int_value", 0x8000, -32768),
    (DataType.INT16, "int_value", 0xFFFF8000, -32768),
    (DataType.INT32, "int_value", 0xFFFFFFFF, -1),
    (DataType.INT32, "long_value", (1 << 64) - 5, -5),
    (DataType.INT64, "long_value", (1 << 64) - (1 << 62), -(1 << 62)),
    (DataType.INT64, "int_value", 7, 7),
    (DataType.UINT8, "int_value", 255, 255),
    (DataType.UINT16, "int_value", 65535, 65535),
    (DataType.UINT32, "int_value", 0xFFFFFFFF, 0xFFFFFFFF),
    (DataType.UINT32, "long_value", 0xFFFFFFFF, 0xFFFFFFFF),
    (DataType.UINT64, "long_value", (1 << 64) - 1, (1 << 64) - 1),
    (DataType.FLOAT, "float_value", 1.5, 1.5),
    (DataType.FLOAT, "double_value", 0.1, 0.1),
    (DataType.DOUBLE, "double_value", -1e300, -1e300),
    (DataType.DOUBLE, "float_value", 0.0, 0.0),
    (DataType.BOOLEAN, "boolean_value", True, True),
    (DataType.BOOLEAN, "boolean_value", False, False),
    (DataType.BOOLEAN, "int_value", 1, True),
    (DataType.STRING, "string_value", "läuft", "läuft"),
    (DataType.TEXT, "string_value", "", ""),
    (DataType.UUID, "string_value", "6f9619ff", "6f9619ff"),
    (DataType.DATE_TIME, "long_value", MS, MS),
]


@pytest.mark.parametrize(("datatype", "field", "raw", "expected"), TYPED)
def test_every_type_in_a_birth_by_name_and_by_alias(datatype: DataType, field: str, raw: Any, expected: Any) -> None:
    broker = Broker()
    birth = broker.send("g/NBIRTH/n", metric("m", datatype, raw, field=field, alias=0), seq=0)
    assert values(birth) == [("m", expected)]
    assert type(birth.values[0].value) is type(expected)
    for _ in range(2):  # the second time the field is known
        assert values(broker.send("g/NDATA/n", metric(None, None, raw, field=field, alias=0))) == [("m", expected)]
    assert values(broker.send("g/NDATA/n", metric("m", datatype, raw, field=field))) == [("m", expected)]


@pytest.mark.parametrize(
    ("datatype", "field", "raw"),
    [
        (DataType.INT8, "int_value", 200_000),
        (DataType.UINT8, "int_value", 256),
        (DataType.UINT32, "long_value", 1 << 32),
        (DataType.INT32, "float_value", 1.5),
        (DataType.FLOAT, "string_value", "1.5"),
        (DataType.BOOLEAN, "int_value", 2),
        (DataType.STRING, "int_value", 5),
        (DataType.TEMPLATE, "int_value", 5),
        (DataType.INT16_ARRAY, "bytes_value", b"abc"),
        (DataType.BOOLEAN_ARRAY, "bytes_value", b"\x09\0\0\0\xff"),
        (DataType.BOOLEAN_ARRAY, "bytes_value", b"\x09"),
        (DataType.STRING_ARRAY, "bytes_value", b"no end"),
    ],
)
def test_a_value_that_does_not_fit_its_type_costs_only_itself(datatype: DataType, field: str, raw: Any) -> None:
    broker = Broker()
    good = metric("good", DataType.FLOAT, 1.0, alias=2)
    decoded = broker.send("g/NBIRTH/n", metric("m", datatype, raw, field=field, alias=1), good, seq=0)
    assert problems(decoded) == [(Reason.TYPE_MISMATCH, "m")]
    assert [value.path for value in decoded.values] == ["good"]


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        (DataType.INT8_ARRAY, b"\xff\x01", [-1, 1]),
        (DataType.INT16_ARRAY, struct.pack("<2h", -2, 300), [-2, 300]),
        (DataType.INT32_ARRAY, struct.pack("<i", -3), [-3]),
        (DataType.INT64_ARRAY, struct.pack("<q", -(1 << 60)), [-(1 << 60)]),
        (DataType.UINT8_ARRAY, b"\xff", [255]),
        (DataType.UINT16_ARRAY, b"\x01\x02", [0x0201]),
        (DataType.UINT32_ARRAY, struct.pack("<I", 1 << 31), [1 << 31]),
        (DataType.UINT64_ARRAY, struct.pack("<Q", 1 << 63), [1 << 63]),
        (DataType.FLOAT_ARRAY, struct.pack("<2f", 1.5, -2.0), [1.5, -2.0]),
        (DataType.DOUBLE_ARRAY, struct.pack("<d", 0.1), [0.1]),
        (DataType.BOOLEAN_ARRAY, b"\x0a\0\0\0\x80\x40", [True, *[False] * 8, True]),
        (DataType.STRING_ARRAY, b"ab\0\0c\0", ["ab", "", "c"]),
        (DataType.DATE_TIME_ARRAY, struct.pack("<q", MS), [MS]),
        (DataType.INT32_ARRAY, b"", []),
    ],
)
def test_arrays_become_a_value_for_each_element(datatype: DataType, data: bytes, expected: list[object]) -> None:
    decoded = Broker().send("g/NBIRTH/n", metric("a", datatype, data, field="bytes_value"), seq=0)
    assert values(decoded) == [(f"a/{index}", item) for index, item in enumerate(expected)]


def test_what_is_no_measurement_is_counted() -> None:
    broker = Broker()
    decoded = broker.send(
        "g/NBIRTH/n",
        bd_seq(3),
        metric("Node Control/Rebirth", DataType.BOOLEAN, False),
        metric("null", DataType.FLOAT, is_null=True, alias=1),
        metric("transient", DataType.FLOAT, 1.0, is_transient=True, alias=2),
        metric("raw", DataType.BYTES, b"\0\1", field="bytes_value"),
        metric("file", DataType.FILE, b"\0\1", field="bytes_value"),
        seq=0,
    )
    assert (values(decoded), decoded.filtered) == ([], 6)
    decoded = broker.send(
        "g/NDATA/n",
        metric(None, None, 2.0, alias=1, field="float_value"),
        metric(None, None, 2.0, alias=2, field="float_value"),
        metric(None, None, alias=1, is_null=True),
        seq=1,
    )
    assert (values(decoded), decoded.filtered) == ([("null", 2.0)], 2)


def test_a_metric_without_a_value_is_no_zero() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("m", DataType.INT32, 5, alias=1), seq=0)
    assert problems(broker.send("g/NDATA/n", metric(None, None, alias=1))) == [(Reason.NO_VALUE, "m")]


def test_a_metric_without_name_and_alias_is_not_that_with_alias_0() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("m", DataType.FLOAT, 5.0, alias=0), seq=0)
    decoded = broker.send("g/NDATA/n", metric(None, DataType.FLOAT, 7.0), metric(None, DataType.FLOAT, 8.0, alias=0))
    assert problems(decoded) == [(Reason.INVALID_SPARKPLUG, "(no name)")]
    assert [value.value for value in decoded.values] == [8.0]


# -- times, quality, history -----------------------------------------------------------------------------


def test_the_time_is_the_metrics_else_the_payloads_else_that_of_arrival() -> None:
    broker = Broker()
    two = [metric("own", DataType.FLOAT, 1.0, timestamp=MS - 5000), metric("none", DataType.FLOAT, 1.0)]
    decoded = broker.send("g/NBIRTH/n", *two, seq=0, time_ms=MS - 1000)
    assert [value.time_us for value in decoded.values] == [NOW - 5_000_000, NOW - 1_000_000]
    decoded = broker.raw("g/NDATA/n", payload(*two, seq=1))
    assert [value.time_us for value in decoded.values] == [NOW - 5_000_000, broker.now_us]
    decoded = broker.send("g/NDATA/n", metric("none", DataType.FLOAT, 1.0, timestamp=0), seq=2)
    assert [value.time_us for value in decoded.values] == [0], "a clock that was never set is for the mapping to see"


def test_quality_and_history_come_with_the_value() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("m", DataType.FLOAT, 1.0, alias=1), seq=0)
    decoded = broker.send(
        "g/NDATA/n",
        metric(None, None, 1.0, field="float_value", alias=1, said={"Quality": 500}, is_historical=True),
        metric(None, None, 2.0, field="float_value", alias=1, said={"quality": -2147483392}),
        metric(None, None, 3.0, field="float_value", alias=1, said={"other": 1}),
        metric(None, None, 4.0, field="float_value", alias=1),
    )
    assert [(value.quality, value.historical) for value in decoded.values] == [
        (500, True),
        (-2147483392, False),
        (None, False),
        (None, False),
    ]


# -- births ------------------------------------------------------------------------------------------------


def test_properties_of_a_birth_describe_the_metric() -> None:
    broker = Broker()
    said = {
        "engUnit": "°C",
        "engLow": -40.0,
        "engHigh": 125,
        "Documentation": "Oil in the gear",
        "displayName": "Gear oil",
        "readOnly": True,
    }
    states = {"0": "off", "1": "on", "x": "no number", "2": None}
    decoded = broker.send(
        "g/DBIRTH/n/d",
        metric("oil", DataType.FLOAT, 60.0, alias=7, said=said),
        metric("mode", DataType.INT32, 1, said={"enumValues": states}),
        metric("text", DataType.INT32, 1, said={"states": "0=off, 1 = on;2=fault"}),
        metric("json", DataType.INT32, 1, said={"States": '{"0": "off", "5": "on"}'}),
        metric("list", DataType.INT32, 1, said={"enum strings": '["off", "on"]'}),
        metric("meta", DataType.INT32, 1, metadata={"description": "from its metadata"}),
        metric("units", DataType.INT32, 1, said={"Engineering Units": "bar"}),
        seq=1,
    )
    births = {value.path: value.birth for value in decoded.values}
    oil = births["oil"]
    assert oil is not None
    assert (oil.unit, oil.low, oil.high) == ("°C", -40.0, 125.0)
    assert (oil.description, oil.display_name, oil.alias) == ("Oil in the gear", "Gear oil", 7)
    assert births["mode"].states == (("0", "off"), ("1", "on"))  # type: ignore[union-attr]
    assert births["text"].states == (("0", "off"), ("1", "on"), ("2", "fault"))  # type: ignore[union-attr]
    assert births["json"].states == (("0", "off"), ("5", "on"))  # type: ignore[union-attr]
    assert births["list"].states == (("0", "off"), ("1", "on"))  # type: ignore[union-attr]
    assert births["meta"].description == "from its metadata"  # type: ignore[union-attr]
    assert births["units"].unit == "bar"  # type: ignore[union-attr]
    later = broker.send("g/DDATA/n/d", metric(None, None, 61.0, alias=7, field="float_value"))
    assert later.values[0].birth == oil


def test_each_birth_gives_the_aliases_new_meanings_and_ends_the_devices_of_the_old_session() -> None:
    broker = Broker()
    data = metric(None, None, 1.5, alias=1, field="float_value")
    broker.send("g/NBIRTH/n", metric("a", DataType.FLOAT, 0.5, alias=1), bd_seq(0), seq=0)
    broker.send("g/DBIRTH/n/d", metric("x", DataType.FLOAT, 0.5, alias=1), seq=1)
    assert values(broker.send("g/NDATA/n", data)) == [("a", 1.5)]
    assert values(broker.send("g/DDATA/n/d", data)) == [("x", 1.5)]
    assert values(broker.send("g/NBIRTH/n", metric("b", DataType.FLOAT, 0.5, alias=1), bd_seq(1), seq=0)) == [
        ("b", 0.5)
    ]
    assert values(broker.send("g/NDATA/n", data)) == [("b", 1.5)]
    rejected = broker.send("g/DDATA/n/d", data)
    assert problems(rejected) == [(Reason.DATA_BEFORE_BIRTH, None)]
    assert "g/n/d" in rejected.problems[0].message
    assert rejected.want_rebirth
    broker.send("g/DBIRTH/n/d", metric("y", DataType.FLOAT, 0.5, alias=1))
    assert values(broker.send("g/DDATA/n/d", data)) == [("y", 1.5)]


def test_devices_and_nodes_of_one_name_are_kept_apart() -> None:
    broker = Broker()
    for group in ("g1", "g2"):
        for node in ("n1", "n2"):
            broker.send(f"{group}/NBIRTH/{node}", metric(f"{group}.{node}", DataType.INT32, 1, alias=1), seq=0)
            broker.send(f"{group}/DBIRTH/{node}/d", metric(f"{group}.{node}.d", DataType.INT32, 1, alias=1), seq=1)
    data = metric(None, None, 2, alias=1)
    assert values(broker.send("g1/NDATA/n2", data)) == [("g1.n2", 2)]
    assert values(broker.send("g2/DDATA/n1/d", data)) == [("g2.n1.d", 2)]


def test_data_with_names_and_types_needs_no_birth_and_data_without_a_type_does() -> None:
    broker = Broker()
    decoded = broker.send(
        "g/NDATA/n",
        metric("typed", DataType.INT8, 0xFF),
        metric("float", None, 1.5, field="float_value"),
        metric("text", None, "a", field="string_value"),
        metric("int", None, 5),
    )
    assert [(value.path, value.value) for value in decoded.values] == [("typed", -1), ("float", 1.5), ("text", "a")]
    assert problems(decoded) == [(Reason.DATA_BEFORE_BIRTH, "int")]
    assert decoded.want_rebirth


def test_one_unknown_alias_costs_only_itself() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("a", DataType.FLOAT, 0.5, alias=1), seq=0)
    two = [metric(None, None, 1.5, alias=alias, field="float_value") for alias in (1, 99)]
    decoded = broker.send("g/NDATA/n", *two, seq=1)
    assert problems(decoded) == [(Reason.UNKNOWN_ALIAS, "alias 99")]
    assert [value.path for value in decoded.values] == ["a"]
    assert "1 of its metrics" in decoded.want_rebirth


@pytest.mark.parametrize("what", ["too many metrics", "unreadable", "no room"])
def test_a_birth_that_cannot_be_taken_ends_what_was_said_before_it(what: str) -> None:
    broker = Broker(Host(HostLimits(max_values=3, max_metrics=5)))
    broker.send("g/NBIRTH/n", metric("a", DataType.FLOAT, 0.5, alias=1), seq=0)
    broker.send("g/DBIRTH/n/d", metric("x", DataType.FLOAT, 0.5, alias=1), seq=1)
    broker.send("g/NBIRTH/other", *(metric(f"m{n}", DataType.FLOAT, 0.5) for n in range(3)), seq=0)
    many = {"too many metrics": 4, "no room": 3}.get(what, 0)
    bad = payload(*(metric(f"b{n}", DataType.FLOAT, 0.5, alias=n) for n in range(many))) if many else b"\xff"
    for topic in ("g/DBIRTH/n/d", "g/NBIRTH/n"):
        with pytest.raises(PayloadError):
            broker.raw(topic, bad)
        data_topic = topic.replace("BIRTH", "DATA")
        decoded = broker.send(data_topic, metric(None, None, 1.5, alias=1, field="float_value"))
        assert problems(decoded) == [(Reason.DATA_BEFORE_BIRTH, None)], "the aliases may mean something else now"
    again = restarted(broker)
    decoded = again.send("g/NDATA/n", metric(None, None, 1.5, alias=1, field="float_value"))
    assert problems(decoded) == [(Reason.DATA_BEFORE_BIRTH, None)]


# -- deaths ------------------------------------------------------------------------------------------------


def test_the_death_of_a_node_is_that_of_its_devices() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("a", DataType.FLOAT, 0.5, alias=1), bd_seq(4), seq=0)
    for device in ("d1", "d2"):
        assert broker.send(f"g/DBIRTH/n/{device}", metric("x", DataType.FLOAT, 0.5, alias=2)).online is True
    death = broker.send("g/DDEATH/n/d1")
    assert (death.online, death.died) == (False, (Owner("g", "n", "d1"),))
    late = broker.raw("g/NDEATH/n", payload(bd_seq(3)))
    assert (late.online, late.died, broker.host.late_deaths) == (None, (), 1)
    death = broker.raw("g/NDEATH/n", payload(bd_seq(4)))
    assert (death.online, death.died) == (False, (Owner("g", "n"), Owner("g", "n", "d2")))
    assert death.time_us == broker.now_us, "its payload was written when the node connected"
    for topic, alias in (("g/NDATA/n", 1), ("g/DDATA/n/d2", 2)):
        decoded = broker.send(topic, metric(None, None, 1.0, alias=alias, field="float_value"))
        assert problems(decoded) == [(Reason.DATA_BEFORE_BIRTH, None)]


@pytest.mark.parametrize("metrics", [(), (metric("bdSeq", DataType.STRING, "4"),)])
def test_a_death_that_does_not_say_whose_it_is_is_believed(metrics: tuple[dict[str, Any], ...]) -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("a", DataType.FLOAT, 0.5, alias=1), bd_seq(4), seq=0)
    assert broker.raw("g/NDEATH/n", payload(*metrics)).online is False


# -- templates and data sets --------------------------------------------------------------------------------


def motor(name: str, *members: dict[str, Any], **more: Any) -> dict[str, Any]:
    return metric(
        name, DataType.TEMPLATE, {"template_ref": "Motor", "metrics": members}, field="template_value", **more
    )


def test_templates_become_paths_and_the_definition_describes_their_members() -> None:
    broker = Broker()
    definition = {
        "is_definition": True,
        "metrics": [
            metric("Amps", DataType.FLOAT, said={"engUnit": "A"}),
            metric("RPM", DataType.INT16),
        ],
        "parameters": [{"name": "Max", "type": DataType.INT32, "int_value": 5}],
    }
    birth = broker.send(
        "g/NBIRTH/n", metric("Motor", DataType.TEMPLATE, definition, field="template_value"), bd_seq(0), seq=0
    )
    assert (values(birth), birth.filtered) == ([], 2)
    inner = metric(
        "Fan", DataType.TEMPLATE, {"metrics": [metric("On", DataType.BOOLEAN, True)]}, field="template_value"
    )
    amps = metric("Amps", None, 3.5, field="float_value")
    birth = broker.send(
        "g/DBIRTH/n/d", motor("M 1", amps, metric("RPM", DataType.INT16, 0xFFFF), inner, alias=9), seq=1
    )
    assert values(birth) == [("M 1/Amps", 3.5), ("M 1/RPM", -1), ("M 1/Fan/On", True)]
    assert birth.values[0].birth is not None
    assert birth.values[0].birth.unit == "A"
    data = broker.send("g/DDATA/n/d", motor(None, metric("RPM", None, 0xFFFE), alias=9), seq=2)  # type: ignore[arg-type]
    assert values(data) == [("M 1/RPM", -2)]


def data_set(*rows: tuple[Any, ...], types: tuple[DataType, ...]) -> dict[str, Any]:
    fields = {DataType.DATE_TIME: "long_value", DataType.FLOAT: "float_value", DataType.STRING: "string_value"}
    return {
        "num_of_columns": len(types),
        "columns": [f"c{at}" for at in range(len(types))],
        "types": types,
        "rows": [
            {"elements": [{} if cell is None else {fields[t]: cell} for t, cell in zip(types, row, strict=True)]}
            for row in rows
        ],
    }


def table(content: dict[str, Any]) -> dict[str, Any]:
    return metric("t", DataType.DATA_SET, content, field="dataset_value")


def test_data_sets_become_a_value_a_cell_and_a_column_of_times_is_the_time() -> None:
    broker = Broker()
    types = (DataType.FLOAT, DataType.STRING)
    decoded = broker.send("g/NBIRTH/n", table(data_set((1.5, "a"), (2.5, None), types=types)), seq=0)
    assert values(decoded) == [("t/0/c0", 1.5), ("t/0/c1", "a"), ("t/1/c0", 2.5)]
    assert decoded.filtered == 1
    types = (DataType.DATE_TIME, DataType.FLOAT)
    decoded = broker.send("g/NDATA/n", table(data_set((MS - 2000, 1.5), (MS - 1000, 2.5), types=types)), seq=1)
    assert [(value.path, value.value, value.time_us) for value in decoded.values] == [
        ("t/c1", 1.5, NOW - 2_000_000),
        ("t/c1", 2.5, NOW - 1_000_000),
    ]


def test_a_data_set_whose_rows_do_not_fit_is_rejected() -> None:
    content = data_set((1.5,), types=(DataType.FLOAT,))
    content["columns"] = ["a", "b"]
    decoded = Broker().send("g/NBIRTH/n", table(content), metric("m", DataType.FLOAT, 1.0), seq=0)
    assert problems(decoded) == [(Reason.TYPE_MISMATCH, "t")]
    assert len(decoded.values) == 1


# -- losses -------------------------------------------------------------------------------------------------


def test_gaps_are_counted_as_losses_and_latecomers_fill_them() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", bd_seq(0), metric("m", DataType.INT32, 1, alias=1), seq=0)

    def lost(seq: int, value: int = 1) -> int:
        return broker.send("g/NDATA/n", metric(None, None, value, alias=1), seq=seq).lost

    assert [lost(1), lost(4), lost(2), lost(5), lost(5), lost(8)] == [0, 2, -1, 0, 0, 2]
    assert broker.host.lost() == {("g", "n"): 3}
    assert lost(3) == -1
    assert broker.send("g/DBIRTH/n/d", metric("x", DataType.INT32, 1), seq=9).lost == 0, "one count for all of a node"
    assert broker.send("g/NDATA/n", metric(None, None, 1, alias=1), seq=12).want_rebirth.startswith("2 of its messages")


def test_numbers_go_round_and_a_whole_run_that_comes_again_is_no_loss() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", bd_seq(0), metric("m", DataType.INT32, 1, alias=1), seq=0)
    run = [payload(metric(None, None, n, alias=1), seq=n % 256, time_ms=MS + n) for n in range(1, 600)]
    for data in run:
        assert broker.raw("g/NDATA/n", data).lost == 0
    for data in [*run[-20:], payload(metric(None, None, 1, alias=1), seq=600 % 256)]:
        assert broker.raw("g/NDATA/n", data).lost == 0
    assert broker.host.lost() == {}


def test_a_single_message_from_before_we_listened_is_no_loss_and_a_long_gap_is() -> None:
    broker = Broker()
    for seq, lost in ((10, 0), (9, 0), (11, 0), (211, 0), (212, 199), (213, 0)):
        assert broker.send("g/NDATA/n", metric("m", DataType.INT32, seq), seq=seq).lost == lost
    assert broker.host.lost() == {("g", "n"): 199}


# -- over restarts ----------------------------------------------------------------------------------------


def restarted(broker: Broker) -> Broker:
    again = Broker(Host(remembered=[(owner, data) for owner, data in broker.host.take_changes() if data is not None]))
    again.now_us = broker.now_us
    assert again.host.unreadable == []
    return again


def test_aliases_deaths_and_losses_survive_a_restart_and_the_first_number_is_taken_as_it_is() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", bd_seq(7), metric("m", DataType.INT8, 1, alias=1, said={"engUnit": "A"}), seq=0)
    broker.send("g/DBIRTH/n/d", metric("x", DataType.FLOAT, 1.0, alias=2), seq=1)
    broker.send("g/DBIRTH/n/gone", metric("x", DataType.FLOAT, 1.0, alias=2), seq=2)
    broker.send("g/DDEATH/n/gone", seq=5)
    broker = restarted(broker)
    decoded = broker.send("g/NDATA/n", metric(None, None, 0xFF, alias=1), seq=77)
    assert (values(decoded), decoded.lost) == ([("m", -1)], 0)
    assert decoded.values[0].birth is not None
    assert decoded.values[0].birth.unit == "A"
    data = metric(None, None, 2.0, alias=2, field="float_value")
    assert values(broker.send("g/DDATA/n/d", data)) == [("x", 2.0)]
    assert problems(broker.send("g/DDATA/n/gone", data)) == [(Reason.DATA_BEFORE_BIRTH, None)]
    assert broker.host.lost() == {("g", "n"): 2}
    assert broker.raw("g/NDEATH/n", payload(bd_seq(6))).online is None
    assert broker.raw("g/NDEATH/n", payload(bd_seq(7))).online is False


def test_what_is_read_again_after_a_crash_is_read_with_the_births_of_its_time() -> None:
    broker = Broker()
    data = payload(metric(None, None, 1.5, alias=1, field="float_value"), seq=1)
    for name in ("a", "b"):
        broker.send("g/NBIRTH/n", bd_seq(0), metric(name, DataType.FLOAT, 0.5, alias=1), seq=0)
        assert values(broker.raw("g/NDATA/n", data)) == [(name, 1.5)]
    again = restarted(broker)
    again.now_us = NOW + 1000  # the births of "a" were committed, its data and all behind it was not
    assert values(again.raw("g/NDATA/n", data)) == [("a", 1.5)]
    assert again.now_us < broker.now_us
    again.now_us = broker.now_us
    assert values(again.raw("g/NDATA/n", data)) == [("b", 1.5)]


def test_a_clock_that_goes_back_within_a_run_changes_nothing() -> None:
    broker = Broker()
    for name in ("a", "b"):
        broker.send("g/NBIRTH/n", bd_seq(0), metric(name, DataType.FLOAT, 0.5, alias=1), seq=0)
        broker.now_us -= 3_600_000_000
    assert values(broker.send("g/NDATA/n", metric(None, None, 1.0, alias=1, field="float_value"))) == [("b", 1.0)]


def test_what_cannot_be_read_of_what_was_remembered_is_named_and_costs_only_itself() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("m", DataType.FLOAT, 1.0, alias=1), seq=0)
    kept = [(owner, data) for owner, data in broker.host.take_changes() if data]
    host = Host(remembered=[*kept, (Owner("g", "broken"), b"\x00"), (Owner("g", "n", "old"), kept[0][1][:-3])])
    assert [owner for owner, _ in host.unreadable] == [Owner("g", "broken"), Owner("g", "n", "old")]
    assert host.counts() == (1, 1)


def test_nothing_is_to_be_stored_for_plain_data() -> None:
    broker = Broker()
    broker.send("g/NBIRTH/n", metric("m", DataType.FLOAT, 1.0, alias=1), seq=0)
    assert [owner for owner, _ in broker.host.take_changes()] == [Owner("g", "n")]
    broker.send("g/NDATA/n", metric(None, None, 1.0, alias=1, field="float_value"), seq=1)
    assert broker.host.take_changes() == []


# -- bounds -------------------------------------------------------------------------------------------------


def test_more_metrics_than_may_be_remembered_are_refused_and_the_dead_make_room() -> None:
    broker = Broker(Host(HostLimits(max_metrics=5, max_owners=2)))
    two = [metric(name, DataType.INT32, 1, alias=alias) for alias, name in enumerate(("a", "b"))]
    broker.send("g/NBIRTH/n1", *two, bd_seq(0), seq=0)
    broker.send("g/NBIRTH/n2", *two, seq=0)
    with pytest.raises(PayloadError, match="at most 2 and 5") as refused:
        broker.send("g/NBIRTH/n3", *two, seq=0)
    assert refused.value.reason is Reason.TOO_MANY_METRICS
    broker.raw("g/NDEATH/n1", payload(bd_seq(0)))
    broker.host.take_changes()
    assert len(broker.send("g/NBIRTH/n3", *two, seq=0).values) == 2
    assert dict(broker.host.take_changes())[Owner("g", "n1")] is None, "what is let go is deleted from the store too"
    assert broker.host.counts() == (2, 4)


def test_nodes_without_a_birth_do_not_fill_the_memory() -> None:
    broker = Broker(Host(HostLimits(max_owners=10)))
    for number in range(1000):
        broker.send(f"g/NDATA/n{number}", metric("m", DataType.FLOAT, 1.0), seq=5)
    assert len(broker.send("g/NBIRTH/n", metric("m", DataType.FLOAT, 1.0), seq=0).values) == 1


def test_a_message_of_too_many_values_is_refused_as_a_whole() -> None:
    many = [metric(f"m{number}", DataType.INT32, 1) for number in range(11)]
    broker = Broker(Host(HostLimits(max_values=10)))
    for topic in ("g/NBIRTH/n", "g/NDATA/n"):
        with pytest.raises(PayloadError) as refused:
            broker.send(topic, *many)
        assert refused.value.reason is Reason.TOO_MANY_VALUES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x12\x00" * 1_000_000, Reason.TOO_MANY_VALUES),
        (b'{"not": "protobuf"}', Reason.INVALID_SPARKPLUG),
        (b"\x00" * 2_000_000, Reason.INVALID_SPARKPLUG),
        (b"x" * (5 * 1024 * 1024), Reason.PAYLOAD_TOO_LARGE),
    ],
)
def test_what_is_no_payload_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(PayloadError) as refused:
        Broker().raw("g/NDATA/n", data)
    assert refused.value.reason is reason


# -- compressed payloads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "pack"), [("GZIP", gzip.compress), ("DEFLATE", zlib.compress), ("", zlib.compress)]
)
def test_compressed_payloads_are_unpacked(algorithm: str, pack: Any) -> None:
    inner = payload(metric("m", DataType.FLOAT, 1.5), time_ms=MS)
    said = [metric("algorithm", DataType.STRING, algorithm)] if algorithm else []
    decoded = Broker().raw("g/NDATA/n", payload(*said, uuid="SPBV1.0_COMPRESSED", body=pack(inner)))
    assert values(decoded) == [("m", 1.5)]


@pytest.mark.parametrize(
    ("algorithm", "body", "reason"),
    [
        ("GZIP", gzip.compress(b"\0" * 50_000_000, mtime=0), Reason.PAYLOAD_TOO_LARGE),
        ("GZIP", gzip.compress(b"abcdefg", mtime=0)[:-9], Reason.INVALID_SPARKPLUG),
        ("DEFLATE", b"nonsense", Reason.INVALID_SPARKPLUG),
        ("LZMA", b"", Reason.INVALID_SPARKPLUG),
        ("DEFLATE", zlib.compress(payload(uuid="SPBV1.0_COMPRESSED")), Reason.INVALID_SPARKPLUG),
    ],
)
def test_bombs_and_broken_compression_are_refused(algorithm: str, body: bytes, reason: Reason) -> None:
    data = payload(metric("algorithm", DataType.STRING, algorithm), uuid="SPBV1.0_COMPRESSED", body=body)
    with pytest.raises(PayloadError) as refused:
        Broker().raw("g/NDATA/n", data)
    assert refused.value.reason is reason


# -- topics -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["spBv1.0/STATE/scada", "STATE/scada", "spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d"])
def test_commands_and_states_of_hosts_say_nothing_of_a_node(topic: str) -> None:
    decoded = Host().decode(topic, b'{"online": true}', NOW)
    assert (decoded.values, decoded.problems, decoded.online) == ([], [], None)


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        ("spAv1.0/g/NDATA/n", "begin with spBv1.0/"),
        ("spBv1.0/g/NDATA", "too few levels"),
        ("spBv1.0/g/NDATE/n", "no kind of message"),
        ("spBv1.0/g/NDATA/n/d", "nothing after the node"),
        ("spBv1.0/g/DDATA/n", "a device after the node"),
        ("spBv1.0/g/DDATA/n/d/e", "a device after the node"),
        ("spBv1.0//NDATA/n", "an empty level"),
        ("spBv1.0/g/STATE/n", "no kind of message"),
    ],
)
def test_other_topics_are_refused_with_the_reason(topic: str, what: str) -> None:
    with pytest.raises(PayloadError, match=what):
        Host().decode(topic, payload(), NOW)


def test_text_that_is_no_utf8_is_written_as_escapes() -> None:
    raw = payload(metric("mX", DataType.FLOAT, 1.0)).replace(b"mX", b"m\xff")
    decoded = Broker().raw("g/NBIRTH/n", raw)
    assert values(decoded) == [("m\\xff", 1.0)]
