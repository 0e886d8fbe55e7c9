"""The sections of a rule: their settings and the validation of these settings.

Templates are checked by the compiler (`compiler/rule.py`), which the section `mapping` calls for each of its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from connector.formats.catalogue import Compression, FormatField
from connector.mapping.presets import BUILT_IN, PresetError, Presets
from connector.mapping.rules.paths import parse_path
from connector.mapping.rules.rules import (
    AUTO_TIME,
    DEFAULT_INPUT,
    ITEM_INPUT,
    RECORD_TIMES,
)
from connector.mapping.rules.signal_fields import LabelKey, SignalFields
from connector.mapping.rules.topics import parse_pattern
from connector.mapping.time.times import time_reader
from connector.settings import Seconds, Section


def _pattern(text: str) -> str:
    parse_pattern(text)
    return text


def _path(text: str) -> str:
    parse_path(text)
    return text


def _time(value: object) -> object:
    if not isinstance(value, str):
        return value
    return {"take": value} if value in (AUTO_TIME, *RECORD_TIMES) else {"field": value}


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


TopicPatternText = Annotated[str, AfterValidator(_pattern)]
PathText = Annotated[str, Field(min_length=1), AfterValidator(_path)]
Scalar: TypeAlias = str | bool | int | float | None
_GOOD: Final[list[bool | int | float | str]] = [True, "good", "ok", 192]


class PublishSection(Section):
    """As what a rule's signals are published. What is not said follows the signal: unit, states, name …"""

    name: str | None = Field(default=None, description="Template of the item's name. Default: the signal's name.")
    description: str | None = Field(default=None, description="Template of the item's description.")
    labels: dict[LabelKey, str] | None = Field(
        default=None, description="Labels of the item: key → template of the value. Default: those of the signal."
    )
    visible: bool = Field(default=True, description="Whether the whole organisation sees the items.")
    overwrite: Literal["unedited", "always", "never"] = Field(
        default="unedited",
        description="What becomes of an item that exists: `unedited` updates it unless somebody else has changed it "
        "since the connector did, `always` and `never` say it all.",
    )


