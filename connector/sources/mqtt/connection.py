"""One network connection to an MQTT broker, from CONNECT to its end.

Every connection has a separate paho client, so that a packet id can never confirm another message after a reconnect.
One thread owns the connection; other threads only hand data to `Outbound`, or set a flag.

While reading is paused, the socket is not read, so TCP makes the broker wait. Pings still go out. A missing answer does
not count, because the answer may be behind data that is not read yet.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt.client import Client, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connector.brokers.mqtt import explained, loss, publish_bytes, ready_sockets, refusal
from connector.brokers.mqtt_probe import other_security
from connector.sources.mqtt.arrivals import Arrivals, Received
from connector.sources.mqtt.bounded_client import MESSAGE_BYTES, BoundedClient
from connector.sources.mqtt.departure import Departure
from connector.sources.mqtt.handshake import CONNECT_SECONDS, Handshake
from connector.sources.mqtt.outbound import Outbound
from connector.sources.mqtt.packets import BreachError, Publish
from connector.sources.mqtt.refusals import Refusals
from connector.sources.mqtt.rest import Rest
from connector.sources.mqtt.section import MqttSection
from connector.threads.watched import moves

_READS_PER_TURN: Final = 256
_TURN_BYTES: Final = 1024 * 1024
_TICK_SECONDS: Final = 1.0
_ROOM_SECONDS: Final = 0.5
"""The time until a connection that is not read looks for room in the journal again."""
_GOODBYE_SECONDS: Final = 1.0
_BACKLOG: Final = 1000
"""The number of packets not taken by the broker at which no more packets are added."""
_BLAMES_FILTERS: Final = frozenset({0x80, 0x82, 0x83, 0x87, 0x8F, 0x95, 0x97, 0x9E, 0xA2})
"""The reason codes of DISCONNECT that may come from a filter in a SUBSCRIBE."""
TAKEN_OVER: Final = 0x8E
"""MQTT 5 reason code 142, "session taken over": another client connected with our client ID."""


def _duplicate(sock: Any) -> socket.socket | None:
    """Another handle of this connection, which stays open after paho has closed its handle; None if closed already."""
    try:
        return None if sock is None else socket.socket(fileno=os.dup(sock.fileno()))
    except OSError:  # the socket is closed already
        return None


def _close_in_order(sock: socket.socket) -> None:
    """Close a connection after our last packet, and let the broker read this packet.

    If a connection with unread data is closed, TCP resets the connection. Then the broker drops all unread
    acknowledgements, and sends the messages again. So all data is read until the broker closes the connection.
    """
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
    """The reason why a connection ended."""

    message: str
    taken_over: bool = False
    by_broker: bool = False
    """Whether the broker closed an established connection without a reason."""
    refused: bool = False
    """Whether the broker answered with a refusal."""
    unanswered: tuple[str, ...] = ()
    """The requested filters that may be the reason: the broker ended the connection instead of answering SUBSCRIBE."""
    again: bool = False
    """Whether we ended the connection only to connect again."""
    breach: str | None = None
    """The rule that the broker broke, one of a fixed number of texts; None if we did not end the connection for it."""


class Connection:
    """One connection. The object is used once."""

    def __init__(
        self,
        settings: MqttSection,
        client_id: str,
        *,
        remembered_filters: frozenset[str],
        received: Callable[[Connection, Received], None],
        subscribed: Callable[[Connection, frozenset[str]], None],
        unsubscribed: Callable[[frozenset[str]], None] = lambda _filters: None,
        stale: Callable[[int], None],
        keep_session: bool = True,
        other_qos: bool = False,
        leave: frozenset[str] = frozenset(),
        ends_session: Callable[[], bool] = lambda: False,
        refusals: Refusals | None = None,
        message_bytes: int = MESSAGE_BYTES,
        rest: Rest | None = None,
    ) -> None:
        """Set the parameters; `run` opens the connection.

        Three callbacks run in the thread that calls `run`: `received` with the messages of a turn; `subscribed` with
        the filters in force, and again after refused filters were requested again; `unsubscribed` with the remaining
        filters after some filters were given up. `stale` runs in any thread, with the number of
        acknowledgements that came too late. `remembered_filters`, `refusals`, `keep_session` and `other_qos` are as in
        `Handshake`. Filters in `leave` are given up, as after a call of `leave()`. `ends_session` is called at the end,
        and returns whether the broker may forget our session. A message of more than about `message_bytes` comes
        without its end, as a record with a problem. `rest` says when the socket is left alone; without it, the socket
        never is.
        """
        self._settings = settings
        self._received = received
        self._unsubscribed = unsubscribed
        self._leave = leave
        self._ends_session = ends_session
        self._message_bytes = message_bytes
        self._departure = Departure()
        self._outbound = Outbound(stale)
        self.handshake = Handshake(
            settings,
            client_id,
            remembered_filters,
            refusals or Refusals(),
            keep_session=keep_session,
            other_qos=other_qos,
            leave=leave,
            granted=lambda filters: subscribed(self, filters),
            received=self._take,
        )
        """What the broker was asked for, and what the broker has granted: any thread may read the attributes."""
        self._client: BoundedClient
        self._arrivals = Arrivals(self._departure)
        self._rest = rest or Rest()
        self._rest.begin(time.monotonic())
        self._end: End | None = None
        self._nothing_waits_at = time.monotonic()
        """The last time when nothing waited to be sent."""

    # -- for any thread ---------------------------------------------------------------------------

    @property
    def left(self) -> bool:
        """Whether the filters in `leave` are unsubscribed, and all messages from before are here and acknowledged."""
        return self._departure.quiet and not any(topic in self.handshake.not_ended for topic in self._leave)

    def acknowledge(self, mids: list[int]) -> None:
        """Do the same as `Outbound.acknowledge`."""
        self._outbound.acknowledge(mids)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Do the same as `Outbound.publish`. Returns False, too, if the broker does not take a message so long."""
        fits = publish_bytes(topic, payload) <= self.handshake.announced.maximum_packet
        return fits and self._outbound.publish(topic, payload)

    def leave(self, filters: frozenset[str]) -> None:
        """Unsubscribe from `filters`, and find out when the last message for our session has come (see `left`)."""
        self._leave = self.handshake.leave = filters
        self._outbound.wake()

    def wake(self) -> None:
        """Make the loop check its queues and flags at once."""
        self._outbound.wake()

    # -- for the thread that owns the connection --------------------------------------------------

    def run(self, *, may_read: Callable[[], bool], stopping: Callable[[], bool]) -> End:
        """Connect, and serve until the connection ends or until `stopping`. Returns the reason for the end."""
        try:
            return self._connect() or self._serve(may_read, stopping)
        finally:
            self._hand_over()
            self._outbound.close()

    def _connect(self) -> End | None:
        try:
            self._outbound.open_socket()
        except OSError as error:
            return End(f"cannot connect: {explained(error, CONNECT_SECONDS)}")
        client = self.handshake.connect(self._message_bytes)
        if isinstance(client, str):
            return End(client)
        client.on_unsubscribe = self._on_unsubscribe
        client.on_disconnect = self._on_disconnect
        self._client = client
        return None

    def _serve(self, may_read: Callable[[], bool], stopping: Callable[[], bool]) -> End:
        client, handshake = self._client, self.handshake
        keepalive = self._settings.keepalive
        misc_from = 0.0
        next_ping = 0.0
        while True:
            moves()
            now = time.monotonic()
            if end := self._over(now):
                return end
            if stopping():
                return self._say_goodbye(End("we disconnected"))
            if self._wakes_others():
                return self._say_goodbye(End("we left a shared subscription, and connect again", again=True))
            self._go_on_leaving()
            handshake.ask_again()
            reading = not handshake.connected or (client.may_read and may_read())
            if reading:
                if client.is_slower_than(2 * keepalive, now):
                    return End("the broker sends a packet so slowly that the packet seems to have no end")
                if now >= misc_from:
                    client.loop_misc()
            else:
                client.read_on(now)
                handshake.read_on(now)
                # The answers to our pings are behind data that is not read now: do not miss the answers for a while.
                misc_from = now + keepalive
            if next_ping <= now < misc_from:
                next_ping = now + client.keepalive / 2  # the broker may have shortened our keepalive
                client.ping()
            try:
                self._turn(client.socket(), reading)
            except BreachError as breach:
                return self._refuse(breach)

    def _over(self, now: float) -> End | None:
        """The reason why the connection is over; None while all is well."""
        client, handshake = self._client, self.handshake
        if handshake.refused is not None:
            return End(handshake.refused, refused=not handshake.connected)
        if self._end is not None:
            return self._end
        if client.socket() is None:
            return End("the connection was lost")
        if late := handshake.late(now):
            return End(late)
        if not client.want_write():
            self._nothing_waits_at = now
        elif now - max(client.wrote_at, self._nothing_waits_at) > self._settings.keepalive:
            return End(f"the broker took no bytes of ours for {self._settings.keepalive:g} s")
        return None

    def _turn(self, sock: Any, reading: bool) -> None:
        client, outbound = self._client, self._outbound
        if sock is None:  # closed since `_over` looked
            return
        pending = reading and (client.has_ahead() or (hasattr(sock, "pending") and sock.pending() > 0))
        rest = self._rest.until - time.monotonic() if reading and not (pending or self._leave) else 0.0
        resting = outbound.quiet = rest > 0
        wanted = [outbound.woken, sock] if reading and not resting else [outbound.woken]
        try:
            tick = 0.0 if pending else rest if resting else _TICK_SECONDS if reading else _ROOM_SECONDS
            readable, _, _ = ready_sockets(wanted, [sock] if client.want_write() else [], (), tick)
        except (OSError, ValueError):  # the socket is closed already
            self._end = self._end or End("the connection was lost")
            return
        outbound.quiet = False  # before the queues are looked at
        if outbound.woken in readable:
            outbound.read_wakes()
        if client.backlog < _BACKLOG:
            outbound.holds_back = self.handshake.wakes_others
            self._departure.acknowledged += outbound.send(client)
            self._departure.held = bool(outbound.held)
        if client.want_write():
            client.loop_write()
        if sock in readable or pending or (resting and time.monotonic() >= self._rest.until):
            self._read()

    def _read(self) -> None:
        client, arrivals = self._client, self._arrivals
        for _ in range(_READS_PER_TURN):
            turn = arrivals.turn
            before = len(turn.records)
            bulk = client.read_messages(_TURN_BYTES - turn.size, arrivals.time_us())
            if bulk is not None:
                arrivals.add_bulk(bulk)
            elif client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
            if len(turn.records) == before or client.is_drained or turn.size > _TURN_BYTES or not client.may_read:
                break
        arrivals.turn.rested = self._rest.resting
        self._rest.read(len(arrivals.turn.records), time.monotonic())
        self._hand_over()

    def _hand_over(self) -> None:
        if self._arrivals.turn.records:
            self._received(self, self._arrivals.take())

    def _go_on_leaving(self) -> None:
        """Send UNSUBSCRIBE if `Departure` may ask the broker."""
        departure, handshake = self._departure, self.handshake
        if not self._leave or handshake.subscribing or not handshake.connected:
            return
        if departure.may_ask:
            mid = handshake.give_up(sorted(self._leave))
            if mid is not None:
                departure.asked(mid)

    def _wakes_others(self) -> bool:
        """Whether to end this connection, so that the broker serves the members that remain (see `departure.py`)."""
        departure, handshake = self._departure, self.handshake
        waits = handshake.subscribing or handshake.unsubscribing
        return departure.held and departure.all_acknowledged and not waits

    def _say_goodbye(self, end: End) -> End:
        """Send DISCONNECT. The broker keeps the session for the next connection, unless the session may end."""
        self._end = self._end or end  # before paho calls back
        self._outbound.send_acknowledgements(self._client)
        forget = self._ends_session() and self.handshake.v5
        properties = Properties(PacketTypes.DISCONNECT) if forget else None  # type: ignore[no-untyped-call]
        if properties is not None:
            properties.SessionExpiryInterval = 0
        self._disconnect(lambda client: client.disconnect(properties=properties))
        return end

    def _refuse(self, breach: BreachError) -> End:
        """End the connection because the broker broke a rule.

        With MQTT 5, DISCONNECT has the reason. With 3.1.1, the connection is only closed.
        """
        self._end = End(f"protocol error: {breach}", breach=breach.kind)
        self._hand_over()  # the messages before the breach are valid
        if self.handshake.v5:
            reason = ReasonCode(PacketTypes.DISCONNECT, identifier=breach.code)
            self._disconnect(lambda client: client.disconnect(reasoncode=reason))
        elif kept := _duplicate(self._client.socket()):
            _close_in_order(kept)
        return self._end

    def _disconnect(self, send: Callable[[Client], object]) -> None:
        """Send DISCONNECT by `send`, wait at most a second until the packet is sent, and close the connection."""
        client = self._client
        kept = _duplicate(client.socket())
        send(client)
        until = time.monotonic() + _GOODBYE_SECONDS
        while client.want_write() and (sock := client.socket()) and time.monotonic() < until:
            ready_sockets((), [sock], (), 0.1)
            client.loop_write()
        if kept is not None:
            _close_in_order(kept)

    # -- paho's callbacks, all in the same thread -------------------------------------------------

    def _on_unsubscribe(
        self, _client: Client, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self.handshake.unsubscribed(mid, reasons)
        if self._departure.answered(mid):
            left = self._leave - self.handshake.not_ended.keys()
            self._unsubscribed(frozenset(self._settings.topics) - left - frozenset(self.handshake.refused_filters))

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
            blamed = tuple(self.handshake.unanswered) if reason.value in _BLAMES_FILTERS else ()
            message = f"the broker disconnected us: {refusal(reason)}"
            self._end = End(message, taken_over=taken_over, refused=True, unanswered=blamed)
        else:
            handshake = self.handshake
            waits_for = "SUBACK" if handshake.subscribing else "" if handshake.connected else "CONNACK"
            message, closed = loss(reason, waits_for=waits_for, protocol=self._settings.protocol)
            if waits_for == "CONNACK" and (other := other_security(self._settings.url)):
                message = f"cannot connect: {other}"
            blamed = tuple(handshake.unanswered) if closed else ()
            self._end = End(message, by_broker=handshake.connected, unanswered=blamed)

    def _take(self, message: Publish) -> None:
        client = self._client
        self._arrivals.add(message, cut_from=client.cut_from, too_early=client.exceeded)


def end_session(settings: MqttSection, client_id: str) -> None:
    """Make the broker forget this session, before MQTT 5: by a clean session that ends at once.

    If the connection fails, the session ends later, when the broker lets the session expire.
    """
    ended = threading.Event()
    connection = Connection(
        settings,
        client_id,
        remembered_filters=frozenset(),
        received=lambda _connection, _received: None,
        subscribed=lambda _connection, _filters: ended.set(),
        stale=lambda _acknowledgements: None,
        keep_session=False,
        leave=frozenset(settings.topics),
        message_bytes=0,
    )
    connection.run(may_read=lambda: True, stopping=ended.is_set)
