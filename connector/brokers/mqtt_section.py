"""The settings for a connection to an MQTT broker, which a source and a store of dead letters share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector.settings import Seconds, Secret, Section, TlsSection, UserName, number_as_text

MQTT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


class BrokerAddress(str):
    """The URL of a broker, of which the query and the fragment are never printed: they may hold a token.

    `str`, `repr` and formatting leave both out. `urlsplit` reads the whole URL.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return re.split("[?#]", self, maxsplit=1)[0]

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, form: str) -> str:
        return format(str(self), form)


def _checked_url(value: str) -> BrokerAddress:
    url = value if "://" in value else "mqtts://" + value
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("cannot be read as an address; write for example mqtts://broker.example.com:8883") from None
    if parts.scheme not in MQTT_PORTS:
        raise ValueError("the scheme is not known; use mqtts, mqtt, wss or ws")
    if not parts.hostname or not all(char.isalnum() or char in "-._:%" for char in parts.hostname):
        raise ValueError("the address has no host; write for example mqtts://broker.example.com:8883")
    if parts.username or parts.password:
        raise ValueError("user and password do not belong into the URL; use username and password")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is not a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("port 0 cannot be connected to")
    if parts.scheme in ("mqtt", "mqtts") and parts.path not in ("", "/"):
        raise ValueError("a path belongs only to ws:// and wss:// addresses")
    return BrokerAddress(url)


BrokerUrl = Annotated[str, AfterValidator(_checked_url)]


class MqttConnectionSection(Section):
    """An MQTT broker."""

    url: BrokerUrl = Field(
        description="Address of the broker: `mqtts://host:8883` (TLS), `mqtt://host:1883` (clear text), "
        "`wss://host/path` or `ws://host/path` (websockets). Without a scheme: mqtts.",
        examples=["mqtts://broker.example.com"],
    )
    protocol: Annotated[
        Literal["5", "3.1.1"], BeforeValidator(number_as_text, json_schema_input_type=Literal["5", "3.1.1", 5])
    ] = Field(default="5", description="MQTT version.")
    username: UserName | None = Field(default=None, description="User name at the broker.")
    password: Secret | None = Field(
        default=None, description="Password at the broker. Use `${ENV}` or `${file:/run/secrets/…}`."
    )
    tls: TlsSection = Field(default=TlsSection(), description="Certificates, for mqtts and wss.")
    keepalive: Seconds = Field(
        default="30s",  # type: ignore[assignment]
        ge=5,
        le=65_535,
        description="A connection that is silent for longer is given up.",
    )

    @model_validator(mode="after")
    def _user_for_the_password(self) -> MqttConnectionSection:
        if self.password and not self.username:
            raise ValueError("password without username; MQTT needs both")
        return self

    @property
    def server(self) -> str:
        """`host:port` of the broker."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or MQTT_PORTS[parts.scheme]}"

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → file, for the files that the section names."""
        return self.tls.files

    @property
    def warnings(self) -> list[str]:
        """Warnings for people about settings that work and are not wise."""
        if self.password and self.url.startswith(("mqtt://", "ws://")):
            return ["the password travels in clear text; use mqtts:// or wss://"]
        return []
