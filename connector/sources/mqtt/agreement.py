"""The packets that a broker may send on one connection, by the protocol and by CONNECT and SUBSCRIBE. No I/O.

All data that a broker can make the connector keep is bounded here: messages that wait for their acknowledgement, packet
ids, and the size of each packet. A breach raises `BreachError` as early as possible, often at the first byte.

Two kinds of messages are taken without an agreement, because a broker may hold messages from our earlier session:
a message of QoS 1 where QoS 0 was requested, and a message for an earlier subscription. PUBREL is answered, too: an
earlier client with our client ID may have left a QoS 2 exchange unfinished.
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
"""The packets that a broker may send. Our messages want no acknowledgement: PUBACK, PUBREC and PUBCOMP are breaches."""
_MOST_BYTES: Final = 65_536
"""The longest packet that is no message, in bytes: an answer, or a reason with its texts."""
_PACKET_IDS: Final = 65_535
_MOST_RELEASED: Final = 1000
"""The most PUBREL on one connection. The remaining exchanges of an earlier client end on the next connections."""
_LENIENCE: Final = 2
"""No more is read while this many times the Receive Maximum wait for their acknowledgements.

Mosquitto up to 2.0.12 may send a whole Receive Maximum more for each acknowledgement. If this breach ended the
connection, the connector could not carry the load of these brokers.
"""


class Agreement:
    """The rules of one connection, for the thread that owns the connection."""

    def __init__(
        self, *, v5: bool, clean: bool, receive_maximum: int = _PACKET_IDS, filters: Iterable[str] = ("#",)
    ) -> None:
        """`filters` are the filters whose messages may come, with or without `$share/GROUP/`.

        With `clean`, the broker was asked for a new session. `receive_maximum` counts only with MQTT 5.
        """
        self._v5 = v5
        self._clean = clean
        self._agreed = receive_maximum if v5 else _PACKET_IDS
        self._filters: Any = MQTTMatcher()  # type: ignore[no-untyped-call]
        for text in filters:
            self._filters[text.split("/", 2)[2] if text.startswith("$share/") else text] = True
        self.connected = False
        """Whether CONNACK came."""
        self._unacknowledged = 0
        self.in_flight: set[int] = set()
        """The packet ids of the messages that are not acknowledged yet."""
        self._released: set[int] = set()
        """The packet ids of all PUBREL so far."""
        self._asked: set[tuple[int, int]] = set()
        """(kind of the answer, packet id) of each SUBSCRIBE and UNSUBSCRIBE that is not answered."""
        self._pings = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether more messages wait for their acknowledgements than agreed, which is a breach of MQTT 5."""
        return self._unacknowledged > self._agreed

    @property
    def room(self) -> int:
        """The number of messages that may be read before some messages must be acknowledged."""
        return min(_PACKET_IDS, _LENIENCE * self._agreed) - self._unacknowledged

    # -- packets to the broker --------------------------------------------------------------------

    def subscribes(self, mid: int) -> None:
        """Note that SUBSCRIBE with this packet id is on its way."""
        self._asked.add((_SUBACK, mid))

    def unsubscribes(self, mid: int) -> None:
        """Note that UNSUBSCRIBE with this packet id is on its way."""
        self._asked.add((_UNSUBACK, mid))

    def pinged(self) -> None:
        """Note that PINGREQ is on its way."""
        self._pings += 1

    def acknowledged(self, mids: Sequence[int]) -> None:
        """Note that PUBACK for the messages `mids` is on its way: the broker may use these packet ids again."""
        self._unacknowledged -= len(mids)
        self.in_flight.difference_update(mids)

    # -- packets from the broker; each method raises BreachError ----------------------------------

    def begins(self, first: int) -> None:
        """Check the first byte of a packet."""
        kind, flags = first >> 4, first & 15
        if kind not in _EXPECTED or (kind == _DISCONNECT and not self._v5):
            raise BreachError(PROTOCOL_ERROR, f"the broker sent {_NAMES[kind]}, which a client must not get here")
        if not self.connected and kind not in (_CONNACK, _DISCONNECT):
            raise BreachError(PROTOCOL_ERROR, f"the broker sent {_NAMES[kind]} before CONNACK")
        if kind == _PUBLISH:
            if flags & 6 == 6:
                raise BreachError(MALFORMED, "the broker sent a message of QoS 3, which does not exist")
            if flags & 4:
                raise BreachError(PROTOCOL_ERROR, "the broker sent a message of QoS 2, which was never requested")
        elif flags != (2 if kind == _PUBREL else 0):
            raise BreachError(MALFORMED, f"the broker sent {_NAMES[kind]} with wrong flags")

    def has_length(self, first: int, length: int) -> None:
        """Check the remaining length of a packet."""
        if first >> 4 != _PUBLISH and length > _MOST_BYTES:
            raise BreachError(
                PACKET_TOO_LARGE,
                f"the broker sent {_NAMES[first >> 4]} that is too long",
                f"{length} bytes of {_MOST_BYTES}",
            )

    def connack(self, packet: bytearray) -> None:
        """Check CONNACK, before paho handles the packet."""
        if self.connected:
            raise BreachError(PROTOCOL_ERROR, "the broker sent CONNACK twice")
        self.connected = True
        if len(packet) < 2 or packet[0] & 0xFE:
            raise self.malformed(_CONNACK << 4)
        if packet[0] and self._clean and not packet[1]:
            raise BreachError(PROTOCOL_ERROR, "the broker resumed a session although a new session was requested")

    def answer(self, first: int, packet: bytearray) -> None:
        """Check SUBACK or UNSUBACK."""
        asked = (first >> 4, int.from_bytes(packet[:2], "big"))
        if asked not in self._asked:
            raise BreachError(PROTOCOL_ERROR, f"the broker sent {_NAMES[first >> 4]} without a request")
        self._asked.remove(asked)

    def pingresp(self, length: int) -> None:
        """PINGRESP with this remaining length."""
        if length:
            raise self.malformed(_PINGRESP << 4)
        if not self._pings:
            raise BreachError(PROTOCOL_ERROR, "the broker sent PINGRESP without PINGREQ")
        self._pings -= 1

    def pubrel(self, mid: int) -> None:
        """Check PUBREL for this packet id."""
        if mid in self._released or len(self._released) == _MOST_RELEASED:
            raise BreachError(PROTOCOL_ERROR, "the broker sent PUBREL without end, or twice for one packet id")
        self._released.add(mid)

    def publish(self, message: Publish) -> str:
        """Check a message. Returns the reason why the message is no data, for people; empty without a reason."""
        if message.qos:
            mid = message.mid
            if mid in self.in_flight and (self._v5 or not message.dup):  # before MQTT 5, brokers may repeat
                raise BreachError(PROTOCOL_ERROR, "the broker used the packet id of an unacknowledged message again")
            self.in_flight.add(mid)
            self._unacknowledged += 1
        if message.problem:
            return message.problem
        if self.wants(message.topic):
            return ""
        return "the topic matches no subscription of this source; to take its messages, add a filter to `topics`"

    def took(self, messages: int) -> int:
        """Note messages that need an acknowledgement, and whose packet ids are `in_flight` now.

        Returns the number of messages that the broker sent beyond the Receive Maximum.
        """
        self._unacknowledged += messages
        return max(0, min(messages, self._unacknowledged - self._agreed))

    def wants(self, topic: str) -> bool:
        """Whether the topic matches a subscription."""
        return any(True for _ in self._filters.iter_match(topic))

    @staticmethod
    def malformed(first: int) -> BreachError:
        """The error for a packet that cannot be read."""
        return BreachError(MALFORMED, f"the broker sent {_NAMES[first >> 4]} that cannot be read")


TOO_MANY_LENGTH_BYTES: Final = "the broker sent a packet with a length of more than four bytes"
