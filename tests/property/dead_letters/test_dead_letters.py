"""Letters about anything that a hostile publisher may send: small, readable, and the same when they are read back."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from connector.conformance.dead_letters import a_letter
from connector.dead_letters.as_json import NoLetterError, from_json, to_json
from connector.dead_letters.letter import letter_of
from connector.dead_letters.trimming import trimmed
from connector.records import Reason, Record, Reject

MIB = 1024 * 1024
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
