"""The text of a .proto file → its descriptor, with the parts that decoding needs: names, numbers, types, no options.

Protobuf's own descriptor pool resolves names: messages and enums of the file and of its imports.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

from antlr4.error.ErrorListener import ErrorListener
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError
from proto_schema_parser import ast
from proto_schema_parser.parser import Parser

from connector.formats.format import PayloadError
from connector.records import Reason

_TYPES: Final = {
    name.removeprefix("TYPE_").lower(): number
    for name, number in FieldDescriptorProto.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}
_LABELS: Final = {
    None: FieldDescriptorProto.LABEL_OPTIONAL,
    ast.FieldCardinality.OPTIONAL: FieldDescriptorProto.LABEL_OPTIONAL,
    ast.FieldCardinality.REQUIRED: FieldDescriptorProto.LABEL_REQUIRED,
    ast.FieldCardinality.REPEATED: FieldDescriptorProto.LABEL_REPEATED,
}
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}\s*")
_ODD_NUMBER: Final = re.compile(r"(=\s*-?)(0[xX][0-9a-fA-F]+|0[0-7]+)\b")


def parse_proto(text: str, name: str) -> FileDescriptorProto:
    """The descriptor of a .proto file with this text; other files import it as `name`.

    Raises `PayloadError` if the text cannot be read as a .proto file.
    """
    errors = _Errors()
    parser = Parser(setup_lexer=errors.listen, setup_parser=errors.listen)
    try:
        parsed = parser.parse(_ODD_NUMBER.sub(_decimal, text))
    except RecursionError:
        raise unusable(f"{name} is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - after a syntax error, the parser raises any exception of Python
        raise unusable(f"{name}: {errors.first or error}") from None
    if errors.first:
        raise unusable(f"{name}: {errors.first}")
    return _file(parsed, name)


def parse_registered(text: str, name: str) -> FileDescriptorProto:
    """The descriptor of a schema in a registry.

    The schema is the text of a .proto file, or, from some producers, the serialized descriptor in base64. Raises
    `PayloadError` if the schema is neither.
    """
    if not _BASE64.fullmatch(text):
        return parse_proto(text, name)
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text))
    except (ValueError, DecodeError):
        raise unusable(f"{name} is neither a .proto file nor a descriptor") from None
    file.name = name
    return file


def unusable(why: str) -> PayloadError:
    """The error for a schema that cannot be used."""
    return PayloadError(Reason.SCHEMA_UNUSABLE, f"the Protobuf schema cannot be used: {why}")


class _Errors(ErrorListener):  # type: ignore[misc] # antlr4 has no types
    """Keeps the first syntax error. Without this listener, ANTLR prints the error and goes on."""

    def __init__(self) -> None:
        self.first = ""
        """The place and the text of the first syntax error; empty without one."""

    def listen(self, source: Any) -> None:
        """Become the only listener of a lexer or parser."""
        source.removeErrorListeners()
        source.addErrorListener(self)

    def syntaxError(self, recognizer: Any, symbol: Any, line: int, column: int, said: str, error: Any) -> None:  # noqa: N802, ARG002
        """Note a syntax error. The lexer and the parser call this method."""
        self.first = self.first or f"line {line}, column {column + 1}: {said[:120]}"


def _decimal(found: re.Match[str]) -> str:
    digits = found[2]
    return found[1] + str(int(digits, 16) if digits[:2] in ("0x", "0X") else int(digits, 8))


def _file(parsed: ast.File, name: str) -> FileDescriptorProto:
    file = FileDescriptorProto(name=name, syntax=parsed.syntax or "proto2")
    if parsed.edition is not None:
        raise unusable(f"{name}: editions are not read from text; declare a descriptor set")
    implicit = file.syntax == "proto3"
    for element in parsed.file_elements:
        if isinstance(element, ast.Package):
            file.package = element.name
        elif isinstance(element, ast.Import):
            if element.public:
                file.public_dependency.append(len(file.dependency))
            file.dependency.append(element.name)
        elif isinstance(element, ast.Message):
            _message(file.message_type.add(), element.name, element.elements, implicit)
        elif isinstance(element, ast.Enum):
            _enum(file.enum_type.add(), element)
    return file


def _message(message: DescriptorProto, name: str, elements: list[Any], implicit: bool) -> None:
    message.name = name
    entries: list[DescriptorProto] = []
    optional: list[FieldDescriptorProto] = []
    for element in elements:
        if isinstance(element, ast.Field):
            field = _field(message, element)
            if implicit and element.cardinality is ast.FieldCardinality.OPTIONAL:
                optional.append(field)
        elif isinstance(element, ast.MapField):
            entries.append(_map_field(message, element))
        elif isinstance(element, ast.Group):
            _group(message, element, implicit)
        elif isinstance(element, ast.OneOf):
            _oneof(message, element, implicit)
        elif isinstance(element, ast.Message):
            _message(message.nested_type.add(), element.name, element.elements, implicit)
        elif isinstance(element, ast.Enum):
            _enum(message.enum_type.add(), element)
        elif isinstance(element, ast.Option) and element.name == "message_set_wire_format":
            raise unusable(f"{name} is a message set, which is not read")
    # Map entries stand behind the messages of the file: the message indexes of a payload count only those messages.
    message.nested_type.extend(entries)
    for field in optional:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{field.name}")


def _field(message: DescriptorProto, element: ast.Field) -> FieldDescriptorProto:
    field = message.field.add(name=element.name, number=element.number, label=_LABELS[element.cardinality])
    _set_type(field, element.type)
    return field


def _oneof(message: DescriptorProto, element: ast.OneOf, implicit: bool) -> None:
    message.oneof_decl.add(name=element.name)
    for member in element.elements:
        if isinstance(member, ast.Field):
            _field(message, member).oneof_index = len(message.oneof_decl) - 1
        elif isinstance(member, ast.Group):
            _group(message, member, implicit).oneof_index = len(message.oneof_decl) - 1


def _set_type(field: FieldDescriptorProto, name: str) -> None:
    if name in _TYPES:
        field.type = _TYPES[name]
    else:
        field.type_name = name  # the pool finds out whether the name means a message or an enum


def _map_field(message: DescriptorProto, element: ast.MapField) -> DescriptorProto:
    entry = DescriptorProto(name="".join(part[:1].upper() + part[1:] for part in element.name.split("_")) + "Entry")
    entry.options.map_entry = True
    for number, (name, kind) in enumerate((("key", element.key_type), ("value", element.value_type)), 1):
        _set_type(entry.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL), kind)
    field = message.field.add(
        name=element.name, number=element.number, label=FieldDescriptorProto.LABEL_REPEATED, type_name=entry.name
    )
    field.type = FieldDescriptorProto.TYPE_MESSAGE
    return entry


def _group(message: DescriptorProto, element: ast.Group, implicit: bool) -> FieldDescriptorProto:
    field = message.field.add(
        name=element.name.lower(), number=element.number, label=_LABELS[element.cardinality], type_name=element.name
    )
    field.type = FieldDescriptorProto.TYPE_GROUP
    _message(message.nested_type.add(), element.name, element.elements, implicit)
    return field


def _enum(enum: EnumDescriptorProto, element: ast.Enum) -> None:
    enum.name = element.name
    enum.options.allow_alias = True  # options are not read, and the file may allow aliases; this does no harm
    for member in element.elements:
        if isinstance(member, ast.EnumValue):
            enum.value.add(name=member.name, number=member.number)
