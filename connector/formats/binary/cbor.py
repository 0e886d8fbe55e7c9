"""CBOR (RFC 8949): one document a payload, or several documents one after the other (a CBOR sequence, RFC 8742).

Times (tags 0 and 1) become datetimes. Big numbers, decimal fractions and rationals become numbers. An unknown tag is
dropped, and its value stays. An invalid time stays a number or a text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from math import copysign, isfinite, ldexp
from typing import Final

from cbor2 import CBORDecodeEOF, CBORDecodeError, CBORDecoder, CBORSimpleValue, CBORTag, undefined

from connector.formats.binary.plain import Plain
from connector.formats.binary.survey import (
    CBOR_CONTAINERS,
    cbor_has_odd_keys,
    check_containers,
    check_keys,
    survey_cbor,
)
from connector.formats.documents import DocumentCollector
from connector.formats.format import PayloadError
from connector.records import Reason

_MAX_DEPTH: Final = 100
_EXACT_BYTES: Final = 8
_MAX_EXPONENT: Final = 100_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CborFormat:
    """The format CBOR."""

    name = "cbor"

    def decode(self, payload: bytes) -> object:
        """The document of the payload, or its `Documents`. Raises `PayloadError`."""
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        check_containers(payload, CBOR_CONTAINERS, survey_cbor)
        check_keys(payload, cbor_has_odd_keys)
        stream = BytesIO(payload)
        plain = Plain(len(payload))
        first = plain.of(self._item(stream))
        if stream.tell() == len(payload):
            return first
        gathered = DocumentCollector()
        gathered.add(first)
        while stream.tell() < len(payload):
            gathered.add(plain.of(self._item(stream)))
        return gathered.result()

    def _item(self, stream: BytesIO) -> object:
        start = stream.tell()
        decoder = CBORDecoder(
            stream,
            tag_hook=_value_alone,
            semantic_decoders=_TAGS,
            max_depth=_MAX_DEPTH,
            allow_duplicate_keys=False,
            read_size=1,
        )
        try:
            found = decoder.decode()
        except CBORDecodeEOF:
            raise _wrong(Reason.INVALID_CBOR, start, "the payload ends too early") from None
        except CBORDecodeError as error:
            said = str(error)
            if "nesting depth" in said:
                raise _wrong(Reason.NESTED_TOO_DEEPLY, start, "maps or arrays are nested too deeply") from None
            reason = Reason.DUPLICATE_KEY if "Duplicate map key" in said else Reason.INVALID_CBOR
            raise _wrong(reason, start, f"{said[:200]}{_cause(error)}") from None
        return None if found is undefined or isinstance(found, CBORSimpleValue) else found


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    return f": {str(cause)[:200]}" if cause is not None and str(cause) else ""


def _wrong(reason: Reason, start: int, what: str) -> PayloadError:
    return PayloadError(reason, "not CBOR" + (f" from byte {start} on" if start else "") + f": {what}")


def _value_alone(tag: CBORTag | object, _immutable: bool) -> object:
    return tag.value if isinstance(tag, CBORTag) else tag


def _text_time(value: object, _immutable: bool) -> object:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _number_time(value: object, _immutable: bool) -> object:
    try:
        return _EPOCH + timedelta(seconds=value) if isinstance(value, int | float) else value
    except (ValueError, OverflowError):
        return value


def _big(value: object, _immutable: bool) -> object:
    """A big number: exact within 64 bits, else a float."""
    if not isinstance(value, bytes):
        raise ValueError("a big number (tag 2 or 3) is not bytes")  # noqa: TRY004 - the decoder wraps a ValueError
    if len(value.lstrip(b"\0")) <= _EXACT_BYTES:
        return int.from_bytes(value, "big")
    try:
        return float(int.from_bytes(value, "big"))
    except OverflowError:
        return float("inf")


def _big_negative(value: object, immutable: bool) -> object:
    number = _big(value, immutable)
    assert isinstance(number, int | float)  # noqa: S101 - what it gives
    return -1 - number


def _scaled(base: float) -> Callable[[object, bool], object]:
    """Reads a decimal fraction (base 10) or a bigfloat (base 2): exponent and mantissa, both numbers by now."""

    def read(value: object, _immutable: bool) -> object:
        exponent, mantissa = _pair(value)
        if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT or not isfinite(mantissa):
            raise ValueError("the exponent of a number is too large")
        if base == 2:
            try:
                return ldexp(mantissa, exponent)
            except OverflowError:
                return copysign(float("inf"), mantissa)
        return float(Decimal(mantissa).scaleb(exponent))

    return read


def _rational(value: object, _immutable: bool) -> object:
    above, below = _pair(value)
    if not below:
        raise ValueError("a rational number (tag 30) with the denominator 0")
    return above / below


def _pair(value: object) -> tuple[int | float, int | float]:
    if isinstance(value, list | tuple) and len(value) == 2:
        one, other = value
        if isinstance(one, int | float) and isinstance(other, int | float):
            return one, other
    raise ValueError("a number of two parts (tag 4, 5 or 30) has other parts")


def _same_value(value: object, _immutable: bool) -> object:
    return value


def _shared(_value: object, _immutable: bool) -> object:
    raise ValueError("a value that refers to another one (tag 25 or 29) is not read")


_TAGS: Final = {
    0: _text_time,
    1: _number_time,
    # Numbers become small at once: numbers of thousands of digits cost quadratic time, and whole numbers of any length
    # can be chosen so that all have the same hash, which makes a map or a set of them quadratic.
    2: _big,
    3: _big_negative,
    4: _scaled(10),
    5: _scaled(2),
    30: _rational,
    25: _shared,  # a text that stands elsewhere: 2 bytes could stand for megabytes
    258: _same_value,  # a set, for the same reason as numbers: it is read as a list
    28: _same_value,  # a value that other values refer to
    29: _shared,  # a reference: a few bytes could stand for any number of values
    35: _same_value,  # a regular expression: no measurement, and costly to parse
    36: _same_value,  # a MIME message: no measurement, and costly to parse
}
