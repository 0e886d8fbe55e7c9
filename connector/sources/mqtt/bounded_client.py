"""paho's client, which reads ahead, keeps bounds, and checks the rules of `Agreement`.

A message may have 256 MB, and paho would hold four copies of the message. If a message is longer than wanted, only its
beginning is kept: the rest is read and thrown away, and the receiver of the message learns the full length.

All private names of paho that this project uses are in this file and in `websocket.py`.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.subscribeoptions import SubscribeOptions

from connector.sources.mqtt.agreement import TOO_MANY_LENGTH_BYTES, Agreement
from connector.sources.mqtt.bulk import Bulk, BulkReader
from connector.sources.mqtt.packets import AROUND_PAYLOAD, MALFORMED, BreachError, Publish, read_publish
from connector.sources.mqtt.tls import TlsSocket
from connector.sources.mqtt.websocket import BoundedWebsocket

_READ_AHEAD: Final = 64 * 1024
_READ_AT_ONCE: Final = 1024 * 1024
_LEAST_BYTES_A_SECOND: Final = 1024
_PUBACK: Final = 0x4002_0000
"""The four bytes of PUBACK, without the packet id."""
MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The default for the longest message that is kept whole, in bytes."""


class BoundedClient(Client):
    """A client that asks the system once for many packets; paho itself asks three times for each packet.

    `loop_read` raises `BreachError` if the broker broke a rule. Then the connection must end.
    """

    def __init__(
        self,
        *args: Any,
        agreement: Agreement,
        on_publish_received: Callable[[Publish], None],
        most_bytes: int = MESSAGE_BYTES,
        **more: Any,
    ) -> None:
        """`on_publish_received` is called with each message, in the thread that calls `loop_read`.

        About the first `most_bytes` of a packet are kept, and never less than `AROUND_PAYLOAD`.
        """
        super().__init__(*args, **more)
        self._agreement = agreement
        self._bulk = BulkReader(agreement, v5=self._protocol == MQTTProtocolVersion.MQTTv5, most_bytes=most_bytes)
        self._on_publish_received = on_publish_received
        self._ahead = b""
        self._at = 0
        self._short = False
        """Whether the last read found less than it had room for."""
        self._at_end = False
        """Whether the broker has closed the connection."""
        self._most = max(most_bytes, AROUND_PAYLOAD)
        self._longest_silence = 0
        self._began_at = 0.0
        """The time when the present packet began to come, or when reading went on after a pause."""
        self._had_then = 0
        """The bytes of the present packet that had come at `_began_at`."""
        self.cut_from: int | None = None
        """The full length of the message that is handed over, if only its beginning was kept; None otherwise."""
        self.wrote_at = time.monotonic()
        """The time when the broker last took bytes."""

    def has_ahead(self) -> bool:
        """Whether bytes were read that paho has not asked for yet."""
        return self._at < len(self._ahead)

    @property
    def is_drained(self) -> bool:
        """Whether all that had come is read, so that another read would find nothing."""
        return self._short and not self.has_ahead()

    @property
    def may_read(self) -> bool:
        """Whether more messages may be read. If not, some messages must be acknowledged first."""
        return self._agreement.room > 0

    @property
    def exceeded(self) -> bool:
        """Whether the broker sent more messages than agreed without waiting for acknowledgements."""
        return self._agreement.is_exceeded

    def is_slower_than(self, patience: float, now: float) -> bool:
        """Whether the present packet comes too slowly: at less than 1 KiB a second, after `patience` seconds of grace.

        `now` is `time.monotonic()`. paho itself goes on as long as bytes come.
        """
        if not self._in_packet["command"]:
            return False
        return now - self._began_at > patience + (self._had() - self._had_then) / _LEAST_BYTES_A_SECOND

    def read_on(self, now: float) -> None:
        """Note that reading goes on after a pause of ours, which must not count as slowness of the broker."""
        self._began_at, self._had_then = now, self._had()

    def _had(self) -> int:
        return self._in_packet["remaining_length"] - self._in_packet["to_process"]

    @property
    def backlog(self) -> int:
        """The number of packets that the broker has not taken yet."""
        return len(self._out_packet)

    def ping(self) -> None:
        """Send PINGREQ."""
        self._send_pingreq()

    def acknowledge(self, mids: Sequence[int]) -> None:
        """Send PUBACK for these packet ids, in this order."""
        if mids:
            packets = array("I", [_PUBACK | mid for mid in mids])
            if sys.byteorder == "little":
                packets.byteswap()
            self._packet_queue(_PUBACK >> 24, packets.tobytes(), mids[-1], 1)
            self._agreement.acknowledged(mids)

    def ask_for(self, subscriptions: Sequence[tuple[str, SubscribeOptions | int]]) -> tuple[MQTTErrorCode, int | None]:
        """Send SUBSCRIBE. Returns paho's result, and the packet id; None if nothing was sent."""
        result, mid = self.subscribe(list(subscriptions))  # type: ignore[arg-type] # paho's stub knows one type
        if mid is not None:
            self._agreement.subscribes(mid)
        return result, mid

    def give_up(self, filters: Sequence[str]) -> tuple[MQTTErrorCode, int | None]:
        """Send UNSUBSCRIBE. Returns paho's result, and the packet id; None if nothing was sent."""
        result, mid = self.unsubscribe(list(filters))
        if mid is not None:
            self._agreement.unsubscribes(mid)
        return result, mid

    def read_messages(self, most_bytes: int, first_us: int) -> Bulk | None:
        """The messages that are here, as in `BulkReader.read`; without records if nothing has come.

        None if the next packet has to be read alone, by `loop_read`.
        """
        if self._in_packet["command"] or not self._agreement.connected:
            return None
        if not self.has_ahead():
            try:
                self._ahead, self._at = self._receive(), 0
            except BlockingIOError:
                return Bulk([], [], self._at, 0, 0)
            except OSError:
                return None  # `loop_read` meets the same error, and ends the connection
            self._at_end = not self._ahead
            self._short = len(self._ahead) < _READ_AHEAD
        found = self._bulk.read(self._ahead, self._at, most_bytes, first_us)
        if not found.records:
            return None
        self._at = found.end
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        return found

    def _receive(self) -> bytes:
        """What has come; empty if the broker has closed the connection. Raises BlockingIOError and other OSError.

        With websockets, one read brings one frame, and brokers send each message in one of its own.
        """
        data = super()._sock_recv(_READ_AHEAD)
        if not data or self._transport != "websockets":
            return data
        pieces, size = [data], len(data)
        while size < _READ_AHEAD:
            try:
                data = super()._sock_recv(_READ_AHEAD)
            except OSError:  # nothing more now, or an error that the next read meets again
                break
            if not data:
                break  # the same
            pieces.append(data)
            size += len(data)
        return b"".join(pieces)

    # -- below: paho's own names ------------------------------------------------------------------

    def connect(self, host: str, port: int = 1883, keepalive: int = 60, *args: Any, **more: Any) -> MQTTErrorCode:
        """Connect as paho does, but with a keepalive that a broker cannot make longer."""
        self._longest_silence = keepalive
        return super().connect(host, port, keepalive, *args, **more)

    def _create_socket(self) -> Any:
        sock: Any = self._create_socket_connection()
        if self._ssl_context is not None:
            sock = TlsSocket(sock, self._ssl_context, self._host, self._connect_timeout)
        if self._transport != "websockets":
            return sock
        return BoundedWebsocket(sock, self._host, self._port, self._ssl, self._websocket_path, self._connect_timeout)

    def _sock_recv(self, bufsize: int) -> bytes:
        packet = self._in_packet
        if packet["have_remaining"]:
            if not packet["packet"]:
                self._agreement.has_length(packet["command"], packet["remaining_length"])
        elif len(packet["remaining_count"]) == 4:
            raise BreachError(MALFORMED, TOO_MANY_LENGTH_BYTES)
        if not self.has_ahead():
            self._short = False
            self._ahead = b"" if self._at_end else super()._sock_recv(min(max(bufsize, _READ_AHEAD), _READ_AT_ONCE))
            self._at = 0
        if packet["have_remaining"]:
            room = self._most - len(packet["packet"])
            if room <= 0:  # paho counts the bytes that it gets: here one byte for all thrown away
                thrown_away = max(0, min(bufsize, len(self._ahead) - self._at) - 1)
                packet["to_process"] -= thrown_away
                self._at += thrown_away
            bufsize = min(bufsize, max(1, room))
        start = self._at
        self._at = start + bufsize
        data = self._ahead[start : start + bufsize]
        if not packet["command"] and not packet["have_remaining"] and not packet["remaining_count"] and data:
            self._agreement.begins(data[0])
            self._began_at, self._had_then = time.monotonic(), 0
        return data

    def _sock_send(self, buf: bytes | bytearray) -> int:
        sent = super()._sock_send(buf)
        if sent:
            self.wrote_at = time.monotonic()
        return sent

    def _packet_handle(self) -> MQTTErrorCode:
        first = self._in_packet["command"]
        try:
            return super()._packet_handle()
        except MQTTException as error:  # MalformedPacket is a subclass
            raise self._agreement.malformed(first) from error

    def _handle_connack(self) -> MQTTErrorCode:
        self._agreement.connack(self._in_packet["packet"])
        result = super()._handle_connack()
        # A broker may set the keepalive. With 0, or a day, nobody would notice a dead connection.
        self._keepalive = min(self._keepalive or self._longest_silence, self._longest_silence)
        return result

    def _handle_suback(self) -> None:
        self._check_answer()
        super()._handle_suback()

    def _handle_unsuback(self) -> MQTTErrorCode:
        self._check_answer()
        return super()._handle_unsuback()

    def _check_answer(self) -> None:
        self._agreement.answer(self._in_packet["command"], self._in_packet["packet"])

    def _handle_pingresp(self) -> MQTTErrorCode:
        self._agreement.pingresp(self._in_packet["remaining_length"])
        return super()._handle_pingresp()

    def _send_pingreq(self) -> MQTTErrorCode:
        self._agreement.pinged()
        return super()._send_pingreq()

    def _handle_pubrel(self) -> MQTTErrorCode:
        mid = int.from_bytes(self._in_packet["packet"][:2], "big")
        self._agreement.pubrel(mid)
        return self._send_pubcomp(mid)

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet
        length = packet["remaining_length"]
        message = read_publish(
            packet["command"], packet["packet"], length, v5=self._protocol == MQTTProtocolVersion.MQTTv5
        )
        if problem := self._agreement.publish(message):
            message = message._replace(problem=problem)
        self.cut_from = None if len(packet["packet"]) == length else length
        try:
            self._on_publish_received(message)
        finally:
            self.cut_from = None
        return MQTTErrorCode.MQTT_ERR_SUCCESS
