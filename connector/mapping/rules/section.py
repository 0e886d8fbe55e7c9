"""The sections of a rule: their settings and the validation of these settings.

Templates are checked by the compiler (`compiler/rule.py`), which the section `mapping` calls for each of its rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
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
from connector.mapping.rules.decoding import DecodeSteps
from connector.mapping.rules.paths import parse_path
from connector.mapping.rules.rules import (
    AUTO_TIME,
    DEFAULT_INPUT,
    ITEM_INPUT,
    LEARNED,
    RECORD_TIMES,
)
from connector.mapping.rules.signal_fields import FieldSection, LabelKey, SignalFields
from connector.mapping.rules.topics import parse_pattern
from connector.mapping.tags.section import TagsSection
from connector.mapping.time.reader import TimeReader
from connector.mapping.time.zones import RepeatedHours, zone_of
from connector.settings import Seconds, Section, anchored, number_as_text, seconds

_BIT: Final = r"^\d{1,2}(-\d{1,2})?$"
_MOST_BITS: Final = 64
_LEAST_EVERY: Final = 1.0
"""The least `expect_every`, in seconds: a look at the signals should cost little."""


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


def _every(value: object) -> object:
    if value in (None, LEARNED):
        return value
    every = float(str(seconds(value)))
    if 0 < every < _LEAST_EVERY:
        raise ValueError(f"the least time is {_LEAST_EVERY:g}s")
    return every or None


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _parts(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _step(value: object) -> object:
    return {"every": value} if isinstance(value, str) else value


def _signed(value: object) -> object:
    if isinstance(value, str) and value.startswith("-"):
        return -float(str(seconds(value.removeprefix("-"))))
    return seconds(value)


TopicPatternText = Annotated[str, AfterValidator(_pattern)]
PathText = Annotated[str, Field(min_length=1), AfterValidator(_path)]
Scalar: TypeAlias = str | bool | int | float | None
_GOOD: Final[list[bool | int | float | str]] = [True, "good", "ok", 192]


class PublishSection(Section):
    """The items for the signals of a rule. All other attributes, such as unit and states, follow the signal."""

    name: str | None = Field(default=None, description="Template of the item's name. Default: the signal's name.")
    description: str | None = Field(default=None, description="Template of the item's description.")
    labels: dict[LabelKey, str] | None = Field(
        default=None, description="Labels of the item: key → template of the value. Default: the labels of the signal."
    )
    visible: bool = Field(default=True, description="Whether the whole organisation sees the items.")
    overwrite: Literal["unedited", "always", "never"] = Field(
        default="unedited",
        description="The treatment of an existing item: `unedited` updates the item unless somebody else has changed "
        "it since the connector did; `always` updates it; `never` leaves it alone.",
    )


TimeUnit = Literal["100ns", "ns", "us", "ms", "s", "min", "h", "days", "weeks"]


class TimePartSection(Section):
    """A further part of a time, in a field of its own."""

    path: PathText = Field(description="Path of the field, beside the time.", examples=["nanos"])
    unit: TimeUnit = Field(description="Unit of its number.", examples=["ns"])


class TimeStepSection(Section):
    """The time between two items of a list: the n-th item has the time of the list and n steps."""

    every: Annotated[float, BeforeValidator(_signed, json_schema_input_type=str)] | None = Field(
        default=None,
        description="The step. With a minus, the first item is the newest one.",
        examples=["0.5ms", "-15m"],
    )
    path: PathText | None = Field(default=None, description="Path of the field with the step or the rate.")
    unit: TimeUnit | Literal["hz", "khz"] | None = Field(
        default=None, description="Unit of the number in this field; `hz` and `khz` for a rate."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.every is None) == (self.path is None) or (self.path is None) != (self.unit is None):
            raise ValueError("write a duration (step: 2ms), or a field with its unit (step: {path: dt, unit: ms})")
        return self


class TimeSection(Section):
    """The source of the times of a rule's values, and the notation of these times."""

    take: Literal["auto", "arrival", "create_time", "append_time", "received"] = Field(
        default="auto",
        description="The time, if neither `field`, `template` nor `header` is set. The words have the same meaning as "
        "in `time: WORD`.",
    )
    field: PathText | None = Field(
        default=None,
        description="Path of the field with the time, plain or JMESPath. In a rule with `iterate`, the item is "
        "searched first, then the objects around it. Default: a field with the name of a time (`ts`, `timestamp`, "
        "`time` …).",
        examples=["meta.measuredAt"],
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        description="Template of a time that is in several fields, or elsewhere than in a field: a named level of the "
        "topic, `{key}`, `{header.NAME}`, `{item}` (then the key of an item is its time, and no part of its name).",
        examples=["{payload.date} {payload.time}", "{item}"],
    )
    header: str | None = Field(
        default=None,
        min_length=1,
        description="Header with the time: a header of a Kafka record, or a user property of MQTT 5.",
    )
    format: Annotated[
        list[Annotated[str, Field(min_length=1)]], BeforeValidator(_list, json_schema_input_type=list[str] | str)
    ] = Field(
        default=["auto"],
        min_length=1,
        description="The notation of the time: `auto` (ISO 8601, the usual texts of mail, HTTP, Unix, JavaScript and "
        ".NET, or an epoch number), `iso8601`, `excel` (also OLE: days since 1899-12-30), `filetime` (Windows), "
        "`dotnet` (ticks), `gps` (seconds since 1980-01-06, without leap seconds), or a pattern of strptime, where "
        "`%Z` also reads `CEST` and the letters `S` and `W` for summer and winter. Several notations are tried in "
        "order.",
        examples=["%d.%m.%Y %H:%M:%S"],
    )
    unit: TimeUnit | None = Field(
        default=None, description="Unit of a number. Default: found by the size of the number, or that of the format."
    )
    epoch: date | None = Field(
        default=None,
        description="The day from whose start a number is counted. Default: 1970-01-01.",
        examples=["2000-01-01"],
    )
    plus: Annotated[
        list[TimePartSection], BeforeValidator(_parts, json_schema_input_type=TimePartSection | list[TimePartSection])
    ] = Field(
        default=[],
        description="Further parts of the time, which are added: nanoseconds beside the seconds, the second of a week.",
        examples=[{"path": "nanos", "unit": "ns"}],
    )
    step: Annotated[
        TimeStepSection | None, BeforeValidator(_step, json_schema_input_type=TimeStepSection | str | None)
    ] = Field(
        default=None,
        description="The time between two items of a rule with `iterate` or `parallel`, if the list has one time: a "
        "duration, or a section with a field.",
        examples=["2ms", {"path": "rate", "unit": "hz"}],
    )
    zone: str | None = Field(
        default=None,
        description="Time zone of times without a zone, and of numbers with a `unit` that count in local time: an IANA "
        "name, an offset (`+02:00`), or a template (`{payload.zone}`). A letter or word behind a name says whether it "
        "is summer time: `Europe/Oslo {payload.dst}`. Default: UTC.",
        examples=["Europe/Oslo", "{payload.zone}"],
    )
    repeated_hour: Literal["first", "nearest", "reject"] = Field(
        default="first",
        description="The treatment of a local time that is there twice, since the clocks go back: the `first` of both "
        "counts; or the one `nearest` to the record's own time, for devices that send at once; or a dead letter "
        "(`reject`). An offset, a letter or a field for summer time comes first.",
    )
    missing: Literal["reject", "arrival"] = Field(
        default="reject",
        description="The treatment of values if the field, the header or a part of the template is missing: dead "
        "letters (`reject`), or the record's own time (`arrival`).",
    )
    correct_clock: Seconds | None = Field(
        default=None,
        description="Correct the times of devices whose clocks are off by more than this, by the measured difference. "
        "Not for devices that send stored values later. Default: differences are only measured and reported.",
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if sum(where is not None for where in (self.field, self.template, self.header)) > 1:
            raise ValueError("field, template and header exclude each other; keep one")
        if (self.plus or self.step or self.zone_in_record) and not (self.field or self.template or self.header):
            raise ValueError("plus, step and a zone with {variables} need field, template or header: which time?")
        if self.repeated_hour == "nearest" and not (self.field or self.template or self.header):
            raise ValueError("repeated_hour: nearest needs field, template or header: which time?")
        zone = None if self.zone is None or self.zone_in_record else zone_of(self.zone)
        TimeReader(self.format, self.unit, self.epoch, zone, RepeatedHours(self.repeated_hour))
        return self

    @property
    def zone_in_record(self) -> bool:
        """Whether the zone is a template with variables."""
        return self.zone is not None and "{" in self.zone


class QualitySection(Section):
    """The quality beside the values of a rule, and its effect."""

    path: PathText | None = Field(
        default=None,
        description="Path of the quality in the payload; with `iterate` in the item, or else around it. Required, "
        "unless a preset sets it.",
        examples=["q"],
    )
    good: list[bool | int | float | str] = Field(
        default=_GOOD,
        min_length=1,
        description="Good qualities. Capitals do not matter, and a number or a boolean may be written as text: 192 is "
        'equal to 192.0 and `"192"`. A missing quality is good, too.',
    )
    bad: Literal["keep", "drop", "null", "reject", "signal"] = Field(
        default="drop",
        description="The treatment of values whose quality is not good: `keep` them; `drop` them, or make them `null` "
        "(both count as filtered: Clarify then has no value); `reject` them as dead letters; `signal` keeps them, and "
        "the quality becomes a signal, too.",
    )


class WordsSection(Section):
    """Registers of 16 bits that are one number, as gateways of Modbus send them."""

    of: Annotated[list[PathText], BeforeValidator(_list, json_schema_input_type=list[str] | str)] = Field(
        default=[],
        description="Paths of the registers, in their order, or the path of one list, or of one text such as "
        "`17008,2345`. The registers themselves become no samples. Default: the path of the value.",
        examples=[["reg256", "reg257"], "registers"],
    )
    type: Literal["i32", "u32", "f32", "i64", "u64", "f64"] = Field(
        description="Signed (`i`) or unsigned (`u`) integer, or IEEE 754 float (`f`), of so many bits."
    )
    endian: Literal["big", "little", "big-swapped", "little-swapped"] = Field(
        default="big",
        description="The order of the bytes A (highest) to D in two registers: `big` is AB CD, `big-swapped` CD AB, "
        "`little` DC BA, `little-swapped` BA DC.",
    )


def _bits(value: object) -> object:
    """Returns NAME: BIT also for what is written as BIT: NAME."""
    if not isinstance(value, dict):
        return value
    return {
        **{str(name): bit for bit, name in value.items() if _is_bit(bit) and not _is_bit(name)},
        **{str(name): bit for name, bit in value.items() if not _is_bit(name) or _is_bit(bit)},
    }


def _is_bit(written: object) -> bool:
    return re.fullmatch(_BIT, str(written)) is not None


class ValueSection(SignalFields):
    """The settings of a rule for one value of the payload."""

    path: PathText | None = Field(
        default=None,
        description="Path of the value, plain (`data.temp`, `values[0]`) or JMESPath; the key is then only the name of "
        "the value, for `{path}` and `{field}`. Default: the key itself.",
        examples=["object.temperature", "sensors[?id=='t1'].value | [0]"],
    )
    bits: Annotated[
        dict[str, Annotated[str, BeforeValidator(number_as_text), Field(pattern=_BIT)]], BeforeValidator(_bits)
    ] = Field(
        default={},
        description="Parts of an integer, by their names: the number of a bit (0 is the lowest), or of the lowest and "
        "highest bit, `4-7`. They are mapped in place of the integer, as `PATH.NAME`; `values` may have settings for "
        "`PATH.NAME`.",
        examples=[{"running": 0, "mode": "1-3"}],
    )
    words: WordsSection | None = Field(default=None, description="The value is made of several registers of 16 bits.")
    skip: bool = Field(default=False, description="Leave this value out (counted as filtered).")
    input: str | None = Field(default=None, description="Template of the input ID.")
    publish: bool = Field(default=True, description="Whether this value is published, if its rule publishes signals.")

    @model_validator(mode="after")
    def _combined(self) -> Self:
        for name, text in self.bits.items():
            low, _, high = text.partition("-")
            if not int(low) <= int(high or low) < _MOST_BITS:
                raise ValueError(f"bits.{name}: {text} is not within the bits 0-{_MOST_BITS - 1}")
        said = [name for name in ("bits", "words") if getattr(self, name)]
        said += [name for name in ("scale", "offset") if isinstance(getattr(self, name), FieldSection)]
        said += ["limit"] if self.limit == "signal" else []
        if said and (self.states or self.is_enum):
            raise ValueError(f"{said[0]} is for numbers; remove the states, or put them to the single part")
        if self.bits and any(getattr(self, name) is not None for name in ("scale", "offset", "min", "max", "unit")):
            raise ValueError("bits are parts of an integer, which has no scale, offset, min, max and unit")
        return self


class DescribesSection(Section):
    """The messages of the rule describe signals, and have no values. The descriptions are remembered in `state_dir`.

    Templates are as in the rule; `{outer.PATH}` is a field of the item around an item.
    """

    signal: str = Field(
        min_length=1,
        description="Template of the text by which the signal is known: `described_as` of the rule that maps its "
        "values, which is the default input ID (`{topic}:{path}`) unless that rule sets it.",
        examples=["{item.topic}:{item.field}"],
    )
    name: str | None = Field(default=None, description="Template of the signal's name.", examples=["{item.name}"])
    description: str | None = Field(default=None, description="Template of the signal's description.")
    unit: str | None = Field(default=None, description="Template of the engineering unit.", examples=["{item.unit}"])
    labels: dict[LabelKey, str] = Field(default={}, description="Labels: key → template of the value.")
    states: PathText | None = Field(
        default=None,
        description="Path of the names of the states in the item, or else in the payload: an object "
        '(`{"0": "off", "1": "on"}`), or a list of names from 0.',
    )


class AlignSection(Section):
    """Moves times to a common grid, so that devices with different clocks share rows. This changes measured times."""

    to: Seconds = Field(ge=0.001, description="The step of the grid.", examples=["1s", "100ms"])
    how: Literal["nearest", "floor"] = Field(
        default="nearest", description="A time is moved to the nearest step, or to the step before it (`floor`)."
    )
    max_shift: Seconds | None = Field(
        default=None,
        ge=0,
        description="A time that would be moved farther stays as it is, and is counted. Default: only the step bounds "
        "the shift.",
    )


def _as_align(value: object) -> object:
    return {"to": value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


PresetName: TypeAlias = Annotated[
    str, WithJsonSchema({"anyOf": [{"enum": list(BUILT_IN), "type": "string"}, {"type": "string"}]})
]
"""The name of a preset: a built-in preset, or a preset in the folder of the configuration."""
_NO_FOLDER: Final = Presets()
_WITH_DESCRIBES: Final = {
    *("topic", "key", "headers", "when", "format", "compression", "prepare", "select", "iterate", "parallel"),
    *("item_name", "decode", "describes", "preset", "base"),
}
"""The settings of a rule with `describes`; all others are for values."""
_ATTRIBUTES: Final = ("name", "description", "unit")


def presets_of(info: ValidationInfo) -> Presets:
    """Returns the presets in the context of the validation, under `presets`; else the built-in presets."""
    found = (info.context or {}).get("presets")
    return found if isinstance(found, Presets) else _NO_FOLDER


class RuleSection(SignalFields):
    """One rule: the records that it takes, and the treatment of their values."""

    preset: PresetName | None = Field(
        default=None,
        description="Rules for the messages of a product or a standard: a built-in preset, or a preset in "
        "`mapping.preset_folder`. The other settings of the rule are merged into the preset.",
        examples=["zigbee2mqtt"],
    )
    base: str | None = Field(
        default=None,
        description="With `preset`: the start of the preset's topics, if it was changed in the product.",
        examples=["site1/zigbee2mqtt"],
    )
    topic: TopicPatternText | None = Field(
        default=None,
        description="Topic pattern: `{name}` matches one level and names it, `+` matches one level, `#` all remaining "
        "levels, `**` any number of levels; `{name...}` names these levels. Levels are between slashes; in a pattern "
        "without slashes, between dots, as in Kafka's topics. Required without a preset.",
        examples=["plant/{line}/{machine}/telemetry", "plant.{line}.telemetry", "{site...}/{device}/up"],
    )
    key: TopicPatternText | None = Field(
        default=None,
        description="The rule takes only records whose key matches this pattern. Templates can use its named levels, "
        "like the levels of the topic.",
        examples=["{line}/{machine}"],
    )
    headers: dict[str, TopicPatternText] = Field(
        default={},
        description="The rule takes only records whose headers (Kafka; MQTT 5: user properties, and the content "
        "type as `content-type`) match these patterns. Templates can use the named levels, like the levels of the "
        "topic.",
        examples=[{"content-type": "application/json", "site": "{site}"}],
    )
    when: PathText | dict[PathText, Scalar | list[Scalar]] | None = Field(
        default=None,
        description="The rule takes only payloads that fulfil this condition: paths with their values (a list: one of "
        "these values; null: no value), or a JMESPath expression that must be true.",
        examples=[{"type": "measurement", "status": ["ok", "warn"]}, "contains(keys(@), 'temperature')"],
    )
    skip: bool = Field(default=False, description="Leave these messages out (counted as filtered).")
    to: str | None = Field(
        default=None,
        min_length=1,
        description="The integration that gets the values: a name of `clarify.integrations`, or a template of it. "
        "A name that a template gives and that is not there makes a dead letter. Default: the integration of `clarify` "
        "itself.",
        examples=["plant-a", "{site}"],
    )
    format: FormatField | None = Field(
        default=None, description="Format of the payload: a name, or a section. Default: JSON.", examples=["csv"]
    )
    compression: Compression = Field(default="none", description="Compression of the payload.")
    decode: DecodeSteps = Field(
        default=[],
        description="Payloads inside fields, such as JSON in a text, or bytes in base64: a step decodes a field, and "
        "sees the results of the steps before. A path alone is JSON in a text. Everything else in the rule sees the "
        "decoded payload. A field that is missing, null or empty is left alone; one that cannot be decoded becomes a "
        "dead letter, and the rest is mapped. All steps together unpack at most `mapping.max_payload`.",
        examples=["payload", [{"path": "data", "encoding": "base64", "format": "cbor"}]],
    )
    prepare: Literal["senml", "kafka_connect", "home_assistant_discovery"] | None = Field(
        default=None,
        description="What happens to the whole payload before `select` (and after `when`). `senml` resolves the base "
        "names, times and values of SenML; for a pack in a field, set `select` to the plain path of this field. "
        "`kafka_connect` reads decimals that are bytes, and times, by the schema of the message. "
        "`home_assistant_discovery` resolves abbreviations, components and templates of a discovery message of Home "
        "Assistant.",
    )
    select: PathText | None = Field(
        default=None,
        description="Map only the part of the payload at this path, plain or JMESPath. If the payload lacks this part, "
        "the message is left out (counted as filtered).",
        examples=["payload.after"],
    )
    iterate: Annotated[list[PathText], BeforeValidator(_list, json_schema_input_type=list[str] | str)] = Field(
        default=[],
        description="Path of a list or an object whose items are mapped one by one (`@`: the payload itself). With "
        "several paths, each leads on from an item of the path before. `values`, `time` and `quality` are then in the "
        "item.",
        examples=["values", ["Messages", "Payload"]],
    )
    parallel: list[PathText] = Field(
        default=[],
        description="Paths of arrays with the same length: the n-th elements of all arrays make one item. The last "
        "names of the paths are its keys. A path of an object takes all of its arrays.",
        examples=[["time", "temperature"], ["times", "series"]],
    )
    item_name: PathText | Annotated[list[PathText], Field(min_length=1)] | None = Field(
        default=None,
        description="Path of the name of an item, for `{item}`. For items in items: a list with one path for each path "
        "of `iterate` (and `parallel`). Default: the key of the item; elements of a list have no name, so they are "
        "readings of the same signals. An item whose name is missing, null or empty becomes a dead letter "
        "(`no_identity`), unless the template has `{item|DEFAULT}`.",
        examples=["id", ["machine", "tag"]],
    )
    input: str | None = Field(
        default=None,
        description="Template of the input ID. Its variables are the named levels, `{source}`, `{topic}`, `{path}` (of "
        f"the value in the payload), `{{field}}` (the last part of the path), `{{key}}`, `{{header.NAME}}`, "
        f"`{{payload.PATH}}`, and with `iterate` also `{{item}}`, `{{item.PATH}}` and `{{index}}`. "
        f"`{{payload.PATH|TEXT}}` is TEXT if the payload has no value there; `{{payload.PATH.*}}` is all members of "
        f"the object there: `id:7/zone:a`. Default: `{DEFAULT_INPUT}`; in a rule "
        f"with `key`, `{{topic}}/{{key}}:{{path}}`; with `iterate`, `{ITEM_INPUT}`.",
        examples=["{line}/{machine}/{field}", "{payload.device.id}/{field}"],
    )
    publish: bool | PublishSection = Field(
        default=False,
        description="Publish the signals as items, so that people see them in Clarify: `true`, or a section with "
        "settings. The integration needs access to the admin namespace.",
        examples=[True, {"name": "{machine} {field}", "visible": True}],
    )
    time: Annotated[TimeSection, BeforeValidator(_time, json_schema_input_type=str | TimeSection)] = Field(
        default="auto",  # type: ignore[assignment]
        description="`auto`: a time field of the payload, else the record's own time. `arrival`: the record's own time "
        "(MQTT: the time of arrival; Kafka: the timestamp from its producer or broker). `create_time`, `append_time`: "
        "Kafka's timestamp, if it is of this kind. `received`: the time when the connector read the record. Or the "
        "path of the field with the time. Or a section.",
    )
    align: Annotated[
        AlignSection | None, BeforeValidator(_as_align, json_schema_input_type=AlignSection | str | None)
    ] = Field(
        default=None,
        description="Move the times of values to a grid, such as `1s`. Devices with different clocks then share rows, "
        "and a request carries up to a hundred times more values. This changes the measured times. If two values of a "
        "signal get the same time, this is a collision: the later value stays. Default: times stay as they are.",
        examples=["1s", {"to": "100ms", "how": "floor"}],
    )
    device: str | None = Field(
        default=None,
        description="Template of the device whose clock is measured. Default: each topic (with each key) is a device.",
        examples=["{payload.deviceId}"],
    )
    quality: QualitySection | None = Field(default=None, description="The quality beside the values.")
    values: dict[str, ValueSection] = Field(
        default={}, description="Settings for single values, by their dotted path in the payload."
    )
    other_values: Literal["map", "filter"] | None = Field(
        default=None,
        description="Whether values that `values` does not name are mapped, too. Default: `map`; `filter` if a value "
        "has a JMESPath.",
    )
    tags: TagsSection | None = Field(
        default=None,
        description="A tag list: a file with a row for each signal. What a row says has precedence over the rule. "
        "Default: `mapping.tags`.",
        examples=[{"file": "tags.csv", "key": "{plc}/{item}"}],
    )
    describes: DescribesSection | None = Field(
        default=None,
        description="The messages describe signals: names and units that come in another message than the values. "
        "They count as filtered.",
        examples=[{"signal": "{payload.topic}", "name": "{payload.name}", "unit": "{payload.unit}"}],
    )
    described_as: str | None = Field(
        default=None,
        description="Template of the text by which messages of a rule with `describes` mean the signals of this rule. "
        "Default: the default input ID (see `input`), also where `input` is set.",
        examples=["{payload.publisher}/{item}"],
    )
    expect_every: Annotated[
        float | Literal["learned"] | None,
        BeforeValidator(_every, json_schema_input_type=Seconds | Literal["learned"] | None),
    ] = Field(
        default=None,
        description="The longest time without a sample of a signal of this rule, at least 1s. A signal that is silent "
        "for longer is in the notice `signals_silent`, in the metrics and on the page `/silent`. `learned`: three "
        "times the longest pause of the signal so far, at least 30s. Default: silence of a signal is not noticed.",
        examples=["5m", "learned"],
    )
    shared_inputs: bool = Field(
        default=False,
        description="Several topics may use one input ID on purpose. Otherwise, the second topic gets another ID, and "
        "a warning is logged.",
    )
    _written: dict[str, Any] = PrivateAttr(default={})
    _over: dict[str, Any] | None = PrivateAttr(default=None)
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
    def _has_steps(self) -> Self:
        if self.preset is None and self.time.step is not None and not (self.iterate or self.parallel):
            raise ValueError("time: step is for the items of a list; write parallel: [PATH OF THE LIST]")
        return self

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
    def _limits_at_values(self) -> Self:
        if self.limit == "signal":
            raise ValueError("limit: signal belongs to single values, in values: it makes a signal for each of them")
        return self

    @model_validator(mode="after")
    def _describes_or_measures(self) -> Self:
        if self.describes is not None and (of_values := self.model_fields_set - _WITH_DESCRIBES):
            raise ValueError(f"{min(of_values)} is for rules with values; a message with describes has no values")
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

    @property
    def written(self) -> frozenset[str] | None:
        """For a rule of a preset: the attributes that the configuration sets over the preset; None for other rules."""
        if self._over is None:
            return None
        values = self._over.get("values") or {}
        of_values = ((f"{path}.", said) for path, said in values.items() if isinstance(said, dict))
        return frozenset(
            start + name for start, said in (("", self._over), *of_values) for name in _ATTRIBUTES if name in said
        )

    def sections(self, check: Callable[[RuleSection], object] | None = None) -> list[RuleSection]:
        """The rule itself, or the rules of its preset.

        `check` is called with each rule of the preset, before the next one is validated. Raises ValueError for a preset
        that cannot be used like this, for a rule of the preset that is not valid, and for a ValueError of `check`.
        """
        if self.preset is None:
            return [self]
        try:
            over = _with_paths(self._written, self) if self._written else self.model_dump(exclude_unset=True)
            folder = self._presets.folder(self.preset)
            return [anchored(_validated(rule, over, check), folder) for rule in self._presets.expand(self.preset, over)]
        except PresetError as error:
            raise ValueError(f"{error.field}: {error}") from None
        except ValueError as error:
            raise ValueError(f"with preset {self.preset}: {_first_message(error)}") from None


def _with_paths(written: Any, value: object) -> Any:
    """Returns what a person has written, with the paths of `value`, which start at the folder of the configuration."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(written, dict) and isinstance(value, BaseModel | dict):
        parts = dict(value)
        return {key: _with_paths(said, parts.get(key)) for key, said in written.items()}
    if isinstance(written, list) and isinstance(value, list) and len(written) == len(value):
        return [_with_paths(said, part) for said, part in zip(written, value, strict=True)]
    return written


def _validated(
    written: dict[str, Any], over: dict[str, Any], check: Callable[[RuleSection], object] | None
) -> RuleSection:
    section = RuleSection.model_validate(written)
    section._over = over
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
