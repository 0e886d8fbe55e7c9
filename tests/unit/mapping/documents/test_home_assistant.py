"""Discovery messages of Home Assistant: the signals that they describe, and templates that are not certain."""

from __future__ import annotations

from typing import Any

import pytest

from connector.formats.format import PayloadError
from connector.mapping.documents.home_assistant import discovered


def signals(message: object) -> list[dict[str, Any]]:
    found = discovered(message, 0)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("template", "signal"),
    [
        (None, "t"),
        ("{{ value }}", "t"),
        ("{{ value|float|round(1) }}", "t"),
        ("{{ value_json.temperature }}", "t:temperature"),
        ("{{value_json['a'].b[\"c\"][0] | float(0) | default(none)}}", "t:a.b.c.0"),
        ("{{ value_json.a | is_defined }}", "t:a"),
        ("{{- value_json.a if value_json.a is defined else 0 -}}", "t:a"),
        ("{{ value_json['a'] if value_json.a is defined }}", "t:a"),
        ("{{ value_json.a if value_json.b is defined else 0 }}", None),
        ("{{ value_json.a / 10 }}", None),
        ("{{ value_json.a | float / 10 }}", None),
        ("{{ value_json.a | multiply(0.1) }}", None),
        ("{{ (value_json.a | float) }}", None),
        ("{% if value_json.a %}ON{% else %}OFF{% endif %}", None),
        ("{{ 'ON' if value_json.a else 'OFF' }}", None),
        ("{{ value_json }}", None),
        ("{{ value_json.a }} {{ value_json.b }}", None),
        ("{{ value_json.get('a') }}", None),
        ("{{ value.a }}", None),
        ("{{ value_json.a if value_json.a is defined else" + " " * 100_000, None),
        (7, None),
    ],
)
def test_only_a_template_that_takes_one_value_as_it_is_names_a_signal(template: object, signal: str | None) -> None:
    (found,) = signals({"name": "N", "stat_t": "t", "val_tpl": template, "unit_of_meas": "bar"})
    assert found.get("signal") == signal
    assert ("not read" in found) is (signal is None)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"name": "Power", "dev": {"name": "Inverter"}}, "Inverter Power"),
        ({"name": "Inverter power", "dev": {"name": "Inverter"}}, "Inverter power"),
        ({"name": None, "dev": {"name": "Inverter"}}, "Inverter"),
        ({"dev_cla": "signal_strength", "dev": {"name": "Inverter"}}, "Inverter signal strength"),
        ({"name": "Power"}, "Power"),
        ({"object_id": "inverter_power"}, "inverter power"),
        ({"name": 7, "dev": "?"}, ""),
    ],
)
def test_the_name_is_the_one_that_home_assistant_shows(said: dict[str, object], name: str) -> None:
    assert signals({"stat_t": "t", **said})[0]["name"] == name


@pytest.mark.parametrize(
    ("said", "topic"),
    [
        ({"~": "a", "stat_t": "~/b"}, "a/b"),
        ({"~": "b", "state_topic": "a/~"}, "a/b"),
        ({"~": "a/", "stat_t": "~b"}, "a/b"),
    ],
)
def test_a_tilde_is_the_base_topic(said: dict[str, object], topic: str) -> None:
    assert signals(said)[0]["signal"] == topic


def test_the_components_of_a_device_share_its_settings() -> None:
    found = signals(
        {
            "dev": {"name": "D"},
            "stat_t": "t",
            "cmps": {"a": {"p": "sensor", "name": "A", "val_tpl": "{{ value_json.a }}"}, "b": {"stat_t": "u"}, "c": 1},
        }
    )
    assert [(one["signal"], one["name"]) for one in found] == [("t:a", "D A"), ("u", "D b")]


def test_a_thermostat_has_several_values_and_the_unit_of_its_temperatures() -> None:
    found = signals({"name": "T", "temp_unit": "C", "curr_temp_t": "t", "temp_stat_t": "t/set", "curr_hum_t": "h"})
    assert [(one["signal"], one["name"], one["unit"]) for one in found] == [
        ("t", "T current temperature", "°C"),
        ("t/set", "T target temperature", "°C"),
        ("h", "T current humidity", "%"),
    ]


@pytest.mark.parametrize(
    ("on", "off", "states"),
    [
        (True, False, {"0": "off", "1": "on"}),
        ("true", "false", {"0": "off", "1": "on"}),
        (False, True, {"0": "on", "1": "off"}),
        ("ON", "OFF", {}),
    ],
)
def test_booleans_and_numbers_have_names_of_states(on: object, off: object, states: dict[str, str]) -> None:
    assert signals({"stat_t": "t", "pl_on": on, "pl_off": off})[0]["states"] == states


def test_an_entity_without_a_state_describes_nothing_and_a_wildcard_is_no_topic() -> None:
    assert signals({"name": "Restart", "cmd_t": "t"}) == []
    (found,) = signals({"name": "N", "stat_t": "+/+/t"})
    assert "signal" not in found
    assert found["not read"] == "+/+/t"


@pytest.mark.parametrize("message", [[1], "x", None, {"cmps": [1]}])
def test_what_is_no_discovery_message_is_refused(message: object) -> None:
    with pytest.raises(PayloadError, match="no discovery message"):
        discovered(message, 0)