class TimeSection(Section):
    """Where the time of a rule's values comes from, and how it is written."""

    take: Literal["auto", "arrival", "create_time", "append_time", "received"] = Field(
        default="auto", description="Which time, where neither `field` nor `header` says one: as the word by itself."
    )
    field: PathText | None = Field(
        default=None,
        description="Path of the field that has the time, plain or JMESPath. In a rule with `iterate` it is looked for "
        "in the item, then around it. Default: a field that is called like a time (`ts`, `timestamp`, `time` …).",
        examples=["meta.measuredAt"],
    )
    header: str | None = Field(
        default=None,
        min_length=1,
        description="Header that has the time: of a Kafka record, or a user property of MQTT 5.",
    )
    format: Annotated[
        list[Annotated[str, Field(min_length=1)]], BeforeValidator(_list, json_schema_input_type=list[str] | str)
    ] = Field(
        default=["auto"],
        min_length=1,
        description="How it is written: `auto` (ISO 8601 or an epoch number), `iso8601`, `excel` (days since "
        "1899-12-30), or a pattern of strptime. Several are tried in turn.",
        examples=["%d.%m.%Y %H:%M:%S"],
    )
    unit: Literal["s", "ms", "us", "ns"] | None = Field(
        default=None, description="Unit of an epoch number. Default: told by its size."
    )
    zone: str | None = Field(
        default=None,
        description="Time zone (IANA) of times without one. Default: UTC. Where clocks go back, the first of two.",
        examples=["Europe/Oslo"],
    )
    missing: Literal["reject", "arrival"] = Field(
        default="reject", description="What becomes of values when the field or header is not there."
    )
    correct_clock: Seconds | None = Field(
        default=None,
        description="Correct the times of devices whose clocks are off by more than this, by as much as was measured. "
        "Not for devices that send what they have stored. Default: measured and reported only.",
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.field is not None and self.header is not None:
            raise ValueError("field and header exclude each other; keep one")
        time_reader(tuple(self.format), self.unit, self.zone)
        return self


class QualitySection(Section):
    """The quality that stands beside the values of a rule, and what is done with it."""

    path: PathText | None = Field(
        default=None,
        description="Where it is: in the payload, or in the item. Required, unless a preset says it.",
        examples=["q"],
    )
    good: list[bool | int | float | str] = Field(
        default=_GOOD,
        min_length=1,
        description="Values that are good. Capitals do not count, nor whether a number or "
        'a boolean is written as text: 192 is 192.0 and `"192"`. None at all is good too.',
    )
    bad: Literal["keep", "drop", "null", "reject", "signal"] = Field(
        default="drop",
        description="What becomes of values whose quality is not good: `keep` them; `drop` them or take them for "
        "`null` (both counted as filtered: Clarify has no value then); `reject` them as dead letters; `signal` keeps "
        "them, and the quality becomes a signal of its own.",
    )


class ValueSection(SignalFields):
    """What a rule says of one value of the payload."""

    path: PathText | None = Field(
        default=None,
        description="Where the value is, plain (`data.temp`, `values[0]`) or JMESPath; the key is then only its name, "
        "for `{path}` and `{field}`. Default: the key itself.",
        examples=["object.temperature", "sensors[?id=='t1'].value | [0]"],
    )
    skip: bool = Field(default=False, description="Leave this value out (counted as filtered).")
    input: str | None = Field(default=None, description="Template of the input ID.")
    publish: bool = Field(default=True, description="Whether this value is published, where its rule publishes.")


class AlignSection(Section):
    """Times moved to a common grid, so that devices whose clocks do not agree share rows: what was measured changes."""

    to: Seconds = Field(ge=0.001, description="The grid's step.", examples=["1s", "100ms"])
    how: Literal["nearest", "floor"] = Field(
        default="nearest", description="Where a time goes: to the nearest step, or to the one before it."
    )
    max_shift: Seconds | None = Field(
        default=None,
        ge=0,
        description="A time that would be moved farther stays as it is, counted. Default: the step bounds it.",
    )


def _as_align(value: object) -> object:
    return {"to": value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


PresetName: TypeAlias = Annotated[
    str, WithJsonSchema({"anyOf": [{"enum": list(BUILT_IN), "type": "string"}, {"type": "string"}]})
]
"""The name of a preset: a built-in preset, or a preset in the folder of the configuration."""
_NO_FOLDER: Final = Presets()


def presets_of(info: ValidationInfo) -> Presets:
    """Returns the presets in the context of the validation, under `presets`; else the built-in presets."""
    found = (info.context or {}).get("presets")
    return found if isinstance(found, Presets) else _NO_FOLDER


class RuleSection(SignalFields):
    """One rule: which records it takes and what becomes of their values."""

    preset: PresetName | None = Field(
        default=None,
        description="Settings made for what a product or standard sends: a built-in preset, or one of "
        "`mapping.preset_folder`. What else the rule says comes on top.",
        examples=["zigbee2mqtt"],
    )
    base: str | None = Field(
        default=None,
        description="With `preset`: what stands before the preset's own topics, where it was changed in the product.",
        examples=["site1/zigbee2mqtt"],
    )
    topic: TopicPatternText | None = Field(
        default=None,
        description="Topic pattern: `{name}` takes one level and names it, `+` takes one, `#` all that is left, `**` "
        "any number of levels in between, `{name...}` names them. Levels are between slashes; in a pattern without "
        "any, between dots, as in Kafka's topics. Required without a preset.",
        examples=["plant/{line}/{machine}/telemetry", "plant.{line}.telemetry", "{site...}/{device}/up"],
    )
    key: TopicPatternText | None = Field(
        default=None,
        description="The rule takes only records whose key is like this pattern. Its named levels can be used like the "
        "topic's.",
        examples=["{line}/{machine}"],
    )
    headers: dict[str, TopicPatternText] = Field(
        default={},
        description="The rule takes only records with these headers (Kafka; MQTT 5: user properties), each like its "
        "pattern. Named levels can be used like the topic's.",
        examples=[{"content-type": "application/json", "site": "{site}"}],
    )
    when: PathText | dict[PathText, Scalar | list[Scalar]] | None = Field(
        default=None,
        description="The rule takes only payloads like this: paths and what they must have (a list: one of it; null: "
        "nothing), or a JMESPath expression that must be true.",
        examples=[{"type": "measurement", "status": ["ok", "warn"]}, "contains(keys(@), 'temperature')"],
    )
    skip: bool = Field(default=False, description="Leave these messages out (counted as filtered).")
    format: FormatField | None = Field(
        default=None, description="How the payload is written: a name, or a section. Default: JSON.", examples=["csv"]
    )
    compression: Compression = Field(default="none", description="How the payload is compressed.")
    prepare: Literal["senml"] | None = Field(
        default=None, description="Resolve first what the notation leaves open: SenML's base names, times and values."
    )
    select: PathText | None = Field(
        default=None,
        description="Map only this part of the payload, plain or JMESPath. Where it is not there, the message is left "
        "out (counted as filtered).",
        examples=["payload.after"],
    )
    iterate: Annotated[list[PathText], BeforeValidator(_list, json_schema_input_type=list[str] | str)] = Field(
        default=[],
        description="Path of a list or an object whose items are mapped one by one (`@`: the payload itself); several: "
        "each leads on from an item of the one before. `values`, `time` and `quality` are then looked for in the item.",
        examples=["values", ["Messages", "Payload"]],
    )
    parallel: list[PathText] = Field(
        default=[],
        description="Paths of arrays of the same length: the n-th elements are one item, with the last names of the "
        "paths.",
        examples=[["time", "temperature"]],
    )
    item_name: PathText | Annotated[list[PathText], Field(min_length=1)] | None = Field(
        default=None,
        description="Where an item has its name, for `{item}`; for items in items a list, one path for each path of "
        "`iterate` (and `parallel`). Default: its key; none for elements of a list, which are then readings of the "
        "same signals. An item whose name is missing, null or empty is a dead letter (`no_identity`), unless the "
        "template says `{item|DEFAULT}`.",
        examples=["id", ["machine", "tag"]],
    )
    input: str | None = Field(
        default=None,
        description="Template of the input ID. Known are the named levels, `{source}`, `{topic}`, `{path}` (of the "
        f"value in the payload), `{{field}}` (its last part), `{{key}}`, `{{header.NAME}}`, `{{payload.PATH}}`, and "
        f"with `iterate` `{{item}}`, `{{item.PATH}}` and `{{index}}`; `{{payload.PATH|TEXT}}` is TEXT where "
        f"there is nothing. Default: `{DEFAULT_INPUT}`, in a rule with `key` "
        f"`{{topic}}/{{key}}:{{path}}`, with `iterate` `{ITEM_INPUT}`.",
        examples=["{line}/{machine}/{field}", "{payload.device.id}/{field}"],
    )
    publish: bool | PublishSection = Field(
        default=False,
        description="Publish the signals as items, so that people see them in Clarify: `true`, or how. The integration "
        "needs access to the admin namespace.",
        examples=[True, {"name": "{machine} {field}", "visible": True}],
    )
    time: Annotated[TimeSection, BeforeValidator(_time, json_schema_input_type=str | TimeSection)] = Field(
        default="auto",  # type: ignore[assignment]
        description="`auto`: a time field of the payload, else the record's own time. `arrival`: the record's own time "
        "(MQTT: when it came; Kafka: the timestamp that its producer or broker gave it). `create_time`, `append_time`: "
        "Kafka's timestamp, if it is of this kind. `received`: when it was read. Or the path of the field. Or a "
        "section.",
    )
    align: Annotated[
        AlignSection | None, BeforeValidator(_as_align, json_schema_input_type=AlignSection | str | None)
    ] = Field(
        default=None,
        description="Move the values' times to a grid, such as `1s`: devices whose clocks do not agree then share "
        "rows, and a request carries up to a hundred times more. It changes what was measured. Two values of a signal "
        "that end on one time are a collision: the later one stands. Default: times stay as they are.",
        examples=["1s", {"to": "100ms", "how": "floor"}],
    )
    device: str | None = Field(
        default=None,
        description="Template of whose clock it is, for measuring clocks. Default: a device a topic (and key).",
        examples=["{payload.deviceId}"],
    )
    quality: QualitySection | None = Field(default=None, description="The quality that stands beside the values.")
    values: dict[str, ValueSection] = Field(
        default={}, description="What to do with single values, by their dotted path in the payload."
    )
    other_values: Literal["map", "filter"] | None = Field(
        default=None,
        description="Whether values that `values` does not name are mapped too. Default: `map`; `filter` where a value "
        "has a JMESPath.",
    )
    shared_inputs: bool = Field(
        default=False,
        description="Several topics may feed one input ID on purpose. Otherwise the second one gets an ID of its "
        "own and a warning.",
    )
    _written: dict[str, Any] = PrivateAttr(default={})
    _presets: Presets = PrivateAttr(default=_NO_FOLDER)

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        section = handler(data)
        if section.preset is not None:
            section._presets = presets_of(info)
            if isinstance(data, dict):
                section._written = data
        return section

    @model_validator(mode="after")
    def _has_topic(self) -> Self:
        if self.preset is None and self.topic is None:
            raise ValueError("topic is required but missing")
        if self.preset is None and self.base is not None:
            raise ValueError("base is for a rule with preset; put it into topic")
        if self.preset is None and self.quality is not None and self.quality.path is None:
            raise ValueError("quality: path is required but missing")
        return self

    @model_validator(mode="after")
    def _enums_are_enums(self) -> Self:
        if self.preset is not None:
            return self
        if self.enum_values and not (self.is_enum or any(value.is_enum for value in self.values.values())):
            raise ValueError("enum_values without type: enum")
        for path, value in self.values.items():
            if value.enum_values and not (value.is_enum or (value.type is None and self.is_enum)):
                raise ValueError(f"values.{path}: enum_values without type: enum")
        return self

    def sections(self, check: Callable[[RuleSection], object] | None = None) -> list[RuleSection]:
        """The rule itself, or the rules of its preset.

        `check` is called with each rule of the preset, before the next one is validated. Raises ValueError for a preset
        that cannot be used like this, for a rule of the preset that is not valid, and for a ValueError of `check`.
        """
        if self.preset is None:
            return [self]
        try:
            written = self._presets.expand(self.preset, self._written or self.model_dump(exclude_unset=True))
            return [_validated(rule, check) for rule in written]
        except PresetError as error:
            raise ValueError(f"{error.field}: {error}") from None
        except ValueError as error:
            raise ValueError(f"with preset {self.preset}: {_first_message(error)}") from None


def _validated(written: dict[str, Any], check: Callable[[RuleSection], object] | None) -> RuleSection:
    section = RuleSection.model_validate(written)
    if check is not None:
        check(section)
    return section


def _first_message(error: ValueError) -> str:
    """Returns the text of the first mistake, with the name of the field before it if pydantic names one."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
