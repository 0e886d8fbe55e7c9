"""The sections `clarify` and `delivery`: the integrations that get the samples, and how samples are sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connector.clarify.limits import INSERTS_PER_SECOND, REQUEST_BYTES, SAVES_PER_SECOND
from connector.settings import Bytes, Seconds, Section

_ENVELOPE_BYTES: Final = 1024
"""Room in a request for everything around the frame."""


DEFAULT_NAME: Final = "default"
"""The name of the integration of `clarify` itself, unless `clarify.name` is set."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]{0,31}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of an integration: take up to 32 letters, digits, -, _ and .")
    return text


IntegrationName = Annotated[str, AfterValidator(_name)]


class IntegrationSection(Section):
    """A further integration of Clarify. What is not set here is as in `clarify` and `delivery`."""

    credentials: Path = Field(
        description="The credentials file of this integration.", examples=["/run/secrets/plant-a.json"]
    )
    ca_file: Path | None = Field(default=None, description="As `clarify.ca_file`.")
    allow_insecure: bool | None = Field(default=None, description="As `clarify.allow_insecure`.")
    timeout: Seconds | None = Field(default=None, ge=1, description="As `clarify.timeout`.")
    requests_per_second: float | None = Field(
        default=None, gt=0, le=100, description="As `delivery.requests_per_second`."
    )
    metadata_requests_per_second: float | None = Field(
        default=None, gt=0, le=100, description="As `delivery.metadata_requests_per_second`."
    )
    max_waiting_samples: int | None = Field(default=None, ge=1000, description="As `delivery.max_waiting_samples`.")


class ClarifySection(Section):
    """The connection to Clarify."""

    credentials: Path = Field(
        description="The credentials file as downloaded from Clarify (OAuth client credentials or basic auth).",
        examples=["/run/secrets/clarify-credentials.json"],
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the certificate authorities to trust, in place of the usual ones and of those that "
        "the environment names.",
    )
    allow_insecure: bool = Field(
        default=False,
        description="Allow an http:// API URL on another host than this one. The credentials then travel in "
        "clear text: for test networks only.",
    )
    timeout: Seconds = Field(
        default="20s",  # type: ignore[assignment]
        description="The longest wait for an answer. Clarify itself gives up after 15 s.",
        ge=1,
    )
    name: IntegrationName = Field(
        default=DEFAULT_NAME,
        description="The name of this integration, for `to` in rules, for metrics and for `--integration`.",
    )
    integrations: dict[IntegrationName, IntegrationSection] = Field(
        default={},
        description="Further integrations by name. A rule sends its values there with `to: NAME`; all other rules use "
        "the integration of `clarify` itself. Keep a name: input IDs are remembered with it.",
        examples=[{"plant-a": {"credentials": "/run/secrets/plant-a.json"}}],
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.name in self.integrations:
            raise ValueError(
                f"integrations.{self.name}: this is the name of the integration of `clarify` itself; set clarify.name, "
                "or use another name"
            )
        return self

    @property
    def names(self) -> dict[str, str]:
        """Name of each integration → the name before its input IDs, which is empty for the one of `clarify` itself."""
        return {self.name: "", **{name: name for name in self.integrations}}

    def scaled(self, *, inserts: float = 1.0, saves: float = 1.0) -> ClarifySection:
        """Returns the section with these shares of the rates that further integrations have of their own."""
        factors = {"requests_per_second": inserts, "metadata_requests_per_second": saves}
        scaled = {}
        for name, found in self.integrations.items():
            own = {rate: getattr(found, rate) for rate in factors}
            scaled[name] = found.model_copy(
                update={rate: value * factors[rate] for rate, value in own.items() if value is not None}
            )
        return self.model_copy(update={"integrations": scaled})

    def of(self, name: str) -> ClarifySection:
        """Returns the connection to one integration; an empty name is the integration of `clarify` itself."""
        if not name:
            return self
        found = self.integrations[name]
        own = {field: getattr(found, field) for field in ("credentials", "ca_file", "allow_insecure", "timeout")}
        return self.model_copy(
            update={field: value for field, value in own.items() if value is not None} | {"integrations": {}}
        )


class DeliverySection(Section):
    """The sending of samples to Clarify. The limits of Clarify count for one integration: lower the rates if several
    connectors share an integration."""

    max_delay: Seconds = Field(
        default="2s",  # type: ignore[assignment]
        ge=0.01,
        description="The longest that a sample waits on a quiet stream. Under load, frames are sent as fast as the "
        "rate allows, as full as possible.",
    )
    max_bytes: Bytes = Field(
        default="8MiB",  # type: ignore[assignment]
        ge=4096,
        le=REQUEST_BYTES,
        description="Largest request. Clarify takes about 8 MiB of uncompressed JSON.",
    )
    requests_per_second: float = Field(
        default=INSERTS_PER_SECOND, gt=0, le=100, description="Inserts a second. Clarify's documented limit is 1."
    )
    share: Literal["auto"] | Annotated[float, Field(ge=0.01, le=1)] = Field(
        default="auto",
        description="The share of `requests_per_second` for this replica, if several replicas share one integration: "
        "a number from 0.01 to 1, or `auto`: the part of the Kafka partitions that this replica owns (an MQTT or file "
        "source counts as 1).",
    )
    metadata_requests_per_second: float = Field(
        default=SAVES_PER_SECOND,
        gt=0,
        le=100,
        description="saveSignals calls a second. Clarify's documented limit is 1.",
    )
    metadata_interval: Seconds = Field(
        default="60s",  # type: ignore[assignment]
        ge=0,
        description="The shortest time between two saves of the metadata of one signal; changes in between are "
        "merged. A new signal, and a signal with other metadata after a start, does not wait.",
    )
    max_waiting_samples: int = Field(
        default=1_000_000,
        ge=1000,
        description="The most samples in memory, for each integration. A sample needs 10 bytes if messages have "
        "several values, 30 if they have one, and 80 if thousands of signals have a few samples each. At the limit, "
        "reading pauses from the sources that have samples for this integration.",
    )
    flush_timeout: Seconds = Field(
        default="20s",  # type: ignore[assignment]
        ge=0,
        description="On SIGTERM, the longest time to go on sending. Samples that still wait then are read again after "
        "the next start.",
    )

    def of(self, integration: IntegrationSection | None) -> DeliverySection:
        """Returns the settings for one integration; None is the integration of `clarify` itself."""
        if integration is None:
            return self
        names = ("requests_per_second", "metadata_requests_per_second", "max_waiting_samples")
        own = {name: getattr(integration, name) for name in names}
        return self.model_copy(update={name: value for name, value in own.items() if value is not None})

    @property
    def max_frame_bytes(self) -> int:
        """The part of `max_bytes` that is left for the frame itself."""
        return self.max_bytes - _ENVELOPE_BYTES
