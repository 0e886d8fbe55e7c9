"""Damage, and a full disk. Damage costs only the positions that it hit; they are reported, and the rest goes on."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.commands.cli import main
from connector.ledger.disk_reserve import DISK_RESERVE_BYTES, disk_reserve_file
from connector.ledger.high_water import high_water_file
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.ledger.verify import verify
from connector.records import Record
from tests.secret_search import SearchedCommands
from tests.unit.sources.journal.journals import MIB, SECONDS, Durable, commit_of, disk, poll_all, settled, started
from tests.waiting import wait_until


def batch(first: int, n: int, size: int = 100) -> list[Record]:
    return [
        Record(f"t{i % 3}", f"{i} ".encode() + random.Random(i).randbytes(size), i) for i in range(first, first + n)
    ]


def crashed_copy(path: Path, folder: Path) -> Path:
    """A copy of the files as they are on the disk now. This is what a killed process leaves."""
    folder.mkdir()
    for suffix in (".high-water", "", "-wal"):
        shutil.copy(path.with_name(path.name + suffix), folder / (path.name + suffix))
    return folder / path.name


def losses(path: Path) -> list[tuple[int | None, int | None, int | None]]:
    return [(loss.first, loss.next, loss.records) for loss in read_statement(path, lambda _: None).losses]


# -- the write-ahead log ---------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["a byte in the middle", "cut", "gone"])
def test_a_damaged_write_ahead_log_takes_nothing_along_silently(path: Path, tmp_path: Path, damage: str) -> None:
    file = SourceFile.open(path)
    file.journal.write([batch(0, 5)], [])
    file._database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for i in range(1, 20):
        file.journal.write([batch(5 * i, 5)], [])
    copy = crashed_copy(path, tmp_path / "crashed")
    file.close()
    wal = copy.with_name(copy.name + "-wal")
    content = bytearray(wal.read_bytes())
    if damage == "gone":
        wal.unlink()
    elif damage == "cut":
        wal.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        wal.write_bytes(content)
    problems = verify(copy, lambda _: None).problems
    assert any("the last transactions are gone" in problem for problem in problems), problems
    again = SourceFile.open(copy)
    ((first, after, n),) = losses(copy)
    assert first is not None
    assert (after, n) == (101, 101 - first)
    assert again.next_position == 101, "positions never repeat"
    with started(disk(again)) as journal:
        chunks = poll_all(journal, first - 1)
        durable = Durable()
        journal.append(durable.batch(0, n=1))
        chunks += poll_all(journal, 1)
        assert chunks[-1].positions[0] == 101
        journal.commit(commit_of(*chunks))
    said = read_statement(copy, lambda _: pytest.fail("nothing waits"))
    assert said.appended == settled(copy) + said.lost == 101


def test_a_kill_alone_is_no_loss(path: Path, tmp_path: Path) -> None:
    file = SourceFile.open(path)
    for i in range(20):
        file.journal.write([batch(5 * i, 5)], [])
    copy = crashed_copy(path, tmp_path / "crashed")
    file.close()
    again = SourceFile.open(copy)
    assert (again.next_position, losses(copy), again.lost_at_start) == (101, [], [])
    again.close()


def test_an_older_copy_that_is_put_in_place_is_noticed(path: Path, tmp_path: Path) -> None:
    file = SourceFile.open(path)
    file.journal.write([batch(0, 5)], [])
    file.close()
    shutil.copy(path, tmp_path / "older")
    file = SourceFile.open(path)
    file.journal.write([batch(5, 5)], [])
    file.close()
    shutil.copy(tmp_path / "older", path)
    file = SourceFile.open(path)
    assert losses(path) == [(6, 11, 5)]
    file.close()


def test_a_body_that_damage_makes_text_costs_only_its_row(path: Path) -> None:
    """Python cannot decode such a text, and calls that an operational error, which stands for trouble that passes."""
    file = SourceFile.open(path)
    for i in range(3):
        file.journal.write([batch(5 * i, 5)], [])
    file._database._writer.execute("UPDATE journal SET body = CAST(x'ff' || body AS TEXT) WHERE first = 6")
    file.close()
    with started(disk(SourceFile.open(path))) as journal:
        chunks = poll_all(journal, 10)
        assert [chunk.positions[0] for chunk in chunks] == [1, 11]
    assert losses(path) == [(6, 11, 5)]


def test_a_damaged_high_water_mark_is_written_anew_and_noted(path: Path) -> None:
    file = SourceFile.open(path)
    file.journal.write([batch(0, 5)], [])
    file.close()
    mark = bytearray(high_water_file(path).read_bytes())
    mark[20] ^= 1
    high_water_file(path).write_bytes(mark)
    assert any("the high-water mark" in problem for problem in verify(path, lambda _: None).problems)
    SourceFile.open(path).close()
    said = read_statement(path, lambda _: None)
    assert (len(said.incidents), said.losses) == (1, [])
    assert verify(path, lambda _: None).problems == []


# -- a full disk -----------------------------------------------------------------------------------


@contextlib.contextmanager
def ballast(folder: Path) -> Iterator[None]:
    """Fill the disk to the last byte while the block runs."""
    file = folder / "ballast"
    with file.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)
    yield
    file.unlink(missing_ok=True)


def test_on_a_full_disk_what_is_settled_leaves_and_room_is_given_back(tiny_disk: Path) -> None:
    path = tiny_disk / "mqtt.sqlite"
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        for i in range(10):
            journal.append(durable.batch(i, n=1, size=MIB // 8))
        durable.wait_for(10)
        with ballast(tiny_disk):
            journal.append(durable.batch(10, n=4, size=MIB // 8))
            wait_until(journal.problems, SECONDS, "the failure is reported", every=0.005)
            chunks = poll_all(journal, 10)
            before = journal.gauges()["journal_bytes"]
            journal.commit(commit_of(*chunks))
            wait_until(lambda: journal.gauges()["journal_bytes"] < before - MIB, SECONDS, "settled without room")
            assert settled(path) == 10
            assert durable.order[:10] == list(range(10))
        durable.wait_for(11)
        wait_until(lambda: not journal.problems(), SECONDS, "well again")
        assert disk_reserve_file(path).stat().st_size == DISK_RESERVE_BYTES
        chunks = poll_all(journal, 4)
        journal.commit(commit_of(*chunks))
    assert losses(path) == []
    assert settled(path) == 14


def test_a_start_on_a_full_disk_can_send_what_waits(tiny_disk: Path) -> None:
    path = tiny_disk / "mqtt.sqlite"
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        journal.append(durable.batch(0, n=3))
        durable.wait_for(1)
    with ballast(tiny_disk), started(disk(SourceFile.open(path))) as journal:
        journal.commit(commit_of(*poll_all(journal, 3)))
        wait_until(lambda: settled(path) == 3, SECONDS, "settled")


def test_free_pages_go_back_to_the_disk(path: Path) -> None:
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        for i in range(64):
            journal.append(durable.batch(i, n=1, size=MIB // 2))
        durable.wait_for(64)
        chunks = poll_all(journal, 64)
        full = path.stat().st_size
        assert full > 20 * MIB
        journal.commit(commit_of(*chunks))
        wait_until(lambda: path.stat().st_size < 20 * MIB, SECONDS, "the file is smaller again")


def test_a_start_reads_no_more_than_a_few_rows(path: Path) -> None:
    file = SourceFile.open(path)
    file.journal.write([batch(i, 1) for i in range(20_000)], [])
    file.close()
    writer = sqlite3.connect(path, isolation_level=None)
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    writer.set_progress_handler(step, 100)
    SourceFile(path, writer).close()
    assert steps <= 5, f"{steps * 100} steps of SQLite for 20,000 rows"


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def configured(tmp_path: Path) -> tuple[Path, Path]:
    """A configuration, and the journal of its source, with 10 messages in four rows."""
    config = tmp_path / "connector.yaml"
    config.write_text(
        "clarify: {credentials: c.json}\nsources:\n  - {type: mqtt, url: mqtts://b, topics: [a]}\nstate_dir: state\n"
    )
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "mqtt.sqlite"
    file = SourceFile.open(path)
    file.journal.write([batch(0, 5), batch(5, 3), batch(8, 1), batch(9, 1)], [])
    file.close()
    return config, path


def run(*args: object) -> tuple[int, str]:
    done = SearchedCommands().invoke(main, [str(arg) for arg in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout + done.stderr


def test_verify_finds_a_healthy_journal_healthy(configured: tuple[Path, Path]) -> None:
    status, said = run("journal", "verify", configured[0])
    assert status == 0, said
    assert "10 messages in 4 rows" in said


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE journal SET crc = crc + 1 WHERE first = 6", "3 messages from position 6 on fail their checksum"),
        ("DELETE FROM journal WHERE first = 6", "positions 6 to 8 are not there"),
        ("INSERT INTO ledger (topic, messages_received) VALUES ('t', 1)", "does not balance"),
        ("UPDATE meta SET value = 99 WHERE key = 'waiting_bytes'", "but 99 are counted"),
        ("UPDATE meta SET value = 99 WHERE key = 'next_position'", "98 messages came in"),
    ],
)
def test_verify_names_what_is_wrong(configured: tuple[Path, Path], damage: str, said: str) -> None:
    config, path = configured
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    status, text = run("journal", "verify", config)
    assert status == 1
    assert said in text


def test_verify_of_a_file_that_is_no_database_says_so(configured: tuple[Path, Path]) -> None:
    config, path = configured
    path.write_bytes(b"nonsense" * 1000)
    status, text = run("journal", "verify", config)
    assert status == 1
    assert "SQLite cannot read on" in text


def test_stats_say_what_waits(configured: tuple[Path, Path]) -> None:
    status, text = run("journal", "stats", configured[0], "--topics", "2", "--json")
    assert status == 0
    ((_, found),) = json.loads(next(line for line in text.splitlines() if line[0] == "{")).items()
    assert (found["messages"], found["rows"], found["next_position"], found["oldest_us"]) == (10, 4, 11, 0)
    assert found["topics"] == {"t0": 4, "t1": 3}
    status, text = run("journal", "stats", configured[0], "--topics", "2")
    assert "10 messages wait" in text
    assert "and 1 more topics" in text


def test_a_loss_is_a_problem_until_it_is_acknowledged(configured: tuple[Path, Path]) -> None:
    config, path = configured
    file = SourceFile.open(path)
    file.journal.confine(6, "test")
    file.close()
    status, text = run("journal", "verify", config)
    assert (status, "not acknowledged: loss 1: 3 messages, positions 6 to 8: test" in text) == (1, True)
    assert run("ledger", config)[0] == 1
    status, text = run("journal", "acknowledge", config, "--loss", "7")
    assert (status, "there is no such loss" in text) == (1, True)
    status, text = run("journal", "acknowledge", config, "--note", "replaced the disk")
    assert status == 0
    assert run("journal", "verify", config)[0] == 0
    status, text = run("ledger", config)
    assert status == 0
    assert "3 messages are lost" in text
    assert run("journal", "acknowledge", config)[0] == 1, "once"


def test_an_account_that_was_lost_can_be_acknowledged(configured: tuple[Path, Path]) -> None:
    """The loss gets the size that makes the account balance at the moment of the acknowledgement."""
    config, path = configured
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO losses (at, reason) VALUES ('2026-05-01', 'with a damaged file')")
    connection.execute("UPDATE meta SET value = 31 WHERE key = 'next_position'")
    connection.commit()
    connection.close()
    assert run("ledger", config)[0] == 1
    status, text = run("journal", "acknowledge", config)
    assert (status, "20 messages: with a damaged file" in text) == (0, True)
    assert run("ledger", config)[0] == 0


def test_without_a_journal_the_command_says_so(tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(
        "clarify: {credentials: c.json}\nsources:\n  - {type: mqtt, url: mqtts://b, topics: [a]}\nstate_dir: state\n"
    )
    for command in ("verify", "stats", "acknowledge"):
        status, text = run("journal", command, config)
        assert status == 1
        assert "there is no journal" in text
