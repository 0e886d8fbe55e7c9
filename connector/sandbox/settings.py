"""The switches of the sandbox.

Clarify's documentation leaves many answers open. So each of these answers is a switch. The default is the documented
behaviour or, if nothing is documented, the assumption in docs/sandbox.md. The command line and its help are made from
the fields of `SandboxSettings`, so each switch is explained only here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ErrorStyle = Literal["documented", "live"]
TimeoutAnswer = Literal["503", "504", "drop", "-32015"]
Duplicates = Literal["newest", "first", "error"]
Nulls = Literal["ignore", "erase"]


class SandboxSettings(BaseModel):
    """The switches of one sandbox; every switch has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    error_style: ErrorStyle = Field(
        "documented",
        description="Shape of `error.data` for invalid parameters: `documented` has trace and params, "
        "`live` has pathErrors, as the production service was seen to answer.",
    )
    rate_limiter: Literal["throttle", "off"] = Field(
        "throttle",
        description="`throttle` delays requests above the documented rate and times them out when the queue "
        "is too long; `off` lets everything through.",
    )
    requests_per_second: float = Field(
        1.0,
        gt=0,
        description="Rate limit of each writing or computing method, for each integration, in requests per second; "
        "publishing has 5 and selecting 10 times as much.",
    )
    queue_seconds: float = Field(
        10.0, ge=0, description="Longest time that a throttled request may wait for its turn, in seconds."
    )
    total_seconds: float = Field(
        15.0, gt=0, description="Longest time that a request may take, with its wait, in seconds."
    )
    timeout_answer: TimeoutAnswer = Field(
        "503",
        description="What a request that timed out gets: HTTP 503, HTTP 504, a dropped connection, or the "
        "RPC error -32015.",
    )
    too_many_requests: Literal["never", "plain", "retry-after"] = Field(
        "never",
        description="Answer HTTP 429 at once instead of throttling: without (`plain`) or with a Retry-After header.",
    )
    oversize: Literal["413", "-32600", "reset"] = Field(
        "413",
        description="What a request above the size limit gets: HTTP 413, the RPC error -32600, or a reset connection.",
    )
    max_body_bytes: int = Field(
        8 * 1024 * 1024, gt=0, description="Size limit of a request, in bytes of uncompressed JSON."
    )
    gzip: Literal["refuse", "accept"] = Field(
        "refuse", description="Requests with `Content-Encoding: gzip`: HTTP 415, or read."
    )
    duplicate_times: Duplicates = Field(
        "newest",
        description="A sample whose input and time are stored already: the newest value wins, the first one "
        "stays, or the request is an error.",
    )
    null_values: Nulls = Field("ignore", description="A null where a value is stored: ignored, or it erases the value.")
    unordered_times: Literal["accept", "reject"] = Field(
        "accept",
        description="Unsorted or repeated times in one request: accepted (the last value wins), or an error.",
    )
    limits: Literal["reject", "clamp"] = Field(
        "reject", description="A query for more resources than a method gives at once: an error, or the most it gives."
    )
    windows: Literal["reject", "ignore"] = Field(
        "reject",
        description="A time window longer than documented: an error, or answered, as the production service was seen "
        "to do.",
    )
    include_item: Literal["accept", "refuse"] = Field(
        "accept",
        description="`include: [item]` of selectSignals: as documented, or refused, as the production service was seen "
        "to do.",
    )
    format_echo: Literal["documented", "live"] = Field(
        "documented",
        description="`meta.format` of an answer: the documented two fields, or also those that the production "
        "service adds.",
    )
    gap_detection: Literal["null", "PT1H30M", "by-version"] = Field(
        "by-version",
        description="Gap detection of an item that is published without: none, an hour and a half, or the latter from "
        "API 1.2 on.",
    )
    read_delay: float = Field(0.0, ge=0, description="Seconds until inserted samples can be read.")
    partial_failure: Literal["off", "on"] = Field(
        "off",
        description="An insert with invalid series: refused as a whole, or -32021 with the good series stored.",
    )
    token_seconds: int = Field(3600, gt=0, description="Life of an access token, in seconds.")

    @model_validator(mode="after")
    def _queue_fits_total(self) -> SandboxSettings:
        if self.queue_seconds > self.total_seconds:
            raise ValueError("queue-seconds must not be longer than total-seconds")
        return self
