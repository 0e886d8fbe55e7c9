"""What mapping costs: microseconds a sample for each kind of rule, as ratios to the bare decode of the same payload.

    python -m benchmarks.mapping [--json] [CASE ...]

The bare decode is what no mapping can do without: `orjson.loads` for JSON, `csv.DictReader` with `float` for CSV,
`fastavro` with a schema that is known for Avro, and Protobuf with each metric read once for Sparkplug. Both run in turn
in one process, in many short rounds, by CPU time. The ratio is the median of the rounds', and the times are those of
the best: on a machine that others use too, a round disturbs both alike. `map` includes the decode, and is what the
connector's intake does with a chunk of 100 messages of one topic, with the connector's settings of the garbage
collector; Sparkplug's are mapped one by one.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Final

import fastavro
import orjson

from benchmarks import sparkplug
from connector.formats.catalogue import build_format
from connector.mapping.chunks import ChunkMapper
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Record, Rows

ARRIVAL: Final = 1_790_000_000_000_000
_SPARKPLUG: Final = "Sparkplug"
_CHUNK: Final = 100
_ROUNDS: Final = 40
_ROUND_SECONDS: Final = 0.01
_READING: Final = {
    "ts": 1_789_999_999_123,
    "temperature": 21.53,
    "humidity": 44.1,
    "pressure": 1013.25,
    "vibration": 0.0123,
    "rpm": 1480,
    "current": 12.7,
    "state": "run",
    "serial": "AB-1234",
    "ok": True,
}
_DEVICE: Final = {
    **_READING,
    "firmware": "1.14.2-rc3",
    "rssi": -61,
    "uptime": 812_345,
    "heap": 24_312,
    "operator": "none",
    "recipe": "7750-A",
    "mode": "auto",
    "counter": 99_312,
    "batch": "2026-05-01/7",
    "comment": "",
}
_ITEMS: Final[dict[str, Any]] = {
    "timestamp": 1_789_999_999_123,
    "values": [{"id": f"Line1.Press{n}.Pressure", "v": n + 0.5, "q": True, "t": 1_789_999_999_000} for n in range(50)],
}
_ITEMS_WITH_TIMES: Final = {
    **_ITEMS,
    "values": [{**item, "t": item["t"] - n} for n, item in enumerate(_ITEMS["values"])],
}
_SCHEMA: Final = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "ts", "type": "long"},
        *({"name": name, "type": "double"} for name in ("temperature", "humidity", "pressure", "vibration")),
        {"name": "rpm", "type": "int"},
        {"name": "current", "type": "double"},
        {"name": "state", "type": "string"},
        {"name": "serial", "type": "string"},
        {"name": "ok", "type": "boolean"},
    ],
}


@dataclass(frozen=True)
class Case:
    """One kind of rule."""

    name: str
    payload: bytes
    decode: Callable[[bytes], object]
    rule: dict[str, Any] | None


def _csv() -> bytes:
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["ts", "temperature", "humidity", "pressure"])
    for n in range(100):
        writer.writerow([1_789_999_999_000 + n, 20 + n / 10, 40 + n / 7, 1000 + n])
    return rows.getvalue().encode()


def _read_csv(payload: bytes) -> object:
    rows = csv.DictReader(io.StringIO(payload.decode("utf-8")))
    return [{key: float(value) for key, value in row.items()} for row in rows]


def _avro() -> tuple[bytes, Callable[[bytes], object]]:
    schema = fastavro.parse_schema(dict(_SCHEMA))
    written = io.BytesIO()
    fastavro.schemaless_writer(written, schema, _READING)
    return written.getvalue(), lambda payload: fastavro.schemaless_reader(io.BytesIO(payload), schema, None)


def cases(folder: str) -> list[Case]:
    """All of them; `folder` is for files that a rule names."""
    schema_file = f"{folder}/reading.avsc"
    with open(schema_file, "w", encoding="utf-8") as file:  # noqa: PTH123 - a path as a configuration has it
        json.dump(_SCHEMA, file)
    flat, device, items = orjson.dumps(_READING), orjson.dumps(_DEVICE), orjson.dumps(_ITEMS)
    with_times = orjson.dumps(_ITEMS_WITH_TIMES)
    nested = orjson.dumps({"meta": {"id": "d7", "fw": "1.2"}, "data": _READING})
    avro, read_avro = _avro()
    array = {
        "iterate": "values",
        "item_name": "id",
        "input": "{item}",
        "time": "t",
        "values": {"v": {}},
        "other_values": "filter",
    }
    named = {"values": {"temperature": {"unit": "°C"}, "pressure": {}, "rpm": {}}, "other_values": "filter"}
    return [
        Case("automatic mapping", flat, orjson.loads, None),
        Case("named paths", device, orjson.loads, {**named, "input": "{topic}/{path}"}),
        Case(
            "named paths, nested",
            nested,
            orjson.loads,
            {
                "values": {"temp": {"path": "data.temperature"}, "rpm": {"path": "data.rpm"}},
                "other_values": "filter",
                "time": "data.ts",
            },
        ),
        Case("named paths, scaled", device, orjson.loads, {**named, "scale": 0.1}),
        Case("array rule", items, orjson.loads, array),
        Case("array rule, many times", with_times, orjson.loads, array),
        Case("preset kepware", items, orjson.loads, {"preset": "kepware"}),
        Case("preset kepware, many times", with_times, orjson.loads, {"preset": "kepware"}),
        Case(
            "JMESPath rule",
            items,
            orjson.loads,
            {"values": {"high": {"path": "max(values[].v)"}, "first": {"path": "values[?q].v | [0]"}}},
        ),
        Case("CSV", _csv(), _read_csv, {"format": "csv"}),
        Case("Avro", avro, read_avro, {"format": {"type": "avro", "schema_file": schema_file}}),
    ]


def measure(case: Case) -> dict[str, Any]:
    """Microseconds of the bare decode and of mapping, and their ratio."""
    rules = [] if case.rule is None else [{"topic": "#", **case.rule}]
    mapper = Mapper(MappingSection.model_validate({"rules": rules}).compile(build_format))
    chunks = ChunkMapper(mapper)
    records = [Record("plant/line1/press", case.payload, ARRIVAL)] * _CHUNK
    for _ in range(2):
        _, parts = chunks.map("plant", records)
    (_, last), *_ = reversed(parts)
    assert isinstance(last, Rows) or not last.rejects
    samples = len(last.inputs) if isinstance(last, Rows) else len(last.samples)
    return _measured(
        case.name,
        case.payload,
        samples,
        lambda: case.decode(case.payload),
        lambda: chunks.map("plant", records),
        _CHUNK,
    )


def _measured(
    name: str,
    payload: bytes,
    samples: int,
    decode: Callable[[], object],
    map_some: Callable[[], object],
    messages: int = 1,
) -> dict[str, Any]:
    """`map_some` maps so many messages, of so many samples each."""
    bare, mapping = _rounds(decode, map_some)
    mapping = [round_us / messages for round_us in mapping]
    bare_us, map_us = min(bare), min(mapping)
    return {
        "case": name,
        "bytes": len(payload),
        "samples": samples,
        "bare_us": round(bare_us, 3),
        "map_us": round(map_us, 3),
        "us_per_sample": round(map_us / samples, 3),
        "ratio": round(statistics.median(one / other for one, other in zip(mapping, bare, strict=True)), 2),
    }


def _all(folder: str, wanted: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """What was found for each case, or for those that are wanted."""
    for case in cases(folder):
        if not wanted or case.name in wanted:
            yield measure(case)
    if not wanted or _SPARKPLUG in wanted:
        payload, decode, map_one = sparkplug.works()
        for _ in range(5):
            mapped = map_one()
            assert not mapped.rejects, mapped.rejects
        yield _measured(_SPARKPLUG, payload, len(mapped.samples), decode, map_one)


def _rounds(*works: Callable[[], object]) -> list[list[float]]:
    """CPU time of each, in µs a call, for every round; in a round all of them run in turn."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    repeats = []
    for work in works:
        began = time.process_time()
        for _ in range(10):
            work()
        repeats.append(max(1, round(_ROUND_SECONDS * 10 / max(1e-6, time.process_time() - began))))
    found: list[list[float]] = [[] for _ in works]
    for _ in range(_ROUNDS):
        for times, work, n in zip(found, works, repeats, strict=True):
            began = time.process_time()
            for _ in range(n):
                work()
            times.append((time.process_time() - began) / n * 1e6)
    return found


def compare() -> dict[str, Any]:
    """All cases."""
    with TemporaryDirectory() as folder:
        return {
            "what": "mapping a message, its decode included, against the bare decode of the same payload",
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "cases": list(_all(folder)),
        }


def main(arguments: list[str]) -> None:
    """Print a line a case, or one JSON object each."""
    wanted = [argument for argument in arguments if not argument.startswith("-")]
    with TemporaryDirectory() as folder:
        for found in _all(folder, wanted):
            if "--json" in arguments:
                print(json.dumps(found), flush=True)
            else:
                print(
                    f"{found['case']:22} {found['bytes']:>6} bytes {found['samples']:>4} samples  bare "
                    f"{found['bare_us']:9.2f} µs  map {found['map_us']:9.2f} µs  "
                    f"{found['us_per_sample']:7.3f} µs a sample  x{found['ratio']}",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:])
