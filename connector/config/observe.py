"""The section `observe`: the address of the pages, the access to the pages, and the form of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from connector.config.address import DEFAULT_LISTEN, LISTEN, UNIX, Address, usable_address
from connector.config.otlp import HEADER_TEXT, OtlpSection
from connector.settings import Seconds, Secret, Section

_SHORT_TOKEN: Final = 16

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


def _usable_token(token: Secret) -> Secret:
    if not HEADER_TEXT.fullmatch(token.get_secret_value()):
        raise ValueError("a token has only printable ASCII characters; `openssl rand -hex 32` makes a token")
    return token


class PagesTlsSection(Section):
    """The certificate of the pages."""

    cert_file: Path = Field(
        description="PEM file of the certificate and the intermediate certificates. A renewed file takes effect "
        "within ten seconds, without a restart."
    )
    key_file: Path = Field(description="PEM file of the certificate's private key.")
    key_password: Secret | None = Field(default=None, description="Password of the private key.")


class ObserveSection(Section):
    """The pages of the connector, and the log."""

    listen: (
        Annotated[
            str,
            Field(pattern=LISTEN),
            AfterValidator(usable_address),
        ]
        | None
    ) = Field(
        default=DEFAULT_LISTEN,
        description="Address of the pages (the status page `/`, /healthz, /readyz, /metrics, /ledger …): `HOST:PORT`, "
        "or `unix:/PATH` for a Unix socket; null for no pages.",
        examples=["127.0.0.1:9464", "unix:/run/clarify-connector/pages.sock"],
    )
    socket_access: Literal["owner", "group"] = Field(
        default="owner",
        description="Access to a Unix socket: only the user of the connector (mode 0600), or also the group of the "
        "socket (mode 0660).",
    )
    hosts: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]] = Field(
        default=[],
        description="Further names that a request may have in `Host`. localhost, IP addresses and the host of `listen` "
        "are always accepted. Requests with another name are refused. A Unix socket accepts any name.",
        examples=[["connector.plant.example"]],
    )
    token: Annotated[Secret, AfterValidator(_usable_token)] | None = Field(
        default=None,
        description="Bearer token that every request for data must have. The status page asks a person for the token. "
        "Use `${ENV}` or `${file:/run/secrets/…}`; a changed file takes effect within a second, without a restart.",
    )
    tls: PagesTlsSection | None = Field(default=None, description="Serve the pages over https with this certificate.")
    loss_warning: Seconds = Field(
        default="1h",  # type: ignore[assignment]
        ge=0,
        description="Shortest acceptable time until a loss. If a loss would happen sooner at the present rates, "
        "`/readyz` reports not ready, and the log has a warning.",
    )
    ledger_topics: int = Field(
        default=100_000,
        ge=1,
        description="Approximate number of topics of a source with a separate line in the ledger. All other topics, "
        "and topics with more than 1,000 characters, share the line `(other topics)`.",
    )
    log_level: LogLevel = Field(
        default="info",
        description="Least level of the lines in the log. `run --log-level` or CLARIFY_CONNECTOR_LOG_LEVEL set another "
        "one for a start, `clarify-connector log-level` for a running connector.",
    )
    log_format: LogFormat = Field(
        default="text",
        description="Format of the log. `run --log-format` or CLARIFY_CONNECTOR_LOG_FORMAT set another one.",
    )
    otlp: OtlpSection | None = Field(
        default=None, description="OpenTelemetry: send metrics, logs and traces by OTLP. Default: nothing is sent."
    )

    @model_validator(mode="after")
    def _no_tls_without_network(self) -> ObserveSection:
        if self.tls is not None and (self.listen is None or self.listen.startswith(UNIX)):
            raise ValueError("tls is for a HOST:PORT in listen: a Unix socket is not reached over a network")
        return self

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → file, for the files that the section names."""
        files: dict[str, Path | None] = {} if self.otlp is None else self.otlp.files
        if self.tls is not None:
            files |= {"tls.cert_file": self.tls.cert_file, "tls.key_file": self.tls.key_file}
        return files

    @property
    def warnings(self) -> list[str]:
        """Return warnings for people about settings that work, but are not secure."""
        return self.page_warnings + ([] if self.otlp is None else self.otlp.warnings)

    @property
    def page_warnings(self) -> list[str]:
        """Return the warnings about the pages."""
        if self.listen is None or Address.of(self.listen).local:
            return []
        if self.token is not None and len(self.token.get_secret_value()) < _SHORT_TOKEN:
            return [f"a token of fewer than {_SHORT_TOKEN} characters can be guessed: use `openssl rand -hex 32`"]
        if self.token is None:
            open_to = f"listen {self.listen}: everybody who can reach this address can read the pages, with payloads"
            return [f"{open_to}; set token and tls"]
        if self.tls is None:
            return ["token without tls: others in the network can read the token; set tls"]
        return []
