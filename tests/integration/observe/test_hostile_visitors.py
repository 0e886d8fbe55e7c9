"""Visitors of a running connector's pages take nothing away from the data, from others who visit, or from the log."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from connector.ledger.source_file import SourceFile
from connector.observe.http import VISITS
from connector.records import Record
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.secrets_used import fresh
from tests.waiting import wait_until

SILENT = 1_100
FEW = 20
"""Descriptors that a connector opens in passing."""
BEGINNINGS = (
    b"",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ",
    b"GET /ledger HTTP/1.1\r\nHost: localhost\r\n\r\n",  # and never reads
    b"POST /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
    b"GET /" + b"a" * 20_000,
    bytes(range(256)) * 8,
    b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n" * 50,
    b"GET /metrics\r\n\r\n",
)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """For the visitors, who are in our own process."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(usual[0], SILENT * 2), usual[1]), usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def mqtt(broker: Mosquitto) -> str:
    return f'  - {{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", client_id: c, topics: ["plant/#"]}}'


@pytest.mark.usefixtures("many_descriptors")
def test_1100_visitors_who_say_nothing_or_nonsense_stop_no_upload(tmp_path: Path, sandbox: SandboxServer) -> None:
    with (
        Mosquitto(persistence=True) as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker)).start() as connector,
        Publisher(broker.port) as publisher,
        contextlib.ExitStack() as open_,
    ):
        publisher.publish("plant/first")
        wait_until(lambda: sandbox.count_samples() == 1, 60, connector.log)  # all connections are there
        process = psutil.Process(connector.pid)
        usual = process.num_fds()
        memory = connector.rss_bytes()
        resource.prlimit(connector.pid, resource.RLIMIT_NOFILE, (usual + VISITS + FEW * 2,) * 2)
        most = 0
        for number in range(SILENT):
            visitor = open_.enter_context(socket.socket())
            visitor.setblocking(False)
            visitor.connect_ex(("127.0.0.1", connector.observe_port))
            open_.callback(visitor.close)
            if number % 50 == 0:
                publisher.publish(f"plant/{number}")
                most = max(most, process.num_fds())
            with contextlib.suppress(OSError):  # the connection may be in the system's queue yet, or be cut
                visitor.send(BEGINNINGS[number % len(BEGINNINGS)])
        wait_until(lambda: sandbox.count_samples() == publisher.messages, 60, connector.log)
        assert max(most, process.num_fds()) <= usual + VISITS + FEW
        assert httpx.get(
            f"http://127.0.0.1:{connector.observe_port}/healthz", timeout=60, trust_env=False, verify=False
        ).json() == {
            "alive": True,
            "failure": None,
        }
        assert connector.readiness() == (200, [])
        assert connector.rss_bytes() - memory < 60 * 1024**2
        open_.close()
        wait_until(lambda: process.num_fds() <= usual + FEW, 60, "all connections are closed")
        log = connector.log()
        assert "Traceback" not in log
        assert "too many open files" not in log.lower()
        assert log.count("page") < 10, log
        assert connector.stop() == 0


