"""The settings that rules and values share: metadata of signals, and the conversion and thinning of values."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from connector.clarify.limits import ENUM_VALUE_MAX
from connector.settings import Seconds, Section, number_as_text

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-_/]{1,40}$")]
EnumKey = Annotated[str, BeforeValidator(number_as_text), Field(pattern=r"^(0|[1-9]\d{0,3})$")]
StateText = Annotated[str, Field(min_length=1, max_length=128)]


class ThinSection(Section):
    """The values of a signal that are kept. All other values are left out and count as filtered."""

    change_only: bool = Field(default=False, description="Leave out a value that is the same as the one before.")
    deadband: float | None = Field(
        default=None, gt=0, description="Leave out changes of at most this, in the unit of the value.", examples=[0.5]
    )
    deadband_percent: float | None = Field(
        default=None, gt=0, le=100, description="Leave out changes of at most this, in percent of the last kept value."
    )
    min_interval: Seconds | None = Field(
        default=None, gt=0, description="Leave out values that come sooner than this after the last kept value."
    )
    at_least_every: Seconds | None = Field(
        default=None, gt=0, description="Keep a value after this time, even if it has changed only a little."
    )
    window: Seconds | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="Down-sampling: one value for each window of this length, at the start of the window. All values "
        "wait until their window ends.",
        examples=["1m"],
    )
    by: Literal["last", "mean", "min", "max"] | None = Field(
        default=None, description="The value that stands for a window. Default: `last`."
    )
    wait: Seconds | None = Field(
        default=None, description="The time that a window waits for late values. Later values are left out."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        filters = self.change_only or self.deadband or self.deadband_percent or self.min_interval
        if self.window is not None and (filters or self.at_least_every):
            raise ValueError("window excludes the other settings; remove the other settings, or the window")
        if self.window is None and (self.by or self.wait is not None):
            raise ValueError("by and wait are for window, which is missing")
        if self.window is None and not filters:
            raise ValueError("no setting is given; set change_only, deadband, deadband_percent, min_interval or window")
        if self.at_least_every is not None and not (self.change_only or self.deadband or self.deadband_percent):
            raise ValueError("at_least_every is for change_only and deadband")
        return self


class FieldSection(Section):
    """A number that stands in a field of the payload."""

    path: str = Field(
        min_length=1,
        description="Path of the field, plain or JMESPath; `{path}` is the path of the value. In a rule with "
        "`iterate`, the item is searched first, then the objects around it. The field itself becomes no sample.",
        examples=["W_SF", "{path}_SF"],
    )
    default: float | None = Field(
        default=None,
        description="The number, if the field is missing or null. Default: a value without the field becomes a dead "
        "letter.",
    )


class ScaleSection(FieldSection):
    """A factor that stands in a field of the payload."""

    power_of_ten: bool = Field(
        default=False, description="The field has the exponent of a power of ten, as in SunSpec: -1 stands for 0.1."
    )


class SignalFields(Section):
    """The metadata of a rule's signals, or of one of them, and the treatment of their values."""

    name: str | None = Field(default=None, description="Template of the signal's name. Default: the input ID.")
    description: str | None = Field(default=None, description="Template of the signal's description.")
    unit: str | None = Field(
        default=None, max_length=255, description="Engineering unit; a template.", examples=["°C", "{item.unit}"]
    )
    type: Literal["numeric", "enum"] | None = Field(default=None, description="Value type of the signal.")
    enum_values: dict[EnumKey, StateText] = Field(
        default={},
        description="Names of the states of an enum signal. A payload may have the names instead of the numbers.",
        examples=[{"0": "off", "1": "on"}],
    )
    states: dict[str, Annotated[int, Field(ge=0, le=ENUM_VALUE_MAX)]] = Field(
        default={},
        description="Texts in the payload, each with its number. They make an enum signal, unless `type` is `numeric`. "
        "Capitals do not matter.",
        examples=[{"OPEN": 1, "CLOSED": 0}],
    )
    unknown_state: Literal["reject", "drop", "learn"] | None = Field(
        default=None,
        description="A text that is no state becomes a dead letter (`reject`), is left out (`drop`, filtered), or gets "
        "the next free number forever (`learn`). `learn` makes an enum signal. Default: `reject` if the value itself "
        "has states, else `drop`.",
    )
    labels: dict[LabelKey, str] = Field(
        default={}, description="Labels: key → template of the value.", examples=[{"line": "{line}"}]
    )
    annotations: dict[LabelKey, str] = Field(default={}, description="Annotations: key → template of the value.")
    sample_interval: Seconds | None = Field(
        default=None, gt=0, description="The expected time between two values of the signal."
    )
    gap_detection: Seconds | None = Field(
        default=None, gt=0, description="The time without a value after which Clarify shows a gap."
    )
    missing: list[float | str] | None = Field(
        default=None,
        description="Numbers (before `scale`) and texts (capitals do not matter) that mean: no reading. Such values "
        "are left out (filtered).",
        examples=[[85, -127, "---"]],
    )
    scale: float | ScaleSection | None = Field(
        default=None,
        description="The value is multiplied by this factor: a number, or a field with the factor. The result is "
        "rounded once, to the number nearest to the exact product and sum.",
        examples=[0.1, {"path": "W_SF", "power_of_ten": True}],
    )
    offset: float | FieldSection | None = Field(
        default=None,
        description="This is added to the value, after `scale`: a number, or a field with the number.",
    )
    min: float | None = Field(default=None, description="The least value, after `scale` and `offset`.")
    max: float | None = Field(default=None, description="The greatest value.")
    out_of_range: Literal["reject", "drop"] | None = Field(
        default=None,
        description="A value outside of `min` and `max` becomes a dead letter (`reject`, default), or is left out "
        "(`drop`, filtered).",
    )
    nan: Literal["reject", "drop", "null"] | None = Field(
        default=None,
        description="NaN and infinity become dead letters (`reject`, default), or are left out, which is null in "
        "Clarify (`drop` and `null`, filtered).",
    )
    decimal_comma: bool | None = Field(
        default=None, description="Numbers in text have a decimal comma: `21,5`, `1.234,5`."
    )
    strip_unit: bool | None = Field(
        default=None,
        description="A text may have a unit after its number: `21.5 °C`, `4 m³/h`. A unit has no digits (except "
        "superscripts), no `:` and no other separators: a text with another ending becomes a dead letter, or is left "
        "out with `text: drop`.",
    )
    number: Literal["auto", "hex", "octal", "binary", "duration", "base64"] | None = Field(
        default=None,
        description="How texts write numbers: `auto` tells separators apart (`1 234,5`, `1'234.5`, `1.234,5`; a text "
        "with two meanings, `1,234`, becomes a dead letter); `hex` (`0x1F4`, `1F4`, `1F4h`, `16#1F4`), `octal`, "
        "`binary`; `duration` in seconds (`PT15M`, `1d 02:03:04`, `12h30m`); `base64`, the bytes of an integer, for "
        "decimals of Kafka Connect (with `scale`). Default: as in JSON.",
    )
    thousands: Literal[".", ",", " ", "'"] | None = Field(
        default=None,
        description="The separator between thousands in texts, beside `decimal_comma`; a space stands for every kind "
        "of space. With `.` the decimal separator is the comma, so `1.234` is 1234.",
    )
    limit: Literal["reject", "value", "drop", "signal"] | None = Field(
        default=None,
        description="A limit in place of a value (`<0.05`, `> 100`) becomes a dead letter (`reject`, default), the "
        "value itself (`value`), or is left out (`drop`, filtered). `signal`, at one value: the value, and a signal "
        "`NAME_limit` that is -1 for `<`, 1 for `>` and 0 for values without a sign.",
    )
    text: Literal["reject", "drop"] | None = Field(
        default=None,
        description="A text that is no number becomes a dead letter (`reject`), or is left out (`drop`, filtered; "
        "default).",
    )
    thin: ThinSection | None = Field(default=None, description="The values that are kept. Default: all values.")

    @property
    def is_enum(self) -> bool:
        """Whether the settings make an enum signal."""
        return self.type == "enum" or (self.type is None and bool(self.states or self.unknown_state == "learn"))

    @property
    def all_enum_values(self) -> tuple[tuple[str, str], ...]:
        """(number, name) of the signal's states; for an enum signal without `enum_values`, from `states`."""
        if self.enum_values or not self.is_enum:
            return tuple(self.enum_values.items())
        return tuple({str(number): text for text, number in reversed(self.states.items())}.items())

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")
        if self.number is not None and (self.thousands is not None or self.decimal_comma):
            raise ValueError(f"number: {self.number} reads texts without decimal_comma and thousands; remove these two")
        if self.number not in (None, "auto") and self.strip_unit:
            raise ValueError(f"number: {self.number} reads texts without a unit; remove strip_unit")
        if self.thousands == "," and self.decimal_comma:
            raise ValueError("thousands: the comma is the decimal comma already; remove one of the two")
        if self.scale == 0:
            raise ValueError("scale: 0 makes every value the same")
        if self.unknown_state == "learn" and self.type == "numeric":
            raise ValueError("unknown_state: learn makes an enum signal; remove type: numeric")
        if self.thin is not None and self.is_enum and self.thin.by == "mean":
            raise ValueError("thin.by: the mean of states is no state; use last, min or max")
        if self.is_enum and (self.scale or self.offset):
            raise ValueError("scale and offset are not for states")
        return self
