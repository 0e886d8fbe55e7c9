"""Passwords, certificates and Clarify's credentials are rotated under load: nothing is lost or started again."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import trustme

from tests.brokers import Mosquitto, password_line
from tests.connector_process import ConnectorProcess, run_command
from tests.ports import free_port
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.secrets_used import fresh
from tests.waiting import listens, wait_until


class Rotated:
    """A Mosquitto whose password and certificates are rotated, and the files of the connector."""

    def __init__(self, folder: Path) -> None:
        self.plain = free_port()
        """A listener without a log-in, for the publisher."""
        self.folder = folder
        self.broker = Mosquitto(
            settings="per_listener_settings true\nlistener {port} 127.0.0.1\nallow_anonymous false\n"
            "password_file FOLDER/passwords\ncertfile FOLDER/server.pem\nkeyfile FOLDER/server.key\n"
            f"listener {self.plain} 127.0.0.1\nallow_anonymous true"
        )
        config = self.broker.config
        config.write_text(config.read_text().replace("FOLDER", str(self.broker.folder)))
        self.authority, self.user, self.secret = trustme.CA(), "", ""
        self.rotate()
        self.mend()

    def started(self) -> Mosquitto:
        """The broker, when both listeners listen."""
        self.broker.start()
        wait_until(lambda: listens(self.plain), 60, self.broker.log)
        return self.broker

    def rotate(self) -> None:
        """Give the broker another user, another password, and another certificate, of another authority."""
        self.authority, self.user, self.secret = trustme.CA(), f"{self.user}u", fresh("mqtt-password")
        issued = self.authority.issue_cert("localhost")
        (self.broker.folder / "passwords").write_text(password_line(self.user, self.secret))
        issued.private_key_pem.write_to_path(self.broker.folder / "server.key")
        issued.cert_chain_pems[0].write_to_path(self.broker.folder / "server.pem")

    def mend(self) -> None:
        """Write what the connector reads."""
        (self.folder / "user").write_text(self.user)
        (self.folder / "password").write_text(self.secret)
        self.authority.cert_pem.write_to_path(self.folder / "ca.pem")


def rotate_clarify(sandbox: SandboxServer) -> None:
    """Clarify gets other secrets, and forgets its tokens; the credentials file has the new secret."""
    sandbox.stop()
    with closing(sqlite3.connect(sandbox.store_path)) as store:
        store.execute(
            "UPDATE integrations SET client_secret = ?, signing_key = ?", (fresh("client-secret"), os.urandom(32))
        )
        store.commit()
    sandbox.start()


def test_everything_is_rotated_under_load(tmp_path: Path, sandbox: SandboxServer) -> None:
    rotated = Rotated(tmp_path)
    source = (
        f"  - {{type: mqtt, url: 'mqtts://localhost:{rotated.broker.port}', topics: ['plant/#'], "
        "username: '${file:user}', password: '${file:password}', tls: {ca_file: ca.pem}}\n"
    )
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source)
    done = threading.Event()

    def publish(publisher: Publisher) -> None:
        number = 0
        while not done.wait(0.002):
            publisher.publish(f"plant/{number % 7}")
            number += 1

    with closing(rotated.started()), Publisher(rotated.plain) as publisher, connector.start():
        thread = threading.Thread(target=publish, args=[publisher])
        thread.start()
        try:
            wait_until(lambda: sandbox.count_samples() > 100, 60, connector.log)
            process = connector.pid
            rotate_clarify(sandbox)
            rotated.rotate()
            rotated.broker.signal(signal.SIGHUP)
            wait_until(lambda: "not trusted" in str(connector.readiness()), 60, connector.log)
            rotated.mend()
            wait_until(lambda: connector.readiness()[0] == 200, 60, connector.log)
            before = sandbox.count_samples()
            wait_until(lambda: sandbox.count_samples() > before, 60, connector.log)
        finally:
            done.set()
            thread.join()
        publisher.wait_acknowledged()
        wait_until(lambda: sandbox.count_samples() == len(publisher.sent), 60, connector.log)
        reloaded = run_command("reload", connector.config)
        assert "nothing has changed" in reloaded.stdout, "the source has read its user name again, and goes on"
        assert "source_restarted" not in connector.log()
        assert connector.pid == process
        assert connector.running()
        said = [line for line in connector.log().splitlines() if "credentials_reloaded" in line]
        assert any("ca_file" in line for line in said), said
        assert any("password" in line for line in said), said
        assert any(sandbox.credentials_path.name in line for line in said), said
        status, ledger = connector.ledger()
        assert (status, ledger["messages"]["waiting"]) == (0, 0)
