"""JSON, including the deviations that devices really send: bytes → Python values.

orjson decodes standard JSON. A payload that orjson refuses is decoded again with more tolerance, so that one odd value
does not cost the other values of its payload. NaN and Infinity become floats (the mapping rejects only this value), a
byte order mark is dropped, and a bare number may be written `+5` or `007`. Everything else is a `PayloadError` that
names the place.
"""

from __future__ import annotations

import json
import re
from typing import Final

import orjson

from connector.formats.format import PayloadError
from connector.records import Reason

_NUMBER: Final = re.compile(r"[+-]?(\d++(\.\d*+)?|\.\d++)([eE][+-]?\d+)?")
"""The pattern never backtracks: a megabyte of digits with a letter at the end must not take minutes."""
_NON_FINITE: Final = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_KEY: Final = re.compile(rb'"\s*:')
_SPACED_COLON: Final = re.compile(rb"\s:")
_EXACT_DIGITS: Final = 18


class RepeatedKeys(dict[str, object]):
    """A JSON object that had a key more than once: the last value counts; `replaced` has the other pairs."""

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
    """The document of a payload. Raises `PayloadError`. A float is NaN or infinite only if the text says so."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return _second_look(payload, error)


def may_repeat_keys(payload: bytes, keys: int) -> bool:
    """Whether an object of the payload may have a key twice. `keys` is the number of keys in the decoded document.

    False is certain. True may be wrong: a text, or a part of the document whose keys were not counted, may look like a
    key.
    """
    if payload.count(b'":') == keys and (len(payload.split(None, 1)) == 1 or not _SPACED_COLON.search(payload)):
        return False
    return len(_KEY.findall(payload)) != keys


def decode_repeated(payload: bytes) -> object:
    """The document of a payload, like `decode`, but an object that repeats a key is a `RepeatedKeys`."""
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
    """The key with escapes for characters that UTF-8 cannot encode: JSON permits halves of surrogate pairs."""
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode("utf-8")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _EXACT_DIGITS else float(digits)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


class JsonFormat:
    """The format JSON: one document a payload."""

    name = "json"

    def decode(self, payload: bytes) -> object:
        """The document of the payload. Raises `PayloadError`."""
        return decode(payload)
