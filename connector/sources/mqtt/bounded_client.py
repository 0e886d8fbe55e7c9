"""paho's client, reading ahead and within bounds.

A message may have 256 MB, and paho would hold it four times over. Of one that is longer than wanted only the beginning
is kept: the rest is read and thrown away as it comes, and whoever takes the message is told how long it was.
"""

from __future__ import annotations

from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

_READ_AHEAD: Final = 64 * 1024
_READ_AT_ONCE: Final = 1024 * 1024
AROUND_PAYLOAD: Final = 256 * 1024
"""Bytes of a message that are kept beside its payload: the topic has at most 65,535, the rest is for headers."""
MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The longest message that is kept whole where nobody says otherwise."""


class BoundedClient(Client):
    """paho asks the system three times for each packet; this asks once for many, and hands out the pieces."""

    def __init__(self, *args: Any, most_bytes: int = MESSAGE_BYTES, **more: Any) -> None:
        """Of a packet about `most_bytes` are kept, at least `AROUND_PAYLOAD`."""
        super().__init__(*args, **more)
        self._ahead = b""
        self._at = 0
        self._most = max(most_bytes, AROUND_PAYLOAD)
        self.cut_from: int | None = None
        """While a message is handed over: how many bytes it had, if not all of them were kept."""

    def has_ahead(self) -> bool:
        """Whether something was read that paho has not asked for yet."""
        return self._at < len(self._ahead)

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._ahead):
            self._ahead = super()._sock_recv(min(max(bufsize, _READ_AHEAD), _READ_AT_ONCE))
            self._at = 0
        packet = self._in_packet
        if packet["have_remaining"]:
            room = self._most - len(packet["packet"])
            if room <= 0:  # paho counts what it gets: one byte in the place of all that is thrown away
                thrown_away = max(0, min(bufsize, len(self._ahead) - self._at) - 1)
                packet["to_process"] -= thrown_away
                self._at += thrown_away
            bufsize = min(bufsize, max(1, room))
        start = self._at
        self._at = start + bufsize
        return self._ahead[start : start + bufsize]

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet
        if len(packet["packet"]) == packet["remaining_length"]:
            return super()._handle_publish()
        self.cut_from = packet["remaining_length"]
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            packet["packet"] = _whole_properties(packet["command"], packet["packet"])
        try:
            return super()._handle_publish()
        finally:
            self.cut_from = None


def _whole_properties(command: int, packet: bytearray) -> bytearray:
    """The beginning of a PUBLISH of MQTT 5; without properties and payload if it ends within its properties."""
    start = 2 + int.from_bytes(packet[:2], "big") + (2 if command & 0x06 else 0)
    length = at = 0
    while True:  # a number of up to four bytes
        length |= (packet[start + at] & 0x7F) << (7 * at)
        at += 1
        if not packet[start + at - 1] & 0x80:
            break
    if start + at + length <= len(packet):
        return packet
    return packet[:start] + b"\0"
