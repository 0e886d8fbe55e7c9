"""Real payload shapes, in three modes: without a mapping, with what `init` drafts, and with a mapping.

Each value ends under the identity that its payload gives it, or is refused with a reason, or the user is told: by an
observation, or since the overwrite is seen. Input IDs without a mapping may differ from those of a mapping. The values
that share an ID, their times and their values may not.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.config.model import Config
from connector.mapping.observations import Observation
from connector.mapping.time.times import parse_time
from connector.packing.frame import encode_frame
from connector.packing.overwrites import Overwrite, overwrites
from connector.packing.pending import Pending
from connector.packing.planner import plan_frame
from connector.records import Record, Reject, Sample
from connector.runtime.assembly import build_mapper
from connector.try_out.draft import draft
from connector.try_out.observed import Observed

CASES = [
    json.loads(line)
    for line in Path(__file__).with_name("payload_cases.jsonl").read_text(encoding="utf-8").splitlines()
]
ARRIVAL = parse_time("2026-05-01T06:00:05Z")
SOURCE = {"type": "mqtt", "name": "s", "url": "mqtts://broker.example.com", "topics": ["#"]}

NOT_RIGHT: dict[str, dict[str, str]] = {
    "c01-siemens-ie": {"none": "told"},  # its quality is not read
    "c04-siemens-iih": {"none": "told"},
    "c05-time-in-other-list": {"none": "told", "init": "told"},
    "c06-meters-date": {"none": "told"},  # local times
    "c08-ts-v-pairs": {"none": "refused"},
    "c09-columns-rows": {"none": "refused", "init": "refused"},
    "c26-litmus": {"none": "told"},
    "c27-opc-samples": {"none": "told"},
    "c28-otlp": {"mapping": "refused"},  # one of its points has no attribute
    "c29-prom-json": {"none": "told"},
    "c30-graphite": {"none": "refused"},
    "c37-split-time": {"none": "refused", "init": "told"},
    "c66-csv-german": {"none": "refused"},
    "c101-ais": {"none": "told"},
}
"""What is not simply right, by case and mode."""

SAMPLES: dict[tuple[str, str], list[tuple[str, float]]] = {
    ("c56-utf8-topics", "init"): [("Anlage/Kessel_1/R_cklauf__C-9030fe8ef0", 55.5)],
    ("c76-missing-id", "init"): [("dev/a/temp", 1), ("dev/5/temp", 5), ("dev/5/temp", 6), ("dev/true/temp", 8)],
    ("c76-missing-id", "mapping"): [("dev/a/temp", 1), ("dev/5/temp", 5), ("dev/5/temp", 6), ("dev/true/temp", 8)],
    ("c77-missing-item-name", "none"): [("it:vals.a.v", 1), ("it:other", 1), ("it:vals.b.v", 4), ("it:vals", 5)],
    ("c77-missing-item-name", "mapping"): [("it/a", 1), ("it/b", 4)],
    ("c80-init-identity", "init"): [
        ("one/d1/temp", 20.1), ("one/d2/temp", -5), ("one/d1/temp", 20.2), ("one/d3/temp", 99), ("one/d2/temp", -5.1),
        ("one/d1/temp", 20.3),
    ],
    ("c82-init-unit", "init"): [("ru/temp", 21.5), ("ru/temp", 21.6), ("ru/p", 3.2)],
    ("c91-influx-auto", "init"): [
        ("metrics:weather/id:7/station:oslo:temp", 21.5), ("metrics:weather/id:7/station:oslo:hum", 40),
        ("metrics:weather/id:7/station:oslo:ok", True), ("metrics:weather/station:bergen:temp", 11.5),
    ],
    ("c106-item-merge", "none"): [("y/1:l.0.v", 1), ("y/1:l.1.v", 2)],
    ("c106-item-merge", "mapping"): [],
    ("c107-payload-merge", "mapping"): [("z/a_b-31d8f8d74c", 1), ("z/a_b", 2)],
    ("c108-influx-default", "mapping"): [
        ("metrics:cpu/cpu:cpu0/host:a:usage_idle", 91.5), ("metrics:cpu/cpu:cpu1/host:a:usage_idle", 80.5),
        ("metrics:cpu/cpu:cpu0/host:b:usage_idle", 70.5), ("metrics:mem/host:a:free", 5),
    ],
}  # fmt: skip
"""All samples (for c56 some of them) where a case does not say what is expected."""

TOLD = [
    ("c74-dotted-keys", "none", "refused"),
    ("c74-dotted-keys", "mapping", "refused"),
    ("c75-same-second", "none", "told"),
    ("c76-missing-id", "none", "told"),
    ("c77-missing-item-name", "mapping", "refused"),
    ("c80-init-identity", "none", "told"),
    ("c82-init-unit", "none", "refused"),
    ("c91-influx-auto", "none", "refused"),
    ("c106-item-merge", "mapping", "refused"),
    ("c107-payload-merge", "none", "told"),
    ("c108-influx-default", "none", "refused"),
]


@dataclass
class Outcome:
    samples: list[Sample]
    rejects: list[Reject]
    observations: list[Observation]
    overwrites: list[Overwrite]

    @property
    def said(self) -> str:
        """How a user learns that something is not right."""
        if self.observations or self.overwrites:
            return "told"
        return "refused" if self.rejects else "nothing"


def record_of(message: Mapping[str, Any]) -> Record:
    if "payload_text" in message:
        payload = message["payload_text"].encode()
    elif "payload_base64" in message:
        payload = base64.b64decode(message["payload_base64"])
    else:
        payload = json.dumps(message["payload"]).encode()
    key = message["key"].encode() if message.get("key") else None
    headers = tuple((message.get("headers") or {}).items())
    time_us = parse_time(message["time"]) if "time" in message else ARRIVAL
    return Record(message["topic"], payload, time_us, key=key, headers=headers)


def rules_of(case: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    if mode == "none":
        return []
    if mode == "mapping":
        return list(yaml.safe_load(case["mapping"]))
    observed = Observed()
    for number, message in enumerate(case["input"], 1):
        observed.add("", record_of(message), number)
    return [dict(rule.settings) for rule in draft(observed, dict(SOURCE)).rules]


def outcome(case: Mapping[str, Any], mode: str) -> Outcome:
    rules = rules_of(case, mode)
    config = Config.model_validate(
        {
            "clarify": {"credentials": "clarify-credentials.json"},
            "sources": [SOURCE],
            "mapping": {"rules": rules, "unmatched": "dead_letter" if rules else "map"},
        }
    )
    mapper = build_mapper(config, {})
    found = Outcome([], [], [], [])
    waiting = Pending()
    for token, message in enumerate(case["input"]):
        mapped = mapper.map("s", record_of(message))
        assert len({sample[:2] for sample in mapped.samples}) == len(mapped.samples), "in one message nothing is merged"
        found.samples += mapped.samples
        found.rejects += mapped.rejects
        waiting.add(token, [(0, mapped)], 0.0)
    if found.samples:
        found.overwrites += overwrites(encode_frame(waiting.take(plan_frame(waiting, 10**8, 0.0))))
    found.observations += mapper.observations.take()
    return found


def is_right(expected: Sequence[Sequence[Any]], samples: Sequence[Sample]) -> bool:
    """Whether the expected values share input IDs in the same way, with the same times; further inputs do no harm. Of
    two values of one time the later one counts."""
    wanted: dict[str, dict[int, float]] = {}
    for input_id, time, value in expected:
        wanted.setdefault(input_id, {})[parse_time(time)] = value
    got: dict[str, dict[int, float]] = {}
    for input_id, time_us, value in samples:
        got.setdefault(input_id, {})[time_us] = value
    left = list(got.values())
    for values in wanted.values():
        if values not in left:
            return False
        left.remove(values)
    return True


MODES = [
    pytest.param(case, mode, id=f"{case['id']}-{mode}")
    for case in CASES
    for mode in ("none", "init", "mapping")
    if mode != "mapping" or case.get("mapping")
]


@pytest.mark.parametrize(("case", "mode"), MODES)
def test_right_or_refused_or_told(case: dict[str, Any], mode: str) -> None:
    found = outcome(case, mode)
    not_right = NOT_RIGHT.get(case["id"], {}).get(mode)
    if case["expected"] is not None:
        assert is_right(case["expected"], found.samples) is (not_right is None)
        assert not_right is None or found.said == not_right
    for reject in found.rejects:
        assert reject.message


@pytest.mark.parametrize(("case", "mode", "said"), TOLD)
def test_where_nothing_is_expected_it_is_said(case: str, mode: str, said: str) -> None:
    found = outcome(next(one for one in CASES if one["id"] == case), mode)
    assert found.said == said or (said == "refused" and found.rejects)


@pytest.mark.parametrize(("case", "mode"), list(SAMPLES))
def test_the_samples_of_cases_that_say_nothing(case: str, mode: str) -> None:
    found = outcome(next(one for one in CASES if one["id"] == case), mode)
    samples = [(input_id, value) for input_id, _, value in found.samples]
    if case == "c56-utf8-topics":
        samples = [sample for sample in samples if sample in SAMPLES[case, mode]]
    assert samples == SAMPLES[case, mode]


def test_identifiers_are_no_readings() -> None:
    found = outcome(next(one for one in CASES if one["id"] == "c57-bigint"), "none")
    assert {input_id for input_id, _, _ in found.samples} == {"b/1:wh", "b/1:u64", "b/1:big", "b/1:sci"}


def test_a_date_alone_is_no_time() -> None:
    found = outcome(next(one for one in CASES if one["id"] == "c83-init-date-only"), "init")
    assert {time_us for _, time_us, _ in found.samples} == {ARRIVAL}
