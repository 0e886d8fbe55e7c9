"""Payloads in texts that no rule decodes: found, so that a person learns which `decode` reads them.

Only what is certain counts: a text that is a JSON object or list with values in it, base64 of this, or base64 of gzip
with this inside.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from json import dumps
from typing import Final, NamedTuple

import orjson

from connector.formats.compression import decompressed
from connector.formats.documents import count
from connector.formats.encodings import from_base64
from connector.formats.format import PayloadError
from connector.formats.text.json_payload import JsonFormat
from connector.mapping.documents.decode import decode_fields
from connector.mapping.documents.item_names import has_readings
from connector.mapping.observations import Observation, Observations
from connector.mapping.plans import Plan
from connector.mapping.rules.decoding import EACH, DecodeStep, Parts, parse_parts
from connector.mapping.rules.paths import WHOLE, PathError

_WORD: Final = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
_STARTS: Final = ("{", "[", "e", "W", "H")
"""The first characters of JSON, of base64 of `{` and `[`, and of base64 of gzip."""
_LONGEST_TEXT: Final = 64 * 1024
_MOST_LEAVES: Final = 10_000
"""Values of a document that is decoded to see what is in it."""
_MOST_UNPACKED: Final = 256 * 1024
_MOST_NODES: Final = 1_000
"""Values of a document that are looked at; of an object and a list, the first ones."""
_MOST_MEMBERS: Final = 200
_MOST_ITEMS: Final = 20
_MOST_PATHS: Final = 5
_LONGEST_PATH: Final = 200
_MOST_LEVELS: Final = 3
"""Payloads in payloads in payloads."""


class Packed(NamedTuple):
    """A field that holds a payload in its text."""

    path: str
    encodings: tuple[str, ...]
    """The encodings to undo; empty if the text itself is JSON."""

    @property
    def setting(self) -> str | dict[str, str | list[str]]:
        """The step of `decode` that reads the field."""
        if not self.encodings:
            return self.path
        return {"path": self.path, "encoding": self.encodings[0] if len(self.encodings) == 1 else list(self.encodings)}

    @property
    def written(self) -> str:
        """The same as YAML in a line."""
        path = self.path if _WORD.fullmatch(self.path) else dumps(self.path)
        encodings = self.encodings[0] if len(self.encodings) == 1 else f"[{', '.join(self.encodings)}]"
        return f"{{path: {path}, encoding: {encodings}}}" if self.encodings else path


def unpacked(document: object) -> tuple[object, tuple[Packed, ...]]:
    """(the document with the payloads in its texts decoded, their fields in the order of the steps).

    In a large document, payloads in payloads are not looked for.
    """
    steps: list[Packed] = []
    while len(steps) < _MOST_PATHS and (found := _packed(document)):
        form = JsonFormat()
        decoding = [DecodeStep(parse_parts(one.path), one.encodings or ("text",), form) for one in found]
        steps += found
        if count(document)[0] > _MOST_LEAVES:
            break
        try:
            document = decode_fields(decoding, document, _MOST_UNPACKED, set()).document
        except PayloadError:
            break
    return document, tuple(steps)


def said(steps: Sequence[Packed]) -> str:
    """What the first of these fields holds, for people."""
    first = steps[0]
    place = "the payload" if first.path == WHOLE else f"the text at {first.path!r}"
    return f"{place} is JSON" + "".join(f" in {encoding}" for encoding in reversed(first.encodings))


def remedy(document: object) -> str:
    """What to add to a rule that found nothing in this document: `decode: …`; empty if no text holds a payload."""
    _, steps = unpacked(document)
    if not steps:
        return ""
    return f"; {said(steps)}: add decode: {_setting(steps)} to the rule of this topic"


def remedy_for_bytes(payload: bytes) -> str:
    """What to add to a rule for JSON, if the payload is no JSON but base64 of it; else empty."""
    try:
        found = _encodings(payload.decode("ascii"))
    except UnicodeDecodeError:
        return ""
    if not found:
        return ""
    steps = (Packed(WHOLE, found),)
    return f"; {said(steps)}: set format: text and decode: {_setting(steps)} in the rule of this topic"


class PackedTexts:
    """Looks at messages for texts that hold payloads, and that no rule reads. For one thread at a time."""

    def __init__(self, observations: Observations) -> None:
        self._observations = observations

    def look(self, plan: Plan, document: object) -> None:
        """Add an observation for each field of a mapped message that holds a payload in its text."""
        rule = plan.rule
        if rule.select is not None or not rule.other_values:
            return
        for one in _packed(document):
            if one.path in rule.values:
                continue
            setting = _setting((one,))
            self._observations.add(
                Observation(
                    "payload_in_text",
                    plan.source,
                    one.path,
                    f"{said((one,))}, in messages such as those on topic {plan.topic!r}; what is in it is not read, "
                    "and counts as filtered",
                    f"add decode: {setting} to the rule of the topic, or write one: {{topic: {dumps(plan.topic)}, "
                    f"decode: {setting}}}",
                )
            )


def _setting(steps: tuple[Packed, ...]) -> str:
    """The setting `decode` as YAML in a line."""
    written = [one.written for one in steps]
    return written[0] if len(written) == 1 else f"[{', '.join(written)}]"


def _packed(document: object, level: int = 1) -> list[Packed]:
    """Returns the fields of a document that hold payloads in their texts."""
    found: dict[Parts, Packed] = {}
    left: list[tuple[Parts, object]] = [((), document)]
    for parts, value in left:  # the list grows in this loop
        if type(value) is dict and len(left) < _MOST_NODES:
            left += [((*parts, key), inner) for key, inner in islice(value.items(), _MOST_MEMBERS)]
        elif type(value) is list and len(left) < _MOST_NODES:
            left += [((*parts, EACH), inner) for inner in value[:_MOST_ITEMS]]
        elif type(value) is str and parts not in found and len(found) < _MOST_PATHS:
            encodings = _encodings(value, level)
            if encodings is not None and (path := _path(parts)) is not None:
                found[parts] = Packed(path, encodings)
    return list(found.values())


def _path(parts: Parts) -> str | None:
    """Returns the parts as a path; None if it is too long, or a key in it has signs that mean something in a path."""
    path = "".join("[]" if part is EACH else f".{part}" for part in parts).removeprefix(".") or WHOLE
    try:
        return path if len(path) <= _LONGEST_PATH and parse_parts(path) == parts else None
    except PathError:
        return None


def _encodings(text: str, level: int = 1) -> tuple[str, ...] | None:
    """Returns the encodings to undo before the text is JSON; None if the text holds no JSON."""
    text = text.strip()
    if not text.startswith(_STARTS) or not 2 <= len(text) <= _LONGEST_TEXT:
        return None
    if text[0] in "{[":
        return () if _is_json(text, level) else None
    try:
        content = from_base64(text.encode())
        if not content.startswith(b"\x1f\x8b"):
            return ("base64",) if _is_json(content, level) else None
        return ("base64", "gzip") if _is_json(decompressed(content, "gzip", _MOST_UNPACKED), level) else None
    except (PayloadError, UnicodeEncodeError):
        return None


def _is_json(content: str | bytes, level: int) -> bool:
    """Whether this is a JSON object or list with values in it; a list of one value may be a word in brackets."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    if isinstance(found, list) and len(found) == 1 and not isinstance(found[0], dict | list):
        return False
    if not isinstance(found, dict | list):
        return False
    return has_readings(found) or (level < _MOST_LEVELS and bool(_packed(found, level + 1)))
