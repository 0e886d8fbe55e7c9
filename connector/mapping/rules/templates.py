"""Templates for names and input IDs: text with `{variables}`; `{{` and `}}` are literal braces.

`{payload.site|unknown}` is `unknown` if the payload has no site, or an empty site.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

KEY = "key"
HEADER = "header."
PAYLOAD = "payload."
ITEM = "item"
ITEM_FIELD = "item."
OUTER_FIELD = "outer."
"""In a rule with `describes`: a field of the item around the item; `outer.outer.` goes out one item more."""
INDEX = "index"
VALUE_VARIABLES = ("source", "topic", "path", "field", KEY)
"""The variables of every template, beside the named levels: the name of the source, the whole topic, the value's path
in the payload (with dots), the last part of this path, and the record's key. Every template also knows `header.NAME`,
for any name, and `payload.PATH`, the text or number at a path of the payload."""
ITEM_VARIABLES = (ITEM, INDEX)
"""Further variables of the templates of a rule with `iterate`: the name of the item and its place in the list. Such a
template also knows `item.PATH`, the text or number at a path of the item."""


class TemplateError(ValueError):
    """The template cannot be used; the text has the reason, and names the known variables."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    text: str
    _parts: tuple[tuple[str, str | None, str | None], ...]
    """(literal text, variable after it or None, default for an empty variable or None), in order."""

    @property
    def variables(self) -> set[str]:
        """The names of the template's variables."""
        return {name for _, name, _ in self._parts if name is not None}

    @property
    def required(self) -> set[str]:
        """The names of the variables that stand somewhere without a default."""
        return {name for _, name, default in self._parts if name is not None and default is None}

    def render(self, values: Mapping[str, str]) -> str:
        """Returns the text with the values of the variables."""
        text = ""
        for literal, name, default in self._parts:
            text += literal
            if name is not None:
                value = values[name]
                text += value if default is None or value.strip() else default
        return text

    def said(self, values: Mapping[str, str]) -> list[tuple[str | None, str]]:
        """Returns the parts of the rendered text: (name of the variable, or None for literal text; its text)."""
        found: list[tuple[str | None, str]] = []
        for literal, name, default in self._parts:
            if literal:
                found.append((None, literal))
            if name is not None:
                value = values[name]
                found.append((name, value if default is None or value.strip() else default))
        return found


def constant(text: str) -> Template:
    """Returns the template that always renders as `text`."""
    return Template(text, ((text, None, None),))


Labels: TypeAlias = tuple[tuple[str, Template], ...]
"""Keys of labels, each with the template of its text."""


def parse_template(text: str, known: Collection[str], more: tuple[str, ...] = ()) -> Template:
    """Returns the parsed template, which may use the `known` variables, and those that begin with one of `more`.

    Raises `TemplateError`.
    """
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{text!r}: {error}; write {{{{ and }}}} for literal braces") from None
    open_ended = [HEADER, PAYLOAD, *([ITEM_FIELD] if ITEM in known else []), *more]
    parts = [(literal, *_divided(field), spec, conversion) for literal, field, spec, conversion in parsed]
    for _, name, _, spec, conversion in parts:
        if spec or conversion:
            raise TemplateError(f"{text!r}: only {{name}} and {{name|default}} are understood, no formats")
        if name is None or name in known or any(name.startswith(start) and name != start for start in open_ended):
            continue
        if name in (ITEM, INDEX) or name.startswith(ITEM_FIELD):
            raise TemplateError(f"{text!r}: {{{name}}} is known only in a rule with iterate or parallel")
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {{{near[0]}}}? " if near else ""
        places = ["header.NAME", *(start + "PATH" for start in open_ended[1:])]
        options = ", ".join("{" + option + "}" for option in (*known, *places))
        raise TemplateError(f"{text!r}: {{{name}}} is not known here; {hint}known are {options}")
    return Template(text, tuple((literal, name, default) for literal, name, default, _, _ in parts))


def _divided(field: str | None) -> tuple[str | None, str | None]:
    """(name, default) of the text between two braces; None for a part that is missing."""
    if field is None:
        return None, None
    name, bar, default = field.partition("|")
    return name, default if bar else None


def is_dynamic(name: str) -> bool:
    """Whether a variable may differ between the records of a topic, or between the items of a record."""
    return name in (KEY, ITEM, INDEX) or name.startswith((HEADER, PAYLOAD, ITEM_FIELD))
