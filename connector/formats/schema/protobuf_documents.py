"""Protobuf messages → documents.

Fields have the names of the .proto file. A field without a value is left out if the message says that the value is
absent. In proto3, plain fields cannot say this: a temperature of 0 is not sent at all. So plain fields are never left
out. Enums become the names of their values, `Timestamp` becomes a datetime and `Duration` becomes seconds. A wrapper
becomes its value, and a `Struct` becomes an object.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet

from connector.formats.format import PayloadError
from connector.records import Reason

_MAX_NODES: Final = 500_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Convert = Callable[[Any], object]


class ProtobufConverter:
    """Converts messages of one schema to documents. The way to read a kind of message is remembered after its first."""

    def __init__(self) -> None:
        self._fields: dict[str, list[_Field]] = {}
        self._left = 0

    def of(self, message: Any) -> object:
        """The document of a message.

        Raises `PayloadError` if the message has too many values, or if all its fields are unknown.
        """
        self._left = _MAX_NODES
        if not message.ListFields() and len(UnknownFieldSet(message)):
            raise PayloadError(
                Reason.INVALID_PROTOBUF,
                f"the payload has no field of {message.DESCRIPTOR.full_name}: is it another message?",
            )
        return self._message(message)

    def _message(self, message: Any) -> object:
        descriptor = message.DESCRIPTOR
        special = _SPECIAL.get(descriptor.full_name)
        if special is not None:
            return special(message)
        if descriptor.full_name in _STRUCTS:
            return self._struct(message)
        fields = self._fields.get(descriptor.full_name) or self._learn(descriptor)
        document: dict[str, object] = {}
        self._count(len(fields))
        for field in fields:
            if not field.has_presence or message.HasField(field.name):
                document[field.name] = field.read(getattr(message, field.name))
        return document

    def _struct(self, message: Any) -> object:
        """A google.protobuf.Struct, ListValue or Value as a value of JSON."""
        self._count(1)
        kind = message.DESCRIPTOR.name
        if kind == "Struct":
            return {name: self._struct(value) for name, value in message.fields.items()}
        if kind == "ListValue":
            return [self._struct(value) for value in message.values]
        which = message.WhichOneof("kind")
        if which in ("struct_value", "list_value"):
            return self._struct(getattr(message, which))
        value: object = None if which in (None, "null_value") else getattr(message, which)
        return value

    def _learn(self, descriptor: Descriptor) -> list[_Field]:
        fields = [_Field(field, self._reader(field)) for field in descriptor.fields]
        self._fields[descriptor.full_name] = fields
        return fields

    def _reader(self, field: FieldDescriptor) -> _Convert:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            one = self._single(entry.fields_by_name["value"])
            return lambda entries: self._map(entries, one)
        one = self._single(field)
        return (lambda values: self._list(values, one)) if field.is_repeated else one

    def _single(self, field: FieldDescriptor) -> _Convert:
        if field.enum_type is not None:
            names = {value.number: value.name for value in reversed(field.enum_type.values)}
            return lambda number: names.get(number, number)
        return self._message if field.message_type is not None else _same

    def _list(self, values: Any, one: _Convert) -> list[object]:
        self._count(len(values))
        return [one(value) for value in values]

    def _map(self, entries: Any, one: _Convert) -> dict[str, object]:
        self._count(len(entries))
        return {_key(key): one(entries[key]) for key in entries}

    def _count(self, nodes: int) -> None:
        self._left -= nodes
        if self._left < 0:
            raise PayloadError(Reason.TOO_MANY_VALUES, f"more than {_MAX_NODES} values in one payload")


class _Field:
    """The way to read one field."""

    __slots__ = ("has_presence", "name", "read")

    def __init__(self, field: FieldDescriptor, read: _Convert) -> None:
        self.name = field.name
        self.has_presence = field.has_presence
        self.read = read


def _same(value: Any) -> object:
    found: object = value
    return found


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _timestamp(message: Any) -> object:
    try:
        return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        return float(message.seconds)  # the time is outside the calendar: the mapping rejects it


def _duration(message: Any) -> object:
    return message.seconds + message.nanos / 1e9


def _wrapped(message: Any) -> object:
    found: object = message.value
    return found


def _decimal(message: Any) -> object:
    """The number in a confluent.type.Decimal: a two's complement integer, with its number of decimal places.

    NaN if it is not a number.
    """
    try:
        return float(Decimal(int.from_bytes(message.value[:64], "big", signed=True)).scaleb(-message.scale))
    except (ArithmeticError, ValueError):
        return float("nan")


_WRAPPERS: Final = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
_STRUCTS: Final = frozenset(f"google.protobuf.{name}" for name in ("Struct", "ListValue", "Value"))
_SPECIAL: Final[dict[str, _Convert]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    **{f"google.protobuf.{name}Value": _wrapped for name in _WRAPPERS},
    "confluent.type.Decimal": _decimal,
}
