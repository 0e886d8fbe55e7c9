"""JSON, as devices really send it: bytes → Python values.

orjson decodes the ordinary case. What it refuses gets a second look, because one odd value must not cost its
neighbours: NaN and Infinity are kept as floats (the mapping rejects just that value), a byte order mark is
dropped, a bare number may be written `+5` or `007`. Anything else is a `PayloadError` that says where.
"""

from __future__ import annotations

import json
import re
from typing import Final

import orjson

from connector.formats.format import PayloadError
from connector.records import Reason

_NUMBER: Final = re.compile(r"[+-]?(\d++(\.\d*+)?|\.\d++)([eE][+-]?\d+)?")
"""Without backtracking: a megabyte of digits with a letter at its end must not cost minutes."""
_NON_FINITE: Final = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_KEY: Final = re.compile(rb'"\s*:')
_SPACED_COLON: Final = re.compile(rb"\s:")
_EXACT_DIGITS: Final = 18


class RepeatedKeys(dict[str, object]):
    """A JSON object in which a key stood more than once: the last value counts, `replaced` has the others."""

    __slots__ = ("replaced",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        remaining = dict(self)
        self.replaced: list[tuple[str, object]] = []
        for key, value in reversed(pairs):
            if key in remaining:
                del remaining[key]
            else:
                self.replaced.append((key, value))


def decode(payload: bytes) -> object:
    """Decode one payload. Floats may be NaN or infinite only if the text said so."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return _second_look(payload, error)


def may_repeat_keys(payload: bytes, keys: int) -> bool:
    """Whether a key may stand twice in one of its objects, when `keys` different ones were seen.

    Never False when one does; True also where a text or a part that was not looked into resembles a key.
    """
    if payload.count(b'":') == keys and (len(payload.split(None, 1)) == 1 or not _SPACED_COLON.search(payload)):
        return False
    return len(_KEY.findall(payload)) != keys


def decode_repeated(payload: bytes) -> object:
    """Decode as `decode` does, with every object that repeats a key as `RepeatedKeys`."""
    return _loads(payload.decode("utf-8-sig"))


def _second_look(payload: bytes, error: orjson.JSONDecodeError) -> object:
    if not payload.strip():
        raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty") from None
    try:
        text = payload.decode("utf-8-sig").strip()
    except UnicodeDecodeError as bad:
        raise PayloadError(
            Reason.NOT_UTF8,
            f"byte {bad.start} (0x{payload[bad.start]:02x}) is not UTF-8: is the payload binary or compressed?",
        ) from None
    if _NUMBER.fullmatch(text) or _NON_FINITE.fullmatch(text):
        return float(text)
    try:
        return _loads(text)
    except ValueError:
        raise PayloadError(Reason.INVALID_JSON, f"not JSON: {error}; it begins {_excerpt(text)}") from None


def _loads(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=float, parse_int=_integer)
    except RecursionError:
        raise PayloadError(Reason.NESTED_TOO_DEEPLY, "objects or arrays are nested too deeply") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    pairs = [(_utf8_key(key), value) for key, value in pairs]
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedKeys(pairs)


def _utf8_key(key: str) -> str:
    """A key that UTF-8 can write: half a surrogate pair, which JSON lets through, stays as its escape."""
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode("utf-8")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _EXACT_DIGITS else float(digits)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


class JsonFormat:
    """JSON as a format: one document a payload."""

    name = "json"

    def decode(self, payload: bytes) -> object:
        """The payload's document."""
        return decode(payload)
