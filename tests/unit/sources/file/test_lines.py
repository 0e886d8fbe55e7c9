"""Lines and records out of bytes."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.records import Record, TimeKind
from connector.sources.file.lines import Line, LineSplitter, capture_line, captured, to_record
from connector.sources.file.section import FileSection

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
        (
            b'{"topic": "t", "payload": 1, "time": -99999999999, "time_kind": "arrival"}',
            "time: -99999999999 is in no cal",
        ),
        (b'{"topic": "t", "payload": 1, "received": -99999999999}', "received: "),
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


# -- captures --------------------------------------------------------------------------------------


times = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
records = st.builds(
    Record,
    topic=st.text(min_size=1, max_size=30),
    payload=st.none() | st.binary(max_size=50) | st.text(max_size=50).map(str.encode),
    time_us=times,
    key=st.none() | st.binary(max_size=10),
    headers=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple),
    retained=st.booleans(),
)


@given(records, st.sampled_from(list(TimeKind)), times.filter(bool), st.text(min_size=1, max_size=10))
def test_a_record_comes_out_of_a_capture_as_it_went_in(
    record: Record, kind: TimeKind, received_us: int, source: str
) -> None:
    record = msgspec.structs.replace(record, time_kind=kind, received_us=received_us if kind else 0)
    line = capture_line(source, record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert captured(line[:-1], NOW, "t") == (source, record)


@pytest.mark.parametrize("time_ms", [2**63 // 1000, -(2**63) // 1000])
def test_a_time_that_has_no_text_is_still_a_line(time_ms: int) -> None:
    record = Record("t", b"1", time_ms * 1000, time_kind=TimeKind.CREATED, received_us=NOW)
    found = captured(capture_line("s", record).strip(), NOW, "t").record
    assert found.problem == ""
    assert abs(found.time_us) > 60_000_000_000_000_000  # as far from now as a text goes: rejected like the real one


def test_arrival_is_the_kind_of_a_recorded_mqtt_message() -> None:
    found = record_of(b'{"topic": "t", "payload": 1, "time": "2026-01-02T03:04:05Z", "time_kind": "arrival"}')
    assert (found.time_us, found.time_kind, found.received_us) == (1_767_323_045_000_000, TimeKind.ARRIVAL, 0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"topic": "t", "payload": 1, "time_kind": "yesterday"}', "time_kind must be one of"),
        (b'{"topic": "t", "payload": 1, "time_kind": 5}', "time_kind must be one of"),
        (b'{"topic": "t", "payload": 1, "time_kind": "create_time"}', "without a time"),
        (b'{"topic": "t", "payload": 1, "retained": "yes"}', "retained must be"),
        (b'{"topic": "t", "payload": 1, "source": 5}', "source must be"),
        (b'{"topic": "t", "payload": 1, "key": "a", "key_base64": "YQ=="}', "either key or key_base64"),
        (b'{"topic": "t", "payload": 1, "key_base64": "?"}', "key_base64"),
        (b'{"topic": "t", "payload": 1, "headers": [["a"]]}', "headers must be"),
        (b'{"topic": "t", "payload": 1, "received": "x"}', "received:"),
    ],
)
def test_what_a_capture_cannot_say(line: bytes, words: str) -> None:
    assert re.search(words, record_of(line).problem), record_of(line).problem
