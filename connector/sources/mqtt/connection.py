"""One network connection to an MQTT broker, from CONNECT to its end.

Every connection has a paho client of its own. An acknowledgement is handed to the connection that received
the message, and only it can send it: once the connection is gone the acknowledgement is stale, and dropped
and counted. So a packet id can never confirm another message after a reconnect. One thread owns the
connection; other threads only call `acknowledge`.

While `paused` the socket is not read, so TCP tells the broker to wait; pings still go out, and their answers
are not missed as long as they are behind data that we chose not to read.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connector.brokers.mqtt import explained, refusal, tls_context
from connector.brokers.mqtt_section import MQTT_PORTS
from connector.records import Record
from connector.sources.mqtt.bounded_client import MESSAGE_BYTES, BoundedClient
from connector.sources.mqtt.section import MqttSection

_CONNECT_SECONDS: Final = 10.0
_HANDSHAKE_SECONDS: Final = 20.0
_READS_PER_TURN: Final = 256
_TURN_BYTES: Final = 1024 * 1024
_TICK_SECONDS: Final = 0.5
_OUTGOING: Final = 1000
_GOODBYE_SECONDS: Final = 1.0
TAKEN_OVER: Final = 0x8E
"""MQTT 5 reason code 142, "session taken over": another client connected with our client ID."""


def _duplicate(sock: Any) -> socket.socket | None:
    """Another handle of this connection, which is open after paho has closed its own."""
    try:
        return None if sock is None else socket.socket(fileno=os.dup(sock.fileno()))
    except OSError:  # it was closed below us
        return None


def _close_in_order(sock: socket.socket) -> None:
    """Close a connection on which all was said, and on which the broker may go on sending. Closing one with unread data
    resets it, and then the broker drops the acknowledgements that it has not read: their messages would come again."""
    until = time.monotonic() + _GOODBYE_SECONDS
    with sock, contextlib.suppress(OSError):  # the broker was faster
        sock.settimeout(0.1)
        sock.shutdown(socket.SHUT_WR)
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                if not sock.recv(65_536):
                    return


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection ended."""

    message: str
    taken_over: bool = False
    by_broker: bool = False
    """The broker closed an established connection without a word."""
    refused: bool = False
    """The broker answered, and did not want us."""


@dataclass(frozen=True, slots=True)
class Received:
    """What one turn of the network loop read."""

    records: list[Record]
    mids: list[int]
    """Packet ids of the QoS 1 messages among them, in order."""


class Departure:
    """How far we are with leaving subscriptions on this connection. No I/O."""

    def __init__(self) -> None:
        self.came = 0
        """Messages received on this connection."""
        self.to_acknowledge = 0
        """Those of them that want an acknowledgement."""
        self.acknowledged = 0
        self.quiet = False
        """The last message that was meant for us has come and is acknowledged."""
        self._mid: int | None = None
        self._came_before = 0
        self._unsubscribed = False

    @property
    def may_ask(self) -> bool:
        """Whether to send UNSUBSCRIBE: at once the first time, then when nothing waits for its acknowledgement."""
        if self.quiet or self._mid is not None:
            return False
        return not self._unsubscribed or self.acknowledged >= self.to_acknowledge

    def asked(self, mid: int) -> None:
        """UNSUBSCRIBE was sent, with this packet id."""
        self._mid = mid
        self._came_before = self.came

    def answered(self, mid: int) -> bool:
        """UNSUBACK came for this packet id; whether it was the first one of ours."""
        if mid != self._mid:
            return False
        self._mid = None
        first, self._unsubscribed = not self._unsubscribed, True
        self.quiet = not first and self.came == self._came_before
        return first


