"""Letters about anything that a hostile publisher may send: small, readable, and the same when they are read back."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from hypothesis import example, given
from hypothesis import strategies as st

from connector.conformance.dead_letters import a_letter
from connector.dead_letters.as_json import NoLetterError, from_json, to_json
from connector.dead_letters.letter import letter_of, time_text
from connector.dead_letters.trimming import trimmed
from connector.mapping.mapper import Mapper
from connector.records import Reason, Record, Reject
from connector.sources.file.lines import Line, capture_line, to_record
from connector.sources.file.section import FileSection
from connector.sources.kafka.records import to_records
from tests.dead_letter_places import FilePlace, SqlitePlace

MIB = 1024 * 1024
READ_US = 1_790_000_000_000_000
CAPTURE = FileSection.model_validate({"type": "file", "path": "-", "records": "record"})
TEXTS = st.one_of(
    st.tuples(st.text(max_size=20), st.just(1)),
    st.tuples(st.sampled_from('x\0ü\ud800"✗'), st.sampled_from([1, 600, 3000, 20_000])),
)
"""(text, how often): so that a counterexample can be read."""


@given(
    topic=TEXTS, path=TEXTS, value=TEXTS, message=TEXTS, headers=st.lists(st.tuples(TEXTS, TEXTS), max_size=3),
    key=st.sampled_from([None, 0, 20_000]), payload=st.sampled_from([0, 1999, 2000, 2001, 5000]), n=st.integers(1, 120),
)  # fmt: skip
def test_whatever_is_in_a_message_its_letters_are_small_and_can_be_written(
    topic: tuple[str, int],
    path: tuple[str, int],
    value: tuple[str, int],
    message: tuple[str, int],
    headers: list[tuple[tuple[str, int], tuple[str, int]]],
    key: int | None,
    payload: int,
    n: int,
) -> None:
    def text(found: tuple[str, int]) -> str:
        return found[0] * found[1]

    rejects = [Reject(Reason.NOT_FINITE, text(message), text(path) + str(i), text(value)) for i in range(n)]
    pairs = tuple((text(name), text(content)) for name, content in headers)
    record = Record(text(topic), b"\0" * payload, 1, None if key is None else b"k" * key, pairs)
    total = 0
    for letter in trimmed(letter_of("s", "p", 1, record.topic, rejects, record), 2000):
        line = to_json(letter)
        assert len(line) < 2 * MIB
        assert from_json(line) == letter
        total += letter.reasons.total()
    assert total == n, "every value is accounted for"


@given(st.binary(max_size=300), st.integers(0, 10_000))
def test_a_damaged_letter_is_a_letter_or_none_and_never_a_crash(junk: bytes, at: int) -> None:
    line = to_json(a_letter(1, b"\xff" * 20))
    at %= len(line)
    with contextlib.suppress(NoLetterError):
        from_json(line[:at] + junk + line[at + len(junk) :])


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([b"1", b"{broken"]))
@example(1_764_240_000_000_000_000, b"1")  # nanoseconds, taken for milliseconds
@example(2**63 - 1, b"{broken")
@example(-(2**63), b"1")
@example(-1, b"1")  # Kafka's "no timestamp"
@example(0, b"1")
def test_whatever_timestamp_kafka_has_its_letter_can_be_written_and_read_and_says_which(
    time_ms: int, payload: bytes
) -> None:
    time_us = READ_US if time_ms == -1 else time_ms * 1000
    message = Message(topic="t", partition=0, offset=1, value=payload, timestamp=(TIMESTAMP_CREATE_TIME, time_ms))
    (record,) = to_records("t", [message], READ_US, record_time=True)
    assert to_record(Line(capture_line("kafka", record), 1), CAPTURE, 0).problem == ""
    mapped = Mapper().map("kafka", record)
    if mapped.rejects:
        letter = letter_of("kafka", "t[0]", 1, "t", mapped.rejects, record)
        assert from_json(to_json(letter)) == letter
        assert time_text(letter.time_us)
        assert letter.time_us == time_us or str(time_us) in letter.rejects[0].message
        with tempfile.TemporaryDirectory() as folder:
            for place in (SqlitePlace(Path(folder)), FilePlace(Path(folder))):
                store = place.open()
                store.add([letter])
                assert place.kept() == [letter]
                store.close()
    else:
        assert [sample[1] for sample in mapped.samples] == [time_us]
