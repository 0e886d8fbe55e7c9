"""The file of a source is exact after any crash. When the file is damaged, nothing is lost silently."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.journal_row import JournalRow
from connector.ledger.schema import DamagedError
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import Statement, read_statement
from connector.records import Record

PAGE = 4096


def records(first: int, n: int, size: int = 100) -> list[Record]:
    """`n` records whose payload begins with their number, from `first` on."""
    rng = random.Random(first)
    return [Record(f"t{i % 3}", f"{i} ".encode() + rng.randbytes(size), i) for i in range(first, first + n)]


def commit(position: int, *topics: str) -> Commit:
    """A commit up to this position. Its account has one inserted message for each of `topics`."""
    tallies: dict[str, Tally] = {}
    for topic in topics:
        tally = tallies.setdefault(topic, Tally())
        tally += Tally(Counts(received=1, inserted=1), Counts(received=1, inserted=1))
    return Commit("mqtt", "p", position, tallies)


def waiting(file: SourceFile) -> list[Record]:
    """All records that can be read, in the way in which a journal reads them."""
    found: list[Record] = []
    position = file.journal.first_waiting()
    while isinstance(row := file.journal.read_next(position).row, JournalRow):
        assert row.first >= position
        found += row.records
        position = row.last + 1
    assert row is None
    return found


def statement(path: Path) -> tuple[Statement, list[Record]]:
    found: list[Record] = []
    return read_statement(path, lambda row: found.extend(row.records)), found


def settled(said: Statement) -> int:
    return sum(tally.messages.received for tally in said.settled.values())


def test_a_new_file_is_empty(tmp_path: Path) -> None:
    file = SourceFile.open(tmp_path / "mqtt.sqlite")
    assert (file.next_position, file.journal.first_waiting(), file.waiting_bytes, file.recovery) == (1, 1, 0, None)
    assert file.journal.read_next(1).row is None
    assert file.remembered("client_id") is None
    file.close()
    said, _ = statement(file.path)
    assert (said.appended, said.settled, said.damaged_rows, said.incidents, said.losses) == (0, {}, 0, [], [])


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sqlite"
    file = SourceFile.open(path)
    rows = file.journal.write([records(0, 3), records(3, 2)], [])
    assert [(row.first, row.last) for row in rows] == [(1, 3), (4, 5)]
    file.remember("client_id", "me")
    incarnation = file.incarnation
    file.close()
    again = SourceFile.open(path)
    assert waiting(again) == records(0, 3) + records(3, 2)
    assert (again.next_position, again.journal.first_waiting(), again.remembered("client_id")) == (6, 1, "me")
    assert again.incarnation == incarnation
    assert again.waiting_bytes == file.waiting_bytes > 0
    again.close()


def test_a_commit_removes_rows_and_adds_to_the_ledger_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sqlite"
    file = SourceFile.open(path)
    file.journal.write([records(0, 3), records(3, 2)], [])
    file.journal.write([], [commit(3, "t0", "t1", "t2")])
    file.journal.write([records(5, 1)], [commit(5, "t0", "t1")])
    assert waiting(file) == records(5, 1)
    file.close()
    again = SourceFile.open(path)
    assert (again.journal.first_waiting(), again.next_position) == (6, 7)
    assert again.waiting_bytes == file.waiting_bytes
    again.journal.write([], [commit(6, "t2")])
    assert again.waiting_bytes == 0
    again.close()
    said, left = statement(path)
    assert (said.appended, left) == (6, [])
    assert {topic: tally.messages for topic, tally in said.settled.items()} == {
        topic: Counts(received=2, inserted=2) for topic in ("t0", "t1", "t2")
    }
    assert SourceFile.open(path).next_position == 7, "positions never begin anew"


def test_a_statement_can_be_read_while_the_file_is_in_use(tmp_path: Path) -> None:
    file = SourceFile.open(tmp_path / "with # and ?.sqlite")
    file.journal.write([records(0, 3)], [])
    said, left = statement(file.path)
    assert (said.appended, left) == (3, records(0, 3))
    file.close()


def test_reading_goes_on_behind_a_hole(tmp_path: Path) -> None:
    file = SourceFile.open(tmp_path / "mqtt.sqlite")
    file.journal.write([records(0, 3), records(3, 2)], [])
    found = file.journal.read_next(2).row
    assert isinstance(found, JournalRow)
    assert found.first == 4
    file.close()


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    """SQLite's own bound on the number of pages stands for a full disk."""
    path = tmp_path / "mqtt.sqlite"
    SourceFile.open(path).close()
    writer = sqlite3.connect(path, isolation_level=None)
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    file = SourceFile(path, writer)
    file.journal.write([records(0, 1)], [])
    before = (file.next_position, file.waiting_bytes)
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        file.journal.write([records(1, 3), records(4, 1, size=50 * PAGE)], [commit(1, "t0")])
    assert (file.next_position, file.waiting_bytes) == before
    assert waiting(file) == records(0, 1)
    writer.execute("PRAGMA max_page_count = 100000")
    file.journal.write([records(1, 3), records(4, 1, size=50 * PAGE)], [commit(1, "t0")])
    assert waiting(file) == records(1, 3) + records(4, 1, size=50 * PAGE)
    file.close()


