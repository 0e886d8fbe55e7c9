"""Everything a configuration file may say. The reference and the JSON Schema are generated from here.

`config_file.py` reads a file into these models and says where in it an error is.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from connector.clarify.limits import INSERTS_PER_SECOND, REQUEST_BYTES, SAVES_PER_SECOND
from connector.mapping.rules import AUTO_TIME, DEFAULT_INPUT, Rule, ValueRule, template_for
from connector.mapping.templates import VALUE_VARIABLES, Template
from connector.mapping.times import EPOCH, TimeBounds
from connector.mapping.topics import TopicPattern, parse_pattern

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KiB|MB|MiB|GB|GiB)")
_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
_ENVELOPE_BYTES: Final = 1024
"""Room for what stands around the frame in a request."""


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a duration needs a unit, such as 500ms, 2s, 5m, 1h or 7d")  # noqa: TRY004 - pydantic reports ValueError
    found = _DURATION.fullmatch(value.strip())
    if not found:
        raise ValueError(f"{value!r} is no duration; write for example 500ms, 2s, 5m, 1h or 7d")
    return float(found[1]) * _DURATION_UNITS[found[2]]


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a size needs a unit, such as 512KiB, 8MiB or 1GiB")  # noqa: TRY004 - as above
    found = _SIZE.fullmatch(value.strip())
    if not found:
        raise ValueError(f"{value!r} is no size; write for example 512KiB, 8MiB or 1GiB")
    return int(float(found[1]) * _SIZE_UNITS[found[2]])


def _pattern(text: str) -> str:
    parse_pattern(text)
    return text


def _subscription(text: str) -> str:
    filter_ = text
    if text.startswith("$share/"):
        parts = text.split("/", 2)
        if len(parts) < 3 or not parts[1] or not parts[2] or set(parts[1]) & set("+#"):
            raise ValueError(f"{text!r} is no shared subscription; write $share/GROUP/FILTER")
        filter_ = parts[2]
    if not filter_ or "\0" in text or len(text.encode()) > 65_535:
        raise ValueError("a topic filter must not be empty, hold a NUL, or be longer than 65535 bytes")
    levels = filter_.split("/")
    for number, level in enumerate(levels, 1):
        if "#" in level and (level != "#" or number != len(levels)):
            raise ValueError(f"{text!r}: '#' must be the whole last level")
        if "+" in level and level != "+":
            raise ValueError(f"{text!r}: '+' must be a whole level")
    return text


def _source_name(name: str) -> str:
    if name.lower() in ("state", "dead-letters"):
        raise ValueError(
            f"a source cannot be named {name!r}: its journal would be a file that the connector has already"
        )
    return name


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$", "examples": ["2s", "5m"]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|[kMG]B|[KMG]iB)$", "examples": ["8MiB", "1GiB"]}),
]
TopicPatternText = Annotated[str, AfterValidator(_pattern)]
TopicFilter = Annotated[str, AfterValidator(_subscription)]
LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-_/]{1,40}$")]
SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$"), AfterValidator(_source_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ClarifySection(_Section):
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


class TlsSection(_Section):
    """TLS for a source. Certificates are checked against the system's authorities unless `ca_file` is given."""

    ca_file: Path | None = Field(default=None, description="PEM file of the broker's certificate authority.")
    cert_file: Path | None = Field(default=None, description="PEM file of our own certificate (mutual TLS).")
    key_file: Path | None = Field(default=None, description="PEM file of the certificate's private key.")
    key_password: SecretStr | None = Field(default=None, description="Password of the private key.")
    verify: bool = Field(
        default=True,
        description="Check the broker's certificate and name. `false` lets anybody in between read and change "
        "everything: for test networks only.",
    )

    @model_validator(mode="after")
    def _pair(self) -> TlsSection:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file without cert_file; give both for mutual TLS")
        return self


class JournalSection(_Section):
    """Where messages wait between the broker and Clarify."""

    storage: Literal["disk", "memory"] = Field(
        default="disk",
        description="`disk`: each message is on disk before it is acknowledged; a crash or a long outage "
        "loses nothing. `memory`: a message is acknowledged when it is settled; the broker keeps what waits, "
        "as far as its own queue goes.",
    )
    max_bytes: Bytes = Field(
        default="1GiB",  # type: ignore[assignment]
        description="How much may wait. At the bound we stop reading from the broker; nothing is dropped by us.",
        ge=64 * 1024,
    )


