"""Starts the broker of the demo.

For MQTT, this is Mosquitto if it is installed, or else the embedded broker (amqtt). For Kafka, this is the embedded
broker of librdkafka.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from connector.demo.children import Child, DemoError

SourceChoice = Literal["mqtt", "kafka"]
KAFKA_TOPIC: Final = "plant"
BrokerChoice = Literal["auto", "mosquitto", "embedded"]
Protocol = Literal["5", "3.1.1"]

_PLACES: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Folders in which systems install Mosquitto, and which are not on the PATH of a plain user."""
_ATTEMPTS: Final = 5
_START_SECONDS: Final = 60.0
_VERSION: Final = re.compile(r"mosquitto version (\S+)")

WaitFor = Callable[[Callable[[], bool], float, str], None]
"""Waits until a condition is true, for at most so many seconds; the text describes the condition in an error."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker."""

    name: str
    protocol: Protocol | None
    """The version of MQTT; None for Kafka."""
    port: int
    child: Child

    @property
    def url(self) -> str:
        """The address of the broker, in the form of the connector's configuration."""
        return f"127.0.0.1:{self.port}" if self.protocol is None else f"mqtt://127.0.0.1:{self.port}"

    @property
    def hint(self) -> str:
        """A command that publishes to the broker."""
        if self.protocol is None:
            return f"echo 21.5 | kcat -P -b 127.0.0.1:{self.port} -t {KAFKA_TOPIC} -k my/topic"
        return f"mosquitto_pub -h 127.0.0.1 -p {self.port} -t my/topic -m 21.5"


def find_mosquitto() -> str | None:
    """The path of Mosquitto, also in folders that are only on root's PATH; None if it is not installed."""
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), *_PLACES)))


def start_broker(choice: BrokerChoice, folder: Path, wait_for: WaitFor) -> Broker:
    """Start an MQTT broker on a free port of this host. Raises DemoError if there is none, or if it does not start."""
    mosquitto = None if choice == "embedded" else find_mosquitto()
    if mosquitto is not None:
        program = mosquitto
        return _start(
            _mosquitto_name(program), "5", folder, wait_for, lambda port: _mosquitto_command(program, port, folder)
        )
    if choice == "mosquitto":
        raise DemoError(
            f"Mosquitto was not found on PATH or in {', '.join(_PLACES)}: install it (Debian, Ubuntu: apt-get install "
            "mosquitto; macOS: brew install mosquitto), or use --broker embedded"
        )
    if importlib.util.find_spec("amqtt") is None:
        raise DemoError(
            "no broker was found: install Mosquitto (Debian, Ubuntu: apt-get install mosquitto), or the embedded one: "
            "in a checkout of the connector, run pip install '.[demo]'"
        )
    name = f"amqtt {importlib.metadata.version('amqtt')} (embedded)"
    return _start(
        name,
        "3.1.1",
        folder,
        wait_for,
        lambda port: [sys.executable, "-m", "connector.demo.embedded_broker", str(port)],
    )


def start_kafka(folder: Path, wait_for: WaitFor) -> Broker:
    """Start the embedded Kafka, which chooses a free port by itself. Raises DemoError if it does not start."""
    name = "librdkafka's embedded Kafka (volatile)"
    said: list[str] = []
    command = [sys.executable, "-m", "connector.demo.kafka_broker", KAFKA_TOPIC]
    child = Child(f"the broker ({name})", command, folder / "broker.log", said.append)
    try:
        wait_for(lambda: bool(said) or not child.running(), _START_SECONDS, f"{name} serves")
        child.check()
    except BaseException:
        child.end()
        raise
    return Broker(name, None, int(said[0].rpartition(":")[2]), child)


def _start(
    name: str, protocol: Protocol, folder: Path, wait_for: WaitFor, command: Callable[[int], list[str]]
) -> Broker:
    """Start a broker that cannot choose a port by itself; `command` makes its command line from a port.

    Another program may take the free port before the broker listens. Then the next attempt takes another port.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        port = _free_port()
        child = Child(f"the broker ({name})", command(port), folder / "broker.log")
        try:
            wait_for(lambda c=child, p=port: not c.running() or _listens(p), _START_SECONDS, f"{name} listens")  # type: ignore[misc]
            child.check()
        except DemoError:
            child.end()
            if attempt == _ATTEMPTS:
                raise
        except BaseException:
            child.end()
            raise
        else:
            return Broker(name, protocol, port, child)
    raise AssertionError("the last attempt returns or raises")


def _mosquitto_name(program: str) -> str:
    said = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    found = _VERSION.search(said)
    return f"mosquitto {found[1]}" if found else "mosquitto"


def _mosquitto_command(program: str, port: int, folder: Path) -> list[str]:
    config = folder / "mosquitto.conf"
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "# By default, Mosquitto drops messages above 1000 in a queue, without any notice.",
        "max_queued_messages 0",
        "max_inflight_messages 0",
        "persistence false",
        "log_type error",
        "log_type warning",
    ]
    if os.geteuid() == 0:
        lines.append("user root")
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [program, "-c", str(config)]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5):
            return True
    except OSError:
        return False
