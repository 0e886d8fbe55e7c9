"""Values: the conversion and thinning of a rule's values, by their paths in the payload."""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.mapping.plans import template_text
from connector.mapping.rules.compiler.input_ids import quality_input_of
from connector.mapping.rules.compiler.metadata import metadata_of
from connector.mapping.rules.compiler.templates import RuleTemplates
from connector.mapping.rules.numbers import NOTATIONS, declared
from connector.mapping.rules.paths import Path, parse_path
from connector.mapping.rules.rules import Quality, ValueRule
from connector.mapping.rules.section import QualitySection, RuleSection, ValueSection
from connector.mapping.rules.signal_fields import SignalFields, ThinSection
from connector.mapping.rules.values import PLAIN, Conversion, States
from connector.mapping.thinning.thinning import Thinning


@dataclass(slots=True)
class CompiledValues:
    """The values that a rule names, sorted by how they are found."""

    plain: dict[str, ValueRule] = field(default_factory=dict)
    """Values with a plain path, by the dotted path."""
    expressions: list[tuple[Path, str]] = field(default_factory=list)
    """JMESPath expressions, each with its name in `found`."""
    found: dict[str, ValueRule] = field(default_factory=dict)
    """Values that an expression finds, by their names."""


def values_of(section: RuleSection, templates: RuleTemplates) -> CompiledValues:
    """Returns the values that the rule names, and the quality if it becomes a signal.

    Raises ValueError for a bad template, for two values with one path, and for a quality with the name of a value.
    """
    compiled = CompiledValues()
    for name, value in section.values.items():
        path = _value_path(name, value)
        if not path.plain:
            compiled.expressions.append((path, name))
            compiled.found[name] = _value(section, templates, name, value, named=None)
        elif path.dotted in compiled.plain:
            raise ValueError(f"values.{name}: another value has the path {path.dotted!r} already")
        else:
            named = None if value.path is None else name
            compiled.plain[path.dotted] = _value(section, templates, name, value, named=named)
    if section.quality is not None and section.quality.bad == "signal":
        where = _quality_path(section.quality)
        if where in compiled.found:
            raise ValueError(f"quality: a value is called {where!r} already; give the value another name")
        compiled.expressions.append((parse_path(where), where))
        compiled.found[where] = _quality_signal(section, templates)
    return compiled


def quality_of(section: QualitySection | None) -> Quality | None:
    """Returns the section `quality` in the form for the mapper."""
    if section is None:
        return None
    good = frozenset(template_text(value).strip().casefold() for value in section.good)
    return Quality(parse_path(_quality_path(section)), good, section.bad)


def _quality_path(section: QualitySection) -> str:
    return section.path or "@"


def _value_path(name: str, section: ValueSection) -> Path:
    """The path of a value. Without `path` the key is the path, and no sign in the key is read as JMESPath."""
    return Path(name, tuple(name.split("."))) if section.path is None else parse_path(section.path)


def _value(
    rule: RuleSection, templates: RuleTemplates, name: str, section: ValueSection, *, named: str | None
) -> ValueRule:
    where = f"values.{name}."
    return ValueRule(
        named=named,
        skip=section.skip,
        input=templates.of(where + "input", section.input),
        **metadata_of(section, templates, where),
        conversion=conversion_of(rule, section),
        thinning=thinning_of(section.thin) if section.thin else thinning_of(rule.thin),
        publish=section.publish,
    )


def _quality_signal(section: RuleSection, templates: RuleTemplates) -> ValueRule:
    """The signal of a quality: an enum signal that learns its states, without a unit, never published."""
    return ValueRule(
        input=quality_input_of(section, templates),
        unit=templates.of("unit", ""),
        value_type="numeric",
        conversion=Conversion(states=States({}, learn=True)),
        publish=False,
    )


def conversion_of(rule: SignalFields, value: SignalFields | None) -> Conversion | None:
    """Returns the conversion of values; a setting of the value replaces the same setting of its rule.

    Returns None if values are not converted.
    """
    both = (rule,) if value is None else (value, rule)

    def said(name: str) -> object:
        return next((found for section in both if (found := getattr(section, name)) is not None), None)

    minimum, maximum, scale, offset = said("min"), said("max"), said("scale"), said("offset")
    number, thousands, limit = said("number"), said("thousands"), said("limit")
    notation = None
    if value is not None and value.number is None and (value.thousands is not None or value.decimal_comma is not None):
        number = None  # the value has separators of its own
    if number is not None:
        notation = NOTATIONS[number]  # type: ignore[index]
    elif thousands is not None:
        notation = declared("," if said("decimal_comma") or thousands == "." else ".", thousands)  # type: ignore[arg-type]
    reads = notation is not None or said("strip_unit") or said("decimal_comma") or limit is not None
    conversion = Conversion(
        scale=float(scale) if isinstance(scale, int | float) else 1.0,
        offset=float(offset) if isinstance(offset, int | float) else 0.0,
        minimum=minimum,  # type: ignore[arg-type]
        maximum=maximum,  # type: ignore[arg-type]
        out_of_range=said("out_of_range") or "reject",  # type: ignore[arg-type]
        not_finite="reject" if said("nan") in (None, "reject") else "drop",
        missing=_missing(said("missing")),  # type: ignore[arg-type]
        decimal_comma=bool(said("decimal_comma")) and notation is None,
        strip_unit=bool(said("strip_unit")) and number in (None, "auto"),
        notation=notation,
        digits_of=number if number in ("hex", "octal", "binary") else "",
        limit=limit if limit in ("drop", "value") else "reject",
        text=said("text") or "drop",  # type: ignore[arg-type]
        unclear="drop" if said("text") == "drop" and reads else "reject",
        states=_states(rule, value),
    )
    return None if conversion == PLAIN else conversion


def _missing(said: list[float | str] | None) -> frozenset[float | str]:
    return frozenset(one.strip().casefold() if isinstance(one, str) else float(one) for one in said or ())


def _states(rule: SignalFields, value: SignalFields | None) -> States | None:
    own = value is not None and (value.is_enum or bool(value.states))
    section = value if own and value is not None else rule
    unknown = (value.unknown_state if value is not None else None) or rule.unknown_state
    if value is not None and value.type == "numeric" and not own:
        return None
    if not (section.is_enum or section.states or unknown):
        return None
    enum_values = section.enum_values or rule.enum_values
    known = {**{text: int(number) for number, text in enum_values.items()}, **section.states}
    if not known and unknown is None:
        return None  # an enum signal of numbers without names
    return States(
        known,
        learn=unknown == "learn",
        unknown="reject" if unknown == "reject" or (unknown is None and own) else "drop",
    )


def thinning_of(section: ThinSection | None) -> Thinning | None:
    """Returns the section `thin` in the form for the mapper; None if every value is kept.

    Durations become microseconds.
    """
    if section is None:
        return None
    return Thinning(
        change_only=section.change_only,
        deadband=section.deadband or 0.0,
        deadband_percent=section.deadband_percent or 0.0,
        min_interval_us=_us(section.min_interval),
        at_least_every_us=_us(section.at_least_every),
        window_us=_us(section.window),
        by=section.by or "last",
        wait_us=_us(section.wait),
    )


def _us(seconds: float | None) -> int:
    return round((seconds or 0.0) * 1_000_000)
