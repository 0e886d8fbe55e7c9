"""Decoded values of the formats with types beyond JSON → trees of the types of a document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from connector.formats.format import PayloadError
from connector.records import Reason

_MAX_DEPTH: Final = 100
_INTEGERS: Final = (-(2**63), 2**64 - 1)


class Plain:
    """Converts decoded values to trees of a document's types.

    Keys become text. Decimals and long integers become floats. Dates, and times without a zone, become ISO 8601 text.
    Durations become seconds. Sets and tuples become lists. A value of any other type becomes its text.
    """

    def __init__(self, most: int) -> None:
        """`most` is the most values that the payload can have; a payload with references to itself has more."""
        self._left = most

    def of(self, value: object, depth: int = 0) -> object:
        """The tree of a value. Raises `PayloadError` if the tree is too deep or too large, or has two equal keys."""
        self._left -= 1
        if self._left < 0:
            raise PayloadError(
                Reason.TOO_MANY_VALUES, "the payload has more values than bytes: parts of it are repeated"
            )
        if value is None or isinstance(value, str | float | bytes | bool):
            return value
        if isinstance(value, int):
            return value if _INTEGERS[0] <= value <= _INTEGERS[1] else _float(value)
        if depth >= _MAX_DEPTH:
            raise PayloadError(Reason.NESTED_TOO_DEEPLY, "objects or arrays are nested too deeply")
        if isinstance(value, Mapping):
            return self._object(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.of(item, depth + 1) for item in value]
        return _scalar(value)

    def _object(self, value: Mapping[object, object], depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, item in value.items():
            name = key if isinstance(key, str) else _key(key)
            if name in found:
                raise PayloadError(Reason.DUPLICATE_KEY, f"two keys of an object are both {name[:40]!r} as text")
            found[name] = self.of(item, depth + 1)
        return found


def _key(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int | float):
        return str(key if isinstance(key, float) or _INTEGERS[0] <= key <= _INTEGERS[1] else _float(key))
    if isinstance(key, datetime | date):
        return key.isoformat()
    raise PayloadError(Reason.MALFORMED_RECORD, f"a key of an object is no text but of the type {type(key).__name__}")


def _scalar(value: object) -> object:
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | Fraction):
        return _float(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return str(value)


def _float(value: int | Decimal | Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    except ValueError:  # a signalling NaN
        return float("nan")
