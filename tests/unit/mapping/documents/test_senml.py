"""SenML: the examples of RFC 8428, section 5.1, become the samples that they mean; what the RFC forbids is a reject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import cbor2
import pytest

from connector.mapping.documents.senml import resolve
from connector.mapping.mapper import Mapper
from connector.records import Mapped, Reason, Record
from tests.unit.mapping.mappers import mapper, take

ARRIVAL = 1_790_000_000_123_457
SENML = {"preset": "senml", "topic": "sensors/pack"}
DEVICE = "urn:dev:ow:10e2073a01080063"


def mapped(pack: Any, using: Mapper | None = None) -> Mapped:
    return take(using or mapper(SENML), pack, "sensors/pack", time_us=ARRIVAL)


def samples(pack: Any) -> list[tuple[str, int, float]]:
    found = mapped(pack)
    assert found.rejects == []
    return found.samples


def test_5_1_1_a_single_data_point() -> None:
    assert samples([{"n": DEVICE, "u": "Cel", "v": 23.1}]) == [(DEVICE, ARRIVAL, 23.1)]


def test_5_1_2_several_data_points_share_a_base_name() -> None:
    pack = [{"bn": DEVICE + ":", "n": "voltage", "u": "V", "v": 120.1}, {"n": "current", "u": "A", "v": 1.2}]
    assert samples(pack) == [(f"{DEVICE}:voltage", ARRIVAL, 120.1), (f"{DEVICE}:current", ARRIVAL, 1.2)]


def test_5_1_2_times_are_relative_to_the_base_time() -> None:
    name, at = "urn:dev:ow:10e2073a0108006:", 1_276_020_076_001_000
    first = {"bn": name, "bt": 1.276020076001e09, "bu": "A", "bver": 5, "n": "voltage", "u": "V", "v": 120.1}
    past = [{"n": "current", "t": seconds, "v": 1.7 + seconds / 10} for seconds in range(-5, 0)]
    using = mapper(SENML)
    found = mapped([first, *past, {"n": "current", "v": 1.7}], using)
    assert found.rejects == []
    assert found.samples == [
        (f"{name}voltage", at, 120.1),
        *((f"{name}current", at + seconds * 1_000_000, 1.7 + seconds / 10) for seconds in range(-5, 1)),
    ]
    assert {input_id: metadata.unit for input_id, metadata in using.discovered} == {
        f"{name}voltage": "V",
        f"{name}current": "A",
    }


MINUTES = [(0, 20, 24.30621, 60.07965), (60, 20.3, 24.30622, 60.07965), (120, 20.7, 24.30623, 60.07966)]
TRACK_START = 1_320_067_464


def _track_samples() -> set[tuple[str, int, float]]:
    found: set[tuple[str, int, float]] = {(f"{DEVICE}/%EL", (TRACK_START + 150) * 1_000_000, 98)}
    for seconds, humidity, longitude, latitude in [*MINUTES, (180, 21.2, 24.30628, 60.07967)]:
        at = (TRACK_START + seconds) * 1_000_000
        found |= {(DEVICE, at, humidity), (f"{DEVICE}/lon", at, longitude), (f"{DEVICE}/lat", at, latitude)}
    return found


def _named(found: set[tuple[str, int, float]]) -> set[tuple[str, int, float]]:
    """With `%` as input IDs can have it."""
    using = mapper(SENML)
    mapped([{"n": f"{DEVICE}/%EL", "v": 1}], using)
    (legal,) = {input_id for input_id, _ in using.discovered}
    return {(legal if "%EL" in name else name, at, value) for name, at, value in found}


def test_5_1_3_several_measurements_of_one_name_are_told_apart_by_their_units() -> None:
    pack: list[dict[str, Any]] = [{"bn": DEVICE, "bt": 1.320067464e09, "bu": "%RH", "v": 20}]
    pack += [{"u": "lon", "v": 24.30621}, {"u": "lat", "v": 60.07965}]
    for seconds, humidity, longitude, latitude in [*MINUTES[1:], (180, 21.2, 24.30628, 60.07967)]:
        if seconds == 180:
            pack.append({"u": "%EL", "t": 150, "v": 98})
        pack.append({"t": seconds, "v": humidity})
        pack += [{"u": "lon", "t": seconds, "v": longitude}, {"u": "lat", "t": seconds, "v": latitude}]
    found = samples(pack)
    assert len(found) == len(pack) == 13
    assert set(found) == _named(_track_samples())


def test_5_1_4_the_resolved_pack_gives_the_same() -> None:
    pack: list[dict[str, Any]] = []
    for seconds, *values in [*MINUTES, (180, 21.2, 24.30628, 60.07967)]:
        if seconds == 180:
            pack.append({"n": DEVICE, "u": "%EL", "t": TRACK_START + 150, "v": 98})
        pack += [
            {"n": DEVICE, "u": unit, "t": TRACK_START + seconds, "v": value}
            for unit, value in zip(("%RH", "lon", "lat"), values, strict=True)
        ]
    assert set(samples(pack)) == _named(_track_samples())


def test_5_1_5_text_and_data_are_left_out_and_counted() -> None:
    pack = [
        {"bn": DEVICE + ":", "n": "temp", "u": "Cel", "v": 23.1},
        {"n": "label", "vs": "Machine Room"},
        {"n": "open", "vb": False},
        {"n": "nfc-reader", "vd": "aGkgCg"},
    ]
    found = mapped(pack)
    assert found.samples == [(f"{DEVICE}:temp", ARRIVAL, 23.1), (f"{DEVICE}:open", ARRIVAL, 0)]
    assert found.filtered >= 2
    assert found.rejects == []


def test_5_1_6_a_later_base_name_replaces_the_first_and_the_base_time_stays() -> None:
    pack = [
        {"bn": "2001:db8::2/", "bt": 1.320078429e09, "n": "temperature", "u": "Cel", "v": 25.2},
        {"n": "humidity", "u": "%RH", "v": 30},
        {"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3},
        {"n": "humidity", "u": "%RH", "v": 67},
    ]
    at = 1_320_078_429_000_000
    assert samples(pack) == [
        ("2001:db8::2/temperature", at, 25.2),
        ("2001:db8::2/humidity", at, 30),
        ("2001:db8::1/temperature", at, 12.3),
        ("2001:db8::1/humidity", at, 67),
    ]


def test_5_1_7_an_actuator_is_set() -> None:
    pack = [{"bt": 1.320078429e09, "bu": "/", "n": "2001:db8::3", "v": 1}, {"n": "2001:db8::4", "v": 0.5}]
    assert [(name, value) for name, _, value in samples(pack)] == [("2001:db8::3", 1), ("2001:db8::4", 0.5)]


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({}, ARRIVAL),
        ({"t": 0}, ARRIVAL),
        ({"t": -60}, ARRIVAL - 60_000_000),
        ({"t": 60}, ARRIVAL + 60_000_000),
        ({"bt": -300, "t": 10}, ARRIVAL - 290_000_000),
        ({"t": 1_700_000_000.25}, 1_700_000_000_250_000),
        ({"bt": 1_700_000_000, "t": -0.5}, 1_699_999_999_500_000),
    ],
)
def test_a_time_below_2_to_the_28_is_relative_to_the_arrival(fields: dict[str, float], at: int) -> None:
    assert samples([{"n": "a", "v": 1, **fields}]) == [("a", at, 1)]


def test_2_to_the_28_itself_is_a_time_of_its_own() -> None:
    (before,) = cast("list[dict[str, Any]]", resolve([{"n": "a", "t": 2**28 - 1, "v": 1}], ARRIVAL))
    (itself,) = cast("list[dict[str, Any]]", resolve([{"n": "a", "t": 2**28, "v": 1}], ARRIVAL))
    assert before["t"] == pytest.approx(ARRIVAL / 1e6 + 2**28 - 1)
    assert itself["t"] == 2**28


@pytest.mark.parametrize(
    ("pack", "expected"),
    [
        ([{"n": "a", "bv": 20, "v": 1.5}, {"n": "b", "v": -2}], {"a": 21.5, "b": 18}),
        ([{"bn": "x", "bv": 20}, {"n": "a"}], {"xa": 20}),
        ([{"n": "a", "s": 7}], {"a/sum": 7}),
        ([{"n": "a", "v": 1, "s": 7}], {"a": 1, "a/sum": 7}),
        ([{"n": "a", "bs": 100, "s": 7}, {"n": "b", "v": 1}], {"a/sum": 107, "b": 1, "b/sum": 100}),
        ([{"n": "a", "bv": 5, "vb": True}, {"n": "b", "vs": "text"}], {"a": 1}),
        ({"n": "a", "v": 1}, {"a": 1}),
    ],
)
def test_base_value_and_base_sum_are_added(pack: Any, expected: dict[str, float]) -> None:
    assert {name: value for name, _, value in samples(pack)} == expected


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        ([{"n": "a", "v": 1}, {"n": "b", "v": 2, "must_": 1}], "record 1: field 'must_' must be understood"),
        ([{"bver": 11, "n": "a", "v": 1}], "version (bver) 11 is not known"),
        ([{"bver": True, "n": "a", "v": 1}], "version (bver) True"),
        ([{"n": "a", "v": "12"}], "v is no number ('12')"),
        ([{"n": "a", "v": True}], "v is no number (True)"),
        ([{"n": "a", "v": 1, "vb": True}], "several values (v, vb)"),
        ([{"bn": 7, "n": "a", "v": 1}], "bn is no text (7)"),
        ([{"v": 1}], "record 0: the record has no name"),
        ([7], "record 0 is no object"),
        (7, "an array of records"),
    ],
)
def test_what_the_rfc_forbids_is_a_reject_that_says_what_and_where(pack: Any, said: str) -> None:
    found = mapped(pack)
    assert found.samples == []
    assert [reject.reason for reject in found.rejects] == [Reason.WRONG_STRUCTURE]
    assert said in found.rejects[0].message


def test_fields_that_are_not_known_are_ignored_and_a_name_alone_is_no_value() -> None:
    found = mapped([{"n": "a", "v": 1, "extension": 5}, {"n": "b"}])
    assert (found.samples, found.rejects) == ([("a", ARRIVAL, 1)], [])
    assert mapped([{"n": "b"}]).samples == []


def test_cbor_has_numbers_for_the_field_names() -> None:
    rule = {"preset": "senml", "topic": "sensors/pack", "format": "cbor"}
    using = mapper(rule)
    pack = [{-2: "dev:", -3: 1_320_078_429, 0: "temp", 1: "Cel", 2: 23.1}, {0: "open", 4: False, 6: -1}]
    found = using.map("mqtt", Record("sensors/pack", cbor2.dumps(pack), ARRIVAL))
    at = 1_320_078_429_000_000
    assert (found.samples, found.rejects) == ([("dev:temp", at, 23.1), ("dev:open", at - 1_000_000, 0)], [])


@pytest.mark.parametrize(
    ("select", "around"),
    [
        ("d", lambda pack: {"id": "gw", "d": pack}),
        ("a.b.1.d", lambda pack: {"a": {"b": [0, {"d": pack}]}}),
        ("up.data", lambda pack: {"up.data": pack, "rssi": -80}),
        ("d", lambda pack: pack),
    ],
)
def test_a_pack_in_a_field_is_resolved_before_select_takes_it(select: str, around: Callable[[Any], Any]) -> None:
    payload = around([{"bn": "dev:", "bt": 1_320_078_429, "n": "temp", "v": 23.1}, {"n": "hum", "t": -1, "v": 50}])
    found = mapped(payload, mapper({**SENML, "select": select}))
    at = 1_320_078_429_000_000
    expected = [] if isinstance(payload, list) else [("dev:temp", at, 23.1), ("dev:hum", at - 1_000_000, 50)]
    assert (found.samples, found.rejects) == (expected, [])


@pytest.mark.parametrize("field", ["t", "bt", "v", "bv", "s", "bs"])
@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf"), float("-inf")])
def test_a_number_beyond_all_measure_is_a_reject(field: str, number: float) -> None:
    rule = {"preset": "senml", "topic": "sensors/pack", "format": "cbor"}
    using = mapper(rule)
    found = using.map("mqtt", Record("sensors/pack", cbor2.dumps([{"n": "a", "v": 1, "s": 1, field: number}]), ARRIVAL))
    assert found.rejects
    assert all(sample[2] == 1 for sample in found.samples)
