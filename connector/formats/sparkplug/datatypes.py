"""Sparkplug's data types: what the fields of a message mean as values.

Signed integers travel as two's complement in unsigned fields. Devices differ in whether an Int8 is cut to 8 bits or
extended to 32 or 64, and in whether a number goes into `int_value` or `long_value`: all of these are read. Arrays
(version 3.0) are bytes: little-endian numbers; booleans as a count of 4 bytes and bits from the highest down; texts
each ended by a zero byte.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeAlias

from connector.formats.sparkplug.schema import Scalar

Plain: TypeAlias = float | bool | str | None
"""A number, a boolean or a text; None for what is no measurement by its type (bytes, files)."""


class BadValueError(ValueError):
    """The value does not fit its type; the text says how."""


class DataType(IntEnum):
    """The codes of the specification, 6.4.16."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATE_TIME = 13
    TEXT = 14
    UUID = 15
    DATA_SET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATE_TIME_ARRAY = 34


_SIGNED: Final = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_UNSIGNED: Final = {
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.DATE_TIME: 64,
}
_TEXTS: Final = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})
_NUMBER_ARRAYS: Final = {
    DataType.INT8_ARRAY: "b",
    DataType.INT16_ARRAY: "h",
    DataType.INT32_ARRAY: "i",
    DataType.INT64_ARRAY: "q",
    DataType.UINT8_ARRAY: "B",
    DataType.UINT16_ARRAY: "H",
    DataType.UINT32_ARRAY: "I",
    DataType.UINT64_ARRAY: "Q",
    DataType.FLOAT_ARRAY: "f",
    DataType.DOUBLE_ARRAY: "d",
    DataType.DATE_TIME_ARRAY: "q",
}
_INTEGER_FIELDS: Final = ("int_value", "long_value")
_FIELDS: Final = {
    DataType.FLOAT: ("float_value", "double_value"),
    DataType.DOUBLE: ("double_value", "float_value"),
    DataType.BOOLEAN: ("boolean_value",),
    **dict.fromkeys(_TEXTS, ("string_value",)),
}
"""Where values of types that are no integers stand."""
_UNTYPED: Final = {
    "float_value": DataType.FLOAT,
    "double_value": DataType.DOUBLE,
    "boolean_value": DataType.BOOLEAN,
    "string_value": DataType.STRING,
    "dataset_value": DataType.DATA_SET,
    "template_value": DataType.TEMPLATE,
}
"""What a value without a declared type must be; whether an integer has a sign cannot be told."""

SCALARS: Final = frozenset({*_SIGNED, *_UNSIGNED, *_TEXTS, DataType.FLOAT, DataType.DOUBLE, DataType.BOOLEAN})
ARRAYS: Final = frozenset({*_NUMBER_ARRAYS, DataType.BOOLEAN_ARRAY, DataType.STRING_ARRAY})


def type_of(code: int) -> DataType | None:
    """The type with this code, None for one that is not known or says nothing."""
    try:
        return DataType(code) or None
    except ValueError:
        return None


def untyped(field: str) -> DataType | None:
    """The type that a field shows by itself; None for integers and bytes, which may be several things."""
    return _UNTYPED.get(field)


def scalar(datatype: DataType, value: Scalar) -> Plain:
    """The value of a metric, property, parameter or cell of one of `SCALARS`; None if it has none. Raises
    `BadValueError`."""
    field = value.WhichOneof("value")
    if field is None:
        return None
    found = getattr(value, field)
    if field in _INTEGER_FIELDS:
        if datatype in _SIGNED:
            return signed(found, _SIGNED[datatype])
        if datatype in _UNSIGNED:
            return unsigned(found, _UNSIGNED[datatype])
        found = bool(found) if datatype is DataType.BOOLEAN and found in (0, 1) else found
        field = "boolean_value" if isinstance(found, bool) else field
    if field not in _FIELDS.get(datatype, ()):
        raise BadValueError(f"declared as {datatype.name}, but sent as {field}")
    found = text(found) if field == "string_value" else found
    plain: Plain = found
    return plain


def signed(raw: int, bits: int) -> int:
    """Two's complement of `bits`, cut to them or extended to 32 or 64."""
    half = 1 << (bits - 1)
    if raw < half:
        return raw
    for width in (bits, 32, 64):
        if width >= bits and (1 << width) - half <= raw < (1 << width):
            return raw - (1 << width)
    raise BadValueError(f"{raw} does not fit an integer of {bits} bits with a sign")


def unsigned(raw: int, bits: int) -> int:
    """The number itself, if it fits."""
    if raw >> bits:
        raise BadValueError(f"{raw} does not fit an integer of {bits} bits without a sign")
    return raw


def text(raw: str | bytes) -> str:
    """Text; protobuf hands out bytes where they are no UTF-8."""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")


def array(datatype: DataType, data: bytes, limit: int) -> list[Plain]:
    """The elements of an array of one of `ARRAYS`. Raises `BadValueError`, also for more than `limit` elements."""
    code = _NUMBER_ARRAYS.get(datatype)
    if code is not None:
        size = struct.calcsize("<" + code)
        count, rest = divmod(len(data), size)
        if rest:
            raise BadValueError(f"{len(data)} bytes are no whole number of elements of {size} bytes")
        _check(count, limit)
        return list(struct.unpack(f"<{count}{code}", data))
    if datatype is DataType.BOOLEAN_ARRAY:
        return _booleans(data, limit)
    _check(data.count(b"\0"), limit)
    if data and not data.endswith(b"\0"):
        raise BadValueError("an array of texts must end with a zero byte")
    return [text(part) for part in data.split(b"\0")[:-1]]


def _booleans(data: bytes, limit: int) -> list[Plain]:
    if len(data) < 4:
        raise BadValueError("an array of booleans begins with 4 bytes for their number")
    (count,) = struct.unpack_from("<I", data)
    if len(data) - 4 != (count + 7) // 8:
        raise BadValueError(f"{count} booleans need {(count + 7) // 8} bytes; there are {len(data) - 4}")
    _check(count, limit)
    return [bool(data[4 + at // 8] & (128 >> at % 8)) for at in range(count)]


def _check(count: int, limit: int) -> None:
    if count > limit:
        raise BadValueError(f"an array of {count} elements; at most {limit} values are mapped of one message")


def reader_of(datatype: DataType, field: str) -> Callable[[int], int] | None:
    """What makes the number out of an integer in this field; None where it is not needed."""
    if field in _INTEGER_FIELDS and datatype in _SIGNED:
        bits = _SIGNED[datatype]
        return lambda raw: signed(raw, bits)
    if field in _INTEGER_FIELDS and datatype in _UNSIGNED and _UNSIGNED[datatype] < 64:
        bits = _UNSIGNED[datatype]
        return lambda raw: unsigned(raw, bits)
    return None
