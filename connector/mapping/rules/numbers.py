"""Numbers as people and controllers write them: text → number.

Each notation is a function text → number, or None for a text of another kind. A text that may mean two numbers raises
`AmbiguousError`: nothing is guessed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

LOOSE_TEXT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SPACES: Final = "".join((*" \N{NO-BREAK SPACE}\N{OGHAM SPACE MARK}", *map(chr, range(0x2000, 0x200B)),
                          *"\N{NARROW NO-BREAK SPACE}\N{MEDIUM MATHEMATICAL SPACE}\N{IDEOGRAPHIC SPACE}"))  # fmt: skip
"""Unicode's spaces (category Zs)."""
_PLAIN_SIGNS: Final = str.maketrans(dict.fromkeys(_SPACES, " ") | {"\N{RIGHT SINGLE QUOTATION MARK}": "'"})
GROUPED_START: Final = re.compile(
    rf"([+-]?[.,]?\d(?:[\d.,'\N{{RIGHT SINGLE QUOTATION MARK}}{_SPACES}]*\d)?[.,]?(?:[eE][+-]?\d+)?)(.*)",
    re.ASCII | re.DOTALL,
)
"""A number with separators of any kind, and the text after it."""
_GROUPED: Final = re.compile(r"([+-]?)([\d., ']*)((?:[eE][+-]?\d+)?)", re.ASCII)
_WHOLE: Final = re.compile(r"\d+", re.ASCII)
_WITH_COMMA: Final = re.compile(r"([+-]?) ?([\d. ]*),(\d*(?:[eE][+-]?\d+)?)", re.ASCII)

_BASES: Final = {
    "hex": (16, re.compile(r"([+-]?)(?:0[xX]|(?:[BWDL]{1,2}#)?16#|\$|&[hH])?([0-9a-fA-F]+)[hH]?", re.ASCII)),
    "octal": (8, re.compile(r"([+-]?)(?:0[oO]|8#)?([0-7]+)", re.ASCII)),
    "binary": (2, re.compile(r"([+-]?)(?:0[bB]|2#)?([01]+)[bB]?", re.ASCII)),
}
_GREATEST: Final = 2**64 - 1

_CLOCK: Final = re.compile(
    r"([+-]?)(?:(\d+)(?:\s*(?:d|days?),?\s+|\s*d|[.T]))?(\d+):([0-5]\d):([0-5]\d)([.,]\d+)?", re.ASCII | re.IGNORECASE
)
"""`02:03:04`, `26:03:04`, `1d 02:03:04`, `1 day, 2:03:04` (Python), `1.02:03:04` (.NET), `0T01:00:16` (Tasmota)."""
_ISO: Final = re.compile(
    r"([+-]?)P(?=\d|T\d)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)([.,]\d+)?S)?)?", re.ASCII
)
"""ISO 8601 without years and months, which have no fixed length."""
_UNITS: Final = re.compile(
    r"(?:T(?:IME)?#)?([+-]?)(?=\d)(?:(\d+)\s*(?:w|weeks?)[\s,]*)?(?:(\d+)\s*(?:d|days?)[\s,]*)?(?:(\d+)\s*(?:h|hrs?|hours?)[\s,]*)?"
    r"(?:(\d+)\s*(?:m|min|mins|minutes?)(?!s)[\s,]*)?(?:(\d+)(\.\d+)?\s*(?:s|secs?|seconds?)[\s,]*)?(?:(\d+)\s*ms)?",
    re.ASCII | re.IGNORECASE,
)
"""`12h30m`, `1h 5min`, `3 days`, `T#1h5m3s500ms` (IEC 61131)."""
_MOST_DIGITS: Final = 100
"""The most characters of a number in one of these notations; a number with more is no measurement."""


class AmbiguousError(ValueError):
    """The text may mean more than one number, or its number cannot be stored; the text says why and what to do."""


def grouped(text: str) -> float | None:
    """Returns the number of a text whose separators show by themselves which of them is the decimal separator.

    `1 234,5` and `1'234.5` have two kinds of separators; `1,234,567` and `1 234` have groups; `0,5` and `12,50` have
    no group of three digits. Raises `AmbiguousError` for `1,234`. `1.234` is a number of JSON, and stays one.
    """
    parts = _parts(text)
    if parts is None:
        return None
    sign, body, exponent = parts
    signs = list(dict.fromkeys(char for char in body if char in "., '"))
    if len(signs) > 2 or (len(signs) == 2 and signs[1] in " '"):
        return None
    if not signs:
        return _number(sign, body, "", exponent)
    last = signs[-1]
    whole, _, fraction = body.rpartition(last)
    if len(signs) == 2:
        ungrouped = _without(whole, signs[0])
        return None if ungrouped is None or last in whole else _number(sign, ungrouped, fraction, exponent)
    if last in " '" or last in whole:
        ungrouped = _without(body, last)
        return None if ungrouped is None or exponent else _number(sign, ungrouped, "", "")
    if last == "," and not exponent and len(fraction) == 3 and _without(body, last) is not None:
        raise AmbiguousError(
            "the comma may stand before decimals or between thousands; declare it: decimal_comma: true, or thousands: "
            '","'
        )
    return _number(sign, whole, fraction, exponent)


