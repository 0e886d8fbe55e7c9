"""Dead letters themselves: what identifies one, what it may take, how it is written down, and who stamps it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connector.conformance.dead_letters import a_letter, letters_in
from connector.dead_letters.as_json import NoLetterError, as_object, from_json, to_json
from connector.dead_letters.letter import DeadLetter, time_text
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLettersError, Usage
from connector.dead_letters.trimming import MOST_REJECTS, shrunk, trimmed
from connector.dead_letters.writer import DeadLetterWriter
from connector.records import Reason, Reject

MIB = 1024 * 1024


def many_rejects(n: int) -> list[Reject]:
    return [Reject(Reason.NOT_FINITE, "NaN", f"a.{i}", "nan") for i in range(n)]


# -- identity ----------------------------------------------------------------------------------------


def test_a_letter_is_the_same_one_after_a_crash() -> None:
    again = msgspec.structs.replace(a_letter(1), written_us=99, version="2", configuration="other")
    assert again.key == a_letter(1).key


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "other"},
        {"partition": "other"},
        {"position": 2},
        {"rejects": [Reject(Reason.INVALID_JSON, "it is no JSON", "a")]},
        {"rejects": [Reject(Reason.NOT_UTF8, "it is no JSON")]},
        {"rejects": [Reject(Reason.INVALID_JSON, "", None, None, "input")]},
        {"rejects": [Reject(Reason.INVALID_JSON, "", None, None, None, 7)]},
    ],
)
def test_every_part_of_the_identity_counts(changes: dict[str, Any]) -> None:
    assert a_letter(**{"position": 1, **changes}).key != a_letter(1).key


def test_all_letters_about_a_record_know_it() -> None:
    other = a_letter(1, rejects=[Reject(Reason.INSERT_REJECTED, "no", None, "1", "i", 5)])
    assert other.record_id == a_letter(1).record_id
    assert other.key != a_letter(1).key


# -- bounds ------------------------------------------------------------------------------------------


def test_an_ordinary_letter_is_kept_as_it_is() -> None:
    assert list(trimmed(a_letter(1), 1024)) == [a_letter(1)]


def test_a_payload_at_the_bound_is_whole_and_one_above_is_cut() -> None:
    (whole,) = trimmed(a_letter(1, b"x" * 100), 100)
    assert whole.whole
    (cut,) = trimmed(a_letter(1, b"x" * 101), 100)
    assert not cut.whole
    assert cut.cut is not None
    assert (cut.cut.parts, cut.cut.payload_length) == (("payload",), 101)
    assert cut.cut.payload_sha256 == hashlib.sha256(b"x" * 101).hexdigest()
    assert cut.key == a_letter(1).key


def test_of_very_many_bad_values_of_a_whole_record_only_the_first_are_written_out() -> None:
    (letter,) = trimmed(a_letter(1, rejects=many_rejects(20_000)), MIB)
    assert len(letter.rejects) == MOST_REJECTS
    assert letter.reasons == {"not_finite": 20_000}
    assert letter.whole
    assert len(to_json(letter)) < 20_000


def test_where_the_record_is_not_here_every_value_is_kept() -> None:
    letters = list(trimmed(a_letter(1, rejects=many_rejects(250), record=None, why="gone"), MIB))
    assert sum((letter.reasons for letter in letters), Counter()) == {"not_finite": 250}
    assert [len(letter.rejects) for letter in letters] == [100, 100, 50]
    assert len({letter.key for letter in letters}) == 3
    assert {letter.missing for letter in letters} == {"gone"}


def test_where_the_record_was_cut_it_stands_once_and_every_value_is_kept() -> None:
    letters = list(trimmed(a_letter(1, b"x" * MIB, rejects=many_rejects(250)), 1024))
    assert [letter.record is not None for letter in letters] == [True, False, False]
    assert sum(len(letter.rejects) for letter in letters) == 250


def test_a_letter_that_a_store_finds_too_large_shrinks_to_almost_nothing() -> None:
    letter: DeadLetter | None = a_letter(1, b"x" * 100_000, rejects=many_rejects(50))
    sizes = []
    while letter is not None:
        assert letter.reasons.total() == 50, "nothing is forgotten"
        sizes.append(len(to_json(letter)))
        last, letter = letter, shrunk(letter)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 1000
    assert (last.record, last.missing) == (None, "the record is too large for the store of the dead letters")


# -- as JSON -----------------------------------------------------------------------------------------


def test_text_is_text_and_other_bytes_are_base64() -> None:
    assert as_object(a_letter(1, "ü {".encode()))["payload_text"] == "ü {"
    assert as_object(a_letter(1, b"\xff"))["payload_base64"] == "/w=="
    assert "payload_base64" in as_object(a_letter(1, bytes(10_000))), "control characters would take six times as much"


def test_a_letter_can_be_read_by_a_file_source() -> None:
    found = json.loads(to_json(a_letter(1, b'{"v": 1}')))
    assert (found["topic"], found["payload_text"]) == ("plant/7", '{"v": 1}')


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"1", b"{}", b'{"dead_letter": 2}', b'{"dead_letter": 1}', b'{"dead_letter": 1, "x": "\xff"}'],
)
def test_what_is_no_letter_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(NoLetterError):
        from_json(line)


def test_times_for_people() -> None:
    assert time_text(1_790_000_000_123_456) == "2026-09-21T14:13:20.123Z"
    assert "µs" in time_text(2**62)


# -- the writer --------------------------------------------------------------------------------------


class Scripted:
    """A store that fails when told to."""

    address = "here"
    fails = False

    def __init__(self) -> None:
        self.kept: list[DeadLetter] = []
        self.found: list[str] = []

    def start(self) -> None: ...

    def add(self, letters: list[DeadLetter]) -> None:
        if self.fails:
            raise DeadLettersError("the disk is full")
        self.kept += letters

    def usage(self) -> Usage:
        return Usage(len(self.kept))

    def problems(self) -> list[str]:
        return self.found

    def close(self) -> None: ...


def test_the_writer_stamps_letters_and_says_what_is_wrong() -> None:
    store = Scripted()
    writer = DeadLetterWriter(store, max_payload=1024, configuration="abc", version="1.2.3", now_us=lambda: 42)
    writer.add([a_letter(1), a_letter(2)])
    assert [(found.configuration, found.version, found.written_us) for found in store.kept] == [
        ("abc", "1.2.3", 42)
    ] * 2
    assert [found.position for found in writer.newest(5)] == [2, 1]
    assert writer.problems() == []
    store.fails = True
    with pytest.raises(DeadLettersError):
        writer.add([a_letter(3)])
    assert writer.problems() == ["dead letters: the disk is full; intake waits"]
    store.fails = False
    store.found = ["the oldest are being discarded"]
    writer.add([a_letter(3)])
    assert writer.problems() == ["dead letters: the oldest are being discarded"]


# -- the SQLite file ---------------------------------------------------------------------------------


def test_a_lowered_bound_holds_from_the_next_letter_on(tmp_path: Path) -> None:
    store = SqliteLetters(tmp_path / "letters.sqlite", 10 * MIB)
    store.add([a_letter(i, bytes(5000)) for i in range(100)])
    store.close()
    store = SqliteLetters(tmp_path / "letters.sqlite", 100_000)
    assert store.usage().kept == 100
    store.add([a_letter(100)])
    assert (store.usage().kept or 0) < 20
    assert letters_in(store)[-1].position == 100
    store.close()


def test_one_letter_above_the_bound_is_discarded_and_counted(tmp_path: Path) -> None:
    store = SqliteLetters(tmp_path / "letters.sqlite", 1000)
    store.add([a_letter(1, bytes(5000))])
    assert (store.usage().kept, store.usage().discarded) == (0, 1)
    store.close()


def test_what_another_process_removes_makes_room(tmp_path: Path) -> None:
    store = SqliteLetters(tmp_path / "letters.sqlite", 100_000)
    store.add([a_letter(i, bytes(5000)) for i in range(15)])
    other = SqliteLetters(tmp_path / "letters.sqlite", 100_000)
    other.forget([letter.key for letter in letters_in(other)])
    other.close()
    assert (store.usage().kept, store.usage().bytes) == (0, 0)
    store.add([a_letter(i, bytes(5000)) for i in range(100, 115)])
    assert (store.usage().kept, store.usage().discarded) == (15, 0)
    store.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dead-letters.sqlite"
    path.write_text("no database" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="move the file away") as refused:
        SqliteLetters(path, MIB)
    assert str(path) in str(refused.value)