class Connection:
    """One connection; used once."""

    def __init__(
        self,
        settings: MqttSection,
        client_id: str,
        *,
        remembered_filters: frozenset[str],
        received: Callable[[Connection, Received], None],
        subscribed: Callable[[Connection, frozenset[str]], None],
        stale: Callable[[int], None],
        keep_session: bool = True,
        leave: frozenset[str] = frozenset(),
        ends_session: Callable[[], bool] = lambda: False,
        message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        """`received` (what was read) and `subscribed` (which filters are in force now) are called in the thread
        that calls `run`; `stale` (so many acknowledgements came too late) in any. Without `keep_session` the broker
        begins with a new session, and forgets it at the end. Filters in `leave` are given up as if `leave()` had been
        called. `ends_session` is asked at the end: whether the broker may forget us. A message of more than about
        `message_bytes` comes without its end, as one with a problem."""
        self._settings = settings
        self._received = received
        self._subscribed = subscribed
        self._stale = stale
        self._keep_session = keep_session
        self._remembered_filters = remembered_filters
        self._leave = leave
        self._ends_session = ends_session
        self._departure = Departure()
        self._asked: list[str] = []
        """The filters of our SUBSCRIBE, in its order."""
        self._v5 = settings.protocol == "5"
        self._records: list[Record] = []
        self._mids: list[int] = []
        self._turn_bytes = 0
        self._outgoing: deque[tuple[str, bytes]] = deque(maxlen=_OUTGOING)
        self._acks: deque[list[int]] = deque()
        self._acks_lock = threading.Lock()
        self._open = True
        self._end: End | None = None
        self._connack = False
        self._suback_due: float | None = None
        self._subscribe_mid: int | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self.session_present = False
        self.session_expiry = settings.session_expiry
        """Seconds that the broker keeps our session: it may grant less than was asked for."""
        self.refused_filters: dict[str, str] = {}
        self.ready = False
        self._message_bytes = message_bytes
        self._client = self._make_client(client_id)

    # -- other threads ----------------------------------------------------------------------------

    def acknowledge(self, mids: list[int]) -> None:
        """Send PUBACK for these messages of this connection, in this order; nothing if it has ended."""
        with self._acks_lock:
            if not self._open:
                self._stale(len(mids))
                return
            self._acks.append(mids)
        self.wake()

    def leave(self, filters: frozenset[str]) -> None:
        """Unsubscribe from these, and find out when the last message that was meant for us has come."""
        self._leave = filters
        self.wake()

    @property
    def left(self) -> bool:
        """Whether the filters to leave are unsubscribed, and all that the broker had queued for us by then came and
        was acknowledged."""
        return self._departure.quiet

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send this message, QoS 0, behind the acknowledgements that wait; False if the connection has ended, or too
        much waits already."""
        with self._acks_lock:
            if not self._open or len(self._outgoing) == _OUTGOING:
                return False
            self._outgoing.append((topic, payload))
        self.wake()
        return True

    def wake(self) -> None:
        """Let the loop look around at once."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has ended
            self._wake_sender.send(b"\0")

    # -- the thread that owns the connection ------------------------------------------------------

    def run(self, *, may_read: Callable[[], bool], stopping: Callable[[], bool]) -> End:
        """Connect and serve until the connection ends or `stopping`; says why it ended."""
        try:
            return self._connect() or self._serve(may_read, stopping)
        finally:
            self._hand_over()
            with self._acks_lock:
                self._open = False
                unsent = sum(len(mids) for mids in self._acks)
                self._acks.clear()
            self._stale(unsent)
            self._wake_receiver.close()
            self._wake_sender.close()

    def _make_client(self, client_id: str) -> BoundedClient:
        settings = self._settings
        url = urlsplit(settings.url)
        options: dict[str, Any] = {} if self._v5 else {"clean_session": not self._keep_session}
        client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if url.scheme in ("ws", "wss") else "tcp",
            manual_ack=True,
            reconnect_on_failure=False,
            most_bytes=self._message_bytes,
            **options,
        )
        _set_up(client, settings)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message_v5 if self._v5 else self._on_message
        # With this callback set, paho leaves writing to our loop instead of writing each packet at once.
        client.on_socket_register_write = lambda _client, _userdata, _sock: None
        return client

    def _connect(self) -> End | None:
        url = urlsplit(self._settings.url)
        port = url.port or MQTT_PORTS[url.scheme]
        keepalive = max(1, round(self._settings.keepalive))
        try:
            if self._v5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = round(self._settings.session_expiry) if self._keep_session else 0
                properties.ReceiveMaximum = self._settings.receive_maximum
                self._client.connect(
                    url.hostname or "",
                    port,
                    keepalive=keepalive,
                    clean_start=not self._keep_session,
                    properties=properties,
                )
            else:
                self._client.connect(url.hostname or "", port, keepalive=keepalive)
        except (OSError, ValueError) as error:  # ValueError: a certificate that does not fit the name
            return End(f"cannot connect to {url.hostname}:{port}: {explained(error, _CONNECT_SECONDS)}")
        return None

    def _serve(self, may_read: Callable[[], bool], stopping: Callable[[], bool]) -> End:
        client = self._client
        deadline = time.monotonic() + _HANDSHAKE_SECONDS
        misc_from = 0.0
        next_ping = 0.0
        while True:
            if self._end is not None:
                return self._end
            sock = client.socket()
            if sock is None:
                return End("the connection was lost")
            now = time.monotonic()
            if not self._connack and now > deadline:
                return End("the broker did not answer CONNECT in time: is it an MQTT broker?")
            if self._suback_due is not None and now > self._suback_due:
                return End("the broker did not answer SUBSCRIBE in time")
            if stopping():
                return self._say_goodbye()
            self._go_on_leaving()
            reading = not self._connack or may_read()
            if reading:
                if now >= misc_from:
                    client.loop_misc()
            else:
                # The answers to our pings are in what we do not read now: do not miss them for a while.
                misc_from = now + self._settings.keepalive
                if now >= next_ping:
                    next_ping = now + self._settings.keepalive / 2
                    client._send_pingreq()  # paho has no public ping
            self._turn(sock, reading)

    def _turn(self, sock: Any, reading: bool) -> None:
        client = self._client
        pending = reading and (client.has_ahead() or (hasattr(sock, "pending") and sock.pending() > 0))
        wanted = [self._wake_receiver, sock] if reading else [self._wake_receiver]
        try:
            readable, _, _ = select.select(
                wanted, [sock] if client.want_write() else [], [], 0.0 if pending else _TICK_SECONDS
            )
        except (OSError, ValueError):  # the socket was closed below us
            self._end = self._end or End("the connection was lost")
            return
        if self._wake_receiver in readable:
            with contextlib.suppress(BlockingIOError):  # it is empty again
                while self._wake_receiver.recv(4096):
                    continue
        self._send_acks()
        while self._outgoing:
            client.publish(*self._outgoing.popleft(), qos=0)
        if client.want_write():
            client.loop_write()
        if sock in readable or pending:
            self._read()

    def _read(self) -> None:
        client = self._client
        for _ in range(_READS_PER_TURN):
            before = len(self._records)
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or len(self._records) == before:
                break
            if self._turn_bytes > _TURN_BYTES:
                break
        self._hand_over()

    def _hand_over(self) -> None:
        if self._records:
            received = Received(self._records, self._mids)
            self._records, self._mids, self._turn_bytes = [], [], 0
            self._received(self, received)

    def _send_acks(self) -> None:
        while True:
            with self._acks_lock:
                if not self._acks:
                    return
                mids = self._acks.popleft()
            for mid in mids:
                self._client.ack(mid, 1)
            self._departure.acknowledged += len(mids)

    def _go_on_leaving(self) -> None:
        """UNSUBSCRIBE, once to leave and then again and again as a question: a broker answers in order, so when an
        answer comes and no message came before it, though all earlier ones are acknowledged, there is none left."""
        departure = self._departure
        if not self._leave or self._suback_due is not None or not self._connack:
            return
        if departure.may_ask:
            result, mid = self._client.unsubscribe(sorted(self._leave))
            if result == MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
                departure.asked(mid)

    def _on_unsubscribe(self, _client: Client, _userdata: Any, mid: int, *_: Any) -> None:
        if self._departure.answered(mid):
            self._subscribed(self, frozenset(self._settings.topics) - self._leave - frozenset(self.refused_filters))

    def _say_goodbye(self) -> End:
        """DISCONNECT; the session stays at the broker for the next time, unless it may end."""
        self._send_acks()
        kept = _duplicate(self._client.socket())
        if self._ends_session() and self._v5:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
            self._client.disconnect(properties=properties)
        else:
            self._client.disconnect()
        until = time.monotonic() + _GOODBYE_SECONDS
        while self._client.want_write() and (sock := self._client.socket()) and time.monotonic() < until:
            select.select([], [sock], [], 0.1)
            self._client.loop_write()
        if kept is not None:
            _close_in_order(kept)
        return End("we disconnected")

    # -- paho's callbacks, all in the same thread -------------------------------------------------

    def _on_connect(
        self, client: Client, _userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._end = End(refusal(reason.getName(), self._settings.protocol), refused=True)
            return
        self._connack = True
        self.session_present = flags.session_present
        self.session_expiry = getattr(properties, "SessionExpiryInterval", self.session_expiry)
        wanted = frozenset(self._settings.topics)
        if flags.session_present:
            gone = sorted(self._remembered_filters - wanted)
            if gone:
                client.unsubscribe(gone)
            if (
                not self._v5
                and self._remembered_filters == wanted - self._leave
                and self._settings.retained != "always"
            ):
                # Before MQTT 5, subscribing again would bring every retained message again.
                self._granted(wanted - self._leave)
                return
        self._asked = [topic for topic in self._settings.topics if topic not in self._leave]
        if not self._asked:  # everything is being left
            self._granted(frozenset())
            return
        subscriptions: list[tuple[str, Any]] = [(topic, self._options(topic)) for topic in self._asked]
        result, self._subscribe_mid = client.subscribe(subscriptions)
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end = End(f"SUBSCRIBE could not be sent: {result!r}")
        self._suback_due = time.monotonic() + _HANDSHAKE_SECONDS

    def _options(self, topic: str) -> SubscribeOptions | int:
        if not self._v5:
            return self._settings.qos
        retained = {"always": 0, "new": 1, "never": 2}[self._settings.retained]
        if topic.startswith("$share/"):
            retained = 0  # brokers must not send retained messages here, and some refuse other values
        return SubscribeOptions(qos=self._settings.qos, retainHandling=retained)

    def _on_subscribe(
        self, _client: Client, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if mid != self._subscribe_mid:
            return
        self._suback_due = None
        for topic, reason in zip(self._asked, reasons, strict=False):
            if reason.is_failure:
                self.refused_filters[topic] = reason.getName()
            elif reason.value < self._settings.qos:
                self.refused_filters[topic] = f"granted only QoS {reason.value}"
        self._granted(frozenset(self._asked) - frozenset(self.refused_filters))

    def _granted(self, filters: frozenset[str]) -> None:
        self.ready = not self.refused_filters
        self._subscribed(self, filters)

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self._end is not None:
            return
        if flags.is_disconnect_packet_from_server:
            taken_over = reason.value == TAKEN_OVER
            self._end = End(f"the broker disconnected us: {reason.getName()}", taken_over=taken_over, refused=True)
        else:
            self._end = End(f"the connection was lost: {reason.getName()}", by_broker=self._connack)

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self._take(message, ())

    def _on_message_v5(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self._take(message, tuple(getattr(message.properties, "UserProperty", ())))

    def _take(self, message: MQTTMessage, headers: tuple[tuple[str, str], ...]) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # the protocol forbids it, yet the message must not be lost
            topic = bytes(message._topic).decode("utf-8", "backslashreplace")
        payload = bytes(message.payload)
        problem = "" if self._client.cut_from is None else _too_long(self._client.cut_from, len(payload))
        self._records.append(
            Record(topic, payload, time.time_ns() // 1000, None, headers, message.retain, problem=problem)
        )
        if message.qos:
            self._mids.append(message.mid)
            self._departure.to_acknowledge += 1
        self._departure.came += 1
        self._turn_bytes += len(payload) + len(topic) + sum(len(name) + len(value) for name, value in headers)


def _too_long(length: int, kept: int) -> str:
    return (
        f"the message has {length} bytes, and only the first {kept} of its payload were kept: it is longer than any "
        "payload may be (mapping.max_payload, and dead_letters.max_payload for what is kept of it here)"
    )


def end_session(settings: MqttSection, client_id: str) -> None:
    """Have the broker forget this session, before MQTT 5: by a clean one that ends at once. Best effort: where it does
    not work, the session ends when the broker lets it expire."""
    url = urlsplit(settings.url)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=True,
        protocol=MQTTProtocolVersion.MQTTv311,
        transport="websockets" if url.scheme in ("ws", "wss") else "tcp",
        reconnect_on_failure=False,
    )
    _set_up(client, settings)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    with contextlib.suppress(OSError, ValueError):
        client.connect(url.hostname or "", url.port or MQTT_PORTS[url.scheme], keepalive=10)
        client.loop_start()
        connected.wait(_CONNECT_SECONDS)
        client.disconnect()
        client.loop_stop()


def _set_up(client: Client, settings: MqttSection) -> None:
    """Path, user, certificates."""
    url = urlsplit(settings.url)
    if url.scheme in ("ws", "wss"):
        client.ws_set_options(path=(url.path or "/mqtt") + (f"?{url.query}" if url.query else ""))
    if settings.username is not None:
        password = settings.password.get_secret_value() if settings.password else None
        client.username_pw_set(settings.username, password)
    if url.scheme in ("mqtts", "wss"):
        client.tls_set_context(tls_context(settings.tls))
    client.connect_timeout = _CONNECT_SECONDS
