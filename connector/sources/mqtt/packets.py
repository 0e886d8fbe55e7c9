"""The bytes of a PUBLISH, read in one pass, and the error for a packet that a broker must not send. No I/O.

paho itself copies the whole rest of a message for each property of MQTT 5, which takes minutes for a message full of
properties. So a message is read here, in a time that grows only with its bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

AROUND_PAYLOAD: Final = 256 * 1024
"""The bytes of a message that are kept besides its payload: at most 65,535 for the topic, the rest for properties."""
MOST_HEADERS: Final = 1000
"""The largest number of user properties of one message that are kept."""

MALFORMED: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
TOPIC_ALIAS_INVALID: Final = 0x94
PACKET_TOO_LARGE: Final = 0x95

_UTF8_PAIR: Final = 38
_TOPIC_ALIAS: Final = 35
_CONTENT_TYPE: Final = 3
_STRINGS: Final = frozenset({3, 8, 9})
"""Content type, response topic, correlation data: a length of two bytes, then the value."""
_FIXED: Final = {1: 1, 2: 4}
"""Payload format and message expiry → the bytes of the value."""
_SUBSCRIPTION_IDENTIFIER: Final = 11


class BreachError(Exception):
    """The broker broke the protocol, or its agreement with us. The connection must end."""

    def __init__(self, code: int, kind: str, detail: str = "") -> None:
        """`code` is the reason code of MQTT 5 for our DISCONNECT.

        `kind` names the broken rule for people, and is one of a fixed number of texts. `detail` has the figures.
        """
        super().__init__(f"{kind} ({detail})" if detail else kind)
        self.code = code
        self.kind = kind


class Publish(NamedTuple):
    """A message from the broker."""

    topic: str
    payload: bytes
    qos: int
    mid: int
    """The packet id; 0 with QoS 0."""
    dup: bool
    retain: bool
    headers: tuple[tuple[str, str], ...]
    """The content type as `content-type`, then the user properties in order."""
    problem: str
    """The reason why the message is no data, for people; empty if its topic and properties are valid."""


def read_publish(first: int, packet: bytearray, length: int, *, v5: bool) -> Publish:
    """Read a PUBLISH. Raises `BreachError` if the packet breaks a rule.

    `first` is the first byte of the packet, `length` its remaining length. `packet` has the bytes after the length; of
    a long message, `packet` has at least the first `AROUND_PAYLOAD` bytes.
    """
    if len(packet) < 2:
        raise _malformed()
    at = 2 + int.from_bytes(packet[:2], "big")
    qos = first >> 1 & 3
    if at + (2 if qos else 0) > len(packet):
        raise _malformed()
    topic, problem = read_topic(packet[2:at])
    mid = 0
    if qos:
        mid = int.from_bytes(packet[at : at + 2], "big")
        at += 2
        if not mid:
            raise BreachError(PROTOCOL_ERROR, "the broker sent a message with the packet id 0")
    headers: tuple[tuple[str, str], ...] = ()
    if v5:
        size, at = _number(packet, at)
        end = at + size
        if end > length:
            raise _malformed()
        if size > AROUND_PAYLOAD or end > len(packet):
            problem = problem or f"the message has {size} bytes of properties, and no property was kept"
        else:
            headers, left_out = read_properties(packet[at:end])
            if left_out:
                problem = problem or f"the message has {left_out} user properties beyond the first {MOST_HEADERS}"
        at = end
    if not topic:
        raise BreachError(PROTOCOL_ERROR, "the broker sent a message without a topic")
    with memoryview(packet) as view:
        payload = bytes(view[at:])
    return Publish(topic, payload, qos, mid, bool(first & 8), bool(first & 1), headers, problem)


def read_topic(raw: bytes | bytearray) -> tuple[str, str]:
    """The topic, and the problem with the topic; the problem is empty for a valid topic.

    A wrong topic may come from a publisher, at a broker that does not check topics. So a wrong topic does not end the
    connection: the broker would send the message again, for ever.
    """
    try:
        topic = raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), "the topic is not UTF-8"
    if "\0" in topic:
        return topic, "the topic holds a NUL"
    if "+" in topic or "#" in topic:
        return topic, "the topic of the message holds a wildcard"
    return topic, ""


def _number(packet: bytes | bytearray, at: int) -> tuple[int, int]:
    """The variable byte integer at this place, and the place after the integer."""
    value = 0
    for count in range(4):
        if at + count >= len(packet):
            raise _malformed()
        byte = packet[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, at + count + 1
    raise _malformed()


def read_properties(data: bytes | bytearray) -> tuple[tuple[tuple[str, str], ...], int]:
    """The first `MOST_HEADERS` user properties in `data`, and the number of further user properties.

    Raises `BreachError` if the properties break a rule.
    """
    found: list[tuple[str, str]] = []
    content_type: str | None = None
    at = left_out = 0
    while at < len(data):
        kind = data[at]
        at += 1
        if kind == _UTF8_PAIR:
            name, at = _piece(data, at)
            value, at = _piece(data, at)
            if len(found) < MOST_HEADERS:
                found.append((_text(name), _text(value)))
            else:
                left_out += 1
        elif kind in _STRINGS:
            text, at = _piece(data, at)
            if kind == _CONTENT_TYPE:
                content_type = _text(text)
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind == _SUBSCRIPTION_IDENTIFIER:
            _, at = _number(data, at)
        elif kind == _TOPIC_ALIAS:
            raise BreachError(TOPIC_ALIAS_INVALID, "the broker used a topic alias, and no alias is allowed")
        else:
            raise _malformed()
    if at > len(data):
        raise _malformed()
    if content_type is not None:  # first: of several headers with one name, rules and templates take the last
        found.insert(0, ("content-type", content_type))
    return tuple(found), left_out


def _piece(data: bytes | bytearray, at: int) -> tuple[bytes | bytearray, int]:
    """The bytes of a piece that begins with its length in two bytes, and the place after the piece."""
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    if at + 2 > len(data) or end > len(data):
        raise _malformed()
    return data[at + 2 : end], end


def _text(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _malformed() -> BreachError:
    return BreachError(MALFORMED, "the broker sent a PUBLISH that cannot be read")
