"""The mapping's sections: rules, and what they compile to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from connector.config.values import Bytes, Seconds, Section, text_of
from connector.mapping.rules import AUTO_TIME, DEFAULT_INPUT, Publishing, Rule, ValueRule, template_for
from connector.mapping.templates import VALUE_VARIABLES, Template
from connector.mapping.topics import parse_pattern
from connector.records import Overwrite


def _pattern(text: str) -> str:
    parse_pattern(text)
    return text


TopicPatternText = Annotated[str, AfterValidator(_pattern)]
LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-_/]{1,40}$")]
EnumKey = Annotated[str, BeforeValidator(text_of), Field(pattern=r"^(0|[1-9]\d{0,3})$")]


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


class ValueSection(Section):
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
    publish: bool = Field(default=True, description="Whether this value is published, where its rule publishes.")


class RuleSection(Section):
    """One rule: which topics it takes and what becomes of their values. The first rule that matches counts."""

    topic: TopicPatternText = Field(
        description="Topic pattern: `{name}` takes one level and names it, `+` takes one, `#` all that is left. Levels "
        "are between slashes; in a pattern without any, between dots, as in Kafka's topics.",
        examples=["plant/{line}/{machine}/telemetry", "plant.{line}.telemetry"],
    )
    key: TopicPatternText | None = Field(
        default=None,
        description="The rule takes only records whose key is like this pattern. Its named levels can be used like the "
        "topic's.",
        examples=["{line}/{machine}"],
    )
    skip: bool = Field(default=False, description="Leave these messages out (counted as filtered).")
    input: str | None = Field(
        default=None,
        description="Template of the input ID. Known are the named levels, `{source}`, `{topic}`, `{path}` (of the "
        f"value in the payload), `{{field}}` (its last part), `{{key}}` and `{{header.NAME}}` (of a Kafka record). "
        f"Default: `{DEFAULT_INPUT}`, in a rule with `key` `{{topic}}/{{key}}:{{path}}`.",
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
    publish: bool | PublishSection = Field(
        default=False,
        description="Publish the signals as items, so that people see them in Clarify: `true`, or how. The integration "
        "needs access to the admin namespace.",
        examples=[True, {"name": "{machine} {field}", "visible": True}],
    )
    time: str = Field(
        default=AUTO_TIME,
        min_length=1,
        description="`auto`: a time field of the payload, else the record's own time. `arrival`: the record's own time "
        "(MQTT: when it came; Kafka: the timestamp that its producer or broker gave it). `create_time`, `append_time`: "
        "Kafka's timestamp, if it is of this kind. `received`: when it was read. Or the dotted path of the field.",
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
        key = parse_pattern(self.key) if self.key is not None else None
        for where, found in (("topic", pattern), ("key", key)):
            for name in found.names if found else ():
                if name in VALUE_VARIABLES:
                    raise ValueError(
                        f"{where}: {{{name}}} has a meaning of its own in templates; name the level otherwise"
                    )
        if key and (twice := set(pattern.names) & set(key.names)):
            raise ValueError(f"key: {{{min(twice)}}} is a level of the topic already; name it otherwise")
        names = (*pattern.names, *(key.names if key else ()))
        return Rule(
            pattern=pattern,
            key=key,
            skip=self.skip,
            input=_template(names, "input", self.input),
            name=_template(names, "name", self.name),
            description=_template(names, "description", self.description),
            unit=self.unit,
            value_type=self.type,
            enum_values=tuple(self.enum_values.items()),
            labels=tuple((label, template_for(names, text)) for label, text in self.labels.items()),
            time=self.time,
            shared_inputs=self.shared_inputs,
            values={path: _value_rule(names, path, value) for path, value in self.values.items()},
            other_values=self.other_values == "map",
            publish=_publishing(names, self.publish),
        )


def _template(names: tuple[str, ...], field: str, text: str | None) -> Template | None:
    if text is None:
        return None
    try:
        return template_for(names, text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _publishing(names: tuple[str, ...], section: bool | PublishSection) -> Publishing | None:
    if isinstance(section, bool):
        return Publishing() if section else None
    labels = section.labels
    return Publishing(
        name=_template(names, "publish.name", section.name),
        description=_template(names, "publish.description", section.description),
        labels=None if labels is None else tuple((label, template_for(names, text)) for label, text in labels.items()),
        visible=section.visible,
        overwrite=Overwrite(section.overwrite),
    )


def _value_rule(names: tuple[str, ...], path: str, section: ValueSection) -> ValueRule:
    where = f"values.{path}."
    return ValueRule(
        skip=section.skip,
        input=_template(names, where + "input", section.input),
        name=_template(names, where + "name", section.name),
        description=_template(names, where + "description", section.description),
        unit=section.unit,
        value_type=section.type,
        enum_values=tuple(section.enum_values.items()),
        publish=section.publish,
    )


class MappingSection(Section):
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
