"""A sound configuration at the servers, and its parts, which each case changes."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.integration.commands.doctor.servers import READER, Certificates, Kafkas, Mosquittos
from tests.kafka_security import USER
from tests.sandbox_server import SandboxServer
from tests.secrets_used import KAFKA_PASSWORD, MQTT_PASSWORD

Settings = dict[str, Any]


@dataclass
class Place:
    """All servers, and a folder for the configuration of one case."""

    mqtt: Mosquittos
    kafkas: Kafkas
    sandbox: SandboxServer
    certificates: Certificates
    folder: Path = Path()
    stack: ExitStack = field(default_factory=ExitStack)

    def source(self, where: str = "plain", scheme: str = "mqtt", **more: Any) -> Settings:
        """An MQTT source at a listener, with the authority for TLS."""
        port = self.mqtt.ports[where]
        tls = {"tls": {"ca_file": str(self.certificates.ca)}} if scheme == "mqtts" else {}
        return {"type": "mqtt", "url": f"{scheme}://127.0.0.1:{port}", "topics": ["plant/#"], **tls, **more}

    def at(self, port: AbstractContextManager[int], **more: Any) -> Settings:
        """An MQTT source at a stand-in."""
        return self.source(**more) | {"url": f"mqtt://127.0.0.1:{self.stack.enter_context(port)}"}

    def reader(self, **more: Any) -> Settings:
        """An MQTT source with a user and a password."""
        return self.source("users", username=READER, **{"password": MQTT_PASSWORD, **more})

    def group(self, *topics: str, **more: Any) -> Settings:
        """A Kafka source without log-in."""
        plain = {"bootstrap_servers": self.kafkas.kafka.bootstrap, "security": "plaintext", "group_id": "fresh"}
        return {"type": "kafka", "topics": list(topics or ["plant.good"]), **plain, **more}

    def user(
        self, *topics: str, mechanism: str = "PLAIN", login: str = USER, password: str = KAFKA_PASSWORD, **more: Any
    ) -> Settings:
        """A Kafka source that logs in over plaintext."""
        security = self.kafkas.kafka.security
        assert security
        sasl = {"mechanism": mechanism, "username": login, "password": password}
        return self.group(*topics, bootstrap_servers=security.bootstrap("SASL_PLAINTEXT"), sasl=sasl, **more)

    def encrypted(self, listener: str, **more: Any) -> Settings:
        """A Kafka source with TLS."""
        security = self.kafkas.kafka.security
        assert security
        where = security.bootstrap(listener)
        return self.group(
            bootstrap_servers=where, **{"security": "tls", "tls": {"ca_file": str(security.ca_file)}, **more}
        )

    def credentials(self, **change: Any) -> str:
        """A credentials file for the sandbox, with changes; `secret` is the client secret."""
        found = self.sandbox.credentials()
        if "secret" in change:
            found["credentials"]["clientSecret"] = change.pop("secret")
        file = self.folder / "changed-credentials.json"
        file.write_text(json.dumps(found | change))
        return str(file)

    def access(self, **change: Any) -> Settings:
        """The section `clarify`, with the arguments of `credentials`."""
        return {"clarify": {"credentials": self.credentials(**change)}}

    def clarify(self, port: AbstractContextManager[int]) -> Settings:
        """Access to a stand-in for Clarify."""
        url = f"http://127.0.0.1:{self.stack.enter_context(port)}/v1/"
        return self.access(apiUrl=url)

    def whole(self, changes: Settings) -> Path:
        """The file of a sound configuration with these changes."""
        sound = {
            "clarify": {"credentials": str(self.sandbox.credentials_path)},
            "sources": [self.source()],
            "state_dir": str(self.folder / "state"),
            "observe": {"listen": None},
        }
        file = self.folder / "connector.yaml"
        file.write_text(yaml.safe_dump(sound | changes))
        return file
