"""`make peers`: see `benchmarks/peers/__init__.py`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from benchmarks.goals import compared, lines
from benchmarks.peers.candidates import OURS
from benchmarks.peers.goals import GOALS, Medians
from benchmarks.peers.process import NullClarify
from benchmarks.peers.programs import TELEGRAF, telegraf
from benchmarks.peers.scenarios import SCENARIOS, Bench, Row, StuckError
from tests.brokers import mosquitto_program
from tests.kafka_brokers import NEEDS_JAVA, VERSION, Kafka, java_program, kafka_jars

_ALWAYS_LEFT_OUT: Final = (
    "Telegraf reads MQTT 3.1.1 only: in `properties` the broker leaves the properties out for it.",
    "Kafka with Telegraf's defaults: its batches wait for the flush of ten seconds again and again (300 records/s).",
    "Telegraf has no journal: while Clarify is away, its messages stay at the broker.",
    "The null Clarify has no latency and no limits but 8 MiB a request; brokers and publishers are not measured.",
    "A waiting sample's bytes: `make bench` measures them.",
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make peers ARGS=...", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the tables")
    parser.add_argument("--only", metavar="SCENARIO", nargs="+", choices=list(SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run; the medians count (default: 3)")
    parser.add_argument(
        "--messages", type=int, default=100_000, help="of a backlog, for MQTT and for Kafka (default: 100000)"
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="of a steady rate (12)")
    return parser.parse_args()


def main() -> None:
    """Measure, and print."""
    asked = _arguments()
    if mosquitto_program() is None:
        raise SystemExit("make peers needs a Mosquitto (Debian: apt-get install mosquitto)")
    telegraf()
    left_out = list(_ALWAYS_LEFT_OUT)
    names = [name for name in SCENARIOS if not asked.only or name in asked.only]
    if any(SCENARIOS[name].needs_kafka for name in names) and not (java_program() and kafka_jars()):
        names = [name for name in names if not SCENARIOS[name].needs_kafka]
        left_out.append(f"Kafka: {NEEDS_JAVA}")
    load = os.getloadavg()[0]
    rows, stuck = _measure(asked, names)
    medians: Medians = {
        scenario: {
            candidate: {figure: statistics.median(row[figure] for row in found) for figure in found[0]}
            for candidate, found in of.items()
        }
        for scenario, of in rows.items()
    }
    result = {
        "ratios": compared(GOALS, medians),
        "medians": {
            scenario: {name: {figure: _short(value) for figure, value in row.items()} for name, row in of.items()}
            for scenario, of in medians.items()
        },
        "not_finished": stuck,
        "left_out": left_out,
        "rounds": asked.rounds,
        "messages": asked.messages,
        "machine": _machine(),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "command": f'make peers ARGS="{shlex.join(sys.argv[1:])}"',
    }
    print(json.dumps(result, ensure_ascii=False) if asked.json else _text(result, medians))


def _measure(asked: argparse.Namespace, names: list[str]) -> tuple[dict[str, dict[str, list[Row]]], dict[str, str]]:
    """Scenario → candidate → a row a round; and what did not finish, with the reason: that is not tried again."""
    rows: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    stuck: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        folder.chmod(0o755)  # Mosquitto gives up being root, and reads its certificate there
        null = stack.enter_context(closing(NullClarify(folder)))
        kafka = stack.enter_context(Kafka()) if any(SCENARIOS[name].needs_kafka for name in names) else None
        bench = Bench(folder, null, asked.messages, asked.seconds, kafka)
        for turn in range(asked.rounds):
            for name in names:
                scenario = SCENARIOS[name]
                first = turn % len(scenario.candidates)  # nobody is always the first
                for candidate in scenario.candidates[first:] + scenario.candidates[:first]:
                    if f"{name}: {candidate}" in stuck:
                        continue
                    try:
                        row = scenario.run(bench, candidate)
                    except StuckError as error:
                        stuck[f"{name}: {candidate}"] = str(error)
                        said = f"did not finish: {error}"
                    else:
                        rows[name][candidate].append(row)
                        said = _line(row)
                    print(f"round {turn + 1}  {name:15} {candidate:15} {said}", file=sys.stderr, flush=True)
    return rows, stuck


def _short(value: float) -> float:
    return round(value, 3) if value < 10 else round(value, 1)


def _line(row: Row) -> str:
    return "  ".join(f"{figure} {_short(value):,}" for figure, value in row.items())


def _text(result: dict[str, object], medians: Medians) -> str:
    text = [f"Medians of {result['rounds']} rounds; {result['messages']:,} messages in a backlog."]
    for scenario, of in medians.items():
        for candidate, row in sorted(of.items(), key=lambda pair: pair[0] != OURS):
            text.append(f"{scenario:15} {candidate:15} {_line(row)}")
    text += ["", *lines(result["ratios"])]  # type: ignore[arg-type]
    text += [f"did not finish: {name}: {reason}" for name, reason in result["not_finished"].items()]  # type: ignore[attr-defined]
    text += ["", *(f"left out: {what}" for what in result["left_out"])]  # type: ignore[attr-defined]
    return "\n".join([*text, f"{result['machine']}; load {result['load']}; {result['command']}"])


def _machine() -> str:
    """The machine and what was compared."""
    mosquitto = subprocess.run([str(mosquitto_program()), "-h"], capture_output=True, text=True, check=False).stdout
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{mosquitto.splitlines()[0]}, Apache Kafka {VERSION}, Telegraf {TELEGRAF}"
    )


if __name__ == "__main__":
    main()