def test_a_write_is_all_or_nothing(tmp_path: Path) -> None:
    """New messages, the removal of others, and the account are one transaction. Here the account, the last, fails."""
    file = SourceFile.open(tmp_path / "mqtt.sqlite")
    file.journal.write([records(0, 3)], [])
    with sqlite3.connect(file.path) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        other.commit()
        with pytest.raises(sqlite3.Error, match="disk full"):
            file.journal.write([records(3, 2)], [commit(3, "t0")])
        assert waiting(file) == records(0, 3)
        assert file.next_position == 4
        with pytest.raises(sqlite3.Error, match="disk full"):
            file.ledger.add_commits(2, [commit(3, "t0")])
        assert file.next_position == 4
        other.execute("DROP TRIGGER full")
        other.commit()
    other.close()
    file.journal.write([records(3, 2)], [commit(3, "t0")])
    assert waiting(file) == records(3, 2)
    file.close()


# -- damage ----------------------------------------------------------------------------------------

WRITTEN = [record for first in range(0, 600, 10) for record in records(first, 10)]
SETTLED = 100


@pytest.fixture(scope="module")
def used_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 records in 60 rows, 100 of them settled, about 200 KiB."""
    path = tmp_path_factory.mktemp("used") / "mqtt.sqlite"
    file = SourceFile.open(path)
    file.journal.write([WRITTEN[first : first + 10] for first in range(0, 600, 10)], [])
    file.journal.write([], [commit(SETTLED, *(record.topic for record in WRITTEN[:SETTLED]))])
    file.remember("client_id", "me")
    file.close()
    return path


def damaged_copy(used: Path, folder: Path, damage: Callable[[bytearray], None]) -> Path:
    path = folder / used.name
    content = bytearray(used.read_bytes())
    damage(content)
    path.write_bytes(content)
    return path


def overwrite(start: int, end: int) -> Callable[[bytearray], None]:
    def damage(content: bytearray) -> None:
        content[start:end] = random.Random(start).randbytes(end - start)

    return damage


def truncate(content: bytearray) -> None:
    del content[len(content) * 2 // 3 :]


def bad_schema_format(content: bytearray) -> None:
    content[44:48] = b"\0\0\0\x63"


def bad_schema_text(content: bytearray) -> None:
    at = content.index(b"messages_received")
    content[at : at + 8] = b"massages"


def no_database(content: bytearray) -> None:
    content[:] = b"2026-11-23 this is a log file of somebody else\n" * 100


@pytest.mark.parametrize(
    "damage",
    [
        overwrite(0, 100),
        overwrite(16, 100),
        overwrite(0, PAGE),
        overwrite(20 * PAGE, 21 * PAGE),
        overwrite(12 * PAGE, 20 * PAGE),
        truncate,
        bad_schema_format,
        bad_schema_text,
        no_database,
    ],
)
def test_a_damaged_file_is_set_aside_and_what_is_missing_shows(
    used_file: Path, tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    path = damaged_copy(used_file, tmp_path, damage)
    file = SourceFile.open(path)
    assert file.recovery is not None
    assert file.recovery.kept_as.exists()
    assert str(file.recovery.kept_as) in str(file.recovery)
    recovered = waiting(file)
    assert len(recovered) == file.recovery.recovered_records
    assert all(record in WRITTEN[SETTLED:] for record in recovered), "what is carried over is genuine"

    # The new file works: new messages get positions that were never used.
    (row,) = file.journal.write([records(1000, 2)], [])
    assert row.first > max((w.last for w in rows_of(path)[:-1]), default=0)
    file.close()
    said, left = statement(path)
    assert left == recovered + records(1000, 2)
    (incident,) = said.incidents
    assert str(file.recovery.kept_as) in incident
    if len(recovered) < len(WRITTEN) - SETTLED:
        assert said.losses, "messages are missing silently"
        if all(loss.records is not None for loss in said.losses):
            assert said.appended == settled(said) + len(left) + said.lost, "a loss of another size is reported"
    again = SourceFile.open(path)
    assert again.recovery is None, "set aside once"
    again.close()


def rows_of(path: Path) -> list[JournalRow]:
    found: list[JournalRow] = []
    read_statement(path, found.append)
    return found


def test_from_a_file_with_one_bad_page_both_ends_are_carried_over(used_file: Path, tmp_path: Path) -> None:
    path = damaged_copy(used_file, tmp_path, overwrite(15 * PAGE, 16 * PAGE))
    file = SourceFile.open(path)
    recovered = waiting(file)
    assert recovered[0] == WRITTEN[SETTLED]
    assert recovered[-1] == WRITTEN[-1]
    assert len(recovered) >= 400
    assert file.remembered("client_id") == "me"
    file.close()
    said, _ = statement(path)
    assert said.appended == 600
    assert settled(said) == SETTLED
    (loss,) = said.losses
    lost = [i for i, record in enumerate(WRITTEN) if i >= SETTLED and record not in recovered]
    assert (loss.first, loss.next, loss.records) == (lost[0] + 1, lost[-1] + 2, len(lost)), "exactly what is missing"


def test_a_database_of_another_program_is_set_aside_untouched(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("INSERT INTO theirs VALUES (42)")
    other.close()
    file = SourceFile.open(path)
    assert file.recovery is not None
    assert "another program" in str(file.recovery)
    assert waiting(file) == []
    file.close()
    kept = sqlite3.connect(file.recovery.kept_as)
    assert kept.execute("SELECT x FROM theirs").fetchall() == [(42,)]
    assert kept.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (1,)
    kept.close()


def test_a_flipped_bit_in_a_row_is_found_by_its_checksum(used_file: Path, tmp_path: Path) -> None:
    def flip(content: bytearray) -> None:
        content[content.index(b"305 ")] ^= 1

    file = SourceFile.open(damaged_copy(used_file, tmp_path, flip))
    assert file.recovery is None, "SQLite itself does not see it"
    found = file.journal.read_next(301).row
    assert isinstance(found, DamagedError)
    assert "10 messages from position 301 on" in str(found)
    following = file.journal.read_next(311).row
    assert isinstance(following, JournalRow)
    file.close()
    said, _ = statement(file.path)
    assert said.damaged_rows == 1


def test_a_large_file_is_checked_when_it_is_suspected(tmp_path: Path) -> None:
    """Damage inside a large row is met only when the row is read. The next start must not meet it in that way again."""
    path = tmp_path / "mqtt.sqlite"
    file = SourceFile.open(path)
    file.journal.write([records(0, 5), records(5, 3, size=10 * PAGE), records(8, 5)], [])
    file.close()
    content = bytearray(path.read_bytes())
    at = content.index(records(5, 3, size=10 * PAGE)[1].payload[5000:5020]) // PAGE * PAGE
    content[at : at + 4] = b"\x7f\xff\xff\xff"  # the number of the page on which the row continues
    path.write_bytes(content)

    file = SourceFile.open(path, check_below_bytes=0)
    assert file.recovery is None
    with pytest.raises(sqlite3.DatabaseError):
        file.journal.read_next(6)
    file.suspect()
    file.close()
    again = SourceFile.open(path, check_below_bytes=0)
    assert again.recovery is not None
    assert waiting(again) == records(0, 5) + records(8, 5)
    again.close()
    assert not list(tmp_path.glob("*.suspected"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DROP TABLE losses", "the file has no table losses"),
        ("DROP TABLE settled", "the file has no table settled"),
        ("DELETE FROM meta WHERE key = 'next_position'", "the counter next_position cannot be read"),
        ("UPDATE meta SET value = 'many' WHERE key = 'settled_to'", "the counter settled_to cannot be read"),
        ("DELETE FROM meta WHERE key = 'waiting_bytes'", "the counter waiting_bytes cannot be read"),
        ("DELETE FROM meta WHERE key = 'incarnation'", "the incarnation cannot be read"),
    ],
)
def test_a_file_without_one_of_its_tables_or_counters_is_damaged(
    used_file: Path, tmp_path: Path, damage: str, said: str
) -> None:
    """An empty table or a default in its place would use positions again, or forget a loss."""
    path = damaged_copy(used_file, tmp_path, lambda content: None)
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    file = SourceFile.open(path)
    assert file.recovery is not None
    assert said in file.recovery.reason
    assert waiting(file) == WRITTEN[SETTLED:]
    assert file.next_position == 601
    file.close()
    again = SourceFile.open(path)
    assert again.recovery is None
    again.close()


def test_no_file_can_be_opened_where_none_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        SourceFile.open(tmp_path / "no such folder" / "mqtt.sqlite")


def test_a_locked_file_is_not_taken_for_a_damaged_one(used_file: Path, tmp_path: Path) -> None:
    """The environment is at fault here, not the file: a folder stands in the place of the file."""
    path = tmp_path / "mqtt.sqlite"
    path.mkdir()
    with pytest.raises((sqlite3.OperationalError, OSError)):
        SourceFile.open(path)
    assert path.is_dir()
    assert list(tmp_path.iterdir()) == [path]


# -- a crash in the middle of a recovery -----------------------------------------------------------


def crash_states(used: Path, folder: Path) -> dict[str, Path]:
    """Folders as a process leaves them that ends between two steps of a recovery, by a name for the moment."""
    bad = overwrite(15 * PAGE, 16 * PAGE)
    states = {}

    states["renamed"] = folder / "renamed"
    states["renamed"].mkdir()
    damaged_copy(used, states["renamed"], bad).rename(states["renamed"] / "mqtt.sqlite.recovering")

    states["new file begun"] = folder / "begun"
    shutil.copytree(states["renamed"], states["new file begun"])
    SourceFile.open(states["new file begun"] / "other.sqlite").close()
    (states["new file begun"] / "other.sqlite").rename(states["new file begun"] / "mqtt.sqlite")

    states["new file with a log"] = folder / "log"
    shutil.copytree(states["renamed"], states["new file with a log"])
    unfinished = SourceFile.open(folder / "unfinished.sqlite")
    unfinished.journal.write([records(5000, 7)], [])
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"unfinished.sqlite{suffix}", states["new file with a log"] / f"mqtt.sqlite{suffix}")
    unfinished.close()
    return states


@pytest.mark.parametrize("state", ["renamed", "new file begun", "new file with a log"])
def test_a_recovery_that_was_cut_short_is_done_again(used_file: Path, tmp_path: Path, state: str) -> None:
    folder = crash_states(used_file, tmp_path)[state]
    file = SourceFile.open(folder / "mqtt.sqlite")
    assert file.recovery is not None
    assert len(waiting(file)) >= 400
    assert all(record in WRITTEN for record in waiting(file)), "an unfinished copy does not count"
    file.close()
    assert not list(folder.glob("*.recovering*"))
    again = SourceFile.open(folder / "mqtt.sqlite")
    assert again.recovery is None
    again.close()


def test_the_log_beside_a_damaged_file_goes_with_it(tmp_path: Path) -> None:
    """The process ended after it had renamed the file and before it renamed the -wal, which holds all records."""
    path = tmp_path / "live.sqlite"
    file = SourceFile.open(path)
    file.journal.write([records(0, 10)], [])
    folder = tmp_path / "crashed"
    folder.mkdir()
    shutil.copy(path, folder / "mqtt.sqlite.recovering")
    shutil.copy(tmp_path / "live.sqlite-wal", folder / "mqtt.sqlite-wal")
    file.close()
    recovered = SourceFile.open(folder / "mqtt.sqlite")
    assert waiting(recovered) == records(0, 10)
    recovered.close()
    assert not list(folder.glob("*.recovering*"))
