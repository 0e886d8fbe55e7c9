"""Dead letters: durable, one for each value that became no sample, bounded, and never lost without a count."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.delivery.dead_letters import DeadLetter, DeadLettersError, DeadLetterStore

MIB = 1024 * 1024


def letter(position: int, item: str = "", payload: bytes = b"payload", reason: str = "invalid_json") -> DeadLetter:
    return DeadLetter("mqtt", "p", position, "plant/7", 1_790_000_000_000_000, reason, "why", item, "value", payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead-letters.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[DeadLetterStore]:
    found = DeadLetterStore(path, 100 * MIB)
    yield found
    found.close()


def test_a_letter_is_kept_as_it_is(store: DeadLetterStore) -> None:
    written = letter(7, "a.b", b"\x00\xff binary")
    store.add([written, dataclasses.replace(written, position=8, payload=None, value=None)])
    assert store.newest(10) == [dataclasses.replace(written, position=8, payload=None, value=None), written]
    assert (store.count(), store.discarded()) == (2, 0)


def test_a_letter_is_durable_when_add_returns(store: DeadLetterStore, path: Path) -> None:
    store.add([letter(1)])
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT payload FROM letters").fetchall() == [(b"payload",)]
    reader.close()


def test_the_same_letter_again_is_not_a_second_one(store: DeadLetterStore, path: Path) -> None:
    """After a crash the records come again, and so do their letters."""
    letters = [letter(1), letter(1, "a"), letter(2)]
    store.add(letters)
    store.add([*letters, letter(3)])
    assert store.count() == 4
    store.add(letters)
    assert store.newest(1) == [letter(3)], "and not a newer one"
    store.close()
    again = DeadLetterStore(path, MIB)
    again.add(letters)
    assert again.count() == 4
    again.close()


@pytest.mark.parametrize("field", ["source", "partition", "position", "item"])
def test_every_part_of_the_identity_counts(store: DeadLetterStore, field: str) -> None:
    other = dataclasses.replace(letter(1), **{field: 99 if field == "position" else "other"})
    store.add([letter(1), other])
    assert store.count() == 2


def test_above_its_bound_the_oldest_go_and_are_counted(path: Path) -> None:
    store = DeadLetterStore(path, 100_000)
    for position in range(100):
        store.add([letter(position, payload=b"x" * 5000)])
    kept = store.newest(1000)
    assert [found.position for found in kept] == list(range(99, 99 - len(kept), -1)), "the newest are kept"
    assert 10 < len(kept) <= 20
    assert store.discarded() == 100 - len(kept)
    store.close()
    again = DeadLetterStore(path, 100_000)
    assert again.discarded() == 100 - len(kept), "for good"
    assert again.count() == len(kept)
    again.close()


def test_long_values_and_names_count_towards_the_bound(path: Path) -> None:
    store = DeadLetterStore(path, 100_000)
    for position in range(50):
        store.add([dataclasses.replace(letter(position), value="v" * 5000, item="i" * 5000)])
    assert store.count() < 12
    store.close()


def test_a_lowered_bound_holds_from_the_next_letter_on(path: Path) -> None:
    store = DeadLetterStore(path, 10 * MIB)
    store.add([letter(position, payload=b"x" * 5000) for position in range(100)])
    store.close()
    store = DeadLetterStore(path, 100_000)
    assert store.count() == 100
    store.add([letter(100)])
    assert store.count() < 20
    assert store.newest(1)[0].position == 100
    store.close()


def test_one_letter_above_the_bound_is_discarded_and_counted(path: Path) -> None:
    store = DeadLetterStore(path, 1000)
    store.add([letter(1, payload=b"x" * 5000)])
    assert (store.count(), store.discarded()) == (0, 1)
    store.close()


def test_a_store_that_cannot_write_says_so_and_works_again_later(store: DeadLetterStore, path: Path) -> None:
    store.add([letter(1)])
    with sqlite3.connect(path) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON letters BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        other.commit()
        with pytest.raises(DeadLettersError, match="disk full"):
            store.add([letter(2), letter(3)])
        assert store.count() == 1
        other.execute("DROP TRIGGER full")
        other.commit()
    other.close()
    store.add([letter(2), letter(3)])
    assert store.count() == 3


def test_a_letter_that_cannot_be_written_leaves_the_store_usable(store: DeadLetterStore) -> None:
    with pytest.raises(UnicodeEncodeError):
        store.add([letter(1), dataclasses.replace(letter(2), topic="\ud800")])
    store.add([letter(3)])
    assert [found.position for found in store.newest(10)] == [3]


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_text("no database" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="move it away") as refused:
        DeadLetterStore(path, MIB)
    assert str(path) in str(refused.value)
