"""The Protobuf schema of Sparkplug B payloads, built when this module is imported.

Field numbers and types are those of the Sparkplug specification, chapter 6 (payloads). The schema has a descriptor pool
of its own, so that another schema with the same name does not collide with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE: Final = "org.eclipse.tahu.protobuf"

_VALUE: Final = ("int_value uint32", "long_value uint64", "float_value float", "double_value double",
                 "boolean_value bool", "string_value string")  # fmt: skip

# message: {field number: "name type"}; "*" before the type: repeated; "|" before the line: part of the oneof `value`
_MESSAGES: Final[dict[str, dict[int, str]]] = {
    "Payload": {1: "timestamp uint64", 2: "metrics *Metric", 3: "seq uint64", 4: "uuid string", 5: "body bytes"},
    "Payload.Metric": {
        1: "name string", 2: "alias uint64", 3: "timestamp uint64", 4: "datatype uint32", 5: "is_historical bool",
        6: "is_transient bool", 7: "is_null bool", 8: "metadata MetaData", 9: "properties PropertySet",
        **{number: "|" + field for number, field in enumerate(_VALUE, 10)},
        16: "|bytes_value bytes", 17: "|dataset_value DataSet", 18: "|template_value Template",
    },
    "Payload.MetaData": {
        1: "is_multi_part bool", 2: "content_type string", 3: "size uint64", 4: "seq uint64", 5: "file_name string",
        6: "file_type string", 7: "md5 string", 8: "description string",
    },
    "Payload.PropertySet": {1: "keys *string", 2: "values *PropertyValue"},
    "Payload.PropertySetList": {1: "propertyset *PropertySet"},
    "Payload.PropertyValue": {
        1: "type uint32", 2: "is_null bool", **{number: "|" + field for number, field in enumerate(_VALUE, 3)},
        9: "|propertyset_value PropertySet", 10: "|propertysets_value PropertySetList",
    },
    "Payload.DataSet": {1: "num_of_columns uint64", 2: "columns *string", 3: "types *uint32", 4: "rows *DataSet.Row"},
    "Payload.DataSet.Row": {1: "elements *DataSet.DataSetValue"},
    "Payload.DataSet.DataSetValue": {number: "|" + field for number, field in enumerate(_VALUE, 1)},
    "Payload.Template": {
        1: "version string", 2: "metrics *Metric", 3: "parameters *Template.Parameter", 4: "template_ref string",
        5: "is_definition bool",
    },
    "Payload.Template.Parameter": {
        1: "name string", 2: "type uint32", **{number: "|" + field for number, field in enumerate(_VALUE, 3)},
    },
}  # fmt: skip

_SCALARS: Final = {
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}


def _field(number: int, text: str) -> FieldDescriptorProto:
    name, kind = text.lstrip("|").split()
    field = FieldDescriptorProto(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.startswith("*"):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if text.startswith("|"):
        field.oneof_index = 0
    plain = kind.lstrip("*")
    if plain in _SCALARS:
        field.type = _SCALARS[plain]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.Payload.{plain}"
    return field


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="sparkplug_b.proto", package=_PACKAGE, syntax="proto2")
    made: dict[str, DescriptorProto] = {}
    for path, fields in _MESSAGES.items():
        parent, _, name = path.rpartition(".")
        message = made[parent].nested_type.add() if parent else file.message_type.add()
        message.name = name
        made[path] = message
        if any(text.startswith("|") for text in fields.values()):
            message.oneof_decl.add().name = "value"
        message.field.extend(_field(number, text) for number, text in sorted(fields.items()))
    return file


def _descriptor() -> Descriptor:
    pool = DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    return pool.FindMessageTypeByName(f"{_PACKAGE}.Payload")


DESCRIPTOR: Final = _descriptor()
"""The message type of Sparkplug B payloads."""
PayloadMessage: Final[Any] = GetMessageClass(DESCRIPTOR)
"""The class of payloads.

`PayloadMessage.FromString(bytes)` returns a `messages.Payload`, or raises google.protobuf.message.DecodeError.
"""


def message_fields(descriptor: Descriptor) -> Iterable[tuple[int, Descriptor]]:
    """(field number, type) of each field that is a message."""
    for field in descriptor.fields:
        if field.message_type is not None:
            yield field.number, field.message_type
