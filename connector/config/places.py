"""Places in a configuration: the line, the written name and the file of each part, although several files are one.

The rules and sources of included files stand behind those of the configuration itself, in one document. A place in the
document therefore belongs to one of the files, where its list begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml.comments import CommentedMap, CommentedSeq

Path_ = tuple[str | int, ...]

_LISTS: Final[tuple[tuple[str, ...], ...]] = (("mapping", "rules"), ("sources",))
"""The lists that an included file may continue."""
OWN_KEYS: Final = "x-"
"""The beginning of the names at the top of a file that are for the author: anchors, and notes for other programs."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake in a configuration file."""

    line: int | None
    field: str
    message: str
    file: Path | None = None
    """The included file with the mistake; None for the configuration itself."""


class _Part(NamedTuple):
    """The items of a list that came from one included file."""

    at: tuple[str, ...]
    first: int
    end: int
    file: Path


class Places:
    """A document with its included files."""

    def __init__(self, document: CommentedMap) -> None:
        self.document = document
        self._parts: list[_Part] = []

    def include(self, file: Path, document: CommentedMap) -> ConfigProblem | None:
        """Continue the lists of the document with those of an included file; returns what the file may not have."""
        for at, value in _settings(document):
            if at in _LISTS and isinstance(value, CommentedSeq):
                continue
            what = "must be a list" if at in _LISTS else "an included file has only mapping.rules and sources"
            return ConfigProblem(
                line_of(document, at), dotted(at), f"{what}; write all else into the configuration", file
            )
        for at in _LISTS:
            added: Any = document
            for name in at:
                added = added.get(name, {}) if isinstance(added, CommentedMap) else {}
            known = self._list(at) if added else None
            if known is not None:
                first = len(known)
                for number, item in enumerate(added):
                    known.append(item)
                    known.lc.add_idx_line_col(first + number, list(added.lc.item(number)))
                self._parts.append(_Part(at, first, len(known), file))
        return None

    def _list(self, at: tuple[str, ...]) -> CommentedSeq | None:
        """Returns a list of the document, which is made if it is missing; None if something else is there."""
        node: Any = self.document
        for name in at[:-1]:
            if not isinstance(node, CommentedMap):
                return None
            if node.get(name) is None:
                node[name] = CommentedMap()
            node = node[name]
        if not isinstance(node, CommentedMap):
            return None
        if node.get(at[-1]) is None:
            node[at[-1]] = CommentedSeq()
        found = node[at[-1]]
        return found if isinstance(found, CommentedSeq) else None

    def line(self, at: Path_) -> int | None:
        """Returns the line of the deepest part of a place that its file has."""
        return line_of(self.document, at)

    def problem(self, at: Path_, message: str) -> ConfigProblem:
        """Returns a mistake at a place of the document."""
        for part in self._parts:
            number = at[len(part.at)] if len(at) > len(part.at) and at[: len(part.at)] == part.at else None
            if isinstance(number, int) and part.first <= number < part.end:
                here = (*part.at, number - part.first, *at[len(part.at) + 1 :])
                return ConfigProblem(self.line(at), dotted(here), message, part.file)
        return ConfigProblem(self.line(at), dotted(at), message)


def without_own_keys(document: CommentedMap) -> CommentedMap:
    """Returns the document without the names at its top that are for its author."""
    for name in [name for name in document if str(name).startswith(OWN_KEYS)]:
        del document[name]
    return document


def _settings(document: CommentedMap) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in document.items():
        if str(name).startswith(OWN_KEYS):
            continue
        if name == "mapping" and isinstance(value, CommentedMap):
            yield from (((str(name), str(inner)), one) for inner, one in value.items())
        else:
            yield (str(name),), value


def line_of(document: CommentedMap, at: Path_) -> int | None:
    """Return the line of the deepest part of the path that the file has."""
    node: Any = document
    line: int | None = None
    for part in at:
        with suppress(KeyError, IndexError, TypeError):  # a part of an included file, or of a merged section
            if isinstance(node, CommentedMap):
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int):
                line = node.lc.item(part)[0] + 1
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            break
    return line


def dotted(at: Path_) -> str:
    """Return a place as people write it."""
    text = ""
    for part in at:
        name = f'"{part}"' if "." in str(part) else str(part)
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else name
    return text


def entry_at(lines: Sequence[str]) -> str:
    """Return the entry of a list, or the section, with which these lines of a file begin."""
    indent = len(lines[0]) - len(lines[0].lstrip())
    entry = [lines[0]]
    for line in lines[1:]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        entry.append(line)
    while not entry[-1].strip() or entry[-1].strip().startswith("#"):
        entry.pop()
    return "\n".join(entry)
