"""The configuration sections `clarify` and `delivery`: where samples go, and how they are sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from connector.clarify.limits import INSERTS_PER_SECOND, REQUEST_BYTES, SAVES_PER_SECOND
from connector.settings import Bytes, Seconds, Section

_ENVELOPE_BYTES: Final = 1024
"""Room in a request for everything around the frame."""


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
        description="The most samples in memory. A sample needs 10 bytes if messages have several values, 30 if they "
        "have one, and 80 if thousands of signals have a few samples each. At the limit, reading from the sources "
        "pauses.",
    )
    flush_timeout: Seconds = Field(
        default="20s",  # type: ignore[assignment]
        ge=0,
        description="On SIGTERM, the longest time to go on sending. Samples that still wait then are read again after "
        "the next start.",
    )

    @property
    def max_frame_bytes(self) -> int:
        """The part of `max_bytes` that is left for the frame itself."""
        return self.max_bytes - _ENVELOPE_BYTES
