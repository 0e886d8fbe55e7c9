"""Paths to values in a payload: plain paths are look-ups, all other paths are JMESPath.

A plain path has keys with dots between them, `data.temperature`, and places of lists as numbers, `values.0.v` or
`values[0].v`. A text with other signs of JMESPath (wildcards, filters, functions, `||`) is compiled by the library
jmespath. A key that has dots itself is found, too, if it is the rest of a path: `tags.Line1.Motor`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import jmespath
import orjson
from jmespath.exceptions import JMESPathError

from connector.formats.text.series import labels_text

_EXPRESSION: Final = re.compile(r"[][*|?&(){}'\"`,<>=!]")
_NAMES: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_INDEX: Final = re.compile(r"\[(\d+)\]")
WHOLE: Final = "@"
"""The path of the whole payload."""


class PathError(ValueError):
    """The path cannot be used; the text has the place and the reason."""


class Missing:
    """The type of `MISSING`, which stands for a value that is not there."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path."""

    text: str
    parts: tuple[str, ...] = ()
    expression: Any = field(default=None, compare=False, repr=False)
    """The compiled JMESPath; None if the path is plain."""
    either: tuple[Path, ...] = ()
    """The plain paths of `a || b`: the first path that leads to a value counts."""

    @property
    def plain(self) -> bool:
        """Whether the path is a single look-up."""
        return self.expression is None and not self.either

    @property
    def dotted(self) -> str:
        """The path as the walk writes it: keys with dots between them; only for a plain path."""
        return ".".join(self.parts)

    def find(self, document: object) -> object:
        """Returns the value at the path; `MISSING` if there is none. For JMESPath, null counts as missing."""
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
            return MISSING  # a function has got a value that it does not take: this payload has no such value
        return MISSING if found is None else found

    def _first(self, document: object) -> object:
        """Returns the value of `a || b` as JMESPath: a null, false or empty value counts only at the last path."""
        found: object = MISSING
        for path in self.either:
            found = path.find(document)
            if not (found is MISSING or found is None or found is False or found in ("", [], {})):
                return found
        return MISSING if found is None else found


def parse_path(text: str) -> Path:
    """Returns the compiled path. Raises `PathError`."""
    if text == WHOLE:
        return Path(text)
    plain = _INDEX.sub(r".\1", text).removeprefix(".")
    if not _EXPRESSION.search(plain):
        parts = tuple(plain.split("."))
        if not all(parts):
            raise PathError(f"{text!r}: a name is missing between two dots, or at an end")
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


class Members:
    """All members of an object, as one text: `id:7/station:oslo`, sorted, for `{payload.tags.*}`.

    A list of pairs, `[{"key": "id", "value": {"intValue": 7}}]`, counts as an object.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def search(self, document: object) -> str | None:
        """Returns the text; None if there is no object. Different members give different texts."""
        found = self._path.find(document)
        pairs: dict[str, object] = {}
        if isinstance(found, dict):
            pairs = found
        elif isinstance(found, list):
            for element in found:
                if not isinstance(element, dict) or "key" not in element or "value" not in element:
                    return None
                value = element["value"]
                alone = isinstance(value, dict) and len(value) == 1
                pairs[str(element["key"])] = next(iter(value.values())) if alone else value
        else:
            return None
        return labels_text({key: _text(value) for key, value in pairs.items()})


def parse_members(text: str) -> Path:
    """Returns the path of a variable: as `parse_path`, but `tags.*` is all members of `tags` as one text."""
    if not text.endswith(".*"):
        return parse_path(text)
    return Path(text, (), Members(parse_path(text.removesuffix(".*"))))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS, default=str).decode()


def lookup(document: object, parts: tuple[str, ...]) -> object:
    """Returns the value at the end of these keys and places of lists, else `MISSING`."""
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
