"""A million distinct topics, each with one value, at full speed, while an honest publisher sends a value a second.

What grows is measured: memory, the state on disk, the log, /metrics; and how long the honest values need to arrive.
`python -m benchmarks.hostile_publisher [TOPICS [BYTES OF A TOPIC [apart]]]`; the connector has its default settings.
With `apart` the honest topic is a source of its own: another connection, journal and intake.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.flood import flood
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer

HONEST = "plant/honest"
_PATIENCE = 3600.0


def messages(topics: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    """One value in each of so many topics, each so many bytes long."""
    for i in range(topics):
        yield (
            b"plant/hostile/%d/".ljust(length, b"x") % i if length > 40 else b"plant/hostile/%d" % i,
            b'{"value":%d.5}' % i,
        )


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def sizes(folder: Path) -> dict[str, int]:
    """File → its size in bytes."""
    return {path.name: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}


class Honest:
    """A value a second, and how long each needs until Clarify has it."""

    def __init__(self, port: int, sandbox: SandboxServer) -> None:
        self._port = port
        self._sandbox = sandbox
        self._stop = threading.Event()
        self.delays: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._watcher = threading.Thread(target=self._watch)
        self._sent: list[float] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._watcher.start()

    def stop(self) -> None:
        """Send no more, and wait until all have arrived."""
        self._stop.set()
        self._thread.join()
        self._watcher.join()

    def _run(self) -> None:
        with Publisher(self._port) as publisher:
            while not self._stop.wait(1.0):
                self._sent.append(time.monotonic())
                publisher.publish(HONEST)
            publisher.wait_acknowledged()

    def _watch(self) -> None:
        give_up = time.monotonic() + _PATIENCE
        while (not self._stop.is_set() or len(self.delays) < len(self._sent)) and time.monotonic() < give_up:
            arrived, now = len(self._sandbox.samples(f"{HONEST}:value")), time.monotonic()
            self.delays += [now - at for at in self._sent[len(self.delays) : arrived]]
            time.sleep(0.25)


def measure(topics: int, length: int, *, apart: bool = False) -> dict[str, object]:
    """The whole run."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, SandboxServer() as sandbox, Mosquitto() as broker:
        taken = {"plant": "plant/hostile/#", "honest": HONEST} if apart else {"plant": "plant/#"}
        sources = "\n".join(
            f'  - {{type: mqtt, name: {name}, url: "mqtt://127.0.0.1:{broker.port}", topics: ["{topic}"]}}'
            for name, topic in taken.items()
        )
        with ConnectorProcess(Path(folder), sandbox.credentials_path, sources).start() as connector:
            before = connector.rss_bytes()
            honest = Honest(broker.port, sandbox)
            honest.start()
            began = time.monotonic()
            command = [sys.executable, "-m", "benchmarks.hostile_publisher", "flood"]
            command += [str(broker.port), str(topics), str(length)]
            hostile = subprocess.run(command, check=True, capture_output=True, text=True)
            during = len(honest.delays)
            metric = "clarify_connector_messages_settled_total{"
            while time.monotonic() < began + _PATIENCE:
                numbers = connector.metrics()
                settled = sum(value for series, value in numbers.items() if series.startswith(metric))
                if settled >= topics:
                    break
                time.sleep(1)
            seconds = time.monotonic() - began
            honest.stop()
            peak = peak_bytes(connector.pid)
            page = httpx.get(
                f"http://127.0.0.1:{connector.observe_port}/metrics", timeout=60, trust_env=False, verify=False
            )
            numbers = connector.metrics()
            resident = connector.rss_bytes()
            status = connector.stop()
            balanced, ledger = connector.ledger()
            delays = sorted(honest.delays)
            return {
                "topics": topics,
                "bytes_of_a_topic": length,
                "apart": apart,
                "flood_seconds": round(float(hostile.stdout), 1),
                "settled_after_seconds": round(seconds, 1),
                "rss_mib": {"before": before >> 20, "peak": peak >> 20, "after": resident >> 20},
                "state_bytes": sizes(Path(folder) / "state"),
                "log_bytes": connector.log_path.stat().st_size,
                "log_lines": connector.log().count("\n"),
                "metrics_bytes": len(page.content),
                "honest": {
                    "values": len(delays),
                    "arrived_during_flood": during,
                    "median_s": round(delays[len(delays) // 2], 1),
                    "worst_s": round(delays[-1], 1),
                },
                "stopped": status,
                "balanced": balanced == 0,
                "messages": ledger["messages"],
                "topics_in_the_ledger": len(ledger["sources"]["plant"]["topics"]),
                "signals": numbers.get("clarify_connector_signals_let_in"),
                "held": numbers.get("clarify_connector_signals_held"),
                "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            }


if __name__ == "__main__":
    if sys.argv[1:2] == ["flood"]:
        port, count, length = map(int, sys.argv[2:])
        print(flood(port, messages(count, length)))
    else:
        numbers = [int(text) for text in sys.argv[1:3]]
        topics, length = (*numbers, *(1_000_000, 0)[len(numbers) :])
        print(json.dumps(measure(topics, length, apart="apart" in sys.argv), indent=1))
