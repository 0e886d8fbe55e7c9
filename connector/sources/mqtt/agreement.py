"""What a broker may send on one connection, by the protocol and by what was agreed in CONNECT and SUBSCRIBE. No I/O.

Whatever a broker can make us keep is bounded here: messages that wait for their acknowledgement, packet ids, the size
of each packet. A breach raises `BreachError`, as early as it can be known: often at the first byte of a packet.

Two things are taken although they were not agreed, since a broker may have them from an earlier session of ours: a
message of QoS 1 where QoS 0 was asked for, and a message for an earlier subscription. PUBREL is answered, too: a client
that used our client ID before may have left a QoS 2 exchange behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from paho.mqtt.matcher import MQTTMatcher

from connector.sources.mqtt.packets import (
    MALFORMED,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    BreachError,
    Publish,
)

_CONNACK, _PUBLISH, _PUBREL, _SUBACK, _UNSUBACK, _PINGRESP, _DISCONNECT = 2, 3, 6, 9, 11, 13, 14
_NAMES: Final = (
    "a packet of type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
    "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
)  # fmt: skip
_EXPECTED: Final = frozenset({_CONNACK, _PUBLISH, _PUBREL, _SUBACK, _UNSUBACK, _PINGRESP, _DISCONNECT})
"""We send no message that wants an acknowledgement, so PUBACK, PUBREC and PUBCOMP answer nothing of ours."""
_MOST_BYTES: Final = 65_536
"""The longest packet that is no message: an answer, or a reason with its texts."""
_PACKET_IDS: Final = 65_535
_MOST_RELEASED: Final = 1000
"""PUBREL on one connection. The rest of the exchanges of an earlier client is ended on the next connections."""
_LENIENCE: Final = 2
"""Mosquitto up to 2.0.12 may send a whole Receive Maximum more for each acknowledgement. If that ended the connection,
no load could be carried from it. So nothing more is read beyond this many times the Receive Maximum."""


class Agreement:
    """The rules of one connection, for the thread that owns the connection."""

    def __init__(
        self, *, v5: bool, clean: bool, receive_maximum: int = _PACKET_IDS, filters: Iterable[str] = ("#",)
    ) -> None:
        """With `clean` the broker was asked for a new session. `filters` are those of which messages may come, with or
        without `$share/GROUP/`. `receive_maximum` counts with MQTT 5 only."""
        self._v5 = v5
        self._clean = clean
        self._agreed = receive_maximum if v5 else _PACKET_IDS
        self._filters: Any = MQTTMatcher()  # type: ignore[no-untyped-call]
        for text in filters:
            self._filters[text.split("/", 2)[2] if text.startswith("$share/") else text] = True
        self._connected = False
        self._unacknowledged = 0
        self._in_flight: set[int] = set()
        """Packet ids of messages that we have not acknowledged yet."""
        self._released: set[int] = set()
        """Packet ids of PUBREL."""
        self._asked: set[tuple[int, int]] = set()
        """(kind of the answer, packet id) of each SUBSCRIBE and UNSUBSCRIBE that is not answered."""
        self._pings = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether more messages wait for their acknowledgements than was agreed: a breach of MQTT 5."""
        return self._unacknowledged > self._agreed

    @property
    def is_full(self) -> bool:
        """Whether so many messages wait for their acknowledgements that no more may be read."""
        return self._unacknowledged >= min(_PACKET_IDS, _LENIENCE * self._agreed)

    # -- what we send -----------------------------------------------------------------------------

    def subscribes(self, mid: int) -> None:
        """SUBSCRIBE with this packet id is on its way."""
        self._asked.add((_SUBACK, mid))

    def unsubscribes(self, mid: int) -> None:
        """UNSUBSCRIBE with this packet id is on its way."""
        self._asked.add((_UNSUBACK, mid))

    def pinged(self) -> None:
        """PINGREQ is on its way."""
        self._pings += 1

    def acknowledged(self, mids: Sequence[int]) -> None:
        """PUBACK for these messages is on its way: the broker may use their packet ids again."""
        self._unacknowledged -= len(mids)
        self._in_flight.difference_update(mids)

    # -- what the broker sends; each raises BreachError -------------------------------------------

    def begins(self, first: int) -> None:
        """The first byte of a packet."""
        kind, flags = first >> 4, first & 15
        if kind not in _EXPECTED or (kind == _DISCONNECT and not self._v5):
            raise BreachError(PROTOCOL_ERROR, f"it sent {_NAMES[kind]}, which it must not send to us")
        if not self._connected and kind not in (_CONNACK, _DISCONNECT):
            raise BreachError(PROTOCOL_ERROR, f"it sent {_NAMES[kind]} before CONNACK")
        if kind == _PUBLISH:
            if flags & 6 == 6:
                raise BreachError(MALFORMED, "it sent a message of QoS 3, which does not exist")
            if flags & 4:
                raise BreachError(PROTOCOL_ERROR, "it sent a message of QoS 2, and we never ask for that")
        elif flags != (2 if kind == _PUBREL else 0):
            raise BreachError(MALFORMED, f"it sent {_NAMES[kind]} with wrong flags")

    def has_length(self, first: int, length: int) -> None:
        """The remaining length of a packet."""
        if first >> 4 != _PUBLISH and length > _MOST_BYTES:
            raise BreachError(
                PACKET_TOO_LARGE, f"it sent {_NAMES[first >> 4]} that is too long", f"{length} bytes of {_MOST_BYTES}"
            )

    def connack(self, packet: bytearray) -> None:
        """CONNACK, before anything else is done with it."""
        if self._connected:
            raise BreachError(PROTOCOL_ERROR, "it sent CONNACK twice")
        self._connected = True
        if len(packet) < 2 or packet[0] & 0xFE:
            raise self.malformed(_CONNACK << 4)
        if packet[0] and self._clean and not packet[1]:
            raise BreachError(PROTOCOL_ERROR, "it resumed a session in CONNACK where we asked for a new one")

    def answer(self, first: int, packet: bytearray) -> None:
        """SUBACK or UNSUBACK."""
        asked = (first >> 4, int.from_bytes(packet[:2], "big"))
        if asked not in self._asked:
            raise BreachError(PROTOCOL_ERROR, f"it sent {_NAMES[first >> 4]} for nothing that we asked")
        self._asked.remove(asked)

    def pingresp(self, length: int) -> None:
        """PINGRESP with this remaining length."""
        if length:
            raise self.malformed(_PINGRESP << 4)
        if not self._pings:
            raise BreachError(PROTOCOL_ERROR, "it sent PINGRESP without PINGREQ")
        self._pings -= 1

    def pubrel(self, mid: int) -> None:
        """PUBREL for this packet id."""
        if mid in self._released or len(self._released) == _MOST_RELEASED:
            raise BreachError(PROTOCOL_ERROR, "it sent PUBREL without end, or twice for the same packet id")
        self._released.add(mid)

    def publish(self, message: Publish) -> str:
        """A message. Returns why it must not be taken for data, for people; empty if nothing is wrong."""
        if message.qos:
            mid = message.mid
            if mid in self._in_flight and (self._v5 or not message.dup):  # older brokers repeat while connected
                raise BreachError(PROTOCOL_ERROR, "it used a packet id again that we have not acknowledged")
            self._in_flight.add(mid)
            self._unacknowledged += 1
        if message.problem:
            return message.problem
        for _ in self._filters.iter_match(message.topic):
            return ""
        return "the topic matches no subscription of this source; to take such messages, add a filter to its topics"

    @staticmethod
    def malformed(first: int) -> BreachError:
        """The breach that is a packet that cannot be read."""
        return BreachError(MALFORMED, f"it sent {_NAMES[first >> 4]} that cannot be read")


TOO_MANY_LENGTH_BYTES: Final = "it sent a packet with a length of more than four bytes"
