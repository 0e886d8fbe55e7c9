"""`make bench`: every ratio with its goal, from all measurements; with `--json` in one line, with what was measured.

Where issue or documentation sets no goal, the goal is what the code reaches today, with a margin: a slower commit is
seen. `--only mqtt kafka` measures a part. Close everything else first: the parts compare works of one run, but a busy
machine disturbs them all the same. `make peers` compares with Telegraf.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from benchmarks import clarify_client, kafka_path, low_load, mapping, mqtt_path, packing_growth, short
from benchmarks.goals import Goal, compared, lines

Measured = dict[str, Any]
"""Name of a part → what it measured."""

PARTS: Final[Mapping[str, Callable[[], Any]]] = {
    "short": short.measure,
    "mqtt": lambda: mqtt_path.compare(50_000, 3),
    "kafka": lambda: kafka_path.compare(300_000, 5),
    "low-load": lambda: low_load.measure(10.0, low_load.RATES),
    "mapping": lambda: {case["case"]: case for case in mapping.compare()["cases"]},
    "memory": lambda: {row["shape"]: row["bytes_per_sample"] for row in packing_growth.memory()},
    "client": lambda: clarify_client.compare(3),
}


def _at(rate: int, *, own: bool = False) -> Callable[[Measured], Any]:
    """The row of `low_load` for this rate."""
    return lambda m: next(row for row in m["low-load"] if (row["rate"], row["own_clocks"]) == (rate, own))


def _cpu(path: str, ours: str, other: str) -> Callable[[Measured], float]:
    return lambda m: m[path][ours] / m[path][other]


def _mapping(case: str, bound: float) -> Goal[Measured]:
    return Goal(f"mapping, {case}: CPU, ours / bare decode", bound, lambda m: m["mapping"][case]["ratio"])


def _client(work: str, cpu: float, memory: float) -> list[Goal[Measured]]:
    return [
        Goal(f"client, {work}: CPU, ours / PyClarify", cpu, lambda m: m["client"][work]["cpu_ratio"]),
        Goal(f"client, {work}: memory, ours / PyClarify", memory, lambda m: m["client"][work]["memory_ratio"]),
    ]


GOALS: Final[list[Goal[Measured]]] = [
    Goal("MQTT: CPU a message read, paho / ours", 15, lambda m: m["short"]["intake"], at_least=True),
    Goal("dense frame: CPU, ours / orjson.dumps", 3.5, lambda m: m["short"]["dense_frame"]),
    Goal("sparse frame: CPU, ours / orjson.dumps", 3, lambda m: m["short"]["sparse_frame"]),
    Goal("MQTT: taken in a second, ours / bare paho", 2, lambda m: m["mqtt"]["ratio"], at_least=True),
    Goal(
        "MQTT: CPU from start to insert, ours / bare paho",
        0.5,
        _cpu("mqtt", "connector_cpu_us_per_message", "bare_cpu_us_per_message"),
    ),
    Goal("Kafka: CPU to the pending columns, ours / bare loop", 1.3, lambda m: 1 / m["kafka"]["cpu_ratio"]),
    Goal("Kafka: two members / one", 1.7, lambda m: m["kafka"]["two_members_against_one"], at_least=True),
    Goal("no messages: wake-ups of a thread a second", 2, lambda m: max(_at(0)(m)["threads"].values(), default=0.0)),
    Goal("100 messages a second: commits a second", 30, lambda m: _at(100)(m)["commits_per_second"]),
    Goal("1,000 messages a second: commits a second", 50, lambda m: _at(1000)(m)["commits_per_second"]),
    Goal("100 messages a second: CPU, % of a core", 5, lambda m: _at(100)(m)["cpu_percent"]),
    Goal("1,000 messages a second, own clocks: CPU, % of a core", 27, lambda m: _at(1000, own=True)(m)["cpu_percent"]),
    *(
        _mapping(case, bound)
        for case, bound in {
            "automatic mapping": 6.5,
            "named paths": 5,
            "named paths, nested": 6,
            "named paths, scaled": 6,
            "array rule": 6,
            "array rule, many times": 11,
            "preset kepware": 8,
            "preset kepware, many times": 11,
            "JMESPath rule": 19,
            "CSV": 5.5,
            "Avro": 9,
            "Sparkplug": 5,
        }.items()
    ),
    Goal(
        "waiting sample, 100,000 signals x 10: bytes",
        40,
        lambda m: m["memory"]["100,000 signals of their own, 10 samples each"],
    ),
    *_client("insert", 0.25, 0.8),
    *_client("read", 0.2, 1.1),
    *_client("merge", 0.1, 0.15),
]


def main() -> int:
    """Measure, and print. The exit status is 1 if a part failed."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    parser.add_argument("--only", metavar="PART", nargs="+", choices=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part]()))
        return 0
    measured: Measured = {}
    failed: list[str] = []
    for name in asked.only or PARTS:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        # In a process of its own: its children would begin with the peak memory of this one.
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "--part", name], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            failed.append(name)
        else:
            measured[name] = json.loads(done.stdout.splitlines()[-1])
    rows = compared(GOALS, measured)
    result = {
        "ratios": rows,
        "measured": measured,
        "failed": failed,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "command": f'make bench ARGS="{shlex.join(sys.argv[1:])}"',
    }
    if asked.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print("\n".join([*lines(rows), f"{result['machine']}; load {result['load']}; {result['command']}"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
