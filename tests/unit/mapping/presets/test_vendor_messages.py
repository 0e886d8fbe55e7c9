"""Presets of products: the file of a preset has messages as its product sends them, and the samples that they become.

In the file, `rule` has what the user writes beside the preset; a time that is null is the arrival's; `init: false` is
for a message that says too little by itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from connector.mapping.signals.input_ids import legal_id
from connector.mapping.time.times import parse_time
from connector.records import Record
from connector.try_out.draft import draft
from connector.try_out.observed import Observed
from tests.unit.mapping.mappers import mapper, take
from tests.unit.records import ARRIVAL

FILES = sorted(Path(__file__).parent.glob("*.yaml"))
MESSAGES = {file.stem: YAML(typ="safe").load(file.read_text(encoding="utf-8")) for file in FILES}
EACH = [
    pytest.param(preset, message, id=f"{preset}-{number}")
    for preset, messages in MESSAGES.items()
    for number, message in enumerate(messages, 1)
]
SOURCES: dict[bool, dict[str, object]] = {
    False: {"type": "mqtt", "url": "mqtts://broker.example.com", "topics": ["#"]},
    True: {"type": "kafka", "bootstrap_servers": ["k:1"], "topics": ["t"], "group_id": "g"},
}


def payload_of(message: dict[str, Any]) -> bytes:
    payload = message["payload"]
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


@pytest.mark.parametrize(("preset", "message"), EACH)
def test_a_message_of_the_product_becomes_its_samples(preset: str, message: dict[str, Any]) -> None:
    using = mapper({"preset": preset, **message.get("rule", {})})
    headers = tuple(message.get("headers", {}).items())
    key = message["key"].encode() if "key" in message else None
    for _ in range(3):  # the second and third time by the known shape
        mapped = take(using, payload_of(message), message["topic"], key=key, headers=headers)
        assert mapped.rejects == []
        assert mapped.samples == [
            (legal_id(input_id), ARRIVAL if time is None else parse_time(time), value)
            for input_id, time, value in message.get("samples", [])
        ]
        assert mapped.samples or mapped.skipped
    found = dict(using.discovered)
    for input_id, name in message.get("names", {}).items():
        assert found[legal_id(input_id)].name == name
    for input_id, unit in message.get("units", {}).items():
        assert found[legal_id(input_id)].unit == unit


@pytest.mark.parametrize("preset", MESSAGES)
def test_init_knows_the_product(preset: str) -> None:
    messages = [message for message in MESSAGES[preset] if message.get("init", True)]
    by_headers = [message for message in messages if "headers" in message]
    for some in ([message for message in messages if message not in by_headers], *([one] for one in by_headers)):
        observed = Observed()
        for message in some:
            key = message["key"].encode() if "key" in message else None
            headers = tuple(message.get("headers", {}).items())
            observed.add("", Record(message["topic"], payload_of(message), ARRIVAL, key=key, headers=headers))
        found = draft(observed, SOURCES[any("key" in message for message in some)])
        assert {rule.settings.get("preset") for rule in found.rules} == {preset}
        assert found.without_rule == []
