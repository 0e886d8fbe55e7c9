"""The section `observe.otlp`: where metrics, logs and traces are sent to, and how."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from connector.settings import Seconds, Secret, Section, SettingsError, TlsSection, http_address

Signal = Literal["metrics", "logs", "traces"]
"""What OpenTelemetry calls a signal: a kind of telemetry."""

HEADER_TEXT: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
"""Text that a header can carry unchanged."""
_GRPC_PORT: Final = 4317


def _endpoint(text: str) -> str:
    return http_address(
        text,
        example="https://collector.example.com:4318",
        no_login="user and password do not belong into the address; use headers",
    )


def _header_value(value: Secret) -> Secret:
    if not HEADER_TEXT.fullmatch(value.get_secret_value()):
        raise ValueError("the value of a header has only printable ASCII characters")
    return value


class OtlpSection(Section):
    """OpenTelemetry: metrics, logs and traces are sent to a collector by OTLP.

    Needs the extra `otlp`: `pip install '.[otlp]'` in a checkout.
    """

    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        description="Address of the collector. The connector adds `/v1/metrics`, `/v1/logs` and `/v1/traces`.",
        examples=["https://collector.example.com:4318"],
    )
    protocol: Literal["http/protobuf"] = Field(default="http/protobuf", description="The form of OTLP.")
    headers: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")], Annotated[Secret, AfterValidator(_header_value)]
    ] = Field(
        default={},
        description="Headers of every request, such as a key. Use `${ENV}` or `${file:/run/secrets/…}`.",
        examples=[{"api-key": "${file:/run/secrets/otlp-key}"}],
    )
    tls: TlsSection = Field(default=TlsSection(), description="Certificates, for https.")
    send: list[Signal] = Field(
        default=["metrics", "logs", "traces"], min_length=1, description="What is sent to the collector."
    )
    interval: Seconds = Field(
        default="30s",  # type: ignore[assignment]
        ge=0.1,
        le=3600,
        description="Time between two reports of the metrics. Logs and traces are sent after five seconds, or after "
        "`interval` if that is shorter.",
    )
    timeout: Seconds = Field(
        default="10s",  # type: ignore[assignment]
        ge=0.1,
        le=60,
        description="How long a request may take. No data waits for it.",
    )
    resource: dict[str, str] = Field(
        default={},
        description="Further attributes of this connector, or others in place of `service.name`, "
        "`service.instance.id` …",
        examples=[{"service.namespace": "plant-a", "deployment.environment.name": "production"}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> OtlpSection:
        if self.tls != TlsSection() and not self.endpoint.startswith("https:"):
            raise ValueError("tls settings with an http address; remove them, or use https")
        return self

    def need_library(self) -> None:
        """Raise SettingsError if the library of OTLP is not installed."""
        try:
            found = importlib.util.find_spec("opentelemetry.proto")
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise SettingsError(
                "observe.otlp needs the package opentelemetry-proto: in a checkout of the connector, run pip install "
                "'.[otlp]'"
            )

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → file, for the files that the section names."""
        return {f"otlp.{name}": path for name, path in self.tls.files.items()}

    @property
    def warnings(self) -> list[str]:
        """Return warnings for people about settings that work, but are not wise."""
        found = [f"otlp.{warning}" for warning in self.tls.warnings]
        if self.headers and not self.endpoint.startswith("https:"):
            found.append("otlp.headers over http can be read on the way; use https")
        if urlsplit(self.endpoint).port == _GRPC_PORT:
            found.append("otlp.endpoint: 4317 is the port of OTLP over gRPC; OTLP over HTTP mostly has port 4318")
        return found
