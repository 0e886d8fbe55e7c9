"""The section of a schema registry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connector.settings import CredentialsInUse, Seconds, Secret, Section, TlsSection, UserName, fresh, http_address

if TYPE_CHECKING:
    from connector.formats.schema.registry.client import SchemaRegistry

PATIENCE_SECONDS: Final = 10.0
"""How long a schema that the registry does not have is waited for."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")


def _url(text: str) -> str:
    return http_address(
        text,
        example="https://registry.example.com:8081",
        no_login="user and password do not belong into the URL; use username and password",
    )


def _urls(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name is of letters, digits, - and _, at most 64")
    return text


RegistryName = Annotated[str, AfterValidator(_name)]


class SchemaRegistrySection(Section):
    """A schema registry with Confluent's interface (Confluent, Karapace, Apicurio, Redpanda …).

    The connector keeps all schemas that it has read in `state_dir`. So an outage of the registry stops only data with a
    new schema.
    """

    url: Annotated[
        list[Annotated[str, AfterValidator(_url)]], BeforeValidator(_urls, json_schema_input_type=list[str] | str)
    ] = Field(
        min_length=1,
        description="Its address: one, or a list of several that are asked in turn. Apicurio's ends with "
        "`/apis/ccompat/v7`.",
        examples=["https://registry.example.com:8081"],
    )
    username: UserName | None = Field(default=None, description="User name, or API key, for basic authentication.")
    password: Secret | None = Field(
        default=None, description="Password, or API secret. Use `${ENV}` or `${file:/run/secrets/…}`."
    )
    token: Secret | None = Field(default=None, description="Bearer token, instead of user name and password.")
    tls: TlsSection = Field(default=TlsSection(), description="Certificates, for https.")
    timeout: Seconds = Field(
        default="5s",  # type: ignore[assignment]
        ge=0.1,
        le=60,
        description="How long a request may take. Whoever needs a schema waits for it.",
    )
    give_up_after: Seconds | None = Field(
        default=None,
        ge=1,
        description="How long records wait for the schema of an ID while the registry is away, slow, or refuses the "
        "connector. Then they become dead letters (`schema_unavailable`), which can be replayed. Default: for as long "
        "as it takes.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> SchemaRegistrySection:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together; one is missing")
        if self.token is not None and self.username is not None:
            raise ValueError("token and username exclude each other; remove one of the two")
        if self.tls != TlsSection() and not all(url.startswith("https:") for url in self.url):
            raise ValueError("tls settings with an http address; remove them, or use https")
        return self

    def build(self, name: str, folder: Path, patience: float = PATIENCE_SECONDS) -> SchemaRegistry:
        """The client of the registry, with its cache in `folder`; the network is not used yet.

        A schema that the registry does not have is waited for during `patience` (seconds).

        Raises SettingsError for a certificate that cannot be used, and `OSError` if the folder cannot be written.
        """
        from connector.formats.schema.registry.client import (  # noqa: PLC0415 - only when there is one
            Access,
            SchemaRegistry,
        )

        def access() -> Access:
            auth = None
            if self.username is not None and self.password is not None:
                auth = (fresh(self.username), self.password.get_secret_value())
            return Access(auth, _value(self.token), _value(self.tls.key_password))

        now, credentials = access(), CredentialsInUse(self, registry=name)
        return SchemaRegistry(
            name,
            self.url,
            folder,
            auth=now.auth,
            token=now.token,
            ca_file=self.tls.ca_file,
            cert_file=self.tls.cert_file,
            key_file=self.tls.key_file,
            key_password=now.key_password,
            verify=self.tls.verify,
            renewed=lambda: access() if credentials.renewed() else None,
            timeout=self.timeout,
            patience=patience,
            give_up_after=self.give_up_after,
        )

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → file, for the files that the section names."""
        return self.tls.files

    @property
    def warnings(self) -> list[str]:
        """Warnings for people about settings that work and are not wise."""
        found = []
        if (self.token or self.password) and not all(url.startswith("https:") for url in self.url):
            found.append("credentials over http can be read on the way; use https")
        return found + self.tls.warnings


def _value(secret: Secret | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
