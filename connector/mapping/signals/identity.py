"""Texts about missing names of devices, for the readers of dead letters."""

from __future__ import annotations

from connector.mapping.documents.walk import shown_value
from connector.mapping.plans import Plan, nearest, template_text
from connector.mapping.rules.paths import MISSING, Path
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.templates import HEADER, ITEM, ITEM_FIELD, KEY, PAYLOAD


def lacks(
    plan: Plan, payload: object, item: object = MISSING, outer: tuple[object, ...] = (), place: int = 0
) -> dict[str, str]:
    """Variable that input IDs need and that the plan lacks → a text about the place where it should be, for people.

    `item` is the item at this place of its list; `outer` has the items around it.
    """
    return {name: _instead(plan.rule, name, payload, item, outer, place) for name in plan.lacking}


def _instead(  # noqa: PLR0911 - one answer for each kind of variable
    rule: Rule, name: str, payload: object, item: object, outer: tuple[object, ...], place: int
) -> str:
    if name == KEY or (rule.key is not None and name in rule.key.names):
        return "the message has no key"
    if name == ITEM:
        if rule.item_name is None:
            return f"item {place} has no name; set item_name"
        unnamed = next((path for path in rule.outer_names if path is not None and not _names(path, outer)), None)
        if unnamed is not None:
            return f"{unnamed.text!r} (item_name) of an item around item {place} is no text and no number"
        return f"{rule.item_name.text!r} (item_name) of item {place} {_what(rule.item_name.find(item))}"
    if name.startswith(PAYLOAD):
        return f"{rule.paths[name].text!r} of the payload {_what(rule.paths[name].find(payload))}"
    if name.startswith(ITEM_FIELD):
        return f"{rule.paths[name].text!r} of item {place} {_what(nearest(rule.paths[name], item, outer))}"
    header = name.removeprefix(HEADER)
    header = next((known for known, pattern in rule.headers if name in pattern.names), header)
    return f"the message has no header {header!r}, or an empty one"


def _names(path: Path, outer: tuple[object, ...]) -> bool:
    return any(template_text(path.find(around)).strip() for around in outer)


def _what(found: object) -> str:
    if found is MISSING:
        return "is not there"
    if found is None:
        return "is null"
    if isinstance(found, str):
        return "is an empty text"
    if isinstance(found, int | float):
        return f"is {shown_value(found)}, a number that cannot identify a device"
    return f"is {shown_value(found)}, and no text or number"
