"""Tests for the promises of every store of dead letters: see `connector.dead_letters.store`.

class FolderPlace(ReadablePlace):
    def __init__(self, folder: Path) -> None:
        self._section = FolderSection(type="folder", path=folder)
        self._folder = folder

    def open(self) -> FolderLetters:
        return self._section.open(self._folder)
    ...

class TestFolder(ReadableStoreConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[FolderPlace]:
        yield FolderPlace(tmp_path)
"""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import pytest

from connector.conformance.waiting import wait_until
from connector.dead_letters.letter import DeadLetter, letter_of
from connector.dead_letters.store import DeadLettersError, DeadLetterStore, Gone, ReadableStore
from connector.dead_letters.writer import DeadLetterWriter
from connector.records import Reason, Record, Reject, TimeKind

_MIB: Final = 1024 * 1024
FULL: Final = DeadLetter(
    source="kafka",
    partition="plant[3]",
    position=2**60,
    topic="plant/ü/7",
    rejects=(
        Reject(Reason.INSERT_REJECTED, "no such\nunit ✗", None, "2.5", "plant/7:a", 1_790_000_000_000_001),
        Reject(Reason.NOT_FINITE, "NaN", "a.b", "nan"),
    ),
    more={"not_finite": 12},
    record=Record(
        "plant/ü/7", b"\x00\xff binary", -5, b"\xfekey", (("h", "v"), ("h", "")), True, TimeKind.APPENDED, 7, "odd"
    ),
    configuration="0123456789abcdef",
    version="1.2.3",
    written_us=1_790_000_000_000_002,
    log="vFaeMEQxRgehhOfpb5wPiw",
)
"""A letter that uses every field."""


STRANGE_HEADERS: Final = (("", ""), ("a\0b", "\0"), ("ü\n", '\\xff"\u2028\ufffe'), ("x" * 300, ""))
"""Headers as a record of Kafka may have them, bytes that are no text as escapes."""


def a_letter(position: int = 1, payload: bytes | None = b"payload", **changes: Any) -> DeadLetter:
    """A letter about the record at `position`; `changes` are further arguments of `letter_of`."""
    record = Record("plant/7", payload, 1_790_000_000_000_000 + position)
    reject = Reject(Reason.INVALID_JSON, "the payload is no JSON")
    fields = {"source": "mqtt", "partition": "journal-1", "position": position, "topic": "plant/7"}
    return letter_of(**{**fields, "rejects": [reject], "record": record, **changes})


def letters_in(store: ReadableStore) -> list[DeadLetter]:
    """The letters that a reader finds: the last letter of each key, without letters that are gone."""
    found: dict[str, DeadLetter] = {}
    for entry in store.read(lambda _done, _total: None):
        if isinstance(entry, Gone):
            found.pop(entry.key, None)
        else:
            found[entry.key] = entry
    return list(found.values())


def same_letters(one: Sequence[DeadLetter], other: Sequence[DeadLetter]) -> bool:
    """Whether both have the same letters, in any order."""
    return sorted(one, key=lambda letter: letter.key) == sorted(other, key=lambda letter: letter.key)


class Place(ABC):
    """The place where the store under test keeps its letters: a new place for each test."""

    secrets: Sequence[str] = ()
    """Passwords and other secrets in the settings of the store, which must not show anywhere."""
    fails_from_the_start: ClassVar[bool] = False
    """Whether `fail` affects only a store that is opened after it."""

    @abstractmethod
    def open(self) -> DeadLetterStore:
        """Open and start a store at this place. A test may call this method several times."""

    @abstractmethod
    def kept(self) -> Sequence[DeadLetter]:
        """The letters at this place now, each once, read without the store that wrote them."""

    @abstractmethod
    def fail(self) -> None:
        """From now on, make every write to the store fail."""

    @abstractmethod
    def mend(self) -> None:
        """From now on, let writes to the store succeed again."""


class ReadablePlace(Place):
    """The place of a store whose letters can be read."""

    @abstractmethod
    def open(self) -> ReadableStore:
        """Open and start a store at this place. A test may call this method several times."""

    def kept(self) -> Sequence[DeadLetter]:
        """The letters at this place now, read by another store."""
        store = self.open()
        found = letters_in(store)
        store.close()
        return found


POISON_US = (1_764_240_000_000_000_000_000, (2**63 - 1) * 1000, -(2**63) * 1000, 2**63 - 1, -(2**63), -1000, 0)
"""Times of records, in µs, that Kafka's producers may give: their timestamps are 64-bit numbers of milliseconds."""


