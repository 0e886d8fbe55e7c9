"""Topics that several things share: found after few messages, said once, and held where the settings say so."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.observations import Observation
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.records import Mapped, Reason, Record, Rows

T = 1_790_000_000


def records(*documents: object) -> list[Record]:
    return [Record("t", json.dumps(one).encode(), (T + n) * 10**6) for n, one in enumerate(documents)]


def observed(*documents: object, rule: dict[str, Any] | None = None) -> list[Observation]:
    rules = [] if rule is None else [compile_rule(RuleSection.model_validate({"topic": "t", **rule}))]
    mapper = Mapper(rules)
    ChunkMapper(mapper).map("s", records(*documents))
    return mapper.observations.take()


def message(device: object, value: float, ts: int | None = None, **more: object) -> dict[str, object]:
    return {"device": device, "pressure": value, **({} if ts is None else {"ts": ts}), **more}


SHARED = [
    pytest.param([message("p1", 1), message("p2", 2), message("p1", 3)], id="take turns"),
    pytest.param([message("p1", 1, T), message("p2", 2, T)], id="one time, two values"),
    pytest.param([message(f"p{n}", n) for n in range(5)], id="many"),
    pytest.param([{"labels": {"instance": (n % 2 and "a") or "b"}, "v": n} for n in range(4)], id="in an object"),
    pytest.param([message("p1", 1)] * 50 + [message("p2", 2), message("p1", 3)], id="late"),
    pytest.param([{"mmsi": 257000001 + n % 2, "lat": n} for n in range(4)], id="a number"),
    pytest.param([{"topic": "x", "foo": "ab"[n % 2], "v": n} for n in range(10)], id="another word"),
]


@pytest.mark.parametrize("documents", SHARED)
def test_a_topic_that_several_things_share_is_said_once_with_the_rule(documents: list[object]) -> None:
    (found,) = observed(*documents)
    assert found.kind == "shared_topic"
    assert '{topic: "t", input: "{topic}/{payload.' in found.remedy
    assert "shared_inputs: true" in found.remedy


NOT_SHARED = [
    pytest.param([message("p1", n) for n in range(100)], id="one device"),
    pytest.param([message("p1", 1), message("p1-new", 2), message("p1-new", 3)], id="called otherwise"),
    pytest.param([{"state": "RUN" if n % 2 else "STOP", "rpm": n} for n in range(50)], id="a state"),
    pytest.param([{"messageId": f"m{n}", "v": n} for n in range(50)], id="an ID of the message"),
    pytest.param([{"id": f"{n:032x}", "v": n} for n in range(50)], id="a UUID"),
    pytest.param([{"ts": T + n, "v": n % 2} for n in range(50)], id="numbers alone"),
    pytest.param([message("p1", 1, T), message("p1", 2, T)], id="an overwrite by the same device"),
]


@pytest.mark.parametrize("documents", NOT_SHARED)
def test_what_is_one_thing_is_not_said(documents: list[object]) -> None:
    assert observed(*documents) == []


@pytest.mark.parametrize("rule", [{"input": "{payload.device}/{path}"}, {"shared_inputs": True}], ids=str)
def test_a_rule_that_decides_is_not_doubted(rule: dict[str, Any]) -> None:
    assert observed(*(message(f"p{n % 3}", n) for n in range(20)), rule=rule) == []


@pytest.mark.parametrize(("policy", "reason"), [("hold", Reason.SIGNAL_HELD), ("reject", Reason.NO_IDENTITY)])
def test_values_wait_as_dead_letters_where_the_settings_say_so(
    policy: Literal["hold", "reject"], reason: Reason
) -> None:
    mapper = Mapper(on_identity=policy)
    taken = records(*(message(f"p{n % 2}", n) for n in range(10)))
    outcomes: dict[int, Mapped] = {}
    for index, part in ChunkMapper(mapper).map("s", taken)[1]:
        outcomes.update(part.one_by_one() if isinstance(part, Rows) else [(index, part)])
    assert [bool(outcomes[n].samples) for n in range(10)] == [True] * 3 + [False] * 7
    assert {reject.reason for n in range(3, 10) for reject in outcomes[n].rejects} == {reason}
    assert "write a rule" in outcomes[9].rejects[0].message
    assert [mapper.map("s", record).rejects[0].reason for record in taken[:2]] == [reason] * 2


def test_what_an_earlier_run_found_is_held_from_the_first_message_on() -> None:
    before = Mapper(on_identity="hold")
    taken = records(*(message(f"p{n % 2}", n) for n in range(4)))
    ChunkMapper(before).map("s", taken)
    after = Mapper(on_identity="hold")
    after.shared_topics.topics.update(before.shared_topics.topics)
    (first, *_) = ChunkMapper(after).map("s", taken)[1]
    assert isinstance(first[1], Mapped)
    assert [reject.reason for reject in first[1].rejects] == [Reason.SIGNAL_HELD]
    told_apart = compile_rule(RuleSection.model_validate({"topic": "t", "input": "{payload.device}/{path}"}))
    mended = Mapper([told_apart], on_identity="hold")
    mended.shared_topics.topics.update(before.shared_topics.topics)
    assert mended.map("s", taken[0]).samples == [("p0/pressure", T * 10**6, 0)], "a rule lets them in"


def test_a_quality_that_nobody_reads_is_said() -> None:
    (found,) = observed(*({"v": n, "quality": "good" if n < 3 else "bad"} for n in range(5)))
    assert (found.kind, found.subject) == ("quality_not_read", "t: quality")
    assert observed({"v": 1, "q": 1}, {"v": 1, "q": 2}, rule={"quality": {"path": "q"}}) == []
    (found,) = observed(*({"vals": [{"id": "a", "v": n, "qc": n}]} for n in range(3)))
    assert 'iterate: "vals"' in found.remedy


def test_a_time_that_no_value_has_is_said() -> None:
    (found,) = observed({"event": {"time": T, "name": "x"}, "v": 1})
    assert (found.kind, found.subject) == ("time_not_read", "t")
    assert observed({"event": {"time": T, "v": 2}, "v": 1}) == []


def test_local_times_that_are_ahead_are_said() -> None:
    (found,) = observed({"time": "2026-09-21T16:13:20", "v": 1})
    assert (found.kind, found.text) == (
        "local_time",
        "times of 't' are 2 h ahead of their arrival, like local times without a zone",
    )


def test_a_guess_is_said() -> None:
    (found,) = observed({"l": [{"foo": "a", "v": 1}, {"foo": "b", "v": 2}]})
    assert (found.kind, found.subject) == ("items_named_by_guess", "t: l")
    assert 'item_name: "foo"' in found.remedy
