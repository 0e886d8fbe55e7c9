"""New keys → rows at the end of a tag list, for a person to fill in. What the file has already stays, byte for byte."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from connector.mapping.documents.places import shown
from connector.mapping.tags.read import Notation, column_of, guarded, read_tags
from connector.mapping.tags.tag import ATTRIBUTES, Tag, TagListError
from connector.mapping.tags.text import decode, encoding_of, lines_of, separator_of

_REMARKS: Final = ("# topic", "# example", "# name now", "# unit now")
_QUOTES_AROUND: Final = frozenset('"\r\n;,\t|')
_BOMS: Final = {"utf-16": {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}}


class NewTag(NamedTuple):
    """A key that the list does not have, and what is known of its signal."""

    key: str
    topic: str
    example: str
    """A value, as text; empty if unknown."""
    name: str
    """The present name by the rule or by messages; empty if there is none."""
    unit: str
    """The present unit; empty if there is none."""

    def cells(self) -> dict[str, str]:
        """Title of a column → text."""
        remarks = (self.topic, self.example, self.name, self.unit)
        return {"key": self.key, **dict(zip(_REMARKS, map(shown, remarks), strict=True))}


def may_be_written(key: str) -> bool:
    """Whether a key can stand in a list: it is not empty, and all of its characters are printable."""
    return bool(key) and key.isprintable() and key == key.strip()


def with_rows(content: bytes | None, name: str, notation: Notation, new: Sequence[NewTag], separator: str) -> bytes:
    """Returns the content of a list with `new` rows at its end; without `content`, a list with only these rows.

    An existing list keeps its separator, encoding, line ends, columns and rows. A list whose encoding lacks a character
    of a new key becomes UTF-8. `separator` is for a new list. Raises `TagListError` for a list that cannot be read or
    extended.
    """
    before: dict[str, Tag] = {}
    if content is not None and content.strip():
        before = dict(read_tags(content, name, notation).tags)
        found = _extended(content, notation, new)
    else:
        encoding = notation.encoding or ("utf-8" if notation.yaml else "utf-8-sig")
        text = (
            _in_yaml(new, "\n")
            if notation.yaml
            else _in_csv(new, [*ATTRIBUTES, *_REMARKS], separator, "\r\n", head=True)
        )
        found = _encoded(b"", text, encoding) if _fits(text, encoding) else text.encode("utf-8-sig")
    after = read_tags(found, name, notation).tags
    if {key: after.get(key) for key in before} != before or after.keys() != {*before, *(tag.key for tag in new)}:
        raise TagListError(
            [f"{name}: new keys cannot be added at the end of this file; write its keys one below the other"]
        )
    return found


def _extended(content: bytes, notation: Notation, new: Sequence[NewTag]) -> bytes:
    encoding = encoding_of(content, notation.encoding)
    text = decode(content, encoding)
    newline = next((end for end in ("\r\n", "\n", "\r") if end in text), "\n")
    start = "" if text.endswith(("\n", "\r")) else newline
    if notation.yaml:
        added = start + _in_yaml(new, newline)
    else:
        separator = separator_of(text)
        header = next(lines_of(io.StringIO(text, newline=""), separator))
        added = start + _in_csv(new, [cell.strip() for cell in header.cells], separator, newline, head=False)
    if not _fits(added, encoding):
        return (text + added).encode("utf-8-sig")
    return content + _encoded(content, added, encoding)


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _encoded(content: bytes, text: str, encoding: str) -> bytes:
    """Returns the bytes of a text that follows `content`: without another byte order mark."""
    if not content:
        return text.encode(encoding)
    if encoding == "utf-8-sig":
        return text.encode("utf-8")
    return text.encode(_BOMS.get(encoding, {}).get(content[:2], encoding))


def _in_csv(new: Sequence[NewTag], titles: Sequence[str], separator: str, newline: str, *, head: bool) -> str:
    lines = [separator.join(titles)] if head else []
    for tag in new:
        cells = tag.cells()
        lines.append(
            separator.join(_cell(cells.get("key" if column_of(title) == "key" else title, "")) for title in titles)
        )
    return "".join(line + newline for line in lines)


def _cell(text: str) -> str:
    text = guarded(text)
    if text.startswith("#") or not _QUOTES_AROUND.isdisjoint(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _in_yaml(new: Sequence[NewTag], newline: str) -> str:
    lines = []
    for tag in new:
        known = ", ".join(f"{title[2:]}: {text}" for title, text in tag.cells().items() if title != "key" and text)
        lines.append(f"{json.dumps(tag.key, ensure_ascii=False)}:" + (f"  # {known}" if known else ""))
    return "".join(line + newline for line in lines)
