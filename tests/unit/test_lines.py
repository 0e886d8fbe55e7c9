"""Lines and records out of bytes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config import FileSection
from connector.records import TimeKind
from connector.sources.lines import Line, LineSplitter, to_record

NOW = 1_790_000_000_000_000


def section(**settings: object) -> FileSection:
    given = {"type": "file", "path": "x", "records": "record"} | settings
    return FileSection.model_validate(given)


def record_of(text: bytes, **settings: object):
    return to_record(Line(text, len(text)), section(**settings), NOW)


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))), st.data())
def test_lines_come_out_once_however_the_bytes_come(lines: list[bytes], data: st.DataObject) -> None:
    ended = data.draw(st.booleans())
    text = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    splitter = LineSplitter(1024)
    found: list[bytes] = []
    while text:
        size = data.draw(st.integers(1, len(text)))
        found += [line.content for line in splitter.feed(text[:size])]
        text = text[size:]
    found += [line.content for line in splitter.end()]
    if not ended and lines and not lines[-1]:
        lines = lines[:-1]  # nothing stands behind the last line's end
    assert found == lines


@given(st.integers(1025, 200_000), st.integers(1, 70_000))
def test_a_line_that_is_too_long_is_cut_and_its_neighbours_are_whole(length: int, piece: int) -> None:
    text = b"before\n" + b"x" * length + b"\nbehind\n"
    splitter = LineSplitter(1024)
    lines = [line for i in range(0, len(text), piece) for line in splitter.feed(text[i : i + piece])]
    assert [line.content[:6] for line in lines] == [b"before", b"xxxxxx", b"behind"]
    assert lines[1].length == length
    assert len(lines[1].content) == 1024
    assert "bytes" in to_record(lines[1], section(), NOW).problem


def test_windows_line_ends() -> None:
    assert [line.content for line in LineSplitter(1024).feed(b"a\r\nb\r\n")] == [b"a", b"b"]


def test_a_whole_record() -> None:
    found = record_of(
        b'{"topic": "t", "payload": {"a": 1}, "time": "2026-01-02T03:04:05Z", "key": "k", "headers": {"h": "1"}}'
    )
    assert found.problem == ""
    assert (found.topic, found.payload, found.key, found.headers) == ("t", b'{"a":1}', b"k", (("h", "1"),))
    assert (found.time_us, found.time_kind, found.received_us) == (1_767_323_045_000_000, TimeKind.CREATED, NOW)


def test_payloads_as_text_and_bytes() -> None:
    assert record_of(b'{"topic": "t", "payload_text": "12.5"}').payload == b"12.5"
    assert record_of(b'{"topic": "t", "payload_base64": "/wA="}').payload == b"\xff\x00"
    assert record_of(b'{"topic": "t", "payload_text": null}').payload is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "empty document"),
        (b"nonsense", "no record"),
        (b"5", "must be a JSON object"),
        (b'{"payload": 1}', "topic must be a text"),
        (b'{"topic": "t"}', "exactly one of"),
        (b'{"topic": "t", "payload": 1, "payload_text": "1"}', "exactly one of"),
        (b'{"topic": "t", "payload": 1, "tme": 1}', "'tme' is not known"),
        (b'{"topic": "t", "payload": 1, "time": "yesterday"}', "time:"),
        (b'{"topic": "t", "payload_base64": "?"}', "payload_base64"),
        (b'{"topic": "t", "payload": 1, "key": 5}', "key must be a text"),
        (b'{"topic": "t", "payload": 1, "headers": [5]}', "headers must be"),
    ],
)
def test_a_line_that_is_no_record_says_why_and_keeps_its_bytes(line: bytes, words: str) -> None:
    found = record_of(line)
    assert re.search(words, found.problem), found.problem
    assert found.payload == line


@given(st.binary(max_size=200))
def test_any_line_becomes_a_record(line: bytes) -> None:
    found = record_of(line)
    assert found.problem or found.topic
