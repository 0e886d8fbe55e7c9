"""A backlog in the journal: filled, opened again, drained in order. `python -m benchmarks.journal_backlog [MESSAGES]`.

Prints the rates of filling and draining, resident memory over time, how long the start takes with all of it waiting,
and the size of the file before and after (10 million messages: about two minutes and 1.5 GiB of disk).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.records import Record
from connector.sources.journal.disk import DiskJournal
from connector.sources.journal.journal import Batch

_BATCH = 1000
_MIB = 1024 * 1024
_SECONDS = 120.0


def main(messages: int) -> None:
    """Fill, start, drain."""
    with tempfile.TemporaryDirectory(prefix="journal-backlog-") as folder:
        path = Path(folder) / "mqtt.sqlite"
        said: dict[str, object] = {"messages": messages}
        began = time.monotonic()
        _fill(path, messages)
        said["filled_per_second"] = round(messages / (time.monotonic() - began))
        said["file_mib_full"] = round(path.stat().st_size / _MIB)
        began = time.monotonic()
        file = SourceFile.open(path)
        said["start_seconds"] = round(time.monotonic() - began, 4)
        journal = DiskJournal("mqtt", file, 100 * 1024 * _MIB)
        journal.start()
        said["rss_mib_start"] = _rss()
        began = time.monotonic()
        peak = _drain(journal, messages)
        said["drained_per_second"] = round(messages / (time.monotonic() - began))
        said["rss_mib_peak"], said["rss_mib_end"] = peak, _rss()
        began = time.monotonic()
        while path.stat().st_size > 64 * _MIB and time.monotonic() < began + _SECONDS:
            time.sleep(0.1)
        said["seconds_until_given_back"] = round(time.monotonic() - began, 1)
        journal.close(60)
        said["file_mib_after"] = round(path.stat().st_size / _MIB)
        print(json.dumps(said))


def _fill(path: Path, messages: int) -> None:
    journal = DiskJournal("mqtt", SourceFile.open(path), 100 * 1024 * _MIB)
    journal.start()
    room = threading.Semaphore(20)
    for first in range(0, messages, _BATCH):
        room.acquire()
        records = [
            Record(f"plant/machine{i % 200}", b'{"ts": "2026-05-01T00:00:00Z", "value": %d}' % i, i)
            for i in range(first, first + _BATCH)
        ]
        journal.append(Batch(records, room.release))
    journal.close(_SECONDS)


def _drain(journal: DiskJournal, messages: int) -> int:
    """In order, committing as a pipeline does; the highest resident memory in MiB."""
    expected, peak, chunks = 0, 0, 0
    while expected < messages:
        chunk = journal.poll(1.0)
        if chunk is None:
            continue
        times = [record.time_us for record in chunk.records]
        if times != list(range(expected, expected + len(times))):
            raise AssertionError(f"out of order at {expected}")
        expected += len(times)
        n = len(times)
        tally = Tally(Counts(received=n, inserted=n), Counts(received=n, inserted=n))
        journal.commit(Commit("mqtt", chunk.partition, chunk.positions[-1], {"plant": tally}))
        chunks += 1
        if chunks % 100 == 0:
            peak = max(peak, _rss())
    return peak


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / _MIB)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
