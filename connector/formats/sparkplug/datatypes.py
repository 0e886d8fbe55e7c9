"""The data types of Sparkplug: from the fields of a message to values.

Signed integers are sent as two's complement in unsigned fields. Some devices cut an Int8 to 8 bits, others extend it to
32 or 64 bits; some use `int_value`, others `long_value`. All of these are read.

Arrays (version 3.0) are sent as bytes. Numbers are little-endian. Booleans are a count of 4 bytes, followed by bits
from the highest down. Each text ends with a zero byte.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeAlias

from connector.formats.sparkplug.messages import ScalarValue

PlainValue: TypeAlias = float | bool | str | None
"""A number, a boolean or a text; None for no value."""


class BadValueError(ValueError):
    """A value does not fit its type; the text says why."""


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
"""The fields in which values of a type are sent, for all types that are not integers."""
_UNTYPED: Final = {
    "float_value": DataType.FLOAT,
    "double_value": DataType.DOUBLE,
    "boolean_value": DataType.BOOLEAN,
    "string_value": DataType.STRING,
    "dataset_value": DataType.DATA_SET,
    "template_value": DataType.TEMPLATE,
}
"""The type of a value without a declared type, by its field. Integers are missing: they may be signed or unsigned."""

SCALARS: Final = frozenset({*_SIGNED, *_UNSIGNED, *_TEXTS, DataType.FLOAT, DataType.DOUBLE, DataType.BOOLEAN})
ARRAYS: Final = frozenset({*_NUMBER_ARRAYS, DataType.BOOLEAN_ARRAY, DataType.STRING_ARRAY})


def type_of(code: int) -> DataType | None:
    """The type with this code; None for an unknown code, and for the code of an unknown type."""
    try:
        return DataType(code) or None
    except ValueError:
        return None


def untyped(field: str) -> DataType | None:
    """The type of a value in this field if no type is declared.

    None for integers and bytes, which may have several types.
    """
    return _UNTYPED.get(field)


def scalar(datatype: DataType, value: ScalarValue) -> PlainValue:
    """The value of a metric, property, parameter or cell; None without a value.

    `datatype` is one of `SCALARS`. Raises `BadValueError` if the value does not fit the type.
    """
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
    found = decoded_text(found) if field == "string_value" else found
    plain: PlainValue = found
    return plain


def signed(raw: int, bits: int) -> int:
    """The signed number that was sent as `raw`: two's complement, cut to `bits` or extended to 32 or 64 bits.

    Raises `BadValueError` if the number does not fit into `bits`.
    """
    half = 1 << (bits - 1)
    if raw < half:
        return raw
    for width in (bits, 32, 64):
        if width >= bits and (1 << width) - half <= raw < (1 << width):
            return raw - (1 << width)
    raise BadValueError(f"{raw} does not fit an integer of {bits} bits with a sign")


def unsigned(raw: int, bits: int) -> int:
    """`raw` itself. Raises `BadValueError` if `raw` does not fit into `bits`."""
    if raw >> bits:
        raise BadValueError(f"{raw} does not fit an integer of {bits} bits without a sign")
    return raw


def decoded_text(raw: str | bytes) -> str:
    """The text. Protobuf returns bytes for a text that is not UTF-8; invalid bytes become escapes with a backslash."""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")


def array(datatype: DataType, data: bytes, limit: int) -> list[PlainValue]:
    """The elements of an array. `datatype` is one of `ARRAYS`.

    Raises `BadValueError` if the bytes do not fit the type, and for more than `limit` elements.
    """
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
    return [decoded_text(part) for part in data.split(b"\0")[:-1]]


def _booleans(data: bytes, limit: int) -> list[PlainValue]:
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
    """The function that makes the number out of an integer in this field; None if the integer is the number."""
    if field in _INTEGER_FIELDS and datatype in _SIGNED:
        bits = _SIGNED[datatype]
        return lambda raw: signed(raw, bits)
    if field in _INTEGER_FIELDS and datatype in _UNSIGNED and _UNSIGNED[datatype] < 64:
        bits = _UNSIGNED[datatype]
        return lambda raw: unsigned(raw, bits)
    return None
