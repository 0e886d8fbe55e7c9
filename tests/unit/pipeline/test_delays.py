"""Delays and objectives by source, from chunks and frames of several shapes and sources."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable

from connector.ledger.delays import Freshness
from connector.ledger.progress import INDEX_BITS
from connector.packing.frame import RowBlock, encode_frame
from connector.pipeline.delays import DURABLE_TO_INSERTED, MEASURED_TO_INSERTED, MEASURED_TO_RECEIVED, Delays
from connector.records import Chunk, Mapped, Record, Rows

NOW_US = 1_790_000_000_000_000
SECOND = 1_000_000


def delays(objectives: dict[str, float] | None = None, earlier: dict[str, Freshness] | None = None) -> Delays:
    return Delays(objectives or {}, earlier or {}, lambda: NOW_US / 1e6)


def counted(found: Delays, source: str, stage: str) -> dict[float, int]:
    """Bound in seconds → the delays up to it that are longer than the bound before."""
    shown = found.histograms[source][stage].shown()
    before = [0, *(n for _, n in shown)]
    return {bound: n - less for (bound, n), less in zip(shown, before, strict=False) if n > less}


def block(chunk: int, inputs: int, ages: Iterable[float]) -> RowBlock:
    times = array("q", (NOW_US - round(age * SECOND) for age in ages))
    names = tuple(f"c{chunk}-{inputs}-{n}" for n in range(inputs))
    tokens = array("q", ((chunk << INDEX_BITS) + n for n in range(len(times))))
    return RowBlock(names, times, tokens, array("d", [1.0] * inputs * len(times)))


def origins(tokens: Iterable[int]) -> list[tuple[str, int]]:
    """Chunk 1 and bundles are of source a, durable for 2 s; chunk 2 is of source b, for 20 s; others are unknown."""
    known = {1: ("a", NOW_US - 2 * SECOND), 2: ("b", NOW_US - 20 * SECOND)}
    return [known.get(1 if token < 0 else token >> INDEX_BITS, ("", 0)) for token in tokens]


def test_a_frame_counts_its_samples_by_source_and_stage() -> None:
    found = delays()
    frame = encode_frame([block(1, 2, [3, 4, 0.3]), block(1, 1, [200]), block(2, 2, [25.0, 70.0]), block(3, 1, [1])])
    found.inserted(frame, origins)
    assert counted(found, "a", MEASURED_TO_INSERTED) == {0.5: 2, 5.0: 4, 300.0: 1}
    assert counted(found, "a", DURABLE_TO_INSERTED) == {2.5: 7}
    assert counted(found, "b", MEASURED_TO_INSERTED) == {30.0: 2, 120.0: 2}
    assert counted(found, "b", DURABLE_TO_INSERTED) == {20.0: 4}


def test_of_a_large_frame_some_rows_stand_for_all() -> None:
    found = delays()
    rows = 100_001
    found.inserted(encode_frame([block(1, 1, (1 + n / rows for n in range(rows)))]), origins)
    assert found.histograms["a"][MEASURED_TO_INSERTED].shown()[-1] == (math.inf, rows)
    assert counted(found, "a", DURABLE_TO_INSERTED) == {2.5: rows}


def test_a_bundle_counts_for_the_source_of_its_last_value() -> None:
    found = delays()
    window = RowBlock(("w",), array("q", [NOW_US - 60 * SECOND]), array("q", [-7]), array("d", [1.0]))
    found.inserted(encode_frame([window]), origins)
    assert counted(found, "a", MEASURED_TO_INSERTED) == {60.0: 1}


def test_an_objective_counts_every_stored_sample_and_no_replaced_one() -> None:
    found = delays({"a": 60.0, "b": 10.0}, {"a": Freshness(60.0, 100, 5), "b": Freshness(99.0, 7, 7)})
    found.inserted(encode_frame([block(1, 2, [1, 60, 61, 1]), block(2, 1, [11, 9])]), origins)
    assert found.freshness == {"a": Freshness(60.0, 4, 2), "b": Freshness(10.0, 1, 1)}
    assert found.accounts() == {"a": Freshness(60.0, 104, 7), "b": Freshness(10.0, 1, 1)}
    found.inserted(encode_frame([block(2, 3, [1])]), origins)
    assert found.freshness["b"] == Freshness(10.0, 4, 1)


def record(received_ago: float, kind: int = 1) -> Record:
    us = NOW_US - round(received_ago * SECOND)
    return Record("t", b"1", us) if kind == 0 else Record("t", b"1", us - 99 * SECOND, time_kind=kind, received_us=us)


def test_a_chunk_counts_from_the_times_of_its_samples_until_it_was_received() -> None:
    found = delays()
    rows = Rows(("x", "y"), 0)
    rows.indexes, rows.times = [0, 2], [NOW_US - 4 * SECOND, NOW_US - 15 * SECOND]
    times = [NOW_US - n * SECOND for n in (1, 41)]
    parts: list[tuple[int, Mapped | Rows]] = [
        (0, rows),
        (1, Mapped([("z", times[0], 1.0), ("z", times[1], 2.0)])),
        (3, Mapped([("u", NOW_US, 1.0), ("v", NOW_US, 1.0)])),
        (4, Mapped(filtered=1)),
    ]
    records = [record(0), record(1, kind=0), record(5), record(0), record(0)]
    found.took_in(Chunk("a", "p", range(5), records), parts)
    assert counted(found, "a", MEASURED_TO_RECEIVED) == {0.005: 3, 5.0: 2, 10.0: 2, 60.0: 1}


def test_of_a_large_chunk_some_records_stand_for_all() -> None:
    found = delays()
    rows = Rows(("x", "y"), 0)
    rows.indexes, rows.times = list(range(1_000)), [NOW_US - 4 * SECOND] * 1_000
    records = [record(0) for _ in range(1_000)]
    found.took_in(Chunk("a", "p", range(1_000), records), [(0, rows)])
    assert counted(found, "a", MEASURED_TO_RECEIVED) == {5.0: 2_000}
    found.took_in(Chunk("a", "p", range(640), records[:640]), [(n, Mapped([("x", NOW_US, 1.0)])) for n in range(640)])
    assert counted(found, "a", MEASURED_TO_RECEIVED) == {0.005: 640, 5.0: 2_000}
