"""Where something stands in a payload: plain paths as look-ups, JMESPath for the rest.

A plain path is keys with dots between, `data.temperature`, with places of a list as numbers, `values.0.v` or
`values[0].v`. Whatever has other signs of JMESPath in it (wildcards, filters, functions, `||`) is compiled by the
library. A key that has dots of its own is found too, as long as it is the rest of a path: `tags.Line1.Motor`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

_EXPRESSION: Final = re.compile(r"[][*|?&(){}'\"`,<>=!]")
_NAMES: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_INDEX: Final = re.compile(r"\[(\d+)\]")
WHOLE: Final = "@"
"""The path of the whole payload."""


class PathError(ValueError):
    """The path cannot be used; the text says where and why."""


class Missing:
    """What a path gives that leads nowhere."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path."""

    text: str
    parts: tuple[str, ...] = ()
    expression: Any = field(default=None, compare=False, repr=False)
    """The library's, where the path is not plain."""
    either: tuple[Path, ...] = ()
    """Plain paths of which the first counts that leads to something, `a || b`."""

    @property
    def plain(self) -> bool:
        """Whether it is one look-up."""
        return self.expression is None and not self.either

    @property
    def dotted(self) -> str:
        """How the walk calls the place that a plain path leads to."""
        return ".".join(self.parts)

    def find(self, document: object) -> object:
        """What stands there; `MISSING` if nothing does (for JMESPath, null is nothing)."""
        if self.expression is None:
            parts = self.parts
            if len(parts) == 1 and type(document) is dict:
                return document.get(parts[0], MISSING)
            if self.either:
                return self._first(document)
            return lookup(document, parts)
        try:
            found = self.expression.search(document)
        except (JMESPathError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
            return MISSING  # a function was given what it does not take: it is not there in this payload
        return MISSING if found is None else found

    def _first(self, document: object) -> object:
        """As JMESPath has it: what is null, false or empty does not count, unless it is the last."""
        found: object = MISSING
        for path in self.either:
            found = path.find(document)
            if not (found is MISSING or found is None or found is False or found in ("", [], {})):
                return found
        return MISSING if found is None else found


def parse_path(text: str) -> Path:
    """Compile a path, or raise `PathError`."""
    if text == WHOLE:
        return Path(text)
    plain = _INDEX.sub(r".\1", text).removeprefix(".")
    if not _EXPRESSION.search(plain):
        parts = tuple(plain.split("."))
        if not all(parts):
            raise PathError(f"{text!r}: between two dots, and at either end, stands a name")
        return Path(text, parts)
    either = [part.strip() for part in plain.split("||")]
    if len(either) > 1 and all(_NAMES.fullmatch(part) for part in either):
        return Path(text, either=tuple(Path(part, tuple(part.split("."))) for part in either))
    try:
        return Path(text, (), jmespath.compile(text))
    except JMESPathError as error:
        reason = str(error).splitlines()[0].removesuffix(":")
        raise PathError(f"{text!r} is neither a plain path nor JMESPath: {reason}") from None
    except RecursionError:
        raise PathError(f"{text[:40]!r}… is nested too deeply") from None


def lookup(document: object, parts: tuple[str, ...]) -> object:
    """What stands where these keys and places lead, else `MISSING`."""
    for at, part in enumerate(parts):
        if isinstance(document, dict):
            if part in document:
                document = document[part]
            else:
                return document.get(".".join(parts[at:]), MISSING)
        elif isinstance(document, list) and part.isdecimal() and part.isascii() and int(part) < len(document):
            document = document[int(part)]
        else:
            return MISSING
    return document
