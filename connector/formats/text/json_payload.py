"""JSON, including the deviations that devices really send: bytes → Python values.

orjson decodes standard JSON. A payload that orjson refuses is decoded again with more tolerance, so that one odd value
does not cost the other values of its payload. `nan` and `inf` in any form become floats (the mapping rejects only this
value), a byte order mark and NULs at the end are dropped, UTF-16 is recognised, and a bare number may be written `+5`
or `007`. With `lenient`, more is read: see `loose_json`. Everything else is a `PayloadError` that names the place.
"""

from __future__ import annotations

import json
import re
from typing import Final

import orjson

from connector.formats.documents import count_keys
from connector.formats.format import DecodingNotes, PayloadError
from connector.formats.text.characters import decode_text
from connector.formats.text.loose_json import NON_FINITE, as_json, with_finite_words
from connector.records import Reason

_NUMBER: Final = re.compile(r"[+-]?(\d++(\.\d*+)?|\.\d++)([eE][+-]?\d+)?")
"""The pattern never backtracks: a megabyte of digits with a letter at the end must not take minutes."""
_MAY_BE_NON_FINITE: Final = re.compile(r"nan|inf|1\.#", re.IGNORECASE)
_KEY: Final = re.compile(rb'"\s*:')
_SPACED_COLON: Final = re.compile(rb"\s:")
_EXACT_DIGITS: Final = 18
_MOST_LOOKED_AT: Final = 64 * 1024
"""The most characters of a refused payload that are searched for a remedy."""


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


def decode(payload: bytes, tolerated: set[str] | None = None) -> object:
    """The document of a payload. Raises `PayloadError`. A float is NaN or infinite only if the text says so.

    `tolerated` gets the faults that were overlooked, as keys of `TOLERATED`. An object that repeats a key may be a
    `RepeatedKeys`, and certainly is one if anything was overlooked.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return _second_look(payload, error, set() if tolerated is None else tolerated)


def may_repeat_keys(payload: bytes, keys: int) -> bool:
    """Whether an object of the payload may have a key twice. `keys` is the number of keys in the decoded document.

    False is certain. True may be wrong: a text, or a part of the document whose keys were not counted, may look like a
    key.
    """
    if payload.count(b":") == keys:
        return False
    if payload.count(b'":') == keys and (len(payload.split(None, 1)) == 1 or not _SPACED_COLON.search(payload)):
        return False
    return len(_KEY.findall(payload)) != keys


def decode_repeated(payload: bytes) -> object:
    """The document of a payload, like `decode`, but an object that repeats a key is a `RepeatedKeys`."""
    return _loads(payload.decode(), set())


def decode_checked(payload: bytes, notes: DecodingNotes, *, lenient: bool = False) -> object:
    """The document of a payload, like `decode_repeated`; fills the `notes`. Raises `PayloadError`."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        document = _second_look(payload, error, notes.tolerated, lenient=lenient)
        notes.repeats = True  # perhaps: nothing else is certain here
        return document
    return checked(document, payload, notes)


def checked(document: object, payload: bytes, notes: DecodingNotes) -> object:
    """The document of a payload, like `decode_repeated`; `document` is the same as orjson decodes it."""
    if isinstance(document, dict | list):
        colons = payload.count(b":")
        keys = count_keys(document, colons)
        if keys != colons and keys and may_repeat_keys(payload, keys):
            notes.repeats = True
            return decode_repeated(payload)
    return document


def _second_look(
    payload: bytes, error: orjson.JSONDecodeError, tolerated: set[str], *, lenient: bool = False
) -> object:
    text = _text(payload, tolerated).strip()
    if not text:
        raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
    if _NUMBER.fullmatch(text):
        tolerated.add("number")
        return float(text)
    if NON_FINITE.fullmatch(text):
        text = with_finite_words(text)
    try:
        return _loads(text, tolerated)
    except ValueError:
        pass
    if _MAY_BE_NON_FINITE.search(text):
        try:
            return _loads(with_finite_words(text), tolerated)
        except ValueError:
            pass
    if lenient:
        try:
            document = _loads(as_json(text), tolerated, strict=False)
        except ValueError:
            pass
        else:
            tolerated.add("lenient")
            return document
    advice = "" if len(text) > _MOST_LOOKED_AT else _advice(text)
    raise PayloadError(Reason.INVALID_JSON, f"not JSON: {error}; it begins {_excerpt(text)}{advice}") from None


def _advice(text: str) -> str:
    """What to do about a text that is nearly JSON, or several JSON values; empty for any other text."""
    if text[0] not in "{[":
        return ""
    try:
        _loads(as_json(text), set(), strict=False)
    except ValueError:
        pass
    else:
        return "; format: {type: json, lenient: true} reads it"
    try:
        for line in text.splitlines():
            orjson.loads(line.strip() or "0")
    except orjson.JSONDecodeError:
        return ""
    return "; each of its lines is JSON: format: ndjson reads them"


def _text(payload: bytes, tolerated: set[str]) -> str:
    """The characters of JSON; UTF-16 and UTF-32 are told by their marks, and UTF-16 also by its NULs.

    Two ASCII characters begin any JSON object, list or text, so every second byte of them is a NUL (RFC 4627, 3).
    Raises `PayloadError`.
    """
    if payload[1:2] == payload[3:4] == b"\0" and payload[:1] in (b"{", b"[", b'"') and payload[2:3] != b"\0":
        tolerated.add("encoding")
        return decode_text(payload, "utf-16-le", tolerated)
    if payload[:1] == payload[2:3] == b"\0" and payload[1:2] in (b"{", b"[", b'"') and payload[3:4] != b"\0":
        tolerated.add("encoding")
        return decode_text(payload, "utf-16-be", tolerated)
    try:
        text = decode_text(payload, "utf-8", tolerated)
    except PayloadError as error:
        if error.reason is Reason.NOT_UTF8:
            raise PayloadError(error.reason, f"{error}{_other_encoding(payload)}") from None
        raise
    if payload.startswith(b"\xef\xbb\xbf"):
        tolerated.add("byte_order_mark")
    return text


def _other_encoding(payload: bytes) -> str:
    """What to do about bytes that are JSON in Latin-1; empty for any other bytes."""
    if len(payload) > _MOST_LOOKED_AT or payload[:1] not in (b"{", b"["):
        return ""
    try:
        orjson.loads(payload.decode("latin-1"))
    except orjson.JSONDecodeError:
        return ""
    return (
        " It is JSON in an encoding with one byte for each character, which nothing in it tells: try format: {type: "
        "json, encoding: cp1252} (Windows in Western Europe), or another `encoding`"
    )


def _loads(text: str, tolerated: set[str], *, strict: bool = True) -> object:
    def constant(word: str) -> float:
        tolerated.add("not_finite")
        return float(word)

    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=constant, parse_int=_integer, strict=strict)
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

    def __init__(self, *, encoding: str = "utf-8", lenient: bool = False) -> None:
        """With `lenient`, also what `loose_json.as_json` takes is read."""
        self._encoding = encoding
        self._lenient = lenient
        self.notes = DecodingNotes()

    def decode(self, payload: bytes) -> object:
        """The document of the payload; an object that repeats a key is a `RepeatedKeys`. Raises `PayloadError`."""
        notes = self.notes.cleared()
        if self._encoding != "utf-8":
            payload = decode_text(payload, self._encoding, notes.tolerated).encode()
        return decode_checked(payload, notes, lenient=self._lenient)
