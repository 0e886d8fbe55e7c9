"""Bytes → payload, with bounds.

A small message that is compressed, or has countless empty parts, must not fill the memory.
"""

from __future__ import annotations

import zlib
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from connector.formats.format import PayloadError
from connector.formats.sparkplug.messages import Payload
from connector.formats.sparkplug.schema import DESCRIPTOR, PayloadMessage, message_fields
from connector.records import Reason

COMPRESSED: Final = "SPBV1.0_COMPRESSED"
"""The `uuid` of a payload whose `body` is another payload, compressed (a convention of Eclipse Tahu)."""
_COUNTED_FROM: Final = 256 * 1024
"""The parts of a payload with more bytes than this are counted before the payload is decoded.

A part of 2 bytes takes 96 bytes of memory.
"""
_WIRE_VARINT, _WIRE_64, _WIRE_LENGTH, _WIRE_32 = 0, 1, 2, 5


def decode_payload(data: bytes, max_bytes: int, max_parts: int) -> Payload:
    """The payload in these bytes; for a compressed payload, the payload inside.

    Raises `PayloadError` for bytes that are no payload, for a payload of more than `max_bytes` after unpacking, and for
    a payload of more than `max_parts` Protobuf messages.
    """
    payload = _decode(data, max_parts)
    if payload.uuid == COMPRESSED:
        payload = _decode(_unpack(payload, max_bytes), max_parts)
        if payload.uuid == COMPRESSED:
            raise PayloadError(Reason.INVALID_SPARKPLUG, "a compressed payload inside a compressed payload")
    return payload


def _decode(data: bytes, max_parts: int) -> Payload:
    if len(data) > _COUNTED_FROM and _count(data, max_parts) > max_parts:
        raise PayloadError(
            Reason.TOO_MANY_VALUES, f"more than {max_parts} metrics, properties and cells in one message"
        )
    try:
        payload: Payload = PayloadMessage.FromString(data)
    except DecodeError as error:
        why = str(error).rpartition(": ")[2][:200] or "the payload ends too early"
        raise PayloadError(
            Reason.INVALID_SPARKPLUG, f"{len(data)} bytes that are no Sparkplug B payload: {why}"
        ) from None
    return payload


def _unpack(outer: Payload, max_bytes: int) -> bytes:
    algorithm = next((m.string_value for m in outer.metrics if m.name == "algorithm"), "") or "DEFLATE"
    windows = {"GZIP": 16 + zlib.MAX_WBITS, "DEFLATE": zlib.MAX_WBITS}
    if algorithm not in windows:
        raise PayloadError(
            Reason.INVALID_SPARKPLUG, f"compressed with {str(algorithm)[:40]!r}; only GZIP and DEFLATE are known"
        )
    unpacker = zlib.decompressobj(windows[algorithm])
    try:
        found = unpacker.decompress(outer.body, max_bytes + 1)
    except zlib.error as error:
        raise PayloadError(Reason.INVALID_SPARKPLUG, f"the compressed payload cannot be unpacked: {error}") from None
    if len(found) > max_bytes:
        raise PayloadError(
            Reason.PAYLOAD_TOO_LARGE, f"the payload unpacks to more than {max_bytes} bytes, the most that is mapped"
        )
    if not unpacker.eof:
        raise PayloadError(Reason.INVALID_SPARKPLUG, "the compressed payload ends too early")
    return found


def _count(data: bytes, limit: int) -> int:
    """The number of Protobuf messages in the payload.

    Counting stops just above `limit`, and at the first invalid byte, which the decoder reports.
    """
    children = _CHILDREN
    todo: list[tuple[Descriptor, int, int]] = [(DESCRIPTOR, 0, len(data))]
    count = 0
    while todo and count <= limit:
        descriptor, at, end = todo.pop()
        known = children[descriptor.full_name]
        while at < end and count <= limit:
            tag, at = _varint(data, at, end)
            wire = tag & 7
            if wire == _WIRE_VARINT:
                _, at = _varint(data, at, end)
            elif wire == _WIRE_LENGTH:
                size, at = _varint(data, at, end)
                if size > end - at:
                    break
                child = known.get(tag >> 3)
                if child is not None:
                    count += 1
                    if size:
                        todo.append((child, at, at + size))
                at += size
            elif wire == _WIRE_64:
                at += 8
            elif wire == _WIRE_32:
                at += 4
            else:
                break
    return count


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return value, end


def _children(root: Descriptor) -> dict[str, dict[int, Descriptor]]:
    found: dict[str, dict[int, Descriptor]] = {}
    todo = [root]
    while todo:
        descriptor = todo.pop()
        if descriptor.full_name not in found:
            found[descriptor.full_name] = dict(message_fields(descriptor))
            todo += found[descriptor.full_name].values()
    return found


_CHILDREN: Final = _children(DESCRIPTOR)