def declared(decimal: str, thousands: str) -> Callable[[str], float | None]:
    """Returns the notation with these separators; a space stands for every kind of space."""

    def read(text: str) -> float | None:
        parts = _parts(text)
        if parts is None:
            return None
        sign, body, exponent = parts
        whole, _, fraction = body.partition(decimal)
        ungrouped = _without(whole, thousands) if thousands in whole else whole
        return None if ungrouped is None else _number(sign, ungrouped, fraction, exponent)

    return read


def with_decimal_comma(text: str) -> float | None:
    """Returns the number of a text with a decimal comma, and with dots or spaces between thousands.

    Without a comma, a dot is the decimal point. Raises `AmbiguousError` for dots and spaces that are not between
    thousands: `1.2.3,5`.
    """
    found = _WITH_COMMA.fullmatch(text)
    if found is None:
        return float(text) if LOOSE_TEXT.fullmatch(text) else None
    sign, whole, fraction = found.groups()
    between = next((char for char in ". " if char in whole), None)
    ungrouped = whole if between is None else _without(whole, between)
    if ungrouped is None:
        raise AmbiguousError(
            "the dots or spaces before the decimal comma are not between thousands (groups of three digits), so the "
            "text may be something else than one number"
        )
    return _number(sign, ungrouped, fraction, "")


def _parts(text: str) -> tuple[str, str, str] | None:
    found = _GROUPED.fullmatch(text.translate(_PLAIN_SIGNS)) if len(text) <= _MOST_DIGITS else None
    return None if found is None else (found[1], found[2], found[3])


def _without(whole: str, sign: str) -> str | None:
    """Returns the digits of a whole number without the separators of its thousands; None if groups are not right."""
    first, *groups = whole.split(sign)
    right = 1 <= len(first) <= 3 and first[0] != "0" and all(len(group) == 3 for group in groups)
    digits = first + "".join(groups)
    return digits if right and _WHOLE.fullmatch(digits) else None


def _number(sign: str, whole: str, fraction: str, exponent: str) -> float | None:
    written = f"{sign}{whole}.{fraction}{exponent}"
    return float(written) if LOOSE_TEXT.fullmatch(written) else None


def in_base(name: str) -> Callable[[str], int | None]:
    """Returns the notation `hex` (`1F4`, `0x1F4`, `1F4h`, `16#1F4`), `octal` or `binary`.

    The notation raises `AmbiguousError` for a number above 64 bits.
    """
    base, pattern = _BASES[name]

    def read(text: str) -> int | None:
        found = pattern.fullmatch(text) if len(text) <= _MOST_DIGITS else None
        if found is None:
            return None
        number = int(found[2], base)
        if number > _GREATEST:
            raise AmbiguousError("the number has more than 64 bits: an address or a key, not a value")
        return -number if found[1] == "-" else number

    return read


def duration(text: str) -> float | None:
    """Returns the seconds of a duration: ISO 8601, `1d 02:03:04`, `02:03:04`, `12h30m`, or a number of seconds.

    Raises `AmbiguousError` for `12:34`, and for the years and months of ISO 8601.
    """
    if len(text) > _MOST_DIGITS:
        return None
    if found := _CLOCK.fullmatch(text):
        sign, days, hours, minutes, seconds, fraction = found.groups()
        weeks = None
    elif found := _ISO.fullmatch(text) or _UNITS.fullmatch(text):
        sign, weeks, days, hours, minutes, seconds, fraction, *thousandths = found.groups()
        if thousandths and thousandths[0] is not None:
            seconds, fraction = _with_thousandths(seconds, fraction, thousandths[0])
    elif LOOSE_TEXT.fullmatch(text):
        return float(text)
    elif re.fullmatch(r"[+-]?\d+:\d+", text, re.ASCII):
        raise AmbiguousError("two parts may be hours and minutes, or minutes and seconds; let the sender write three")
    elif re.fullmatch(r"[+-]?P[\dYMWDTHS.,]+", text, re.ASCII):
        raise AmbiguousError("the duration has years or months, which have no fixed length, or parts in a wrong order")
    else:
        return None
    total = int(weeks or 0) * 7 + int(days or 0)
    for part, factor in ((hours, 24), (minutes, 60), (seconds, 60)):
        total = total * factor + int(part or 0)
    return float(f"{sign}{total}.{(fraction or '.0')[1:]}")


def _with_thousandths(seconds: str | None, fraction: str | None, thousandths: str) -> tuple[str, str | None]:
    """Returns the seconds and their fraction for `3s500ms`; a fraction beside thousandths is not added up."""
    whole, rest = divmod(int(thousandths), 1000)
    if fraction is not None:
        raise AmbiguousError(
            "the duration has a fraction of a second and milliseconds; let the sender write one of both"
        )
    return str(int(seconds or 0) + whole), f".{rest:03}"


def base64_integer(text: str) -> int | None:
    """Returns the integer of its bytes in base64: two's complement, the highest byte first, as in Kafka Connect.

    Raises `AmbiguousError` for more than 64 bytes.
    """
    if len(text) > _MOST_DIGITS:
        raise AmbiguousError("the number has more bytes than a decimal that can be stored")
    try:
        return int.from_bytes(base64.b64decode(text, validate=True), "big", signed=True) if text else None
    except (binascii.Error, ValueError):
        return None


NOTATIONS: Final[dict[str, Callable[[str], float | None]]] = {
    "auto": grouped,
    "hex": in_base("hex"),
    "octal": in_base("octal"),
    "binary": in_base("binary"),
    "duration": duration,
    "base64": base64_integer,
}
"""The word of the setting `number` → the notation."""
