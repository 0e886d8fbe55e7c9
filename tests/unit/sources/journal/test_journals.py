"""The promises of every journal, tested with each kind; then what only the journal on disk does."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connector.ledger.account import Counts
from connector.ledger.losses import Loss
from connector.ledger.progress import MAX_CHUNK
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.records import Chunk, Record
from connector.sources.journal.journal import Batch, Journal, batch_bytes
from connector.sources.source import SourceFailedError
from tests.unit.sources.journal.journals import (
    MIB,
    SECONDS,
    Durable,
    commit_of,
    disk,
    memory,
    payloads,
    poll,
    poll_all,
    settled,
    started,
)
from tests.waiting import wait_until


@pytest.fixture(params=[disk, memory], ids=["disk", "memory"])
def make(request: pytest.FixtureRequest) -> Callable[..., Journal]:
    """Makes the journal under test from a file, and optionally a bound in bytes."""
    maker: Callable[..., Journal] = request.param
    return maker


# -- every journal ---------------------------------------------------------------------------------


def test_records_come_out_in_order_with_rising_positions(make: Callable[..., Journal], path: Path) -> None:
    durable = Durable()
    with started(make(SourceFile.open(path))) as journal:
        batches = [durable.batch(i, n=1 + i % 4) for i in range(50)]
        for batch in batches:
            journal.append(batch)
        wanted = [record.payload for batch in batches for record in batch.records]
        chunks = poll_all(journal, len(wanted))
        assert payloads(chunks) == wanted
        positions = [position for chunk in chunks for position in chunk.positions]
        assert positions == list(range(1, len(wanted) + 1))
        assert {(chunk.source, chunk.partition) for chunk in chunks} == {("mqtt", chunks[0].partition)}
        assert all(0 < len(chunk.records) == len(chunk.positions) <= MAX_CHUNK for chunk in chunks)


def test_a_chunk_of_a_disk_says_when_it_was_durable_unless_it_waited_in_the_file(path: Path) -> None:
    began_us, durable = time.time_ns() // 1000, Durable()
    with started(disk(SourceFile.open(path))) as journal:
        journal.append(durable.batch(1))
        assert began_us <= poll(journal).durable_us <= time.time_ns() // 1000
        assert journal.delays.shown()[-1][1] == 3  # type: ignore[attr-defined]
    with started(disk(SourceFile.open(path))) as journal:
        assert poll(journal).durable_us == 0


def test_every_batch_becomes_durable_once_and_in_order_of_arrival(make: Callable[..., Journal], path: Path) -> None:
    durable = Durable()
    with started(make(SourceFile.open(path))) as journal:
        for i in range(40):
            journal.append(durable.batch(i))
        for chunk in poll_all(journal, 120):
            journal.commit(commit_of(chunk))
        durable.wait_for(40)
    assert durable.order == list(range(40))


def test_an_empty_journal_waits_and_gives_nothing(make: Callable[..., Journal], path: Path) -> None:
    with started(make(SourceFile.open(path))) as journal:
        assert journal.poll(0.01) is None
        assert journal.problems() == []
        assert journal.has_room()


def test_a_poll_that_waits_is_woken_by_an_append(make: Callable[..., Journal], path: Path) -> None:
    with started(make(SourceFile.open(path))) as journal:
        found: list[Chunk | None] = []
        waiting = threading.Thread(target=lambda: found.append(journal.poll(SECONDS * 10)))
        waiting.start()
        journal.append(Durable().batch(1))
        waiting.join(SECONDS)
        assert payloads([chunk for chunk in found if chunk]) == [r.payload for r in Durable().batch(1).records]


def test_a_poll_that_waits_is_woken_because_reading_stops(make: Callable[..., Journal], path: Path) -> None:
    with started(make(SourceFile.open(path))) as journal:
        found: list[Chunk | None] = []
        waiting = threading.Thread(target=lambda: found.append(journal.poll(SECONDS * 10)))
        waiting.start()
        journal.wake()
        waiting.join(SECONDS)
        assert found == [None]
        journal.append(Durable().batch(1))
        assert payloads([poll(journal)]) == [r.payload for r in Durable().batch(1).records]


def test_at_the_bound_there_is_no_room_until_something_is_settled(make: Callable[..., Journal], path: Path) -> None:
    durable = Durable()
    with started(make(SourceFile.open(path), 400_000)) as journal:
        n = 0
        while journal.has_room():
            journal.append(durable.batch(n, n=10, size=2000))
            n += 1
            assert n < 100
        assert any("read" in problem for problem in journal.problems())
        gauges = journal.gauges()
        assert gauges["journal_bytes"] >= gauges["journal_max_bytes"] == 400_000
        for chunk in poll_all(journal, n * 10):
            journal.commit(commit_of(chunk))
        wait_until(journal.has_room, SECONDS, "room again", every=0.002)
        assert journal.problems() == []


def test_the_ledger_has_what_was_committed(make: Callable[..., Journal], path: Path) -> None:
    durable = Durable()
    with started(make(SourceFile.open(path))) as journal:
        for i in range(10):
            journal.append(durable.batch(i))
            assert settled(path) <= 3 * i
            for chunk in poll_all(journal, 3):
                journal.commit(commit_of(chunk))
    said = read_statement(path, lambda row: pytest.fail("nothing waits"))
    assert said.appended == 30
    assert said.settled["t"].messages == Counts(received=30, inserted=30)


def test_records_can_be_read_again_until_they_are_committed(make: Callable[..., Journal], path: Path) -> None:
    durable = Durable()
    with started(make(SourceFile.open(path))) as journal:
        for i in range(10):
            journal.append(durable.batch(i))
        chunks = poll_all(journal, 30)
        wanted = {p: r for chunk in chunks for p, r in zip(chunk.positions, chunk.records, strict=True)}
        assert journal.read_again([1, 2, 17, 30], MIB).records == {p: wanted[p] for p in (1, 2, 17, 30)}
        found: dict[int, Record] = {}
        left = sorted(wanted)
        while left:
            part = journal.read_again(left, 25)
            assert part.done >= 1
            found |= part.records
            left = left[part.done :]
        assert found == wanted
        gone = journal.read_again([5, 99], MIB)
        assert sorted(gone.records) == [5]
        assert gone.why
        journal.commit(commit_of(*chunks))
        wait_until(lambda: not journal.read_again([5], MIB).records, SECONDS, "committed and gone", every=0.01)


def test_positions_and_partitions_never_name_two_records(make: Callable[..., Journal], path: Path) -> None:
    """They identify dead letters. So they must be unique also when uncommitted records come again in another order."""
    seen: dict[tuple[str, int], bytes] = {}
    for run in range(3):
        with started(make(SourceFile.open(path))) as journal:
            journal.append(Durable().batch(run, n=2))
            first = poll(journal)
            for chunk in [first, *([poll(journal)] if len(first.records) < 2 else [])]:
                for position, record in zip(chunk.positions, chunk.records, strict=True):
                    assert seen.setdefault((chunk.partition, position), record.payload) == record.payload


def test_a_journal_can_be_closed_twice_and_without_a_start(make: Callable[..., Journal], path: Path) -> None:
    journal = make(SourceFile.open(path))
    journal.close(SECONDS)
    journal.close(SECONDS)


# -- in memory -------------------------------------------------------------------------------------


def test_memory_acknowledges_only_what_is_settled(path: Path) -> None:
    durable = Durable()
    with started(memory(SourceFile.open(path))) as journal:
        for i in range(3):
            journal.append(durable.batch(i))
        first, second, _ = poll_all(journal, 9)
        assert durable.order == []
        journal.commit(commit_of(first, second))
        assert durable.order == [0, 1]


def test_memory_refuses_to_start_over_messages_that_wait_on_disk(path: Path) -> None:
    with started(disk(SourceFile.open(path))) as journal:
        journal.append(Durable().batch(1))
    file = SourceFile.open(path)
    with pytest.raises(ValueError, match=r"3 messages still wait .* journal: disk") as refused:
        memory(file)
    assert str(path) in str(refused.value)
    file.close()
    with started(disk(SourceFile.open(path))) as journal:
        journal.commit(commit_of(poll(journal)))
    with started(memory(SourceFile.open(path))):
        pass


def test_memory_makes_up_the_account_when_the_ledger_could_not_be_written(path: Path) -> None:
    durable = Durable()
    SourceFile.open(path).close()
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    journal = memory(SourceFile(path, writer))
    with started(journal):
        for i in range(3):
            journal.append(durable.batch(i))
        first, second, third = poll_all(journal, 9)
        journal.commit(commit_of(first))
        writer.execute("PRAGMA query_only = 1")
        journal.commit(commit_of(second))
        assert durable.order == [0, 1], "Clarify has it: the broker may forget it"
        assert settled(path) == 3
        writer.execute("PRAGMA query_only = 0")
        journal.commit(commit_of(third))
    said = read_statement(path, lambda row: None)
    assert (said.appended, settled(path)) == (9, 9)


# -- on disk ---------------------------------------------------------------------------------------


def test_disk_keeps_what_was_not_committed(path: Path) -> None:
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        for i in range(10):
            journal.append(durable.batch(i))
            durable.wait_for(i + 1)
        chunks = poll_all(journal, 30)
        journal.commit(commit_of(*chunks[:4]))
    done = sum(len(chunk.records) for chunk in chunks[:4])
    with started(disk(SourceFile.open(path))) as journal:
        again = poll_all(journal, 30 - done)
    assert [p for chunk in again for p in chunk.positions] == [p for chunk in chunks[4:] for p in chunk.positions]
    assert payloads(again) == payloads(chunks[4:])
    assert {chunk.partition for chunk in again} == {chunk.partition for chunk in chunks}


def test_disk_writes_what_has_come_in_before_it_closes(path: Path) -> None:
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        for i in range(200):
            journal.append(durable.batch(i))
    assert durable.order == list(range(200))
    with started(disk(SourceFile.open(path))) as journal:
        assert len(payloads(poll_all(journal, 600))) == 600


def test_disk_reads_in_order_when_intake_has_fallen_behind_what_is_kept_in_memory(path: Path) -> None:
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        for i in range(30):  # more than the tail in memory holds
            journal.append(durable.batch(i, n=2, size=MIB // 4))
        durable.wait_for(30)
        found = payloads([poll(journal) for _ in range(3)])
        for i in range(30, 60):  # small batches fit into the rest of the tail, large ones do not
            journal.append(durable.batch(i, n=2, size=10 if i % 3 else MIB // 3))
        durable.wait_for(60)
        while len(found) < 120:
            found += payloads([poll(journal)])
    assert [payload.split()[0].rstrip(b".") for payload in found] == [
        f"{i}.{j}".encode() for i in range(60) for j in range(2)
    ]


def test_disk_lets_messages_come_together(path: Path) -> None:
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        journal.append(durable.batch(1))
        durable.wait_for(1)
        wait_until(lambda: journal.unread() == 3, SECONDS, "there is something to poll")
        assert not journal.gather(SECONDS), "something can be polled"
        poll(journal)
        began = time.monotonic()
        for number in range(2, 6):
            threading.Timer(0.02 * number, journal.append, [durable.batch(number)]).start()
        assert journal.gather(0.3)
        assert time.monotonic() - began >= 0.3
        assert len(payloads(poll_all(journal, 12))) == 12


@pytest.mark.parametrize("end", ["many", "wake", "close", "failure"])
def test_nobody_waits_for_messages_that_will_not_come_and_not_behind_many(path: Path, end: str) -> None:
    with started(disk(SourceFile.open(path))) as journal:
        ends = {
            "many": lambda: journal.append(Durable().batch(1, n=1000)),
            "wake": journal.wake,
            "close": journal._reader.close,
            "failure": lambda: journal._damage.fail("it is broken"),
        }
        threading.Timer(0.05, ends[end]).start()
        began = time.monotonic()
        assert journal.gather(SECONDS)
        assert time.monotonic() - began < SECONDS / 2
        if end == "wake":
            assert journal.poll(SECONDS) is None
            assert time.monotonic() - began < SECONDS / 2, "the poll after it is woken, too"


def test_disk_cuts_chunks_to_a_handy_size(path: Path) -> None:
    durable = Durable()
    with started(disk(SourceFile.open(path))) as journal:
        for i in range(60):
            journal.append(durable.batch(i, n=200))
        for i in range(60, 70):
            journal.append(durable.batch(i, n=1, size=MIB // 2))
        journal.append(durable.batch(70, n=9000))
        chunks = poll_all(journal, 12_000 + 10 + 9000)
    assert len(chunks[-1].records) == 9000, "a batch is never cut"
    for chunk in chunks[:-1]:
        assert len(chunk.records) <= 8192
        assert batch_bytes(chunk.records) <= MIB


def test_disk_has_room_again_only_well_below_the_bound(path: Path) -> None:
    durable = Durable()
    with started(disk(SourceFile.open(path), 200_000)) as journal:
        n = 0
        while journal.has_room():
            journal.append(durable.batch(n, n=1, size=4000))
            durable.wait_for(n + 1)
            n += 1
        room_at = []
        for _ in range(n):
            before = journal.gauges()["journal_bytes"]
            journal.commit(commit_of(poll(journal)))
            wait_until(lambda: journal.gauges()["journal_bytes"] < before, SECONDS, "the commit", every=0.002)  # noqa: B023
            if journal.has_room():
                room_at.append(journal.gauges()["journal_bytes"])
        assert 0 < max(room_at) < 180_000
        assert journal.has_room()


def test_disk_reports_positions_that_are_not_there_and_goes_on(path: Path) -> None:
    file = SourceFile.open(path)
    file.journal.write([[Record("t", b"1", 1)], [Record("t", b"2", 1)]], [])
    file.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM journal WHERE first = 2")
    connection.close()
    with started(disk(SourceFile.open(path))) as journal:
        assert payloads([poll(journal)]) == [b"1"]
        assert journal.poll(0.01) is None
        wait_until(lambda: polled_nothing(journal), SECONDS, "nothing is left to read", every=0.002)
        journal.append(Durable().batch(1, n=1, size=0))
        assert poll_all(journal, 1)[0].positions == range(3, 4)
    assert [(loss.first, loss.next, loss.records) for loss in losses(path)] == [(2, 3, 1)]


def losses(path: Path) -> list[Loss]:
    return read_statement(path, lambda row: None).losses


def polled_nothing(journal: Journal) -> bool:
    """Whether everything that can be read was read, and all losses were stepped over."""
    return journal.poll(0.01) is None and journal.gauges()["journal_unread_messages"] == 0


def test_disk_confines_a_row_that_fails_its_checksum_and_goes_on(path: Path) -> None:
    file = SourceFile.open(path)
    file.journal.write(
        [[Record("t", b"first", 1)], [Record("t", b"to be damaged", 1)] * 2, [Record("t", b"last", 1)]], []
    )
    file.close()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"to be damaged", b"to be DAMAGED", 1))
    with started(disk(SourceFile.open(path))) as journal:
        chunks = poll_all(journal, 2)
        assert payloads(chunks) == [b"first", b"last"]
        assert [list(chunk.positions) for chunk in chunks] == [[1], [4]]
        journal.commit(commit_of(*chunks))
    (loss,) = losses(path)
    assert (loss.first, loss.next, loss.records, loss.acknowledged) == (2, 4, 2, None)
    assert "checksum" in loss.reason
    kept = sqlite3.connect(path)
    assert b"to be DAMAGED" in kept.execute("SELECT body FROM damaged_rows").fetchone()[0], (
        "kept for whoever can use it"
    )
    kept.close()
    said = read_statement(path, lambda row: pytest.fail("nothing waits"))
    assert said.appended == settled(path) + said.lost


def test_disk_sets_a_damaged_file_aside_in_mid_run_and_goes_on(path: Path) -> None:
    file = SourceFile.open(path)
    durable = Durable()
    file.journal.write([[Record("t", b"first", 1)], [Record("t", b"x" * 50_000, 1)], [Record("t", b"last", 1)]], [])
    file.close()
    content = bytearray(path.read_bytes())
    at = content.index(b"x" * 4000) // 4096 * 4096 + 4096
    content[at : at + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(content)
    with started(disk(SourceFile.open(path, check_below_bytes=0))) as journal:
        journal.append(durable.batch(7, n=1))
        chunks = poll_all(journal, 3)
        assert payloads(chunks)[:2] == [b"first", b"last"]
        assert payloads(chunks)[2].startswith(b"7.0")
        durable.wait_for(1)
        journal.commit(commit_of(*chunks))
        assert journal.problems() == []
    assert len(list(path.parent.glob("*.damaged-*"))) >= 1
    assert [(loss.first, loss.next, loss.records) for loss in losses(path)] == [(2, 3, 1)]
    said = read_statement(path, lambda row: pytest.fail("nothing waits"))
    assert said.appended == settled(path) + said.lost == 4


def test_disk_says_so_when_a_damaged_file_cannot_be_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SourceFile.open(path)
    file.journal.write([[Record("t", b"first", 1)], [Record("t", b"second", 1)]], [])
    file.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM journal WHERE first = 2")
    connection.close()

    def refuse(reason: str) -> None:
        raise OSError(28, "No space left on device")

    file = SourceFile.open(path)
    monkeypatch.setattr(file, "set_aside", refuse)
    with started(disk(file)) as journal:
        assert payloads([poll(journal)]) == [b"first"]
        with pytest.raises(SourceFailedError, match="the next start sets the file aside"):
            poll_all(journal, 1)
    assert path.with_name(path.name + ".suspected").exists()


def test_disk_fails_loudly_when_an_acknowledgement_raises(path: Path) -> None:
    def bug() -> None:
        raise RuntimeError("a bug")

    with started(disk(SourceFile.open(path))) as journal:
        journal.append(Batch([Record("t", b"", 1)], bug))
        wait_until(lambda: failure(journal), SECONDS, "the failure comes to light", every=0.002)
        assert "a bug" in failure(journal)


def failure(journal: Journal) -> str:
    """Why the journal failed; empty if it did not."""
    try:
        journal.poll(0.01)
    except SourceFailedError as error:
        return str(error)
    return ""


def full_disk(journal: Journal, durable: Durable, fill: Callable[[], None], free: Callable[[], None]) -> None:
    """The checks that must hold, whatever `fill` does to make the disk full and `free` to make room again."""
    journal.append(durable.batch(0))
    durable.wait_for(1)
    fill()
    with capture_logs() as log:
        journal.append(durable.batch(1, n=4, size=MIB // 8))
        wait_until(journal.problems, SECONDS, "the failure is reported", every=0.005)
        assert any("cannot be written" in problem for problem in journal.problems())
        assert durable.order == [0], "nothing is acknowledged that is not on disk"
        assert payloads([poll(journal)])[0].startswith(b"0.0")
        free()
        durable.wait_for(2)
        assert payloads([poll(journal)])[0].startswith(b"1.0")
        wait_until(lambda: not journal.problems(), SECONDS, "no problem any more", every=0.005)
    reasons = [line.get("reason") for line in log if line["event"] == "journal_write_failed"]
    assert len(reasons) == len(set(reasons)) > 0, "each reason is said once"
    assert [line["event"] for line in log][-1] == "journal_written_again"


def test_disk_tries_again_when_the_file_may_not_grow(path: Path) -> None:
    SourceFile.open(path).close()
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    durable = Durable()
    with started(disk(SourceFile(path, writer))) as journal:
        full_disk(
            journal,
            durable,
            lambda: writer.execute("PRAGMA max_page_count = 20"),
            lambda: writer.execute("PRAGMA max_page_count = 100000"),
        )


def test_disk_tries_again_when_the_disk_is_full(tiny_disk: Path) -> None:
    durable = Durable()
    ballast = tiny_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    with started(disk(SourceFile.open(tiny_disk / "mqtt.sqlite"))) as journal:
        full_disk(journal, durable, fill, ballast.unlink)


def test_disk_gives_up_on_a_write_that_fails_when_it_is_closed(path: Path) -> None:
    SourceFile.open(path).close()
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("PRAGMA max_page_count = 12")
    durable = Durable()
    journal = disk(SourceFile(path, writer))
    journal.start()
    journal.append(durable.batch(0, n=1, size=MIB))
    wait_until(journal.problems, SECONDS, "the failure is reported", every=0.005)
    before = time.monotonic()
    journal.close(SECONDS)
    assert time.monotonic() - before < SECONDS, "closing is bounded, and needs no disk"
    assert durable.order == []
