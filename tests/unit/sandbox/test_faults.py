"""Fault rules: how they are read, matched and counted down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from connector.sandbox.bad_values import error_for
from connector.sandbox.faults import FAULT_RULES, BadValue, FaultPlan

INSERT = ["integration.insert", "insert"]
SAVE = ["integration.saveSignals", "save"]
TOKEN = ["token"]


def plan(*rules: dict[str, Any]) -> FaultPlan:
    plan = FaultPlan()
    plan.add(FAULT_RULES.validate_json(json.dumps(rules)))
    return plan


def take(plan: FaultPlan, names: list[str]) -> str | None:
    fault = plan.take(names)
    return None if fault is None else fault.kind


def test_a_rule_applies_as_often_as_it_says() -> None:
    faults = plan({"method": "insert", "times": 2, "kind": "cut"})
    assert [take(faults, INSERT) for _ in range(3)] == ["cut", "cut", None]


def test_a_rule_without_a_number_applies_until_it_is_cleared() -> None:
    faults = plan({"kind": "cut"})
    assert [take(faults, names) for names in (INSERT, SAVE, TOKEN)] == ["cut"] * 3
    faults.clear()
    assert take(faults, INSERT) is None


def test_rules_apply_in_their_order_one_for_each_request() -> None:
    faults = plan(
        {"method": "insert", "times": 1, "kind": "cut"},
        {"method": "*", "times": 1, "kind": "status", "status": 503},
        {"method": "insert", "times": 1, "kind": "answer_lost"},
    )
    assert [take(faults, INSERT) for _ in range(4)] == ["cut", "status", "answer_lost", None]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("insert", [INSERT]),
        ("INSERT", [INSERT]),
        ("save", [SAVE]),
        ("integration.saveSignals", [SAVE]),
        ("integration.*", [INSERT, SAVE]),
        ("token", [TOKEN]),
        ("*", [INSERT, SAVE, TOKEN]),
        ("other", []),
    ],
)
def test_patterns(pattern: str, matched: list[list[str]]) -> None:
    faults = plan({"method": pattern, "kind": "cut"})
    assert [names for names in (INSERT, SAVE, TOKEN) if take(faults, names)] == matched


def test_an_rpc_error_never_applies_to_a_token_request() -> None:
    faults = plan({"kind": "rpc_error", "code": -32015, "times": 1})
    assert take(faults, TOKEN) is None
    assert take(faults, INSERT) == "rpc_error"


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"kind": "fire"},
        {"kind": "latency"},
        {"kind": "latency", "seconds": -1},
        {"kind": "status", "status": 200},
        {"kind": "status"},
        {"kind": "rpc_error"},
        {"kind": "timeout"},
        {"kind": "cut", "times": 0},
        {"kind": "cut", "seconds": 1},
        {"kind": "cut", "method": ""},
    ],
)
def test_bad_rules_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        plan(rule)


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        ("series", ["data.series.a"]),
        ("cell", ["data.series.a[0]", "data.series.a[2]"]),
        ("cell_dot", ["data.series.a.0", "data.series.a.2"]),
        ("row", ["data.times[0]", "data.times[2]"]),
    ],
)
def test_a_bad_value_is_named_as_told(names: str, paths: list[str]) -> None:
    (fault,) = FAULT_RULES.validate_json(json.dumps([{"kind": "bad_value", "value": 7, "names": names}]))
    assert isinstance(fault, BadValue)
    error = error_for(fault, b'{"data": {"times": [], "series": {"a": [7, null, 7.0], "b": [1, 2, 3]}}}')
    assert error is not None
    assert error.problems is not None
    assert list(error.problems.messages) == paths


def test_a_bad_value_without_a_name_and_requests_without_it() -> None:
    (fault,) = FAULT_RULES.validate_json('[{"kind": "bad_value", "value": 7, "names": "nothing"}]')
    assert isinstance(fault, BadValue)
    error = error_for(fault, b'{"data": {"series": {"a": [7]}}}')
    assert error is not None
    assert (error.code, error.problems) == (-32602, None)
    for params in (
        b'{"data": {"series": {"a": [8, null]}}}',
        b"{}",
        b"[",
        None,
        b"[]",
        b'{"data": {"series": {"a": 7}}}',
    ):
        assert error_for(fault, params) is None
