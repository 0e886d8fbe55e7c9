"""Messages a second and CPU a message through the whole MQTT path, against a bare paho subscriber.

Both subscribe with MQTT 5 and QoS 1 to the same Mosquitto, which has the same messages queued in their
persistent sessions, so that neither waits for a publisher. The bare subscriber only counts. The connector
journals, decodes, maps, packs and inserts into a sandbox; its time ends when its ledger has settled the last
message. The connector runs a second time with its journal in memory: the difference is what the journal on disk costs.
They take turns, several rounds, each in a process of its own; the medians are compared.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from connector.config.read import load_config
from connector.observe.logs import configure_logs
from connector.runtime.connector import Connector
from tests.brokers import Mosquitto
from tests.sandbox_server import SandboxServer

MACHINES = 200
_IN_FLIGHT = {"disk": 1000, "memory": 65_535}
"""Messages that the broker may send before they are acknowledged: in memory that is when they are settled."""


def payload(i: int) -> bytes:
    """A message of a machine with a clock of its own: 5 values, about 120 bytes."""
    seconds, millis = divmod(i * 7 // MACHINES, 1000)
    return (
        b'{"ts":"2026-11-01T%02d:%02d:%02d.%03dZ","temperature":%d.%02d,"pressure":%d.5,"speed":%d,"load":0.%03d,"on":true}'
        % (
            seconds // 3600,
            seconds // 60 % 60,
            seconds % 60,
            millis,
            20 + i % 60,
            i % 100,
            1000 + i % 30,
            i % 3000,
            i % 1000,
        )
    )


def _session(client_id: str) -> Client:
    """Register a persistent session, so that the broker queues for it."""
    return Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)


def _connect(client: Client, port: int) -> None:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    properties.ReceiveMaximum = 1000
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)


def register(port: int, client_id: str) -> None:
    """Subscribe once and go away."""
    client = _session(client_id)
    done: list[int] = []
    client.on_connect = lambda *_: client.subscribe("plant/#", qos=1)
    client.on_subscribe = lambda *_: done.append(1)
    _connect(client, port)
    while not done:
        client.loop(0.1)
    client.disconnect()
    client.loop(0.1)


def publish(port: int, messages: int) -> None:
    """Queue the messages at the broker."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
    client.max_inflight_messages_set(1000)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    infos = [client.publish(f"plant/m{i % MACHINES}", payload(i), qos=1) for i in range(messages)]
    for info in infos:
        info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def bare(port: int, client_id: str, messages: int) -> None:
    """The baseline, run in a process of its own: count, and print seconds and CPU seconds."""
    client = _session(client_id)
    count = 0

    def on_message(_client: Client, _userdata: object, _message: MQTTMessage) -> None:
        nonlocal count
        count += 1
        if count == messages:
            client.disconnect()

    client.on_message = on_message
    began, cpu = time.perf_counter(), time.process_time()
    _connect(client, port)
    client.loop_forever()
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}))


def connector(config: Path, messages: int) -> None:
    """The connector in a process of its own, until its ledger has settled everything."""
    configure_logs("warning", "text")
    loaded = load_config(config)
    began, cpu = time.perf_counter(), time.process_time()
    running = Connector(loaded)
    running.start()
    counts = running.pipeline.status.messages
    received_at = None
    while counts.inserted + counts.superseded + counts.dead_lettered + counts.filtered < messages:
        if received_at is None and counts.received >= messages:
            received_at = time.perf_counter() - began
        time.sleep(0.01)
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    requests = running.pipeline.status.requests
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    running.stop()
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": used,
                "taken_in": received_at or seconds,
                "requests": requests,
                "peak_mib": peak,
            }
        )
    )


def _run(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.mqtt_path", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(messages: int, rounds: int) -> dict[str, object]:
    """The comparison: medians over the rounds, and their ratios."""
    plain: list[dict[str, float]] = []
    ours: list[dict[str, float]] = []
    in_memory: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, SandboxServer(rate_limiter="off") as sandbox:
        for number in range(rounds):
            with Mosquitto() as broker:
                configs = {}
                for journal in ("disk", "memory"):
                    configs[journal] = Path(folder) / f"{number}-{journal}.yaml"
                    configs[journal].write_text(
                        f"clarify: {{credentials: {sandbox.credentials_path}}}\n"
                        f"sources:\n  - {{type: mqtt, url: 'mqtt://127.0.0.1:{broker.port}', topics: ['plant/#'],"
                        f" client_id: {journal}, journal: {journal}, receive_maximum: {_IN_FLIGHT[journal]}}}\n"
                        f"state_dir: {Path(folder) / f'{number}-{journal}'}\nobserve: {{listen: null}}\n"
                        "delivery: {max_delay: 1s}\n"
                    )
                for client_id in ("bare", *configs):
                    register(broker.port, client_id)
                publish(broker.port, messages)
                plain.append(_run("bare", str(broker.port), "bare", str(messages)))
                ours.append(_run("connector", str(configs["disk"]), str(messages)))
                in_memory.append(_run("connector", str(configs["memory"]), str(messages)))

    def median(runs: list[dict[str, float]], key: str) -> float:
        return statistics.median(run[key] for run in runs)

    bare_rate = messages / median(plain, "seconds")
    our_rate = messages / median(ours, "taken_in")
    return {
        "messages": messages,
        "rounds": rounds,
        "bare_messages_per_second": round(bare_rate),
        "connector_messages_per_second": round(our_rate),
        "ratio": round(our_rate / bare_rate, 2),
        "ratio_until_settled": round(messages / median(ours, "seconds") / bare_rate, 2),
        "bare_cpu_us_per_message": round(median(plain, "cpu") / messages * 1e6, 1),
        "connector_cpu_us_per_message": round(median(ours, "cpu") / messages * 1e6, 1),
        "in_memory_cpu_us_per_message": round(median(in_memory, "cpu") / messages * 1e6, 1),
        "journal_share_of_cpu": round(1 - median(in_memory, "cpu") / median(ours, "cpu"), 2),
        "journal_seconds_until_settled": round(median(ours, "seconds"), 1),
        "in_memory_seconds_until_settled": round(median(in_memory, "seconds"), 1),
        "requests": median(ours, "requests"),
        "connector_peak_mib": round(median(ours, "peak_mib")),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "command": f"python -m benchmarks.mqtt_path compare {messages} {rounds}",
    }


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["compare"]
    if what == "bare":
        bare(int(rest[0]), rest[1], int(rest[2]))
    elif what == "connector":
        connector(Path(rest[0]), int(rest[1]))
    else:
        print(json.dumps(compare(int(rest[0]) if rest else 50_000, int(rest[1]) if len(rest) > 1 else 3), indent=1))
