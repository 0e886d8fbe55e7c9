"""`decode` in a rule: payloads inside fields take the place of these fields, and a bad one costs only itself."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import cbor2
import pytest
from backports import zstd

from connector.mapping.rules.decoding import parse_parts
from connector.mapping.rules.paths import PathError
from connector.mapping.section import MappingSection
from connector.records import Mapped, Reason
from tests.unit.mapping.mappers import mapper, take

JSON = b'{"v": 1.5}'


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def mapped(payload: Any, decode: Any, **more: Any) -> Mapped:
    return take(mapper({"topic": "t", "decode": decode, **more.pop("rule", {})}, **more), payload)


def values(found: Mapped) -> dict[str, float]:
    assert found.rejects == []
    return {input_id.removeprefix("t:"): value for input_id, _, value in found.samples}


@pytest.mark.parametrize(
    ("field", "step"),
    [
        (JSON.decode(), {}),
        (JSON.decode(), {"encoding": "text", "format": "json"}),
        (b64(JSON), {"encoding": "base64"}),
        (b64(JSON).rstrip("="), {"encoding": "base64"}),
        (base64.urlsafe_b64encode(b'{"v": 1.5, "?": "\xc3\xbf>>>"}').decode(), {"encoding": "base64"}),
        ("\n".join((b64(JSON)[:8], b64(JSON)[8:])), {"encoding": "base64"}),
        (JSON.hex(), {"encoding": "hex"}),
        ("0x" + JSON.hex().upper(), {"encoding": "hex"}),
        (JSON.hex(":"), {"encoding": "hex"}),
        (list(JSON), {"encoding": "bytes"}),
        ({"type": "Buffer", "data": list(JSON)}, {"encoding": "bytes"}),
        (list(gzip.compress(JSON, mtime=0)), {"encoding": ["bytes", "gzip"]}),
        (b64(gzip.compress(JSON, mtime=0)), {"encoding": ["base64", "gzip"]}),
        (zlib.compress(JSON).hex(), {"encoding": ["hex", "zlib"]}),
        (b64(zstd.compress(JSON)), {"encoding": ["base64", "zstd"]}),
        (b64(b64(JSON).encode()), {"encoding": ["base64", "base64"]}),
        (b64(cbor2.dumps({"v": 1.5})), {"encoding": "base64", "format": "cbor"}),
        ("{v: 1.5,}", {"format": {"type": "json", "lenient": True}}),
        (b64('{"v": 1.5, "°": "ü"}'.encode("cp1252")),
         {"encoding": "base64", "format": {"type": "json", "encoding": "cp1252"}}),
        ({"v": 1.5}, {}),  # the field is an object already
    ],
)  # fmt: skip
def test_a_field_in_any_encoding(field: Any, step: dict[str, Any]) -> None:
    found = mapped({"a": {"data": field}, "n": 7}, {"path": "a.data", **step})
    assert values(found) == {"a.data.v": 1.5, "n": 7}


def test_each_item_of_a_list_and_each_member_of_an_object() -> None:
    listed = [{"id": "x", "p": '{"v": 1}'}, {"id": "y", "p": '{"v": 2}'}]
    payload = {"l": listed, "m": {"p": '{"v": 3}', "q": '{"v": 4}'}}
    assert values(mapped(payload, ["l[*].p", "m[]"])) == {"l.x.p.v": 1, "l.y.p.v": 2, "m.p.v": 3, "m.q.v": 4}
    assert values(mapped([['{"v": 5}']], "[0][0]")) == {"0.0.v": 5}
    assert values(mapped({"a.b": '{"v": 6}'}, "a.b")) == {"a.b.v": 6}, "a key with a dot"


def test_steps_are_chained() -> None:
    inner = json.dumps({"data": b64(gzip.compress(JSON, mtime=0)), "n": 2})
    found = mapped(
        json.dumps({"body": inner}),
        ["@", "body", {"path": "body.data", "encoding": ["base64", "gzip"]}],
    )
    assert values(found) == {"body.data.v": 1.5, "body.n": 2}


def test_lines_and_rows_become_a_list() -> None:
    rows = {"path": "d", "format": {"type": "csv", "columns": ["name", "v"]}}
    rule = {"iterate": "d", "item_name": "name", "input": "{item}"}
    assert values(mapped({"d": "a,1\nb,2"}, rows, rule=rule)) == {"a": 1, "b": 2}
    assert values(mapped({"d": "1.5"}, {"path": "d", "format": "text"})) == {"d": 1.5}


def test_the_whole_rule_sees_what_was_decoded() -> None:
    using = mapper(
        {"topic": "t", "decode": "p", "when": {"p.kind": "other"}, "skip": True},
        {"topic": "t", "decode": "p", "when": {"p.kind": "reading"}, "select": "p.data", "time": "p.at",
         "input": "{payload.p.id}/{path}"},
    )  # fmt: skip
    inner = json.dumps({"kind": "reading", "id": "m7", "at": 1_790_000_000, "data": {"v": 3}})
    assert take(using, {"p": inner}).samples == [("m7/v", 1_790_000_000_000_000, 3)]


@pytest.mark.parametrize("field", [None, "", {}, []])
def test_an_empty_field_is_left_alone(field: Any) -> None:
    assert values(mapped({"p": field, "n": 1}, "p")) == {"n": 1}


def test_a_missing_field_is_left_alone() -> None:
    assert values(mapped({"n": 1, "a": 2}, ["p", "a.b.c", "n[].x"])) == {"n": 1, "a": 2}


@pytest.mark.parametrize(
    ("field", "step", "reason", "said"),
    [
        ("{broken", {}, Reason.INVALID_JSON, "decode: not JSON"),
        ("eyJ2!", {"encoding": "base64"}, Reason.INVALID_TEXT, "not base64: character 5 is '!'"),
        ("eyJ2I", {"encoding": "base64"}, Reason.INVALID_TEXT, "not base64"),
        ("7b2", {"encoding": "hex"}, Reason.INVALID_TEXT, "not hexadecimal"),
        (b64(JSON), {"encoding": ["base64", "gzip"]}, Reason.INVALID_COMPRESSION, "not gzip"),
        (b64(b"\xff\xff"), {"encoding": "base64"}, Reason.NOT_UTF8, "byte 0"),
        (17, {"encoding": "base64"}, Reason.INVALID_TEXT, "a number, where a text in base64 should be"),
        ([1, 300], {"encoding": "bytes"}, Reason.INVALID_TEXT, "whole numbers from 0 to 255"),
        ("text", {"encoding": "bytes"}, Reason.INVALID_TEXT, "a list of numbers"),
    ],
)
def test_a_bad_field_costs_only_itself(field: Any, step: Any, reason: Reason, said: str) -> None:
    payload = {"items": [{"id": "a", "p": '"QQ=="', "n": 1}, {"id": "b", "p": field, "n": 2}]}
    payload["items"][0]["p"] = None
    found = mapped(payload, {"path": "items[].p", **step})
    assert {input_id: value for input_id, _, value in found.samples} == {"t:items.a.n": 1, "t:items.b.n": 2}
    ((got_reason, path, message),) = [(one.reason, one.path, one.message) for one in found.rejects]
    assert (got_reason, path) == (reason, "items.1.p")
    assert said in message
    assert found.filtered == 3, "two IDs and a null: the bad field is a reject, and not filtered, too"


def test_where_nothing_else_is_mapped_the_bad_field_is_the_only_reject() -> None:
    for rule in ({}, {"select": "p"}, {"iterate": "p.rows"}):
        found = mapped({"p": "{broken"}, "p", rule=rule)
        assert [(one.reason, one.path) for one in found.rejects] == [(Reason.INVALID_JSON, "p")], rule
        assert (found.samples, found.filtered, found.skipped) == ([], 0, False)
    found = mapped(b'"{broken"', "@")
    assert [(one.reason, one.path) for one in found.rejects] == [(Reason.INVALID_JSON, "(top)")]


def test_a_bad_line_costs_only_itself() -> None:
    found = mapped({"d": '{"v": 1}\n{broken\n'}, {"path": "d", "format": "ndjson"})
    assert [value for _, _, value in found.samples] == [1]
    ((reason, path, message),) = [(one.reason, one.path, one.message) for one in found.rejects]
    assert (reason, path) == (Reason.INVALID_JSON, "d")
    assert "line 2" in message


def test_a_key_that_comes_twice_in_a_field_is_refused_with_its_place() -> None:
    found = mapped({"p": '{"v": 1, "v": 2}'}, "p")
    assert [value for _, _, value in found.samples] == [2]
    assert [(one.reason, one.path) for one in found.rejects] == [(Reason.DUPLICATE_KEY, "p.v")]


def test_bombs_end_early() -> None:
    zeros = gzip.compress(b" " * 900_000 + JSON)
    packed = b64(zeros)
    step: dict[str, Any] = {"path": "l[]", "encoding": ["base64", "gzip"]}
    found = mapped({"l": [packed, packed, packed], "n": 1}, step, max_payload_bytes=2_000_000)
    assert sorted(value for _, _, value in found.samples) == [1, 1.5, 1.5]
    assert [(one.reason, one.path) for one in found.rejects] == [(Reason.DECOMPRESSED_TOO_LARGE, "l.2")]
    nested = b64(gzip.compress(gzip.compress(b"\0" * 3_000_000)))
    step["encoding"] = ["base64", "gzip", "gzip"]
    found = mapped({"l": [nested], "n": 1}, step, max_payload_bytes=2_000_000)
    assert [one.reason for one in found.rejects] == [Reason.DECOMPRESSED_TOO_LARGE]


def test_more_fields_or_more_bad_ones_than_there_may_be_are_refused_whole() -> None:
    for items, reason, said in (
        (["{}"] * 100_001, Reason.TOO_MANY_VALUES, "more than 100000 fields"),
        (["{"] * 5_000, Reason.INVALID_JSON, "0: decode: not JSON"),
    ):
        found = mapped(items, "[]")
        assert (found.samples, [(one.reason, one.path) for one in found.rejects]) == ([], [(reason, None)])
        assert said in found.rejects[0].message


def test_other_rules_see_the_payload_as_it_came() -> None:
    using = mapper(
        {"topic": "t", "decode": "p", "input": "a/{path}"},
        {"topic": "t", "input": "b/{path}", "format": {"type": "json", "lenient": True}},
        {"topic": "t", "input": "c/{path}"},
        match="all",
    )
    found = take(using, {"p": "7", "n": 1})
    assert [(one[0], one[2]) for one in found.samples] == [
        ("a/p", 7), ("a/n", 1), ("b/p", 7), ("b/n", 1), ("c/p", 7), ("c/n", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        ({"path": "a..b"}, "a name is missing"),
        ({"path": "a[]b"}, "a dot is missing"),
        ({"path": "a[?x]"}, "no plain path"),
        ({"path": "a", "encoding": "base46"}, "base64"),
        ({"path": "a", "encoding": ["gzip", "bytes"]}, "first encoding"),
        ({"path": "a", "format": "sparkplug_b"}, "whole messages"),
        ({"path": "a", "format": "yaml"}, "yaml"),
        ({"encoding": "hex"}, "path"),
    ],
)
def test_a_step_that_cannot_work_is_refused_with_the_reason(decode: Any, said: str) -> None:
    with pytest.raises(ValueError, match="decode") as refused:
        MappingSection.model_validate({"rules": [{"topic": "t", "decode": decode}]})
    assert said in str(refused.value)


def test_parts_of_a_path() -> None:
    assert parse_parts("@") == ()
    assert parse_parts("a.b[0].c") == ("a", "b", "0", "c")
    assert parse_parts("[]") == parse_parts("@[*]") == (None,)
    assert parse_parts("a[].b[*][0]") == ("a", None, "b", None, "0")
    with pytest.raises(PathError):
        parse_parts("a[].")
