"""Why a value has its input ID: the rule that took its messages, and what each part of the ID is made of.

The signals of a topic are known from its plans, which have every value since the start. Values of earlier runs are
known from the claims; for these values, the rules of today are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connector.mapping.documents.places import shown
from connector.mapping.plans import Plan, value_of, variables, wanted_id
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.templates import ITEM, KEY
from connector.mapping.signals.input_ids import Unclaimed, legal_id
from connector.records import of_integration

if TYPE_CHECKING:
    from connector.mapping.rules.rules import ValueRule


@dataclass(frozen=True, slots=True)
class Explained:
    """A signal, and why it has its input ID."""

    written: str
    """The input ID as the connector writes it (`at_integration`)."""
    path: str
    """The path of the value in the payload."""
    rule: int | None
    """The place of the rule in the configuration, from 0; None for the built-in rule."""
    pattern: str
    """The topic pattern of the rule."""
    template: str
    """The template of the input ID, as it is written; empty if the rule has none."""
    parts: tuple[tuple[str, str], ...]
    """(what the part is made of, its text): `{topic}` … for a variable, empty for literal text."""
    notes: tuple[str, ...] = ()
    """What else made the ID, for people."""


def explained(plan: Plan, path: str, written: str) -> Explained | None:
    """Returns why the value at `path` of this plan has the input ID `written`; None if the rule leaves it out."""
    value = value_of(plan, path)
    if value is None:
        return None
    template = value.input or plan.rule.input
    parts = tuple(_parts(plan, value, path))
    return Explained(
        written,
        shown(path),
        plan.rule.number,
        plan.rule.pattern.text,
        "" if template is None else template.text,
        parts,
        tuple(_notes(plan.rule, written, wanted_id(plan, value, path))),
    )


def _parts(plan: Plan, value: ValueRule, path: str) -> Iterator[tuple[str, str]]:
    """Yields the parts of the wanted input ID, as `wanted_id` puts them together."""
    called = shown(path) if value.named is None else value.named
    template = value.input or plan.rule.input
    if template is not None:
        for name, text in template.said(variables(plan, called)):
            yield ("" if name is None else "{" + name + "}"), text
        return
    yield "{topic}", plan.topic
    if plan.rule.key:
        yield "", "/"
        yield "{key}", plan.variables[KEY]
    if plan.rule.iterates and plan.variables.get(ITEM):
        yield "", ":"
        yield "{item}", plan.variables[ITEM]
        if called:
            yield "", "."
    elif called:
        yield "", ":"
    if called:
        yield "{path}", called


def _notes(rule: Rule, written: str, wanted: str) -> Iterator[str]:
    input_id, legal = of_integration(written)[1], legal_id(wanted)
    if legal != wanted:
        yield (
            "Clarify allows 128 characters of a-z A-Z 0-9 - _ : . # + /: the text was cleaned, and ends in a hash of "
            "the whole text"
        )
    if input_id != legal:
        yield "another value has this ID already: the ID ends in a hash of the place of this value"
    if rule.shared_inputs:
        yield "shared_inputs: other values may have the same input ID on purpose"
    if rule.to is not None:
        yield f"the integration is named by to: {rule.to.text}"
    if type(written) is Unclaimed:
        yield "there are as many signals as signals.max allows: no sample of this signal is sent"


def of_plans(plans: Iterable[Plan]) -> Iterator[tuple[Plan, str, str]]:
    """Yields (plan, path, input ID) for each value of these plans, and of the plans inside of them."""
    for outer in plans:
        for plan in outer.with_inner():
            for path, written in plan.ids.items():
                if written is not None:
                    yield plan, path, written
