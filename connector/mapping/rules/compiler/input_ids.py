"""Input IDs: the template of a rule, and the template of a quality that becomes a signal."""

from __future__ import annotations

from connector.formats.sparkplug.rule import SPARKPLUG_INPUT
from connector.formats.sparkplug.section import SparkplugFormatSection
from connector.mapping.rules.compiler.templates import RuleTemplates
from connector.mapping.rules.section import RuleSection
from connector.mapping.rules.templates import Template


def input_of(section: RuleSection, templates: RuleTemplates, *, sparkplug: bool) -> Template | None:
    """Returns the template of the rule's input IDs; None means that the mapper uses its default.

    A format may say what tells the values of its documents apart, such as the series of line protocol.
    """
    return templates.of("input", _input_text(section) or (SPARKPLUG_INPUT if sparkplug else None))


def further_input_of(section: RuleSection, own: str | None, end: str, templates: RuleTemplates) -> Template | None:
    """The template of the input ID of a further signal that is made of one value; `own` is the value's own template.

    None means that the template of the rule is used, which names the path, so the signals of the value differ.
    Otherwise `end` is added to the input ID of the value.
    """
    text = own or _input_text(section)
    if text is None or (own is None and _names_the_path(text)):
        return None
    return templates.of("input", text if _names_the_path(text) else text + end)


def _input_text(section: RuleSection) -> str | None:
    if section.input is not None:
        return section.input
    if section.format is not None and section.format.own_input and not (section.iterate or section.parallel):
        return ("{topic}/{key}:" if section.key else "{topic}:") + section.format.own_input
    return None


def _names_the_path(text: str) -> bool:
    return "{path" in text or "{field" in text


def integration_of(section: RuleSection, templates: RuleTemplates) -> Template | None:
    """Returns the template of the name of the rule's integration; None without a name.

    All values of a message, or of an item, go to one integration. Raises ValueError.
    """
    found = templates.of("to", section.to)
    if found is None:
        return None
    if of_value := sorted(found.variables & {"path", "field"}):
        raise ValueError(f"to: {{{of_value[0]}}} is a part of one value; the integration is that of a whole message")
    if found.variables and isinstance(section.format, SparkplugFormatSection):
        raise ValueError("to: a rule with format sparkplug_b needs a fixed name; write a rule for each integration")
    return found


def quality_input_of(section: RuleSection, templates: RuleTemplates) -> Template | None:
    """The template of the input ID of a quality signal.

    None means that the rule's own template is used: the template names the path, so value and quality differ.
    Otherwise `/quality` is added to the input ID of the value.
    """
    text = section.input
    if text is None or _names_the_path(text):
        return None
    return templates.of("input", f"{text}/quality")
