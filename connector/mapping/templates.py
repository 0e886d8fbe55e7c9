"""Templates for names and input IDs: text with `{variables}`; `{{` and `}}` are literal braces."""

from __future__ import annotations

import difflib
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass

KEY = "key"
HEADER = "header."
VALUE_VARIABLES = ("source", "topic", "path", "field", KEY)
"""What every template knows beside the named levels: the source's name, the whole topic, the value's path
in the payload (dotted), the last part of that path, and the record's key; also `header.NAME`, for any name."""


class TemplateError(ValueError):
    """The template cannot be used; the text says why and what is known."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    text: str
    _parts: tuple[tuple[str, str | None], ...]

    @property
    def variables(self) -> set[str]:
        """The names that stand in it."""
        return {name for _, name in self._parts if name is not None}

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every variable filled in."""
        return "".join(literal if name is None else literal + values[name] for literal, name in self._parts)


def parse_template(text: str, known: Collection[str]) -> Template:
    """Parse a template that may use the `known` variables, or raise `TemplateError`."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{text!r}: {error}; write {{{{ and }}}} for literal braces") from None
    for _, name, spec, conversion in parsed:
        if spec or conversion:
            raise TemplateError(f"{text!r}: only plain {{name}} is understood, no formats")
        if name is not None and name not in known and not name.startswith(HEADER):
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {{{near[0]}}}? " if near else ""
            options = ", ".join("{" + option + "}" for option in (*known, "header.NAME"))
            raise TemplateError(f"{text!r}: {{{name}}} is not known here; {hint}known are {options}")
    return Template(text, tuple((literal, name) for literal, name, _, _ in parsed))
