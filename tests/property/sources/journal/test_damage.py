"""Whatever happens to the bytes of a file: it can be opened, only genuine records come back, and a loss is reported."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.journal_row import JournalRow
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.records import Record
from connector.sources.journal.disk import DiskJournal
from tests.property.fuzz import FUZZ

WRITTEN = [Record(f"t{i % 7}", f"{i} ".encode() + random.Random(i).randbytes(200), i) for i in range(400)]
SETTLED = 100


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("healthy") / "mqtt.sqlite"
    file = SourceFile.open(path)
    file.journal.write([WRITTEN[first : first + 10] for first in range(0, 390, 10)], [])
    file.journal.write([WRITTEN[390:]], [])
    one = Tally(Counts(received=1, inserted=1), Counts(received=1, inserted=1))
    tallies: dict[str, Tally] = {}
    for record in WRITTEN[:SETTLED]:
        tally = tallies.setdefault(record.topic, Tally())
        tally += one
    file.journal.write([], [Commit("mqtt", "p", SETTLED, tallies)])
    file.close()
    return path.read_bytes()


class Small:
    """A file's content, with a short repr: Hypothesis prints arguments."""

    def __init__(self, content: bytes) -> None:
        self.content = content


@pytest.fixture(scope="module")
def small(healthy: bytes) -> Small:
    return Small(healthy)


def opened(path: Path, check_below_bytes: int = 2**30) -> SourceFile | None:
    """The open file. None if a certain byte of the header is damaged: then SQLite takes the file for read-only."""
    try:
        return SourceFile.open(path, check_below_bytes=check_below_bytes)
    except sqlite3.OperationalError as error:
        if "readonly" in str(error):
            return None
        raise


damages = st.lists(
    st.tuples(st.integers(0, 2**20), st.sampled_from([1, 4, 100, 4096, 3 * 4096]), st.integers(0, 2**32)),
    min_size=1,
    max_size=3,
)


@settings(
    FUZZ, max_examples=max(40, FUZZ.max_examples // 4), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=damages, whole_pages=st.booleans(), cut=st.none() | st.integers(1, 2**20))
@example(damage=[(0, 100, 1)], whole_pages=True, cut=None)
@example(damage=[(4096, 4096, 2)], whole_pages=True, cut=None)
def test_fuzz_a_damaged_file(
    healthy: bytes,
    tmp_path: Path,
    damage: list[tuple[int, int, int]],
    whole_pages: bool,
    cut: int | None,
) -> None:
    content = bytearray(healthy)
    for at, length, seed in damage:
        start = at % len(content)
        start -= start % 4096 if whole_pages else 0
        end = min(start + length, len(content))
        content[start:end] = random.Random(seed).randbytes(end - start)
    if cut is not None:
        del content[1 + cut % len(content) :]
    for old in tmp_path.iterdir():
        old.unlink()
    path = tmp_path / "mqtt.sqlite"
    path.write_bytes(content)

    file = opened(path)
    if file is None:
        return
    recovered: list[Record] = []
    position, broken = file.journal.first_waiting(), False
    while True:
        try:
            row = file.journal.read_next(position).row
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            broken = True
            break
        if not isinstance(row, JournalRow):
            broken = row is not None
            break
        recovered += row.records
        position = row.last + 1
    assert all(record in WRITTEN[SETTLED:] for record in recovered), "what comes back is genuine"
    file.close()
    if not broken and len(recovered) < len(WRITTEN) - SETTLED:
        said = read_statement(path, lambda row: None)
        accounted = sum(tally.messages.received for tally in said.settled.values()) + len(recovered)
        assert said.losses or said.appended != accounted, "messages are missing, and nothing says so"


@settings(
    FUZZ, max_examples=max(40, FUZZ.max_examples // 4), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 2**20), bits=st.integers(1, 255), checked=st.booleans())
def test_fuzz_a_flipped_byte_costs_only_what_it_hit(
    small: Small, tmp_path: Path, at: int, bits: int, checked: bool
) -> None:
    """The damage may be met at the start or later. All other records come, in order, and the loss is reported."""
    content = bytearray(small.content)
    content[at % len(content)] ^= bits
    for old in tmp_path.iterdir():
        old.unlink()
    path = tmp_path / "mqtt.sqlite"
    path.write_bytes(content)
    file = opened(path, 2**30 if checked else 0)
    if file is None:
        return
    journal = DiskJournal("mqtt", file, 2**30)
    journal.start()
    found: list[Record] = []
    positions: list[int] = []
    for _ in range(1000):
        chunk = journal.poll(0.0)
        if chunk is not None:
            found += chunk.records
            positions += chunk.positions
        elif not journal.gauges()["journal_unread_messages"]:
            break
    journal.close(20)
    assert positions == sorted(set(positions))
    genuine = [record for record in found if record in WRITTEN]
    assert found == genuine
    said = read_statement(path, lambda row: None)
    missing = [record for record in WRITTEN[SETTLED:] if record not in found]
    assert len(missing) <= 100, "one byte costs a page at most"
    if missing:
        settled = sum(tally.messages.received for tally in said.settled.values())
        assert said.losses or said.appended != settled + len(found), "messages are missing, and nothing says so"