class StoreConformance:
    """The tests of every store; a subclass overrides `place`."""

    @pytest.fixture
    def place(self) -> Place:
        """The place where the store under test keeps its letters."""
        raise NotImplementedError("override the fixture `place`")

    def test_letters_are_kept_as_they_are_when_add_returns(self, place: Place) -> None:
        """Every field of each letter is kept, with one `add` or several."""
        letters = [
            FULL,
            a_letter(1),
            a_letter(2, b""),
            a_letter(3, None),
            a_letter(4, record=None, why="it is gone"),
            a_letter(5, '{"text": "ü"}'.encode()),
            msgspec.structs.replace(a_letter(6), record=Record("t", b"1", 1, b"")),
            a_letter(7, record=Record("t", None, 1, None, STRANGE_HEADERS)),
            a_letter(8, record=Record("t", b"\0", 1, b"\0\xff\xfe", STRANGE_HEADERS)),
            *(a_letter(9 + i, record=Record("t", b"1", time_us)) for i, time_us in enumerate(POISON_US)),
        ]
        store = place.open()
        store.add(letters[:3])
        store.add(letters[3:])
        found = place.kept()
        store.close()
        assert same_letters(found, letters)

    def test_the_same_letter_again_is_not_a_second_one(self, place: Place) -> None:
        """After a crash, the source gives records a second time, so their letters are added a second time, too."""
        letters = [a_letter(i) for i in range(3)]
        store = place.open()
        store.add(letters)
        store.add(letters)
        store.close()
        again = place.open()
        again.add([*letters, a_letter(99)])
        again.close()
        assert same_letters(place.kept(), [*letters, a_letter(99)])

    def test_records_of_two_logs_at_one_position_are_two_records(self, place: Place) -> None:
        """A topic that is made anew has the same partitions and positions, and perhaps the same mistake in a record."""
        letters = [a_letter(1), a_letter(1, log="old"), a_letter(1, log="new")]
        store = place.open()
        store.add(letters)
        store.close()
        assert same_letters(place.kept(), letters)

    def test_while_it_cannot_be_written_it_says_so_and_later_works_again(self, place: Place) -> None:
        """While the store fails, `add` raises `DeadLettersError`; later the same letters can be added."""
        if place.fails_from_the_start:
            place.fail()
            store = place.open()
        else:
            store = place.open()
            store.add([a_letter(1)])
            place.fail()
        with pytest.raises(DeadLettersError) as refused:
            store.add([a_letter(2), a_letter(3)])
        assert _tells_none(place, str(refused.value))
        place.mend()

        def added() -> bool:
            try:
                store.add([a_letter(2), a_letter(3)])
            except DeadLettersError:
                return False
            return True

        wait_until(added, 30, "the store works again")
        assert {2, 3} <= {letter.position for letter in place.kept()}
        assert store.problems() == []
        store.close()

    def test_several_threads_may_add(self, place: Place) -> None:
        """Several threads call `add` at the same time, and no letter is lost."""
        store = place.open()

        def add(thread: int) -> None:
            for i in range(5):
                store.add([a_letter(thread * 1000 + i * 10 + k) for k in range(3)])

        threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        store.close()
        assert len(place.kept()) == 4 * 5 * 3

    def test_a_hostile_payload_is_cut_and_its_length_and_hash_are_kept(self, place: Place) -> None:
        """The connector cuts the payload; the store keeps the `Truncation`."""
        payload = os.urandom(4 * _MIB)
        writer = DeadLetterWriter(
            place.open(), max_payload=512 * 1024, configuration="c", version="v", now_us=lambda: 7
        )
        writer.add([a_letter(1, payload)])
        writer.close()
        (letter,) = place.kept()
        assert letter.record is not None
        assert letter.record.payload == payload[: 512 * 1024]
        assert letter.cut is not None
        assert (letter.cut.payload_length, letter.cut.payload_sha256) == (
            4 * _MIB,
            hashlib.sha256(payload).hexdigest(),
        )
        assert not letter.whole
        assert (letter.configuration, letter.version, letter.written_us) == ("c", "v", 7)

    def test_where_it_is_says_nothing_secret(self, place: Place) -> None:
        """Address, representation and problems show no secret; and a store can be closed twice."""
        store = place.open()
        assert store.address
        assert _tells_none(place, store.address, repr(store), *store.problems())
        store.usage()
        store.close()
        store.close()


class ReadableStoreConformance(StoreConformance):
    """The tests of every store that can be read; a subclass overrides `place`."""

    @pytest.fixture
    def place(self) -> ReadablePlace:
        """The place where the store under test keeps its letters."""
        raise NotImplementedError("override the fixture `place`")

    def test_what_is_forgotten_is_gone_for_every_reader_and_may_come_again(self, place: ReadablePlace) -> None:
        """When `forget` returns, no reader finds the letters. The same letters may be added later."""
        letters = [a_letter(i) for i in range(10)]
        store = place.open()
        store.add(letters)
        store.forget({letters[0].key, letters[7].key, "not there"})
        assert same_letters(place.kept(), [letter for letter in letters if letter.position not in (0, 7)])
        store.add([letters[7]])
        assert same_letters(place.kept(), [letter for letter in letters if letter.position != 0])
        store.forget([letter.key for letter in letters])
        assert place.kept() == []
        store.close()

    def test_a_long_reading_tells_how_far_it_is(self, place: ReadablePlace) -> None:
        """The progress never goes back, and ends with done equal to total."""
        store = place.open()
        store.add([a_letter(i) for i in range(300)])
        told: list[tuple[int, int]] = []
        assert sum(1 for _ in store.read(lambda done, total: told.append((done, total)))) == 300
        store.close()
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1] > 0


def _tells_none(place: Place, *texts: str) -> bool:
    return not any(secret in text for secret in place.secrets for text in texts)