def _journal(value: object) -> object:
    return {"storage": value} if isinstance(value, str) else value


def _text(value: object) -> object:
    return str(value) if type(value) is int else value


EnumKey = Annotated[str, BeforeValidator(_text), Field(pattern=r"^(0|[1-9]\d{0,3})$")]
MQTT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


class MqttSection(_Section):
    """An MQTT broker."""

    type: Literal["mqtt"] = Field(description="This source is an MQTT broker.")
    name: SourceName = Field(
        default="mqtt", description="A name for logs, metrics, the ledger and the journal's file. Keep it."
    )
    url: str = Field(
        description="Address of the broker: `mqtts://host:8883` (TLS), `mqtt://host:1883` (clear text), "
        "`wss://host/path` or `ws://host/path` (websockets). Without a scheme: mqtts.",
        examples=["mqtts://broker.example.com"],
    )
    topics: list[TopicFilter] = Field(
        min_length=1,
        description="Topic filters to subscribe to; `$share/GROUP/FILTER` for a shared subscription.",
        examples=[["plant/#"]],
    )
    protocol: Annotated[
        Literal["5", "3.1.1"], BeforeValidator(_text, json_schema_input_type=Literal["5", "3.1.1", 5])
    ] = Field(default="5", description="MQTT version.")
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The session's name at the broker: one for each running connector, always the same. "
        "Default: made once and kept in state_dir.",
    )
    username: str | None = Field(default=None, description="User name at the broker.")
    password: SecretStr | None = Field(
        default=None, description="Password at the broker. Use `${ENV}` or `${file:/run/secrets/…}`."
    )
    tls: TlsSection = Field(default=TlsSection(), description="Certificates, for mqtts and wss.")
    keepalive: Seconds = Field(
        default="30s",  # type: ignore[assignment]
        ge=5,
        le=65_535,
        description="A connection that is silent for longer is given up.",
    )
    session_expiry: Seconds = Field(
        default="7d",  # type: ignore[assignment]
        ge=60,
        le=4_294_967_294,
        description="How long the broker keeps our session and what is queued in it while we are away (MQTT 5).",
    )
    receive_maximum: int = Field(
        default=1000,
        ge=1,
        le=65_535,
        description="Messages that the broker may send before we acknowledge (MQTT 5). With 3.1.1 the broker's "
        "own setting rules.",
    )
    qos: Literal[0, 1] = Field(
        default=1,
        description="1: at least once. 0: what is published while we are away is lost. (2 is not safer: the "
        "protocol's exchange ends before the message is safe here.)",
    )
    retained: Literal["new", "always", "never"] = Field(
        default="new",
        description="Retained messages when subscribing: only for a subscription that is new (`new`), at every "
        "connect (`always`), or not at all (`never`).",
    )
    journal: Annotated[
        JournalSection,
        BeforeValidator(_journal, json_schema_input_type=JournalSection | Literal["disk", "memory"]),
    ] = Field(
        default=JournalSection(),
        description="Where messages wait: `disk` (default), `memory`, or a section with more settings.",
    )

    @field_validator("url")
    @classmethod
    def _checked_url(cls, value: str) -> str:
        url = value if "://" in value else "mqtts://" + value
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError(
                "cannot be read as an address; write for example mqtts://broker.example.com:8883"
            ) from None
        if parts.scheme not in MQTT_PORTS:
            raise ValueError(f"scheme {parts.scheme!r} is not known; use mqtts, mqtt, wss or ws")
        if not parts.hostname:
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
        return url

    @model_validator(mode="after")
    def _consistent(self) -> MqttSection:
        if self.password and not self.username:
            raise ValueError("password without username; MQTT needs both")
        if self.journal.storage == "memory" and not self.client_id:
            raise ValueError(
                "journal: memory needs a client_id of your own: without a stable one the broker "
                "cannot keep what waits for us"
            )
        if self.journal.storage == "memory" and self.qos == 0:
            raise ValueError("journal: memory with qos: 0 loses what waits at every restart; use qos: 1 or disk")
        return self


