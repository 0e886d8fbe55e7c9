"""Templates for names and input IDs: text with `{variables}`; `{{` and `}}` are literal braces.

`{payload.site|unknown}` is `unknown` where the payload has no site, or an empty one.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass

KEY = "key"
HEADER = "header."
PAYLOAD = "payload."
ITEM = "item"
ITEM_FIELD = "item."
INDEX = "index"
VALUE_VARIABLES = ("source", "topic", "path", "field", KEY)
"""What every template knows beside the named levels: the source's name, the whole topic, the value's path
in the payload (dotted), the last part of that path, and the record's key; also `header.NAME`, for any name, and
`payload.PATH`, the text or number that the payload has there."""
ITEM_VARIABLES = (ITEM, INDEX)
"""What the templates of a rule with `iterate` know too: the item's own name, its place in the list; also
`item.PATH`, what the item has there."""


class TemplateError(ValueError):
    """The template cannot be used; the text says why and what is known."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    text: str
    _parts: tuple[tuple[str, str | None, str | None], ...]
    """Literal text, the variable behind it, and what stands in its place where it is empty."""

    @property
    def variables(self) -> set[str]:
        """The names that stand in it."""
        return {name for _, name, _ in self._parts if name is not None}

    @property
    def required(self) -> set[str]:
        """Those of them without a default somewhere."""
        return {name for _, name, default in self._parts if name is not None and default is None}

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every variable filled in."""
        text = ""
        for literal, name, default in self._parts:
            text += literal
            if name is not None:
                value = values[name]
                text += value if default is None or value.strip() else default
        return text


def parse_template(text: str, known: Collection[str]) -> Template:
    """Parse a template that may use the `known` variables, or raise `TemplateError`."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{text!r}: {error}; write {{{{ and }}}} for literal braces") from None
    open_ended = [HEADER, PAYLOAD, *([ITEM_FIELD] if ITEM in known else [])]
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
    """Name and default of what stands between braces."""
    if field is None:
        return None, None
    name, bar, default = field.partition("|")
    return name, default if bar else None


def is_dynamic(name: str) -> bool:
    """Whether this variable differs from record to record, or from item to item, of one topic."""
    return name in (KEY, ITEM, INDEX) or name.startswith((HEADER, PAYLOAD, ITEM_FIELD))
