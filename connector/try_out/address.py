"""An address on the command line → the section of a source. Passwords come out of it, and never go into a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter, ValidationError

from connector.brokers.mqtt_section import MQTT_PORTS
from connector.config.model import KafkaSection, MqttSection

MQTT_PASSWORD: Final = "MQTT_PASSWORD"  # noqa: S105 - the name of an environment variable
KAFKA_PASSWORD: Final = "KAFKA_PASSWORD"  # noqa: S105 - as above
PASSWORDS: Final = ("${" + MQTT_PASSWORD + "}", "${" + KAFKA_PASSWORD + "}")
"""What stands in a file instead of a password."""
_KAFKA: Final = {"kafka": "plaintext", "kafkas": "tls"}


class AddressError(ValueError):
    """The address cannot be used; the text says why and what to write."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    section: MqttSection | KafkaSection
    """As it is used now, with the password."""
    settings: dict[str, object]
    """The same for a file: with the name of an environment variable instead of the password."""


def parse_address(
    url: str,
    topics: Sequence[str],
    *,
    username: str | None = None,
    ca_file: str | None = None,
    protocol: str | None = None,
    mechanism: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Address:
    """`mqtt[s]://[user[:password]@]host[:port]`, `ws[s]://…`, `kafka[s]://host:port[,host:port]`. Raises
    `AddressError`."""
    try:
        parts = urlsplit(url)
        port = None if parts.scheme in _KAFKA else parts.port
    except ValueError:  # its text may quote a part of the password
        raise AddressError(
            "the address cannot be read; write for example mqtts://user@broker.example.com:8883, with the password in "
            f"the environment variable {MQTT_PASSWORD}"
        ) from None
    if parts.scheme not in MQTT_PORTS and parts.scheme not in _KAFKA:
        raise AddressError(
            f"{parts.scheme or 'no scheme'!r} is not understood; write for example mqtts://broker.example.com, "
            "mqtt://localhost:1883 or kafka://localhost:9092"
        )
    kafka = parts.scheme in _KAFKA
    login, _, host = parts.netloc.rpartition("@")
    user, _, secret = login.partition(":")
    username = username or unquote(user) or None
    variable = KAFKA_PASSWORD if kafka else MQTT_PASSWORD
    password = unquote(secret) or environment.get(variable) or None
    if username is None:
        password = None
    settings: dict[str, object]
    if kafka:
        settings = _kafka(host, _KAFKA[parts.scheme], topics, username, mechanism)
    else:
        settings = _mqtt(f"{parts.scheme}://{_host(parts.hostname, port)}{_path(url)}", topics, username, protocol)
    if ca_file:
        settings["tls"] = {"ca_file": ca_file}
    written = dict(settings)
    if username is not None and (password is not None or kafka):
        if kafka and password is None:
            raise AddressError(f"set the password in the environment variable {variable}")
        settings, written = _with_password(settings, str(password)), _with_password(settings, "${" + variable + "}")
    return Address(_section(settings), written)


def _kafka(
    servers: str, security: str, topics: Sequence[str], username: str | None, mechanism: str | None
) -> dict[str, object]:
    settings: dict[str, object] = {
        "type": "kafka",
        "bootstrap_servers": servers.split(","),
        "topics": list(topics),
        "group_id": "clarify-connector",
    }
    if security != "tls":
        settings["security"] = security
    if username is not None:
        settings["sasl"] = {"mechanism": mechanism or "SCRAM-SHA-512", "username": username}
    return settings


def _mqtt(url: str, topics: Sequence[str], username: str | None, protocol: str | None) -> dict[str, object]:
    settings: dict[str, object] = {"type": "mqtt", "url": url, "topics": list(topics)}
    if protocol is not None:
        settings["protocol"] = protocol
    if username is not None:
        settings["username"] = username
    return settings


def _with_password(settings: dict[str, object], password: str) -> dict[str, object]:
    sasl = settings.get("sasl")
    if isinstance(sasl, dict):
        return {**settings, "sasl": {**sasl, "password": password}}
    return {**settings, "password": password}


def _host(name: str | None, port: int | None) -> str:
    host = f"[{name}]" if name and ":" in name else name or ""
    return host if port is None else f"{host}:{port}"


def _path(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path if parts.path != "/" else "") + (f"?{parts.query}" if parts.query else "")


def _section(settings: dict[str, object]) -> MqttSection | KafkaSection:
    kind: type[MqttSection | KafkaSection] = KafkaSection if settings["type"] == "kafka" else MqttSection
    try:
        return TypeAdapter(kind).validate_python(settings)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AddressError(f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from None
