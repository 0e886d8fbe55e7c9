"""Messages as devices send them, and the samples that a user wants of them: data of tests, and how a case is run."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from connector.config.model import Config
from connector.mapping.observations import Observation
from connector.mapping.time.times import format_time, parse_time
from connector.records import Record, Reject
from connector.runtime.assembly import build_mapper

ARRIVAL = "2026-05-01T06:00:05Z"
"""When a message of a case arrived, if the message does not say it."""


@dataclass
class Outcome:
    """What the mapper made of the messages of a case."""

    samples: list[tuple[str, str, float]] = field(default_factory=list)
    """(input ID, time as text, value)."""
    rejects: list[Reject] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    tolerated: dict[str, int] = field(default_factory=dict)
    """Kind of an overlooked fault → number of messages."""


def record_of(message: Mapping[str, Any]) -> Record:
    """The record of a message: `topic`, and `payload`, `payload_text` or `payload_base64`."""
    if "payload_text" in message:
        payload = message["payload_text"].encode()
    elif "payload_base64" in message:
        payload = base64.b64decode(message["payload_base64"])
    else:
        payload = json.dumps(message["payload"]).encode()
    key = message["key"].encode() if message.get("key") else None
    headers = tuple((message.get("headers") or {}).items())
    return Record(message["topic"], payload, parse_time(message.get("time", ARRIVAL)), key=key, headers=headers)


def outcome(messages: Sequence[Mapping[str, Any]], rules: str = "", **mapping: Any) -> Outcome:
    """What becomes of messages under `rules`, in YAML as in a configuration; without rules everything is mapped."""
    written = yaml.safe_load(rules) or []
    config = Config.model_validate(
        {
            "clarify": {"credentials": "clarify-credentials.json"},
            "sources": [{"type": "mqtt", "name": "s", "url": "mqtts://broker.example.com", "topics": ["#"]}],
            "mapping": {"rules": written, "unmatched": "dead_letter" if written else "map", **mapping},
        }
    )
    mapper = build_mapper(config, {})
    found = Outcome()
    for message in messages:
        mapped = mapper.map("s", record_of(message))
        found.samples += [(input_id, format_time(time_us), value) for input_id, time_us, value in mapped.samples]
        found.rejects += mapped.rejects
    found.observations = mapper.observations.take()
    found.tolerated = {kind: n for (_, kind), n in mapper.tolerances.counts.items()}
    return found


def check(found: Outcome, expected: Sequence[tuple[str, str, float]]) -> None:
    """Compare with the samples that a user wants: inputs and times are the same, values may be rounded."""
    assert [(one, format_time(parse_time(time))) for one, time, _ in expected] == [one[:2] for one in found.samples]
    assert [one[2] for one in found.samples] == pytest.approx([one[2] for one in expected], rel=1e-12)
