"""XML: the elements of a payload → one document, a tree of their names.

An element becomes the member of its parent that has the element's name, without a prefix of a namespace:

- an element with neither attributes nor elements becomes its text, or null without a text; `true` and `false` become
  booleans;
- any other element becomes an object of its attributes and elements; a text of its own has the key `value`;
- elements of one name in one parent become a list; so does an element alone if its name is one of `lists`.

The payload may be several elements without a root element. Then `xml` is their root.

The parser is expat of the standard library: it reads each byte once, and a document type, which is where entities come
from, is refused. So there are no entities that grow or that read files. An own wrapper is kept because other packages
only guard the same parser, without a bound of elements or depth.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from xml.parsers import expat

from connector.formats.format import PayloadError
from connector.formats.text.characters import decode_text
from connector.records import Reason

_MAX_DEPTH: Final = 100
_MAX_NODES: Final = 200_000
"""The most elements and attributes of a payload."""
_TEXT: Final = "value"
"""The key of the text of an element that has attributes or elements, too."""
_ROOT: Final = "xml"
"""The key of the root of several elements that have none."""
_DECLARATION: Final = re.compile(r"\s*<\?xml\s[^>]*\?>", re.ASCII)
_ENCODING: Final = re.compile(rb"""\s*<\?xml\s[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_ENCODINGS: Final = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8", "iso-8859-1": "latin-1",
    "latin1": "latin-1", "iso-8859-15": "iso-8859-15", "windows-1252": "cp1252", "cp1252": "cp1252",
}  # fmt: skip
"""The encoding that a payload declares, in small letters → its name in Python."""
_BOOLEANS: Final = {"true": True, "false": False}
_NOT_OF_THE_DATA: Final = ("xmlns", "xml:", "xsi:")
"""The beginnings of attributes that describe the notation: namespaces, schemas."""


class XmlFormat:
    """The format of XML: one document a payload."""

    name = "xml"

    def __init__(self, *, attribute_prefix: str = "", lists: Collection[str] = (), encoding: str | None = None) -> None:
        """`attribute_prefix` stands before the keys of attributes.

        `lists` has the names of the elements that are lists, also where there is only one of them. `encoding` counts
        instead of the encoding that the payload declares.
        """
        self._prefix = attribute_prefix
        self._lists = frozenset(lists)
        self._encoding = encoding

    def decode(self, payload: bytes) -> object:
        """The document of the payload: an object with the root element. Raises `PayloadError`."""
        text = decode_text(payload, self._encoding or _encoding_of(payload)).strip("\ufeff\0 \t\r\n")
        if not text:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        declared = _DECLARATION.match(text)
        tree = _Tree(self._prefix, self._lists)
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.StartElementHandler = tree.begin
        parser.EndElementHandler = tree.end
        parser.CharacterDataHandler = tree.text
        try:
            parser.Parse("<_>\n", False)  # several elements without a root are read, too, and a document type is not
            parser.Parse(text[declared.end() :] if declared else text, False)
            parser.Parse("</_>", True)
        except expat.ExpatError as error:
            raise _invalid(text, error) from None
        return tree.document()


