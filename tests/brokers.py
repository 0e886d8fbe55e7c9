"""MQTT brokers for tests, in order of preference: one named by MQTT_BROKER_URL, a Mosquitto on this machine,
a Mosquitto in a container where Docker answers, and only then the embedded stand-in (no MQTT 5, no sessions).

`USED` collects which were used, for the end of the test run.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

import pytest

from tests.ports import free_port
from tests.secret_search import search_folder
from tests.waiting import listens, wait_until

USED: dict[str, int] = {}
REQUIRE_REAL = os.environ.get("REQUIRE_REAL") == "1"
_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))


class Broker(Protocol):
    """A broker that somebody started."""

    host: str
    port: int
    real: bool


def mosquitto_program() -> str | None:
    """Where Mosquitto is on this machine."""
    return shutil.which("mosquitto", path=_PLACES)


def mosquitto_pub_program() -> str | None:
    """Where Mosquitto's publisher is on this machine."""
    return shutil.which("mosquitto_pub", path=_PLACES)


def need_mosquitto() -> str:
    """The program, or a skip with the reason; a failure where real components are required."""
    program = mosquitto_program()
    if program is None:
        if REQUIRE_REAL:
            pytest.fail("REQUIRE_REAL=1, but there is no mosquitto on this machine")
        pytest.skip("needs a Mosquitto on this machine that it may kill (Debian: apt-get install mosquitto)")
    return program


def password_line(user: str, password: str) -> str:
    """A line of Mosquitto's password file."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


class OwnBroker:
    """A broker in a process and a folder of its own, with what it says in `log.txt` there."""

    folder: Path
    _process: subprocess.Popen[bytes] | None

    def stop(self) -> None:
        """SIGTERM: it ends in order, and saves its sessions if it keeps them on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        search_folder(self.folder)
        shutil.rmtree(self.folder)

    def log(self) -> str:
        """What it said."""
        return (self.folder / "log.txt").read_text(errors="replace")

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._send(process, number)
            process.wait(60)

    def _send(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        process.send_signal(number)


class Mosquitto(OwnBroker):
    """A Mosquitto process of our own, which a test may stop, kill and start again on the same port."""

    real = True
    host = "127.0.0.1"

    def __init__(
        self, *, persistence: bool = False, settings: str = "", port: int | None = None, program: str | None = None
    ) -> None:
        """`settings` are further lines of its configuration; a `listener` among them replaces ours. `program` is
        another Mosquitto than the one of this machine."""
        self._program = program or need_mosquitto()
        self.folder = Path(tempfile.mkdtemp(prefix="mosquitto-"))
        self.folder.chmod(0o755)  # Mosquitto gives up being root and must still reach it
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            "" if "listener" in settings else f"listener {self.port} 127.0.0.1",
            "" if "allow_anonymous" in settings else "allow_anonymous true",
            "max_queued_messages 0",
            "max_inflight_messages 0",
            "user root" if os.getuid() == 0 else "",
            f"persistence {'true' if persistence else 'false'}",
            f"persistence_location {self.folder}/" if persistence else "",
            "autosave_interval 1" if persistence else "",
            settings.replace("{port}", str(self.port)),
        ]
        self.config = self.folder / "mosquitto.conf"
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def database(self) -> Path:
        """The file with its sessions, where persistence is on."""
        return self.folder / "mosquitto.db"

    def start(self) -> Self:
        """Start and wait until it listens."""
        assert self._process is None
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self.config)], stdout=log, stderr=log)
        process = self._process
        wait_until(lambda: listens(self.port) or process.poll() is not None, 10, "Mosquitto listens")
        assert process.poll() is None, f"Mosquitto ended: {self.log()}"
        USED["Mosquitto on this machine"] = USED.get("Mosquitto on this machine", 0) + 1
        return self

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def has(self, client_id: str) -> bool:
        """Whether this client is connected, as its log says."""
        told = re.findall(rf"(?: as|Client) {re.escape(client_id)} (\S+)", self.log())
        return bool(told) and told[-1].startswith("(")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGHUP to let it read its passwords and certificates again."""
        assert self._process is not None
        self._process.send_signal(number)

    def reload(self, change: tuple[str, str]) -> None:
        """Replace a text of its configuration, where it stands first, and let it read the file again (SIGHUP)."""
        assert self._process is not None
        self.config.write_text(self.config.read_text().replace(*change, 1))
        self._process.send_signal(signal.SIGHUP)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class NamedBroker:
    """The broker that MQTT_BROKER_URL names; ours to use, not to stop."""

    real = True

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 1883
        USED[f"the broker at {self.host}:{self.port} (MQTT_BROKER_URL)"] = 0  # not by us

    def close(self) -> None:
        """Nothing of ours."""


class ContainerBroker:
    """Mosquitto in a container, through Testcontainers."""

    real = True

    def __init__(self) -> None:
        from testcontainers.core.container import DockerContainer

        self._container = (
            DockerContainer("eclipse-mosquitto:2")
            .with_command("mosquitto -c /mosquitto-no-auth.conf")
            .with_exposed_ports(1883)
        )
        self._container.start()
        self.host = self._container.get_container_host_ip()
        self.port = int(self._container.get_exposed_port(1883))
        wait_until(lambda: listens(self.port, self.host), 30, "the container listens")
        USED["Mosquitto in a container"] = USED.get("Mosquitto in a container", 0) + 1

    def close(self) -> None:
        """Stop the container."""
        self._container.stop()


class EmbeddedBroker:
    """amqtt in a process of its own: a stand-in without MQTT 5 and without queues for sessions."""

    real = False
    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AMQTT, str(self.port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        wait_until(lambda: listens(self.port), 20, "the embedded broker listens")
        USED["the embedded stand-in (amqtt)"] = USED.get("the embedded stand-in (amqtt)", 0) + 1

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


_AMQTT = """
import asyncio, sys
from amqtt.broker import Broker
async def main():
    await Broker({"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}},
                  "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}}).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


def docker_answers() -> bool:
    """Whether a Docker engine is there."""
    try:
        import docker

        return bool(docker.from_env(timeout=2).ping())
    except Exception:  # noqa: BLE001 - whatever it raises, it is not there
        return False


def best_broker() -> Mosquitto | NamedBroker | ContainerBroker | EmbeddedBroker:
    """The best broker to be had, started."""
    url = os.environ.get("MQTT_BROKER_URL")
    if url:
        return NamedBroker(url)
    if mosquitto_program():
        return Mosquitto().start()
    if docker_answers():
        return ContainerBroker()
    if REQUIRE_REAL:
        pytest.fail("REQUIRE_REAL=1, but there is no real MQTT broker: install Mosquitto or set MQTT_BROKER_URL")
    return EmbeddedBroker()
