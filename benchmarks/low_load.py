"""What the connector costs while little comes: CPU, wake-ups and commits to disk a second, at steady rates.

One connector, with its journal on disk, runs through all rates; the messages are those of `mqtt_path`, QoS 1. At the
last rate each message has a time of its own, so that most of a frame is null. CPU is
user and system time of the connector's process, a wake-up is a thread that waited and goes on, and a commit is a
transaction of the journal's file.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.mqtt_path import MACHINES, payload
from connector.config.read import load_config
from connector.ledger.database import Database
from connector.observe.logs import configure_logs
from connector.runtime.connector import Connector
from tests.brokers import Mosquitto
from tests.sandbox_server import SandboxServer

RATES = ((0, False), (1, False), (10, False), (100, False), (1000, False), (1000, True))
"""Messages a second, and whether each has a time of its own."""


def _own_clock(i: int) -> bytes:
    return b'{"ts":%d,%b' % (1_790_000_000_000 + i, payload(i).split(b",", 1)[1])


def connector(config: Path) -> None:
    """The connector in a process of its own: it prints its commits so far for each line that comes in."""
    configure_logs("error", "text")
    commits = 0
    transaction = Database.transaction

    def counted(self: Database) -> object:
        nonlocal commits
        commits += 1
        return transaction(self)

    Database.transaction = counted  # type: ignore[method-assign,assignment]
    running = Connector(load_config(config))
    running.start()
    print("ready", flush=True)
    counts = running.pipeline.status.messages
    for _ in sys.stdin:
        print(json.dumps({"commits": commits, "received": counts.received}), flush=True)
    running.stop()


def cpu_seconds(pid: int) -> float:
    """User and system time of the process, in seconds, to the nanosecond where the kernel counts it."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def wake_ups(pid: int) -> dict[str, int]:
    """Thread → how often the thread has waited."""
    found: dict[str, int] = {}
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        found[f"{path.parent.name} {fields['Name'].strip()}"] = int(fields["voluntary_ctxt_switches"])
    return found


def measure(seconds: float, rates: tuple[tuple[int, bool], ...]) -> list[dict[str, object]]:
    """One row a rate."""
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        SandboxServer(rate_limiter="off") as sandbox,
        Mosquitto() as broker,
    ):
        config = Path(folder) / "config.yaml"
        config.write_text(
            f"clarify: {{credentials: {sandbox.credentials_path}}}\n"
            f"sources:\n  - {{type: mqtt, url: 'mqtt://127.0.0.1:{broker.port}', topics: ['plant/#']}}\n"
            f"state_dir: {folder}/state\nobserve: {{listen: '127.0.0.1:0'}}\ndelivery: {{max_delay: 1s}}\n"
        )
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.low_load", "connector", str(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None

            def asked() -> dict[str, int]:
                process.stdin.write("\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                found: dict[str, int] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
                return found

            assert process.stdout.readline()
            client = Client(CallbackAPIVersion.VERSION2)
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            i = 0
            for rate, own in ((200, False), (200, True), *rates):  # the first rate makes all signals known
                before, cpu, waits = asked(), cpu_seconds(process.pid), wake_ups(process.pid)
                began = time.monotonic()
                for n in range(round(rate * seconds)):
                    client.publish(f"plant/m{i % MACHINES}", _own_clock(i) if own else payload(i), qos=1)
                    i += 1
                    time.sleep(max(0.0, began + (n + 1) / rate - time.monotonic()))
                time.sleep(max(0.0, began + seconds - time.monotonic()))
                used, then = cpu_seconds(process.pid) - cpu, wake_ups(process.pid)
                took = time.monotonic() - began
                after = asked()
                threads = {name: (n - waits.get(name, 0)) / took for name, n in then.items()}
                rows.append(
                    {
                        "rate": rate,
                        "own_clocks": own,
                        "received_per_second": round((after["received"] - before["received"]) / took, 1),
                        "cpu_percent": round(100 * used / took, 2),
                        "wake_ups_per_second": round(sum(threads.values()), 1),
                        "commits_per_second": round((after["commits"] - before["commits"]) / took, 1),
                        "threads": {
                            name: round(n, 1) for name, n in sorted(threads.items(), key=lambda t: -t[1]) if n > 0.6
                        },
                    }
                )
            client.disconnect()
            client.loop_stop()
            process.stdin.close()
    return rows[2:]


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["measure"]
    if what == "connector":
        connector(Path(rest[0]))
    else:
        print(
            json.dumps(
                {
                    "rates": measure(float(rest[0]) if rest else 10.0, RATES),
                    "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
                    "command": "python -m benchmarks.low_load",
                },
                indent=1,
            )
        )
