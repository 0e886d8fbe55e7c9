"""Metadata of signals: names, units, states, labels and intervals, and how signals are published as items."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from connector.clarify.iso8601 import duration_text
from connector.mapping.rules.compiler.templates import RuleTemplates
from connector.mapping.rules.describes import Describes
from connector.mapping.rules.paths import Path, parse_path
from connector.mapping.rules.rules import Publishing
from connector.mapping.rules.section import DescribesSection, PublishSection, RuleSection, ValueSection
from connector.mapping.rules.templates import HEADER, ITEM_FIELD, OUTER_FIELD, PAYLOAD, Labels, Template
from connector.mapping.tags.section import TagsSection
from connector.mapping.tags.source import TagSource
from connector.records import Overwrite


class MetadataFields(TypedDict):
    """The fields of metadata that `Rule` and `ValueRule` share."""

    name: Template | None
    description: Template | None
    unit: Template | None
    value_type: str | None
    enum_values: tuple[tuple[str, str], ...]
    labels: Labels
    annotations: Labels
    sample_interval: str | None
    gap_detection: str | None


def metadata_of(section: RuleSection | ValueSection, templates: RuleTemplates, where: str = "") -> MetadataFields:
    """Returns the metadata that a rule or a value sets for its signals. An error begins with `where`.

    Raises ValueError for a bad template. Intervals are ISO 8601 durations.
    """
    return {
        "name": templates.of(where + "name", section.name),
        "description": templates.of(where + "description", section.description),
        "unit": templates.of(where + "unit", section.unit),
        "value_type": "enum" if section.is_enum else section.type,
        "enum_values": section.all_enum_values,
        "labels": templates.labels(where + "labels", section.labels),
        "annotations": templates.labels(where + "annotations", section.annotations),
        "sample_interval": _iso(section.sample_interval),
        "gap_detection": _iso(section.gap_detection),
    }


def publishing_of(section: bool | PublishSection, templates: RuleTemplates) -> Publishing | None:
    """Returns the settings by which the rule's signals are published; None if they are not published."""
    if isinstance(section, bool):
        return Publishing() if section else None
    labels = section.labels
    return Publishing(
        name=templates.of("publish.name", section.name),
        description=templates.of("publish.description", section.description),
        labels=None if labels is None else templates.labels("publish.labels", labels),
        visible=section.visible,
        overwrite=Overwrite(section.overwrite),
    )


def tags_of(section: TagsSection | None, templates: RuleTemplates) -> TagSource | None:
    """Returns the tag list of a rule, which is still empty; None without the section. Raises ValueError."""
    if section is None:
        return None
    return TagSource(section.file, section.notation, templates.of("tags.key", section.key), section.unknown)


def describes_of(section: DescribesSection | None, templates: RuleTemplates) -> Describes | None:
    """Returns what the messages of a rule say about signals; None if they have values. Raises ValueError."""
    if section is None:
        return None
    said = {name: getattr(section, name) for name in ("signal", "name", "description", "unit")}
    texts = {
        name: template
        for name, text in said.items()
        if (template := templates.of(f"describes.{name}", text, more=(OUTER_FIELD,))) is not None
    }
    labels = templates.labels("describes.labels", section.labels, more=(OUTER_FIELD,))
    used = {name for template in (*texts.values(), *(text for _, text in labels)) for name in template.variables}
    try:
        places = {name: _place(name) for name in used if name.startswith((ITEM_FIELD, OUTER_FIELD, PAYLOAD))}
    except ValueError as error:  # of a field of the item around
        raise ValueError(f"describes: {error}") from None
    states = None if section.states is None else parse_path(section.states)
    if of_values := {"path", "field"} & used:
        raise ValueError(f"describes: {{{min(of_values)}}} belongs to a value, and these messages have no values")
    headers = frozenset(name for name in used if name.startswith(HEADER))
    return Describes(texts.pop("signal"), texts, labels, states, headers, places)


def _place(variable: str) -> tuple[int, Path]:
    """(how many items to go outwards, the path from there) for a variable; -1 is the payload. Raises ValueError."""
    if variable.startswith(PAYLOAD):
        return -1, parse_path(variable.removeprefix(PAYLOAD))
    outwards = 0
    while variable.startswith(OUTER_FIELD):
        outwards += 1
        variable = variable.removeprefix(OUTER_FIELD)
    return outwards, parse_path(variable.removeprefix(ITEM_FIELD))


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else duration_text(timedelta(seconds=seconds))
