"""Protobuf schemas: .proto texts or a descriptor set → descriptors of messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from connector.formats.format import PayloadError
from connector.formats.schema.proto_text import parse_proto, parse_registered, unusable
from connector.settings import SettingsError

_WELL_KNOWN: Final = frozenset(
    f"google/protobuf/{name}.proto"
    for name in (
        "any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type",
        "wrappers",
    )
)  # fmt: skip
_CONFLUENT: Final = {
    # Files that Confluent's registry has built in: only the parts that say how data is written.
    "confluent/type/decimal.proto": 'syntax = "proto3"; package confluent.type; '
    "message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
}
Find = Callable[[str], FileDescriptorProto | None]
"""Import name → descriptor of the file; None if there is no such file."""


class ProtobufSchema:
    """The messages of a file and of its imports."""

    def __init__(self, file: FileDescriptorProto, find: Find) -> None:
        """Raises `PayloadError` if a definition is missing or wrong."""
        self._file = file
        self._find = find
        self._pool = DescriptorPool()
        self._added: set[str] = set()
        self._add(file, ())

    def by_name(self, name: str) -> Descriptor:
        """The message with this full name. Raises `PayloadError` if there is none."""
        try:
            return self._pool.FindMessageTypeByName(name.lstrip("."))
        except KeyError:
            known = ", ".join(sorted(_names(self._file.message_type, self._file.package))[:20])
            raise unusable(f"there is no message {name} in {self._file.name} (there: {known or 'none'})") from None

    def by_simple_name(self, name: str) -> Descriptor:
        """The only message with this name without its package and the messages around it. Raises `PayloadError`.

        Without a name, the only message of the file.
        """
        known = _names(self._file.message_type, self._file.package)
        found = [full for full in known if not name or full.rpartition(".")[2] == name]
        if len(found) != 1:
            called = f"called {name}" if name else "for a payload that names none"
            raise unusable(f"the schema has {len(found)} messages {called} (there: {', '.join(sorted(known)[:20])})")
        return self.by_name(found[0])

    def by_indexes(self, indexes: Sequence[int]) -> Descriptor:
        """The message at these indexes. Raises `PayloadError` if there is none.

        The first index counts the messages of the file; each further index counts the messages nested in the last one.
        """
        name = self._file.package
        messages: Sequence[DescriptorProto] = self._file.message_type
        for index in indexes:
            if index >= len(messages):
                raise unusable(f"the schema has no message at {list(indexes)}")
            name = f"{name}.{messages[index].name}" if name else messages[index].name
            messages = [nested for nested in messages[index].nested_type if not nested.options.map_entry]
        return self.by_name(name)

    def _add(self, file: FileDescriptorProto, importers: tuple[str, ...]) -> None:
        """Add the file to the pool, after its imports. Raises `PayloadError`.

        An import that cannot be found is left out, because it may have only options. If it has more, the pool names the
        missing definition.
        """
        if file.name in importers:
            raise unusable(f"{file.name} imports itself")
        if file.name in self._added:
            return
        self._added.add(file.name)
        found = []
        for name in file.dependency:
            if name in _WELL_KNOWN:
                if name not in self._added:
                    self._add(_well_known(name), (*importers, file.name))
            else:
                imported = self._find(name)
                if imported is None and name in _CONFLUENT:
                    imported = parse_proto(_CONFLUENT[name], name)
                if imported is None:
                    continue
                self._add(imported, (*importers, file.name))
            found.append(name)
        missing = [name for name in file.dependency if name not in found]
        if missing:
            public = [file.dependency[at] for at in file.public_dependency]
            file.ClearField("dependency")
            file.ClearField("public_dependency")
            file.ClearField("weak_dependency")
            file.dependency.extend(found)
            file.public_dependency.extend(at for at, name in enumerate(found) if name in public)
        try:
            self._pool.Add(file)
            self._pool.FindFileByName(file.name)
        except (TypeError, KeyError) as error:
            hint = f" (not found: {', '.join(missing)})" if missing else ""
            raise unusable(f"{file.name}: {str(error)[:300]}{hint}") from None


def _well_known(name: str) -> FileDescriptorProto:
    """The descriptor of a file that is part of Protobuf's own library."""
    module = import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def from_texts(text: str, references: Mapping[str, str]) -> ProtobufSchema:
    """The schema of a text in a registry. Raises `PayloadError`.

    `references` has the texts of its imports, by the names in the import statements.
    """

    def find(name: str) -> FileDescriptorProto | None:
        return parse_registered(references[name], name) if name in references else None

    return ProtobufSchema(parse_registered(text, "schema.proto"), find)


def schema_from_proto_file(path: Path, folder: Path) -> ProtobufSchema:
    """The schema of a .proto file. Imports are found in `folder`. Raises SettingsError."""

    def find(name: str) -> FileDescriptorProto | None:
        imported = folder / name
        return parse_proto(_content(imported).decode(), name) if imported.is_file() else None

    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    try:
        return ProtobufSchema(parse_proto(_content(path).decode(), name), find)
    except (PayloadError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None


def schema_from_descriptor_file(path: Path, message: str) -> ProtobufSchema:
    """The schema of the file that defines `message`, from a descriptor set. Raises SettingsError."""
    try:
        files = {file.name: file for file in FileDescriptorSet.FromString(_content(path)).file}
    except DecodeError:
        raise SettingsError(f"{path} is not a descriptor set: make one with protoc --descriptor_set_out") from None
    for file in files.values():
        if message.lstrip(".") in _names(file.message_type, file.package):
            try:
                return ProtobufSchema(file, files.get)
            except PayloadError as error:
                raise SettingsError(f"{path}: {error}; was it made with protoc --include_imports?") from None
    raise SettingsError(f"{path}: there is no message {message} in it")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _names(messages: Sequence[DescriptorProto], prefix: str) -> list[str]:
    found = []
    for message in (message for message in messages if not message.options.map_entry):
        name = f"{prefix}.{message.name}" if prefix else message.name
        found += [name, *_names(message.nested_type, name)]
    return found
