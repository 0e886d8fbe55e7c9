"""The sections `clarify` and `delivery`: where samples go, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from connector.clarify.limits import INSERTS_PER_SECOND, REQUEST_BYTES, SAVES_PER_SECOND
from connector.settings import Bytes, Seconds, Section

_ENVELOPE_BYTES: Final = 1024
"""Room in a request for everything around the frame."""


class ClarifySection(Section):
    """Where the data goes."""

    credentials: Path = Field(
        description="The credentials file as downloaded from Clarify (OAuth client credentials or basic auth).",
        examples=["/run/secrets/clarify-credentials.json"],
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the certificate authority, where the system's own do not do."
    )
    allow_insecure: bool = Field(
        default=False,
        description="Allow an http:// API URL on another host than this one. The credentials then travel in "
        "clear text: for test networks only.",
    )
    timeout: Seconds = Field(
        default="20s",  # type: ignore[assignment]
        description="How long to wait for an answer. Clarify itself gives up after 15 s.",
        ge=1,
    )


class DeliverySection(Section):
    """How samples leave for Clarify. Its limits are per integration: lower the rates when several connectors
    share one."""

    max_delay: Seconds = Field(
        default="2s",  # type: ignore[assignment]
        ge=0.01,
        description="On a quiet stream a sample leaves after this long. Under load, frames leave as fast as the "
        "rate allows, as full as they get.",
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
        description="Our share of `requests_per_second`, where several replicas have one integration: a number from "
        "0.01 to 1, or `auto`: the part of the Kafka partitions that this replica owns (MQTT and file sources count "
        "whole).",
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
        description="At most this often the metadata of one signal is saved again; what changes in between is merged. "
        "A signal that is new, or that a new start describes otherwise, does not wait.",
    )
    max_waiting_samples: int = Field(
        default=1_000_000,
        ge=1000,
        description="Samples held in memory: 10 bytes each where messages have several values, 30 where they have one, "
        "80 where thousands of signals have a few samples each. Above it, reading from the sources pauses.",
    )
    flush_timeout: Seconds = Field(
        default="20s",  # type: ignore[assignment]
        ge=0,
        description="On SIGTERM: how long to go on sending before what still waits is left to the journal.",
    )

    @property
    def max_frame_bytes(self) -> int:
        """The part of `max_bytes` that is left for the frame itself."""
        return self.max_bytes - _ENVELOPE_BYTES
