"""Values that are made of several fields, and several values of one field, by the settings of a rule."""

from __future__ import annotations

from dataclasses import replace

from connector.formats.binary.binary import BinaryFormat, LayoutField
from connector.mapping.documents.combine import (
    BARE,
    LIMIT_SIGNAL,
    Bits,
    Combination,
    Combiner,
    FieldNumber,
    Parts,
    Words,
)
from connector.mapping.rules.compiler.input_ids import further_input_of
from connector.mapping.rules.compiler.templates import RuleTemplates
from connector.mapping.rules.compiler.values import CompiledValues, conversion_of
from connector.mapping.rules.paths import Path, parse_path
from connector.mapping.rules.rules import template_for
from connector.mapping.rules.section import RuleSection, ValueSection, WordsSection
from connector.mapping.rules.signal_fields import FieldSection, ScaleSection
from connector.mapping.rules.values import PLAIN, Conversion

_PLACE = "{path}"


def combiner_of(section: RuleSection, values: CompiledValues, templates: RuleTemplates) -> Combiner | None:
    """Returns what makes the combined values of a rule; None if the rule has none.

    The conversions in `values` lose what happens before values are combined, and `values` gets the bits and the signals
    of limits. Raises ValueError for a path that cannot be used.
    """
    named: list[Combination] = []
    for name, value in section.values.items():
        path = Path(name, tuple(name.split("."))) if value.path is None else parse_path(value.path)
        conversion = conversion_of(section, value) or PLAIN
        parts = path.parts if path.plain else tuple(name.split("."))
        one = _combination(section, value, parts, conversion)
        if one is None or value.skip:
            continue
        if conversion.states is not None and not _combination(RuleSection(topic="#"), value, (), PLAIN):
            continue  # the scale of the rule is for its numbers
        if conversion.states is not None:
            raise ValueError(
                f"values.{name}: bits, words, and a scale or an offset in a field are for numbers, not states"
            )
        place = ".".join(parts)
        rule = values.plain.get(place) if path.plain else values.found.pop(name)
        if rule is None or (not path.plain and place in values.plain):
            raise ValueError(f"values.{name}: another value has the path {place!r} already")
        if not path.plain:
            values.expressions.remove((path, name))
            one = replace(one, path=path)
            if value.words is not None and not value.words.of and one.words is not None:
                one = replace(one, words=replace(one.words, of=(path,)))
        named.append(one)
        is_scaled = bool(one.in_fields) or conversion.changes_units
        values.plain[place] = rule = replace(rule, conversion=_afterwards(conversion, is_scaled=is_scaled))
        if one.marks_limits and not parts:
            values.plain[BARE] = rule
        further = {".".join((*parts, bit)): (f"{name}.{bit}", f"/{bit}") for bit in value.bits}
        if one.marks_limits:
            further[(place or BARE) + LIMIT_SIGNAL] = (name + LIMIT_SIGNAL, LIMIT_SIGNAL)
        no_unit = None if section.unit is None else template_for((), "")
        for at, (called, end) in further.items():
            own = section.values.get(at)
            put = further_input_of(
                section, value.input if own is None or own.input is None else own.input, end, templates
            )
            part = replace(
                rule,
                conversion=PLAIN,
                thinning=rule.thinning if value.bits else None,
                unit=no_unit,
                named=None if value.path is None else called,
            )
            values.plain[at] = replace(values.plain.get(at, part), input=put)
    others = None
    if isinstance(section.scale, FieldSection) or isinstance(section.offset, FieldSection):
        conversion = conversion_of(section, None) or PLAIN
        others = _combination(section, None, (), conversion)
    if not named and others is None:
        return None
    known = {*values.plain, *(path.dotted for path in _own_fields(section) if path.plain)}
    return Combiner(tuple(named), others, frozenset(known))


def after_combining(section: RuleSection) -> Conversion | None:
    """Returns the conversion of the rule's values that is left if they were combined before."""
    conversion = conversion_of(section, None)
    if isinstance(section.scale, FieldSection) or isinstance(section.offset, FieldSection):
        return _afterwards(conversion or PLAIN, is_scaled=True)
    return conversion


def _afterwards(conversion: Conversion, *, is_scaled: bool) -> Conversion:
    return Conversion(
        scaled_before=is_scaled,
        minimum=conversion.minimum,
        maximum=conversion.maximum,
        out_of_range=conversion.out_of_range,
        not_finite=conversion.not_finite,
    )


def _own_fields(section: RuleSection) -> list[Path]:
    """The fields that the rule reads as something else than values."""
    texts = [section.time.field, section.quality.path if section.quality is not None else None]
    return [parse_path(text) for text in texts if text is not None]


def _combination(
    section: RuleSection, value: ValueSection | None, parts: Parts, conversion: Conversion
) -> Combination | None:
    scale = section.scale if value is None or value.scale is None else value.scale
    offset = section.offset if value is None or value.offset is None else value.offset
    words = None if value is None else value.words
    bits = {} if value is None else value.bits
    limit = section.limit if value is None or value.limit is None else value.limit
    in_fields = (isinstance(scale, FieldSection) or isinstance(offset, FieldSection)) and not bits
    if not (in_fields or words or bits or limit == "signal"):
        return None
    first = replace(conversion, minimum=None, maximum=None)
    if in_fields or bits:
        first = replace(first, scale=1.0, offset=0.0)
    return Combination(
        parts,
        conversion=first,
        words=None if words is None else _words(words, parts),
        scale=_field(scale, "scale", 1.0) if in_fields else 1.0,
        offset=_field(offset, "offset", 0.0) if in_fields else 0.0,
        bits=tuple(_bits(name, text) for name, text in bits.items()),
        marks_limits=limit == "signal",
    )


def _field(written: float | FieldSection | None, what: str, default: float) -> FieldNumber | float:
    if not isinstance(written, FieldSection):
        return default if written is None else float(written)
    power = isinstance(written, ScaleSection) and written.power_of_ten
    if _PLACE not in written.path:
        return FieldNumber(what, parse_path(written.path), power_of_ten=power, default=written.default)
    before, _, after = written.path.partition(_PLACE)
    if not (before + after) or _PLACE in after:
        raise ValueError(f"{what}.path: {{path}} needs a name beside it, once, such as {{path}}_SF")
    return FieldNumber(what, None, before, after, power, written.default)


def _words(section: WordsSection, parts: Parts) -> Words:
    layout = BinaryFormat([LayoutField(section.type, "number")], endian=section.endian)

    def read(raw: bytes) -> float:
        document = layout.decode(raw)
        assert isinstance(document, dict)  # noqa: S101 - the layout has one field
        number: float = document["number"]
        return number

    of = tuple(map(parse_path, section.of)) or (Path(".".join(parts), parts),)
    return Words(of, int(section.type[1:]) // 16, read)


def _bits(name: str, text: str) -> Bits:
    low, dash, high = text.partition("-")
    return Bits(name, int(low), int(high) - int(low) + 1 if dash else None)