class ValueSection(_Section):
    """What a rule says of one value of the payload."""

    skip: bool = Field(default=False, description="Leave this value out (counted as filtered).")
    input: str | None = Field(default=None, description="Template of the input ID.")
    name: str | None = Field(default=None, description="Template of the signal's name.")
    description: str | None = Field(default=None, description="Template of the signal's description.")
    unit: str | None = Field(default=None, max_length=255, description="Engineering unit.", examples=["°C"])
    type: Literal["numeric", "enum"] | None = Field(default=None, description="Value type of the signal.")
    enum_values: dict[EnumKey, str] = Field(
        default={}, description="Names of the states of an enum signal.", examples=[{"0": "off", "1": "on"}]
    )


class RuleSection(_Section):
    """One rule: which topics it takes and what becomes of their values. The first rule that matches counts."""

    topic: TopicPatternText = Field(
        description="Topic pattern: `{name}` takes one level and names it, `+` takes one, `#` all that is left.",
        examples=["plant/{line}/{machine}/telemetry"],
    )
    skip: bool = Field(default=False, description="Leave these messages out (counted as filtered).")
    input: str | None = Field(
        default=None,
        description="Template of the input ID. Known are the named levels, `{source}`, `{topic}`, `{path}` (of the "
        f"value in the payload) and `{{field}}` (its last part). Default: `{DEFAULT_INPUT}`.",
        examples=["{line}/{machine}/{field}"],
    )
    name: str | None = Field(default=None, description="Template of the signal's name. Default: the input ID.")
    description: str | None = Field(default=None, description="Template of the signal's description.")
    unit: str | None = Field(default=None, max_length=255, description="Engineering unit.")
    type: Literal["numeric", "enum"] | None = Field(default=None, description="Value type of the signals.")
    enum_values: dict[EnumKey, str] = Field(default={}, description="Names of the states of enum signals.")
    labels: dict[LabelKey, str] = Field(
        default={}, description="Labels: key → template of the value.", examples=[{"line": "{line}"}]
    )
    time: str = Field(
        default=AUTO_TIME,
        min_length=1,
        description="`auto`: a time field of the payload, else arrival. `arrival`: never look into the payload. "
        "Or the dotted path of the field.",
    )
    values: dict[str, ValueSection] = Field(
        default={}, description="What to do with single values, by their dotted path in the payload."
    )
    other_values: Literal["map", "filter"] = Field(
        default="map", description="Whether values that `values` does not name are mapped too."
    )
    shared_inputs: bool = Field(
        default=False,
        description="Several topics may feed one input ID on purpose. Otherwise the second one gets an ID of its "
        "own and a warning.",
    )

    @model_validator(mode="after")
    def _compiles(self) -> RuleSection:
        self.compile()
        return self

    @model_validator(mode="after")
    def _enums_are_enums(self) -> RuleSection:
        if self.enum_values and "enum" not in (self.type, *(value.type for value in self.values.values())):
            raise ValueError("enum_values without type: enum")
        for path, value in self.values.items():
            if value.enum_values and (value.type or self.type) != "enum":
                raise ValueError(f"values.{path}: enum_values without type: enum")
        return self

    def compile(self) -> Rule:
        """The rule as the mapper uses it; a bad template raises `ValueError`."""
        pattern = parse_pattern(self.topic)
        for name in pattern.names:
            if name in VALUE_VARIABLES:
                raise ValueError(f"topic: {{{name}}} has a meaning of its own in templates; name the level otherwise")
        return Rule(
            pattern=pattern,
            skip=self.skip,
            input=_template(pattern, "input", self.input),
            name=_template(pattern, "name", self.name),
            description=_template(pattern, "description", self.description),
            unit=self.unit,
            value_type=self.type,
            enum_values=tuple(self.enum_values.items()),
            labels=tuple((key, template_for(pattern, text)) for key, text in self.labels.items()),
            time=self.time,
            shared_inputs=self.shared_inputs,
            values={path: _value_rule(pattern, path, value) for path, value in self.values.items()},
            other_values=self.other_values == "map",
        )


