"""Whatever happens to the bytes of a file: the start goes on, what comes back is genuine, a loss shows."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.progress import Commit, Counts, Tally
from connector.records import Record
from connector.sources.log_file import LogFile
from connector.sources.log_schema import Row
from connector.sources.log_statement import read_statement
from tests.property.fuzz import FUZZ

WRITTEN = [Record(f"t{i % 7}", f"{i} ".encode() + random.Random(i).randbytes(200), i) for i in range(400)]
SETTLED = 100


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("healthy") / "mqtt.sqlite"
    file = LogFile.open(path)
    file.write([WRITTEN[first : first + 10] for first in range(0, 390, 10)], [])
    file.write([WRITTEN[390:]], [])
    one = Tally(Counts(received=1, inserted=1), Counts(received=1, inserted=1))
    tallies: dict[str, Tally] = {}
    for record in WRITTEN[:SETTLED]:
        tally = tallies.setdefault(record.topic, Tally())
        tally += one
    file.write([], [Commit("mqtt", "p", SETTLED, tallies)])
    file.close()
    return path.read_bytes()


def opened(path: Path) -> LogFile | None:
    """The file; None for the one byte in the header that makes it look like a file on a read-only disk."""
    try:
        return LogFile.open(path)
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
    position, broken = file.first_waiting, False
    while True:
        try:
            row = file.read_next(position)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            broken = True
            break
        if not isinstance(row, Row):
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
