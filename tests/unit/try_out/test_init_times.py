"""`init` finds the notation of times, where it is certain: keys and levels that are times, meters, zones in a field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.mapping.time.times import parse_time
from connector.records import Record
from connector.try_out.draft import draft
from connector.try_out.observed import Observed

SOURCE = {"type": "mqtt", "name": "s", "url": "mqtts://broker.example.com", "topics": ["#"]}
DAY = "2026-05-01"


@pytest.mark.parametrize(
    ("messages", "settings"),
    [
        (
            [("d", {"timestamp": "260501080000S", "kw": 1})],
            {"time": {"field": "timestamp", "zone": "Europe/Amsterdam"}},
        ),
        (
            [("d", {"date": DAY, "time": "08:00:00", "tz": "+02:00", "v": 1})],
            {"time": {"template": "{payload.date} {payload.time}{payload.tz}"}},
        ),
        ([("d", {"date": DAY, "parts": n}) for n in range(5)], {}),
        (
            [("d", {"time": f"{DAY}T08:00:00", "zone": "Europe/Oslo", "v": 1})],
            {"time": {"field": "time", "zone": "{payload.zone}"}},
        ),
        (
            [("d", {"name": "roof", "watts": {f"{DAY}T06:00:00Z": 120, f"{DAY}T06:15:00Z": 340}})],
            {"iterate": "watts", "input": "{topic}", "time": {"template": "{item}"}},
        ),
        (
            [(f"meter/7/{1777615200 + n}/kwh", 12.5) for n in range(2)],
            {"input": "meter/7/kwh", "time": {"template": "{level3}"}, "shared_inputs": True},
        ),
        (
            [("d", b"Datum;Uhrzeit;kW\r\n01.05.2026;08:00:00;1,5\r\n01.05.2026;08:00:05;2,5\r\n")],
            {
                "format": {"type": "csv", "delimiter": ";", "decimal": ","},
                "time": {
                    "template": "{payload.Datum} {payload.Uhrzeit}",
                    "format": "%d.%m.%Y %H:%M:%S",
                    "zone": "Europe/Berlin",
                },
            },
        ),
    ],
)
def test_the_right_notation_is_proposed(messages: list[tuple[str, Any]], settings: dict[str, object]) -> None:
    observed = Observed()
    for number, (topic, payload) in enumerate(messages, 1):
        written = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        observed.add("", Record(topic, written, parse_time(f"{DAY}T06:00:05Z")), number)
    (rule,) = draft(observed, dict(SOURCE)).rules
    assert {name: value for name, value in rule.settings.items() if name != "topic"} == settings
    assert rule.signals