def _template(pattern: TopicPattern, field: str, text: str | None) -> Template | None:
    if text is None:
        return None
    try:
        return template_for(pattern, text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _value_rule(pattern: TopicPattern, path: str, section: ValueSection) -> ValueRule:
    where = f"values.{path}."
    return ValueRule(
        skip=section.skip,
        input=_template(pattern, where + "input", section.input),
        name=_template(pattern, where + "name", section.name),
        description=_template(pattern, where + "description", section.description),
        unit=section.unit,
        value_type=section.type,
        enum_values=tuple(section.enum_values.items()),
    )


class MappingSection(_Section):
    """How payloads become samples. Without rules, every numeric or boolean value of JSON becomes a sample."""

    rules: list[RuleSection] = Field(default=[], description="Rules, in order; the first that matches counts.")
    unmatched: Literal["filter", "map", "dead_letter"] = Field(
        default="filter",
        description="A message that no rule takes: left out and counted (`filter`), mapped as if there were no "
        "rules (`map`), or kept as a dead letter.",
    )
    max_payload: Bytes = Field(
        default="4MiB",  # type: ignore[assignment]
        description="Larger payloads become dead letters.",
        ge=1,
    )
    max_values: int = Field(
        default=20_000, ge=1, description="Messages with more values than this become dead letters."
    )
    oldest_time: datetime = Field(
        default=datetime(2000, 1, 1, tzinfo=UTC),
        description="Earlier times are taken for a clock that was never set; the message becomes a dead letter.",
    )
    newest_time: Seconds = Field(
        default="3660d",  # type: ignore[assignment]
        description="Times further ahead of their arrival than this become dead letters.",
    )

    @field_validator("oldest_time")
    @classmethod
    def _with_zone(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)


class DeliverySection(_Section):
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
    metadata_requests_per_second: float = Field(
        default=SAVES_PER_SECOND,
        gt=0,
        le=100,
        description="saveSignals calls a second. Clarify's documented limit is 1.",
    )
    max_waiting_samples: int = Field(
        default=500_000,
        ge=1000,
        description="Samples held in memory (24 bytes each). Above it, reading from the sources pauses.",
    )
    flush_timeout: Seconds = Field(
        default="20s",  # type: ignore[assignment]
        ge=0,
        description="On SIGTERM: how long to go on sending before what still waits is left to the journal.",
    )

    @property
    def max_frame_bytes(self) -> int:
        """What is left of `max_bytes` for the frame itself."""
        return self.max_bytes - _ENVELOPE_BYTES


class DeadLettersSection(_Section):
    """Messages and values that could not become samples, with the reason. They are kept in state_dir."""

    max_bytes: Bytes = Field(
        default="256MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        description="How much is kept. Above it the oldest are discarded, counted and logged.",
    )


class ObserveSection(_Section):
    """What the connector says of itself."""

    listen: str | None = Field(
        default="127.0.0.1:9464",
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$",
        description="Address of /healthz, /readyz, /metrics and /ledger; null for none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Log level.")
    log_format: Literal["text", "json"] = Field(default="text", description="Log format.")


class Config(_Section):
    """A whole configuration file."""

    clarify: ClarifySection = Field(description="Where the data goes.")
    sources: list[MqttSection] = Field(min_length=1, description="Where the data comes from.")
    mapping: MappingSection = Field(default=MappingSection(), description="How payloads become samples.")
    delivery: DeliverySection = Field(default=DeliverySection(), description="How samples leave for Clarify.")
    dead_letters: DeadLettersSection = Field(default=DeadLettersSection(), description="What could not become samples.")
    state_dir: Path = Field(
        default=Path("clarify-connector-state"),
        description="Folder for the journal, the ledger and the dead letters. Put it on a volume. A relative path "
        "starts at the configuration file.",
    )
    observe: ObserveSection = Field(default=ObserveSection(), description="Health, metrics and logs.")

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [source.name.lower() for source in self.sources]  # they name files, also where case does not count
        for source in self.sources:
            if names.count(source.name.lower()) > 1:
                raise ValueError(f"two sources are named {source.name!r}; give each a name of its own")
        return self

    def rules(self) -> list[Rule]:
        """The mapping's rules, compiled."""
        return [rule.compile() for rule in self.mapping.rules]

    def time_bounds(self) -> TimeBounds:
        """Which times are plausible."""
        oldest = (self.mapping.oldest_time - EPOCH) // timedelta(microseconds=1)
        return TimeBounds(oldest, round(self.mapping.newest_time * 1_000_000))
