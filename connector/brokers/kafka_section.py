"""The settings for a connection to a Kafka cluster, which a source and a store of dead letters share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector.brokers.librdkafka import Setting, checked_settings
from connector.settings import Secret, Section, TlsSection, UserName

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_EXTENSION: Final = re.compile(r"[A-Za-z]+")


def _servers(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _server(text: str) -> str:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not set(text).isdisjoint("/@?# \t,") or not parts.hostname or not port:
        raise ValueError("a server is host:port, such as kafka-1.example.com:9093")
    return text


BootstrapServers = Annotated[
    list[Annotated[str, AfterValidator(_server)]],
    BeforeValidator(_servers, json_schema_input_type=list[str] | str),
]


class SaslSection(Section):
    """The log-in at Kafka."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(description="SASL mechanism.")
    username: UserName | None = Field(default=None, description="User, for PLAIN and SCRAM.")
    password: Secret | None = Field(
        default=None, description="Password, for PLAIN and SCRAM. Use `${ENV}` or `${file:/run/secrets/…}`."
    )
    client_id: UserName | None = Field(default=None, description="Client ID at the token endpoint, for OAUTHBEARER.")
    client_secret: Secret | None = Field(default=None, description="Client secret, for OAUTHBEARER.")
    token_url: str | None = Field(
        default=None,
        repr=False,
        description="Token endpoint (OIDC client credentials), for OAUTHBEARER. Its certificate is checked against the "
        "system's authorities; another one's PEM file: `https.ca.location` in `librdkafka`.",
        examples=["https://login.example.com/oauth2/token"],
    )
    scope: str | None = Field(default=None, description="Scope to ask for, for OAUTHBEARER.")
    extensions: dict[str, str] = Field(
        default={},
        description="What is told to the broker with the token, for OAUTHBEARER.",
        examples=[{"logicalCluster": "lkc-1234"}],
    )

    @model_validator(mode="after")
    def _complete(self) -> SaslSection:
        ours = (
            ("client_id", "client_secret", "token_url") if self.mechanism == "OAUTHBEARER" else ("username", "password")
        )
        for name in ours:
            if not getattr(self, name):
                raise ValueError(f"{self.mechanism} needs {' and '.join(ours)}; {name} is missing")
        known = ("mechanism", *ours, *(("scope", "extensions") if self.mechanism == "OAUTHBEARER" else ()))
        for name in type(self).model_fields:
            if name not in known and getattr(self, name):
                raise ValueError(f"{name} is not used by {self.mechanism}; remove it")
        for name, value in self.extensions.items():
            if not _EXTENSION.fullmatch(name) or name == "auth" or "," in value:
                raise ValueError("extensions: a name is of letters and not auth, a value without commas")
        if self.token_url:
            url = urlsplit(self.token_url)
            if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOCAL_HOSTS):
                raise ValueError("token_url must begin with https://: the client secret travels to it")
            if url.username or url.password:
                raise ValueError("token_url: user and password do not belong into it; use client_id and client_secret")
        return self


class KafkaConnectionSection(Section):
    """A Kafka cluster."""

    bootstrap_servers: BootstrapServers = Field(
        min_length=1, description="Servers to begin with: a list, or text with commas.", examples=["kafka:9093"]
    )
    client_id: str = Field(default="clarify-connector", min_length=1, description="Our name in the brokers' logs.")
    security: Literal["tls", "plaintext"] = Field(
        default="tls", description="`plaintext` lets anybody in between read and change everything."
    )
    tls: TlsSection = Field(default=TlsSection(), description="Certificates, for `security: tls`.")
    sasl: SaslSection | None = Field(default=None, description="How to log in.")
    librdkafka: Annotated[dict[str, Setting], BeforeValidator(checked_settings)] = Field(
        default={},
        repr=False,
        description="Further settings of librdkafka, by their own names. Those that would break a guarantee are "
        "refused.",
        examples=[{"fetch.min.bytes": 100_000}],
    )

    @model_validator(mode="after")
    def _tls_where_it_is_used(self) -> KafkaConnectionSection:
        if self.security == "plaintext" and self.tls != TlsSection():
            raise ValueError("tls settings with security: plaintext; remove one of the two")
        return self

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → file, for the files that the section names."""
        return self.tls.files

    @property
    def warnings(self) -> list[str]:
        """Warnings for people about settings that work and are not wise."""
        found = []
        if self.sasl and self.security == "plaintext":
            found.append(f"{self.sasl.mechanism} over plaintext: the log-in can be read on the way; use security: tls")
        return found + self.tls.warnings if self.security == "tls" else found