def test_without_descriptors_the_pages_come_back(tmp_path: Path, sandbox: SandboxServer) -> None:
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker)).start() as connector,
    ):
        usual = resource.prlimit(connector.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(connector.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
        with socket.create_connection(("127.0.0.1", connector.observe_port)):
            wait_until(lambda: "pages_cannot_accept" in connector.log(), 60, connector.log)
        resource.prlimit(connector.pid, resource.RLIMIT_NOFILE, usual)
        wait_until(lambda: connector.readiness()[0] == 200, 60, connector.log)
        assert "Traceback" not in connector.log()
        assert connector.stop() == 0


def test_the_ledger_is_read_once_for_all_and_without_its_backlog(tmp_path: Path, sandbox: SandboxServer) -> None:
    """A backlog of messages that each take long to map: visitors must not cause a second mapping of it."""
    messages, values = 40_000, 100
    payload = json.dumps({f"v{n}": n for n in range(values)}).encode()
    (tmp_path / "state").mkdir()
    file = SourceFile.open(tmp_path / "state" / "mqtt.sqlite")
    now = int(time.time() * 1e6)
    for first in range(0, messages, 1_000):
        file.journal.write([[Record(f"plant/{n % 10}", payload, now + first + n) for n in range(1_000)]], [])
    file.close()
    sandbox.kill()
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker)).start(ready=False) as connector,
        ThreadPoolExecutor(40) as pool,
        httpx.Client(timeout=60, trust_env=False, verify=False) as client,
    ):
        wait_until(lambda: connector.readiness()[0] == 503, 60, connector.log)
        process = psutil.Process(connector.pid)
        # the connector itself maps as much as may wait in memory, and then it waits
        wait_until(lambda: cpu_in(process, 1.0) < 0.3, 120, "it has mapped what it takes into memory", every=0)
        url = f"http://127.0.0.1:{connector.observe_port}/ledger"
        before = sum(process.cpu_times()[:2])
        answers = list(pool.map(lambda _: client.get(url), range(400)))
        spent = sum(process.cpu_times()[:2]) - before
        assert {answer.status_code for answer in answers} == {200}
        ledger = answers[0].json()
        assert ledger["balanced"]
        assert ledger["messages"]["waiting"] == messages
        assert ledger["messages"]["received"] == messages
        assert ledger["sources"]["mqtt"]["topics"]["(waiting)"]["messages"]["waiting"] == messages
        assert spent < 3, f"{spent:.1f} s of CPU for 400 visits; one mapping of the backlog takes many seconds"
        connector.kill()


def cpu_in(process: psutil.Process, seconds: float) -> float:
    """Seconds of CPU that it used in this time."""
    return float(process.cpu_percent(seconds)) / 100 * seconds


def test_a_page_with_token_and_tls_and_its_health_check(tmp_path: Path, sandbox: SandboxServer) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "pages.key")
    token = fresh("pages")
    (tmp_path / "password").write_text(token + "\n")
    pages = "  token: ${file:password}\n  tls: {cert_file: cert.pem, key_file: pages.key}\n"
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker), observe=pages) as connector,
    ):
        connector.start(ready=False)
        wait_until(lambda: health(connector.config, "--ready")[0] == 0, 60, connector.log)
        assert health(connector.config)[1] == "alive, ready\n"
        with httpx.Client(verify=trusting(authority), trust_env=False, timeout=60) as client:
            url = f"https://127.0.0.1:{connector.observe_port}/metrics"
            assert client.get(url).status_code == 401
            assert client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200
            assert client.get(url, headers={"Host": "evil.example"}).status_code == 421
        assert connector.stop() == 0
        assert token not in connector.log()


def test_a_certificate_that_cannot_be_used_is_one_message_and_the_end(tmp_path: Path, sandbox: SandboxServer) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    pages = "  tls: {cert_file: cert.pem, key_file: cert.pem}\n"
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker), observe=pages) as connector,
    ):
        connector.start(ready=False)
        assert connector.wait(60) == 1
        assert connector.log().startswith("Error: observe.tls: the certificate cannot be used: no PEM files")
        assert connector.log().count("\n") == 1


def test_a_unix_socket_of_one_that_was_killed_is_taken_over(tmp_path: Path, sandbox: SandboxServer) -> None:
    with (
        Mosquitto() as broker,
        ConnectorProcess(tmp_path, sandbox.credentials_path, mqtt(broker)) as connector,
    ):
        path = tmp_path / "pages.sock"
        text = connector.config.read_text()
        connector.config.write_text(text.replace(f"127.0.0.1:{connector.observe_port}", f"unix:{path}"))

        def served() -> bool:
            with (
                contextlib.suppress(httpx.TransportError),
                httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client,
            ):
                return client.get("http://pages/readyz").status_code == 200
            return False

        connector.start(ready=False)
        wait_until(served, 60, connector.log)
        connector.kill()
        assert path.exists()
        status, text = health(connector.config)
        assert (status, "no answer" in text) == (1, True)
        connector.start(ready=False)
        wait_until(served, 60, connector.log)
        assert health(connector.config, "--ready") == (0, "alive, ready\n")
        assert connector.stop() == 0
        assert not path.exists()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def health(config: Path, *options: str) -> tuple[int, str]:
    """Exit status and output of the command."""
    done = subprocess.run(
        [sys.executable, "-m", "connector", "health", str(config), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
