"""The rule as a whole: sections of rules → the rules that the mapper uses.

`section.py` knows nothing of this module. The section `mapping` calls `check_compiles` for each rule that it has read,
so a mistake in a template is found together with all other mistakes of the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeAlias

from connector.formats.catalogue import Compression
from connector.formats.format import Format
from connector.formats.section import FormatSection
from connector.formats.sparkplug.rule import SPARKPLUG_VARIABLES
from connector.formats.sparkplug.section import SparkplugFormatSection
from connector.formats.text.sections import JsonFormatSection
from connector.mapping.documents.decimals import read_by_schema
from connector.mapping.documents.home_assistant import discovered
from connector.mapping.documents.senml import resolve, resolve_at
from connector.mapping.rules.compiler.combine import after_combining, combiner_of
from connector.mapping.rules.compiler.input_ids import input_of, integration_of
from connector.mapping.rules.compiler.metadata import describes_of, metadata_of, publishing_of, tags_of
from connector.mapping.rules.compiler.sparkplug import check_sparkplug_rule
from connector.mapping.rules.compiler.templates import RuleTemplates, level_names
from connector.mapping.rules.compiler.times import grid_of, time_source_of
from connector.mapping.rules.compiler.values import CompiledValues, quality_of, thinning_of, values_of
from connector.mapping.rules.conditions import parse_conditions
from connector.mapping.rules.decoding import DecodeStep, parse_parts
from connector.mapping.rules.paths import parse_path
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.section import RuleSection, ValueSection
from connector.mapping.rules.topics import parse_pattern
from connector.mapping.tags.section import TagsSection

_PREPARE: Final[Mapping[str, Callable[[object, int], object]]] = MappingProxyType(
    {"senml": resolve, "kafka_connect": read_by_schema, "home_assistant_discovery": discovered}
)
BuildFormat: TypeAlias = Callable[[FormatSection, Compression], Format]
"""Makes the format of a rule; raises ValueError."""


def check_compiles(section: RuleSection) -> RuleSection:
    """Returns the section itself. Raises ValueError if the section, or a rule of its preset, cannot be compiled."""
    if section.preset is None:
        compile_rule(section)
    else:
        section.sections(check=compile_rule)
    return section


def compile_rules(
    section: RuleSection,
    build: BuildFormat | None = None,
    number: int | None = None,
    tags: TagsSection | None = None,
) -> list[Rule]:
    """Returns the rules of the section: one rule, or all rules of its preset. Raises ValueError.

    `tags` is the tag list for rules that do not name one.
    """
    return [compile_rule(each, build, number, tags) for each in section.sections(check=compile_rule)]


def compile_rule(
    section: RuleSection,
    build: BuildFormat | None = None,
    number: int | None = None,
    tags: TagsSection | None = None,
) -> Rule:
    """Returns the only rule of the section; a preset with several rules needs `compile_rules`.

    `build` makes the format of the payloads; without `build` the rule has no format. `number` is the place of the rule
    in the file, from 0; `tags` is its tag list if it does not name one. Raises ValueError for a bad template; the text
    begins with the field's name.
    """
    if section.preset is not None:
        (rule,) = compile_rules(section, build, number, tags)
        return rule
    section = _with_values_of_format(section)
    pattern = parse_pattern(section.topic or "#")
    key = None if section.key is None else parse_pattern(section.key)
    headers = tuple((name, parse_pattern(text)) for name, text in section.headers.items())
    names = level_names(pattern, key, headers)
    sparkplug = None
    if isinstance(section.format, SparkplugFormatSection):
        check_sparkplug_rule(section)
        names += SPARKPLUG_VARIABLES
        sparkplug = section.format.rule()
    names_of_items = [section.item_name] if isinstance(section.item_name, str) else section.item_name or []
    templates = RuleTemplates(tuple(names), items=bool(section.iterate or section.parallel))
    values = values_of(section, templates)
    others = _maps_other_values(section, values)
    combiner = combiner_of(section, values, templates)
    has_values = not section.skip and section.describes is None
    tag_source = tags_of(section.tags or tags, templates) if has_values else None
    if sparkplug is not None and tag_source is not None and tag_source.unknown == "dead_letter":
        raise ValueError("tags.unknown: dead_letter is not for format sparkplug_b; use filter or map")
    rule = Rule(
        pattern=pattern,
        number=number,
        key=key,
        headers=headers,
        when=() if section.when is None else parse_conditions(section.when),
        skip=section.skip,
        format=None if sparkplug else _format(section, build),
        single_items=section.format is not None and section.format.single_items,
        sparkplug=sparkplug,
        decode=_decoding(section, build),
        prepare=_preparing(section),
        combine=None if combiner is None else combiner.combine,
        select=None if section.select is None else parse_path(section.select),
        iterate=tuple(map(parse_path, section.iterate)),
        parallel=tuple(map(parse_path, section.parallel)),
        item_name=parse_path(names_of_items[-1]) if names_of_items else None,
        outer_names=tuple(map(parse_path, names_of_items[:-1])),
        to=integration_of(section, templates),
        input=input_of(section, templates, sparkplug=sparkplug is not None),
        **metadata_of(section, templates),
        conversion=after_combining(section),
        time=time_source_of(section.time, templates),
        device=templates.of("device", section.device),
        quality=quality_of(section.quality),
        thinning=thinning_of(section.thin),
        expect_every=section.expect_every,
        align=grid_of(section.align),
        shared_inputs=section.shared_inputs,
        drops_text=section.text == "drop",
        values=values.plain,
        expressions=tuple(values.expressions),
        other_values=others,
        publish=publishing_of(section.publish, templates),
        tags=tag_source,
        attribute_sources=() if tag_source is None else (tag_source,),
        describes=describes_of(section.describes, templates),
        described_as=templates.of("described_as", section.described_as),
        written=section.written,
    )
    return _with_found(rule, values)


def _with_values_of_format(section: RuleSection) -> RuleSection:
    """Returns the section with the values of its format, if the rule does not say which fields are values."""
    own = () if section.format is None else section.format.own_values
    if not own or section.iterate or section.parallel or section.other_values is not None:
        return section
    values = section.values or {name: ValueSection() for name in own}
    return section.model_copy(update={"values": values, "other_values": "filter"})


def _preparing(section: RuleSection) -> Callable[[object, int], object] | None:
    """Returns what prepares a document, before `select`: the whole document, but for a pack of SenML in a field."""
    if section.prepare is None:
        return None
    select = None if section.select is None else parse_path(section.select)
    if section.prepare == "senml" and select is not None and select.plain:
        return resolve_at(select)
    return _PREPARE[section.prepare]


def _with_found(rule: Rule, values: CompiledValues) -> Rule:
    """Returns the rule, with a second rule in `found` for the values that expressions find."""
    if not values.found:
        return rule
    found = replace(rule, values=values.found, expressions=(), quality=None, other_values=True, inherit=True)
    return replace(rule, found=found)


def _maps_other_values(section: RuleSection, values: CompiledValues) -> bool:
    default = "filter" if any(not path.plain for path, _ in values.expressions) else "map"
    return (section.other_values or default) == "map"


def _format(section: RuleSection, build: BuildFormat | None) -> Format | None:
    """Returns the format of the payloads; None for plain JSON, and without `build`."""
    plain = section.format is None or (isinstance(section.format, JsonFormatSection) and section.format.is_default)
    if build is None or (plain and section.compression == "none"):
        return None
    return build(section.format or JsonFormatSection(), section.compression)


def _decoding(section: RuleSection, build: BuildFormat | None) -> tuple[DecodeStep, ...]:
    """Returns the steps of `decode`; none without `build`."""
    if build is None:
        return ()
    return tuple(
        DecodeStep(
            parse_parts(step.path),
            tuple(step.encoding),
            build(step.format or JsonFormatSection(), "none"),
            keeps_objects=step.encoding == ["text"] and (step.format is None or step.format.type in ("json", "ndjson")),
        )
        for step in section.decode
    )
