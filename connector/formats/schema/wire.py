"""Where a record names its schema: in the first bytes of its payload, or in a header.

| who writes | payload | header |
|---|---|---|
| Confluent's serializers | a zero byte, four bytes of ID, the data | |
| the same, with IDs in headers | the data | `__value_schema_id`: a one, the schema's GUID |
| Apicurio's serializers before version 3 | a zero byte, eight bytes of global or content ID, the data | |
| the same, with IDs in headers | the data | `apicurio.value.globalId` or `.contentId`: eight bytes |

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
https://www.apicur.io/registry/docs/apicurio-registry/2.6.x/getting-started/assembly-configuring-kafka-client-serdes.html
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from connector.formats.format import PayloadError
from connector.formats.schema.schemas import GlobalId, Guid, SchemaId
from connector.records import Reason

HEADER: Final = 5
"""The number of bytes before the data, in Confluent's wire format."""
_LONG_HEADER: Final = 9
_MOST_ID: Final = 2**31 - 1
_GUESSES: Final = {
    ord("{"): "the payload looks like JSON",
    ord("["): "the payload looks like JSON",
    0x1F: "the payload looks like gzip",
}
_GUID: Final = "__value_schema_id"
_GLOBAL_ID: Final = "apicurio.value.globalId"
_CONTENT_ID: Final = "apicurio.value.contentId"
_CONTENT_HASH: Final = "apicurio.value.contentHash"
_MESSAGE: Final = "apicurio.protobuf.type"
_ESCAPED: Final = re.compile(rb"\\x([89a-f][0-9a-f])")

Ids = Literal["confluent", "apicurio_global", "apicurio_content"]
"""The kind of IDs in payloads; see `sections`."""
Headers = Sequence[tuple[str, str]]


class Framed(NamedTuple):
    """The schema of a payload, and the place of its data."""

    id: SchemaId
    start: int
    """The position of the data in the payload; Protobuf's message indexes may stand before the data."""
    by_apicurio: bool = False
    """Whether Apicurio's serializers wrote the payload: they name Protobuf's message instead of counting it."""
    indexes: bytes = b""
    """Protobuf's message indexes, from the header."""
    message: str = ""
    """The name of Protobuf's message, from a header; empty if there is none."""


def framed(payload: bytes, headers: Headers, ids: Ids) -> Framed:
    """Returns the schema that a record names; a header goes before the payload. Raises `PayloadError`."""
    if headers and (found := _in_headers(headers)) is not None:
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        return found
    if ids == "confluent":
        return Framed(schema_id(payload), HEADER)
    number = _long_id(payload)
    return Framed(GlobalId(number) if ids == "apicurio_global" else number, _LONG_HEADER, by_apicurio=True)


def schema_id(payload: bytes) -> int:
    """The schema's ID at the beginning of the payload. Raises `PayloadError` if the payload does not begin with one."""
    number = int.from_bytes(payload[1:HEADER], "big")
    if payload[:1] == b"\0" and len(payload) >= HEADER and number:
        return number
    hint = "if the payload was written without a registry, declare its schema"
    if payload.startswith(bytes(HEADER)) and len(payload) >= _LONG_HEADER:
        hint = (
            "the payload looks like one with an ID of eight bytes, of Apicurio's serializers: set schema_ids in the "
            "format to apicurio_global, or to apicurio_content"
        )
    raise _no_id(payload, "a zero and four bytes of ID", hint)


def _long_id(payload: bytes) -> int:
    number = int.from_bytes(payload[1:_LONG_HEADER], "big")
    if payload[:1] == b"\0" and len(payload) >= _LONG_HEADER and 0 < number <= _MOST_ID:
        return number
    hint = "if the payload was written without a registry, declare its schema"
    if payload[:1] == b"\0" and len(payload) >= HEADER and any(payload[1:HEADER]):
        hint = "the payload looks like one with an ID of four bytes: remove schema_ids from the format"
    raise _no_id(payload, "a zero and eight bytes of ID", hint)


def _no_id(payload: bytes, wanted: str, hint: str) -> PayloadError:
    if not payload:
        return PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
    return PayloadError(
        Reason.NO_SCHEMA_ID,
        f"no schema ID: the payload begins with 0x{payload[:_LONG_HEADER].hex()}, not with {wanted}; "
        f"{_GUESSES.get(payload[0], hint)}",
    )


def _in_headers(headers: Headers) -> Framed | None:
    """The schema that the headers name; None if they name none. The last header of a name counts, as in the clients."""
    named = {name: text for name, text in headers if name.startswith(("apicurio.", _GUID))}
    if not named:
        return None
    if _GUID in named:
        data = _bytes_of(named[_GUID])
        if data[:1] == b"\x01" and len(data) >= 17:
            return Framed(Guid(str(uuid.UUID(bytes=data[1:17]))), 0, indexes=data[17:])
        if data[:1] == b"\0" and len(data) >= HEADER:
            return Framed(int.from_bytes(data[1:HEADER], "big"), 0, indexes=data[HEADER:])
        raise _bad_header(_GUID, data, "a GUID (17 bytes) or an ID (5 bytes)")
    for name in (_GLOBAL_ID, _CONTENT_ID):
        if name not in named:
            continue
        data = _bytes_of(named[name])
        number = int.from_bytes(data, "big")
        if len(data) != 8 or not 0 < number <= _MOST_ID:
            raise _bad_header(name, data, "an ID of eight bytes")
        found = GlobalId(number) if name == _GLOBAL_ID else number
        return Framed(found, 0, by_apicurio=True, message=named.get(_MESSAGE, ""))
    if _CONTENT_HASH in named:
        raise PayloadError(
            Reason.NO_SCHEMA_ID,
            f"the header {_CONTENT_HASH} names the schema by a hash, which is not read: let the sender use IDs "
            "(apicurio.registry.use-id=contentId)",
        )
    return None


def _bytes_of(text: str) -> bytes:
    """The bytes of a header: bytes that are no UTF-8 are escaped in its text, as in `\\xff`."""
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode("utf-8", "surrogatepass"))


def _bad_header(name: str, data: bytes, wanted: str) -> PayloadError:
    return PayloadError(Reason.NO_SCHEMA_ID, f"the header {name} is 0x{data[:20].hex()}, not {wanted}")