class _Tree:
    """The elements that are open, from the outside in, and what they hold so far."""

    def __init__(self, prefix: str, lists: Collection[str]) -> None:
        self._prefix = prefix
        self._lists = lists
        self._nodes = 0
        self._open: list[_Element] = []
        self._roots = _Element("")

    def document(self) -> dict[str, object]:
        """The document. Raises `PayloadError` if there is no element, or if a text stands beside the elements."""
        members = self._roots.members
        if not members:
            raise PayloadError(Reason.INVALID_XML, "there is no element; is the payload plain text?")
        if self._roots.written():
            raise PayloadError(Reason.INVALID_XML, "there is text outside of the elements")
        alone = len(members) == 1 and not self._roots.lists
        return members if alone else {_ROOT: members}

    def begin(self, name: str, attributes: list[str]) -> None:
        """Open an element; `attributes` has each name and its value in turn."""
        self._nodes += 1 + len(attributes) // 2
        if self._nodes > _MAX_NODES:
            raise PayloadError(Reason.TOO_MANY_VALUES, f"more than {_MAX_NODES} elements and attributes")
        if len(self._open) > _MAX_DEPTH:
            raise PayloadError(Reason.NESTED_TOO_DEEPLY, f"the elements are nested more than {_MAX_DEPTH} levels deep")
        element = _Element(name) if self._open else self._roots
        for at in range(0, len(attributes), 2):
            attribute = attributes[at]
            if attribute.startswith(_NOT_OF_THE_DATA):
                continue
            key = self._prefix + attribute.rpartition(":")[2]
            if key in element.members:
                raise _twice(element, key, "give attributes a prefix of another kind with attribute_prefix")
            element.members[key] = _scalar(attributes[at + 1])
            element.attributes.add(key)
        self._open.append(element)

    def end(self, _name: str) -> None:
        """Close the element that was opened last."""
        element = self._open.pop()
        if not self._open:
            return
        parent = self._open[-1]
        key = element.name.rpartition(":")[2]
        value = element.value()
        known = parent.names.setdefault(key, element.name)
        if known != element.name:
            raise _twice(
                parent, key, f"the elements {known[:40]!r} and {element.name[:40]!r} differ in their namespace"
            )
        if key in parent.attributes:
            raise _twice(parent, key, "an attribute and an element have this name; set attribute_prefix: '@'")
        if key not in parent.members and key in self._lists:
            parent.members[key] = parent.lists[key] = [value]
        elif key not in parent.members:
            parent.members[key] = value
        elif key in parent.lists:
            parent.lists[key].append(value)
        else:
            parent.members[key] = parent.lists[key] = [parent.members[key], value]

    def text(self, text: str) -> None:
        """Add text to the element that was opened last."""
        self._open[-1].texts.append(text)


class _Element:
    """An element while it is read."""

    __slots__ = ("attributes", "lists", "members", "name", "names", "texts")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, object] = {}
        self.attributes: set[str] = set()
        self.lists: dict[str, list[object]] = {}
        self.names: dict[str, str] = {}
        """Key of an inner element → its name with the prefix."""
        self.texts: list[str] = []

    def written(self) -> str:
        """The text of the element itself, without the blanks around it."""
        return "".join(self.texts).strip()

    def value(self) -> object:
        """The element as a part of the document. Raises `PayloadError`."""
        text = self.written()
        if not self.members:
            return _scalar(text) if text else None
        if text:
            if _TEXT in self.members:
                raise _twice(self, _TEXT, "the element has this key, and a text, too; set attribute_prefix: '@'")
            self.members[_TEXT] = _scalar(text)
        return self.members


def _scalar(text: str) -> object:
    return _BOOLEANS.get(text, text)


def _twice(element: _Element, key: str, why: str) -> PayloadError:
    where = f" in the element {element.name[:40]!r}" if element.name else ""
    return PayloadError(Reason.DUPLICATE_KEY, f"{key[:40]!r} stands twice{where}: {why}")


def _encoding_of(payload: bytes) -> str:
    """The encoding of a payload, by its byte order mark, or else by its declaration; else UTF-8."""
    if payload.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    found = _ENCODING.match(payload.removeprefix(b"\xef\xbb\xbf"))
    if found is None:
        return "utf-8"
    declared = found[1].decode().lower()
    known = _ENCODINGS.get(declared)
    if known is None:
        raise PayloadError(
            Reason.INVALID_TEXT, f"the payload declares the encoding {declared!r}; known are {', '.join(_ENCODINGS)}"
        )
    return known


def _invalid(text: str, error: expat.ExpatError) -> PayloadError:
    what = expat.errors.messages.get(error.code, "cannot be read")
    if "<!DOCTYPE" in text:
        what += "; a document type is refused, since it could define entities: let the sender leave it out"
    return PayloadError(Reason.INVALID_XML, f"line {max(error.lineno - 1, 1)}, column {error.offset + 1}: {what}")
