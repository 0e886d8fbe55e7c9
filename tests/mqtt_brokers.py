"""The MQTT brokers of the matrix, beside Debian's Mosquitto: HiveMQ and Artemis by Maven, on Java 17; Aedes by npm, on
Node.js; a newer Mosquitto from the backports of the machine's own package archive.

All take anonymous clients, let the user `reader` in with `MQTT_PASSWORD` alone, and let nobody read `secret/`.
`python -m tests.mqtt_brokers` fetches them and says where they are.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final, NoReturn, Self

import pytest

from tests.brokers import REQUIRE_REAL, USED, Mosquitto, OwnBroker, need_mosquitto, password_line
from tests.kafka_brokers import NEEDS_JAVA, java_program, leash
from tests.maven import compiled, fetched
from tests.node_packages import need_node
from tests.ports import free_port
from tests.secrets_used import MQTT_PASSWORD
from tests.waiting import listens, wait_until

HERE: Final = Path(__file__).parent
READER: Final = "reader"
_RABBITMQ: Final = Path("/usr/lib/rabbitmq")
MANY: Final = 100_000
"""Messages that a broker may queue for a session: more than any test publishes."""
NEEDS_BACKPORTS: Final = "needs a second Mosquitto, from the backports of Debian (apt-get, dpkg-deb)"


class ServerProcess(OwnBroker, ABC):
    """A broker in a process of its own, which a test may stop, kill and start again on the same port."""

    name: ClassVar[str]
    host = "127.0.0.1"
    real = True

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name.lower()}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the broker in `folder`."""

    def start(self) -> Self:
        """Start, and wait until it listens."""
        assert self._process is None
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [*leash(), *self.command()], stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        process = self._process
        wait_until(lambda: self.answers() or process.poll() is not None, 90, f"{self.name} answers", every=0.1)
        assert process.poll() is None, f"{self.name} ended: {self.log()[-5000:]}"
        USED[self.name] = USED.get(self.name, 0) + 1
        return self

    def answers(self) -> bool:
        """Whether a client may connect."""
        return listens(self.port)

    def _send(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        os.killpg(process.pid, number)  # a shell may stand before the broker


class _JavaBroker(ServerProcess):
    """A broker by Maven: its Broker.java and pom.xml are in a folder of its name."""

    options: tuple[str, ...] = ()

    def __init__(self) -> None:
        java = java_program()
        jars = self.jars() if java else None
        if java is None or jars is None:
            _leave_out(NEEDS_JAVA)
        self._java = java
        self._path = f"{self.classes(java, jars)}{os.pathsep}{jars}/*"
        super().__init__()

    @classmethod
    def version(cls) -> str:
        """The broker's version."""
        return str(re.findall(r"<broker\.version>([^<]+)<", cls._file("pom.xml").read_text())[0])

    @classmethod
    def jars(cls) -> Path | None:
        """The folder with the broker's jars, fetched if need be; None where that takes a Maven and there is none."""
        return fetched(cls._file("pom.xml"), f"{cls.name.lower()}-{cls.version()}", "copy-dependencies")

    @classmethod
    def classes(cls, java: str, jars: Path) -> Path:
        """The folder with the compiled Broker.java."""
        return compiled(java, jars, cls._file("Broker.java"))

    @classmethod
    def _file(cls, name: str) -> Path:
        return HERE / cls.name.lower() / name

    def command(self) -> list[str]:
        # A short life: what pays off only after minutes is left out.
        flags = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", *self.options]
        return [self._java, *flags, "-cp", self._path, "Broker", str(self.folder)]


class HiveMQ(_JavaBroker):
    """HiveMQ Community Edition."""

    name = "HiveMQ"

    def __init__(self) -> None:
        super().__init__()
        for folder in ("conf", "data", "extensions"):
            (self.folder / folder).mkdir()
        (self.folder / "passwords").write_text(f"{READER}\n{MQTT_PASSWORD}\n")
        (self.folder / "conf" / "config.xml").write_text(f"""<?xml version="1.0"?>
<hivemq>
  <listeners><tcp-listener><port>{self.port}</port><bind-address>127.0.0.1</bind-address></tcp-listener></listeners>
  <mqtt><queued-messages><max-queue-size>{MANY}</max-queue-size></queued-messages></mqtt>
  <persistence><mode>file</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
""")


class Artemis(_JavaBroker):
    """ActiveMQ Artemis."""

    name = "Artemis"

    def __init__(self) -> None:
        super().__init__()
        self.options = (f"-Djava.security.auth.login.config={self.folder / 'login.config'}",)
        rights = ["createDurableQueue", "deleteDurableQueue", "createNonDurableQueue", "deleteNonDurableQueue"]
        rights += ["createAddress", "deleteAddress", "consume", "browse", "send"]
        allowed = "".join(f'<permission type="{right}" roles="all"/>' for right in rights)
        (self.folder / "broker.xml").write_text(f"""<?xml version="1.0"?>
<configuration xmlns="urn:activemq">
  <core xmlns="urn:activemq:core">
    <journal-type>NIO</journal-type>
    <journal-buffer-timeout>0</journal-buffer-timeout>
    <journal-directory>{self.folder}/data/journal</journal-directory>
    <bindings-directory>{self.folder}/data/bindings</bindings-directory>
    <paging-directory>{self.folder}/data/paging</paging-directory>
    <large-messages-directory>{self.folder}/data/large</large-messages-directory>
    <acceptors><acceptor name="mqtt">tcp://127.0.0.1:{self.port}?protocols=MQTT</acceptor></acceptors>
    <security-settings>
      <security-setting match="#">{allowed}</security-setting>
      <security-setting match="secret.#"><permission type="send" roles="all"/></security-setting>
    </security-settings>
  </core>
</configuration>
""")
        modules = "org.apache.activemq.artemis.spi.core.security.jaas"
        (self.folder / "login.config").write_text(f"""activemq {{
  {modules}.PropertiesLoginModule sufficient
    org.apache.activemq.jaas.properties.user="passwords" org.apache.activemq.jaas.properties.role="roles";
  {modules}.GuestLoginModule sufficient credentialsInvalidate=true
    org.apache.activemq.jaas.guest.user="guest" org.apache.activemq.jaas.guest.role="all";
}};
""")
        (self.folder / "passwords").write_text(f"{READER}={MQTT_PASSWORD}\n")
        (self.folder / "roles").write_text(f"all={READER}\n")


class Aedes(ServerProcess):
    """Aedes, which keeps everything in memory."""

    name = "Aedes"

    def __init__(self) -> None:
        self._node, self._scripts = need_node()
        super().__init__()
        (self.folder / "passwords").write_text(f"{READER}\n{MQTT_PASSWORD}\n")

    def command(self) -> list[str]:
        return [self._node, str(self._scripts / "broker.mjs"), str(self.port), str(self.folder / "passwords")]


class RabbitMQ(ServerProcess):
    """RabbitMQ with its plugin for MQTT: before version 3.13 without MQTT 5."""

    name = "RabbitMQ"

    def __init__(self) -> None:
        self._program = _RABBITMQ / "bin" / "rabbitmq-server"
        epmd = shutil.which("epmd")
        if not self._program.exists() or epmd is None:
            _leave_out("needs RabbitMQ (Debian: apt-get install rabbitmq-server)")
        super().__init__()
        self._starts = 0
        self._names_port = free_port()
        self._names = subprocess.Popen([*leash(), epmd, "-port", str(self._names_port), "-address", "127.0.0.1"])
        (self.folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{self.port}\nmqtt.allow_anonymous = true\n"
            "mqtt.prefetch = 100\n"
            f"log.console = true\nlog.file = false\nload_definitions = {self.folder / 'passwords'}\n"
        )
        everything = {"vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
        topics = {"vhost": "/", "exchange": "amq.topic", "write": ".*", "read": r"^(?!secret\.).*"}
        users = {"guest": "guest", READER: MQTT_PASSWORD}
        definitions = {
            "users": [
                {"name": name, "password_hash": self._hashed(password), "tags": ""} for name, password in users.items()
            ],
            "vhosts": [{"name": "/"}],
            "permissions": [everything | {"user": name} for name in users],
            "topic_permissions": [topics | {"user": name} for name in users],
        }
        (self.folder / "passwords").write_text(json.dumps(definitions))

    @staticmethod
    def _hashed(password: str) -> str:
        salt = os.urandom(4)
        return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()

    def command(self) -> list[str]:
        settings = {
            "NODENAME": f"matrix-{self.port}@localhost",
            "DIST_PORT": str(free_port()),
            "MNESIA_BASE": f"{self.folder}/data",
            "LOG_BASE": f"{self.folder}/logs",
            "CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            "ENABLED_PLUGINS_FILE": f"{self.folder}/plugins",
        }
        variables = [f"RABBITMQ_{name}={value}" for name, value in settings.items()]
        self._starts += 1
        return ["env", f"HOME={self.folder}", f"ERL_EPMD_PORT={self._names_port}", *variables, str(self._program)]

    def answers(self) -> bool:
        return self.log().count("Server startup complete") == self._starts  # it listens before it has its users

    def close(self) -> None:
        super().close()
        self._names.kill()
        self._names.wait()


class MachinesMosquitto(Mosquitto):
    """The Mosquitto of this machine, with the users of the matrix."""

    name = "Mosquitto"

    def __init__(self, program: str | None = None) -> None:
        settings = "password_file {folder}/passwords\nacl_file {folder}/acl\nallow_anonymous true"
        super().__init__(persistence=True, settings=settings, program=program)
        self.config.write_text(self.config.read_text().replace("{folder}", str(self.folder)))
        (self.folder / "passwords").write_text(password_line(READER, MQTT_PASSWORD))
        rights = "topic readwrite #\ntopic deny secret/#\n"
        (self.folder / "acl").write_text(f"{rights}user {READER}\n{rights}")
        for name in ("passwords", "acl"):
            (self.folder / name).chmod(0o700)

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        self.database.unlink(missing_ok=True)  # Mosquitto keeps there how its clients logged in
        super().close()


class NewerMosquitto(MachinesMosquitto):
    """A newer Mosquitto, from the backports."""

    name = "Mosquitto of the backports"

    def __init__(self) -> None:
        need_mosquitto()  # its libraries
        program = newer_mosquitto()
        if program is None:
            _leave_out(NEEDS_BACKPORTS)
        super().__init__(str(program))


def newer_mosquitto() -> Path | None:
    """The program, fetched if need be; None where there are no backports with a Mosquitto."""
    apt, release = shutil.which("apt-get"), Path("/etc/os-release")
    named = re.search(r"^VERSION_CODENAME=(\w+)", release.read_text(), re.MULTILINE) if release.exists() else None
    if apt is None or named is None:
        return None
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clarify-connector"
    folder = caches / f"mosquitto-{named[1]}-backports"
    caches.mkdir(parents=True, exist_ok=True)
    with (caches / "mosquitto.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            half = caches / "fetching-mosquitto"
            shutil.rmtree(half, ignore_errors=True)  # of one that was killed
            try:
                _unpack_mosquitto(apt, named[1], half)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                print(f"no newer Mosquitto: {error}: {str(error.stderr)[-1000:]}", file=sys.stderr)
                return None
            half.rename(folder)
    return folder / "mosquitto"


def _unpack_mosquitto(apt: str, codename: str, folder: Path) -> None:
    """Unpack the Mosquitto of the backports, and its library for websockets, without installing them.

    Raises CalledProcessError if the archive has none, and TimeoutExpired if the archive does not answer.
    """
    root = folder / "root"
    for name in ("state/lists/partial", "cache/archives/partial", "root"):
        (folder / name).mkdir(parents=True)
    targets = _said([apt, "indextargets", "--format", "$(CODENAME) $(REPO_URI)"], folder)
    archive = re.search(rf"^{codename} (\S+)$", targets, re.MULTILINE)
    keys = next(iter(Path("/usr/share/keyrings").glob("debian-archive-keyring.*")), None)
    signed = f"[signed-by={keys}] " if keys else ""
    lines = [f"deb {signed}{archive[1] if archive else ''} {codename}{more} main\n" for more in ("", "-backports")]
    (folder / "sources.list").write_text("".join(lines))
    own = {"Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "-"}
    own |= {"Dir::State::lists": folder / "state/lists", "Dir::Cache": folder / "cache", "APT::Sandbox::User": "root"}
    own |= {"Acquire::http::Timeout": "20", "Acquire::https::Timeout": "20"}
    options = [option for name, value in own.items() for option in ("-o", f"{name}={value}")]
    _said([apt, *options, "-q", "update"], folder)
    _said([apt, *options, "-q", "download", f"mosquitto/{codename}-backports"], folder)
    wanted = re.findall(r"libwebsockets\w+", _said(["dpkg-deb", "-f", *_packages(folder), "Depends"], folder))
    _said([apt, *options, "-q", "download", *wanted], folder)
    for package in _packages(folder):
        _said(["dpkg-deb", "-x", package, str(root)], folder)
    for name in ("state", "cache", "sources.list"):
        where = folder / name
        shutil.rmtree(where) if where.is_dir() else where.unlink()
    program = folder / "mosquitto"
    program.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")/root/usr\nexport LD_LIBRARY_PATH=$(echo "$here"/lib/*-linux-gnu)\n'
        'exec "$here/sbin/mosquitto" "$@"\n'
    )
    program.chmod(0o755)


def _packages(folder: Path) -> list[str]:
    return [str(package) for package in folder.glob("*.deb")]


def _said(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout


def _leave_out(reason: str) -> NoReturn:
    if REQUIRE_REAL:
        pytest.fail(f"REQUIRE_REAL=1, but a broker is missing: the test {reason}")
    pytest.skip(reason)


def _fetch() -> bool:
    java = java_program()
    missing = []
    for kind in (HiveMQ, Artemis):
        jars = kind.jars() if java else None
        if java is None or jars is None:
            missing.append(kind.name)
        else:
            print(f"{kind.name} {kind.version()} is in {kind.classes(java, jars).parent}")
    program = newer_mosquitto()
    if program is None:
        missing.append(NewerMosquitto.name)
    else:
        print(f"{NewerMosquitto.name} is {program}")
    node, scripts = need_node()
    print(f"Aedes is in {scripts}, for {node}")
    if missing:
        print(f"not here: {', '.join(missing)}")
    return not missing


if __name__ == "__main__":
    sys.exit(0 if _fetch() else 1)
