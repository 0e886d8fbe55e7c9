"""The beginning of a connection: CONNECT and its answer, SUBSCRIBE and its answer.

Only this file decides about the requests, and reads the broker's grants.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connector.brokers.mqtt import REMEDIES, Announced, connack_refusal, explained, refusal
from connector.brokers.mqtt_probe import other_security
from connector.brokers.mqtt_section import MQTT_PORTS
from connector.settings import fresh
from connector.sources.mqtt.agreement import Agreement
from connector.sources.mqtt.bounded_client import BoundedClient
from connector.sources.mqtt.packets import PROTOCOL_ERROR, BreachError, Publish
from connector.sources.mqtt.refusals import Refusals
from connector.sources.mqtt.section import MqttSection

CONNECT_SECONDS: Final = 10.0
_HANDSHAKE_SECONDS: Final = 20.0
_MOST_FILTERS: Final = 8
"""The most filters of one SUBSCRIBE or UNSUBSCRIBE: AWS IoT Core takes no more, and other brokers bound the packet."""
_MOST_BYTES: Final = 65_536
"""The longest SUBSCRIBE, in bytes, unless the broker takes less. A longer filter has a SUBSCRIBE of its own."""
_MOST_ASKED: Final = 4
"""The most SUBSCRIBEs without an answer: some brokers bound the requests a second."""
_AROUND_FILTERS: Final = 8
_AROUND_FILTER: Final = 3
_NO_SUBSCRIPTION: Final = 0x11
"""MQTT 5 reason code of UNSUBACK: the broker knew no such subscription of ours."""

_NOT_TLS: Final = (ssl.SSLCertVerificationError, ConnectionRefusedError)


class Handshake:
    """The requests of one connection, and the broker's grants.

    The methods are for the thread that owns the connection. Any thread may read the public attributes.
    """

    def __init__(
        self,
        settings: MqttSection,
        client_id: str,
        remembered_filters: frozenset[str],
        refusals: Refusals,
        *,
        keep_session: bool,
        other_qos: bool,
        leave: frozenset[str],
        granted: Callable[[frozenset[str]], None],
        received: Callable[[Publish], None],
    ) -> None:
        """`remembered_filters` were in force when the session was last used; filters in `leave` are not requested.
        `other_qos` says that the remembered filters are in force with another QoS than the settings want.

        `refusals` learns which filters the broker refuses. Without `keep_session`, the broker begins with a new
        session, and forgets the session at the end. `granted` is called with the filters that are in force, when the
        broker has answered all requests, and again after each later request; and before, if the broker has forgotten
        the session. `received` is called with each message.
        """
        self._settings = settings
        self._client_id = client_id
        self._remembered_filters = remembered_filters
        self._refusals = refusals
        self._keep_session = keep_session
        self._other_qos = other_qos
        self.leave = leave
        """The filters that are given up, and so are not requested. Any thread may set this attribute."""
        self._granted = granted
        self._received = received
        self.v5 = settings.protocol == "5"
        self._url: SplitResult = urlsplit(settings.url)
        self._portions: deque[list[str]] = deque()
        """The filters of each SUBSCRIBE that is not sent yet."""
        self._asked: dict[int, list[str]] = {}
        """The packet id of each SUBSCRIBE that is not answered → its filters, in the order of the packet."""
        self._given_up: dict[int, list[str]] = {}
        """The same for UNSUBSCRIBE."""
        self._in_force: set[str] = set()
        self._bounded: BoundedClient
        self._suback_due = 0.0
        self._connack_due = 0.0
        self.connected = False
        """Whether CONNACK came."""
        self.ready = False
        """Whether the broker has granted every wanted filter."""
        self.session_present = False
        self.announced = Announced()
        self.not_ended: dict[str, str] = {}
        """Filter → the reason why the broker does not end the subscription, and a remedy."""
        self.unknown: set[str] = set()
        """The filters that were granted, and that the broker did not know at UNSUBSCRIBE."""
        self._ends_shared = False
        """Whether this connection ends a shared subscription that was in force."""
        self.refused: str | None = None
        """The reason why the broker refused CONNECT, or why SUBSCRIBE could not be sent; None without a failure."""

    def connect(self, message_bytes: int) -> BoundedClient | str:
        """A connected client, on which CONNECT is on its way; or the reason for a failure, as text for people.

        The client keeps about `message_bytes` of a message.
        """
        host, port = self._url.hostname or "", self._url.port or MQTT_PORTS[self._url.scheme]
        settings = self._settings
        keepalive = max(1, round(settings.keepalive))
        try:
            client = self._bounded = self._client(message_bytes)
            if self.v5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = round(settings.session_expiry) if self._keep_session else 0
                properties.ReceiveMaximum = settings.receive_maximum
                client.connect(
                    host, port, keepalive=keepalive, clean_start=not self._keep_session, properties=properties
                )
            else:
                client.connect(host, port, keepalive=keepalive)
        except (OSError, ValueError) as error:  # ValueError: a certificate that does not fit the name
            may_be_tls = isinstance(error, ssl.SSLError | ConnectionError) and not isinstance(error, _NOT_TLS)
            other = other_security(settings.url) if may_be_tls else None
            return f"cannot connect to {host}:{port}: {other or explained(error, CONNECT_SECONDS)}"
        self._connack_due = time.monotonic() + _HANDSHAKE_SECONDS
        return client

    def _client(self, message_bytes: int) -> BoundedClient:
        options: dict[str, Any] = {} if self.v5 else {"clean_session": not self._keep_session}
        client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self.v5 else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if self._url.scheme in ("ws", "wss") else "tcp",
            manual_ack=True,
            reconnect_on_failure=False,
            agreement=Agreement(
                v5=self.v5,
                clean=not self._keep_session,
                receive_maximum=self._settings.receive_maximum,
                filters=self._remembered_filters.union(self._settings.topics),
            ),
            on_publish_received=self._received,
            most_bytes=message_bytes,
            **options,
        )
        _set_up(client, self._settings)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        # With this callback set, paho leaves writing to our loop instead of writing each packet at once.
        client.on_socket_register_write = lambda _client, _userdata, _sock: None
        return client

    @property
    def session_expiry(self) -> float:
        """The seconds that the broker keeps our session. The broker may grant less than requested."""
        granted = self.announced.session_expiry
        return self._settings.session_expiry if granted is None else granted

    @property
    def refused_filters(self) -> dict[str, str]:
        """Filter → the reason why the broker does not grant the filter, and a remedy."""
        return self._refusals.reasons()

    @property
    def subscribing(self) -> bool:
        """Whether SUBSCRIBE is on its way."""
        return bool(self._asked or self._portions)

    @property
    def wakes_others(self) -> bool:
        """Whether the end of this connection is to wake the other members of a group, as `departure.py` says.

        Without a session to return to, or with a subscription that the broker does not end, nothing is won.
        """
        return self._ends_shared and self.session_expiry > 0 and not self.not_ended

    @property
    def unsubscribing(self) -> bool:
        """Whether UNSUBSCRIBE is on its way."""
        return bool(self._given_up)

    @property
    def unanswered(self) -> list[str]:
        """The filters that were requested and not answered."""
        return [topic for filters in self._asked.values() for topic in filters]

    def late(self, now: float) -> str | None:
        """The answer that did not come in time, in a sentence; None while all is well. `now` is `time.monotonic()`."""
        if not self.connected and now > self._connack_due:
            return "the broker did not answer CONNECT in time: is this an MQTT broker?"
        if self._asked and now > self._suback_due:
            return "the broker did not answer SUBSCRIBE in time"
        return None

    def read_on(self, now: float) -> None:
        """Note that nothing is read now: an answer that has come must not count as missing."""
        self._suback_due = now + _HANDSHAKE_SECONDS

    def ask_again(self) -> None:
        """Request the refused filters again whose pause is over."""
        if self.connected and not self.subscribing and (due := set(self._refusals.due()) - self.leave):
            self._portion(sorted(due))
            self._go_on()

    def give_up(self, filters: Sequence[str]) -> int | None:
        """Send UNSUBSCRIBE. Returns the packet id of the last one; None if nothing was sent."""
        last = None
        for portion in self._in_portions(filters):
            result, mid = self._bounded.give_up(portion)
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
                return None
            last = mid
            self._given_up[mid] = portion
            in_force = self._in_force.union(self._remembered_filters).intersection(portion)
            self._ends_shared |= any(topic.startswith("$share/") for topic in in_force)
        return last

    def unsubscribed(self, mid: int, reasons: Sequence[ReasonCode]) -> None:
        """Note the answer to an UNSUBSCRIBE. Before MQTT 5, `reasons` is empty."""
        for topic, reason in zip(self._given_up.pop(mid, ()), reasons, strict=False):
            if reason.is_failure:
                self.not_ended[topic] = refusal(reason)
                continue
            self.not_ended.pop(topic, None)
            if reason.value == _NO_SUBSCRIPTION and topic in self._in_force:
                self.unknown.add(topic)
            self._in_force.discard(topic)

    # -- paho's callbacks -------------------------------------------------------------------------

    def _on_connect(
        self, _client: Client, _userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        settings = self._settings
        if reason.is_failure:
            self.refused = connack_refusal(reason.getName(), settings.protocol)
            return
        self.connected = True
        self.session_present = flags.session_present
        announced = self.announced = Announced.read(properties)
        self._refusals.connected()
        wanted = dict.fromkeys(settings.topics)
        if flags.session_present:
            if gone := sorted(self._remembered_filters - wanted.keys()):
                self.give_up(gone)
            if not (self.v5 or self._other_qos or settings.retained == "always"):
                # Before MQTT 5, subscribing again would bring every retained message again.
                # Shared subscriptions bring none, and Mosquitto forgets them when it starts again, but not the session.
                plain = {topic for topic in wanted if not topic.startswith("$share/")}
                self._in_force = set(self._remembered_filters & plain) - self.leave
        left_out = self._in_force | self.leave | self._refusals.aside()
        for topic in wanted.keys() - self.leave:
            if why := _not_available(topic, announced):
                self._refusals.refuse(topic, why)
                left_out.add(topic)
        self._portion([topic for topic in wanted if topic not in left_out])
        if self._remembered_filters and not flags.session_present and self._portions:
            # Known at once: this connection may end before SUBACK, and the next one resumes a session without filters.
            self._granted(frozenset())
        self._go_on()

    def _portion(self, filters: Sequence[str]) -> None:
        self._portions.extend(self._in_portions(filters, 1 if self._refusals.one_by_one else _MOST_FILTERS))

    def _go_on(self) -> None:
        """Request the next filters. If all are answered, tell which are in force."""
        while self._portions and len(self._asked) < (1 if self._refusals.one_by_one else _MOST_ASKED):
            portion = self._portions.popleft()
            result, mid = self._bounded.ask_for([(topic, self._options(topic)) for topic in portion])
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
                self.refused = f"SUBSCRIBE could not be sent: {result!r}"
                return
            self._asked[mid] = portion
        self._suback_due = time.monotonic() + _HANDSHAKE_SECONDS
        if not self._asked:
            self._refusals.answered()
            self._granted(frozenset(self._in_force | self.not_ended.keys()))
            self.ready = not self.refused_filters.keys() - self.leave

    def _in_portions(self, filters: Sequence[str], most: int = _MOST_FILTERS) -> Iterator[list[str]]:
        room = min(_MOST_BYTES, self.announced.maximum_packet) - _AROUND_FILTERS
        portion: list[str] = []
        size = 0
        for topic in filters:
            length = _AROUND_FILTER + len(topic.encode())
            if portion and (len(portion) == most or size + length > room):
                yield portion
                portion, size = [], 0
            portion.append(topic)
            size += length
        if portion:
            yield portion

    def _options(self, topic: str) -> SubscribeOptions | int:
        if not self.v5:
            return self._settings.qos
        retained = {"always": 0, "new": 1, "never": 2}[self._settings.retained]
        if topic.startswith("$share/"):
            retained = 0  # brokers send no retained messages here, and some brokers refuse other values
        return SubscribeOptions(qos=self._settings.qos, retainHandling=retained)

    def _on_subscribe(
        self, _client: Client, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        asked = self._asked.pop(mid)
        if len(reasons) != len(asked):
            raise BreachError(
                PROTOCOL_ERROR,
                "the broker sent SUBACK with a wrong number of reason codes",
                f"{len(reasons)} for {len(asked)} filters",
            )
        for topic, reason in zip(asked, reasons, strict=True):
            if reason.is_failure:
                self._refusals.refuse(topic, refusal(reason), reason.value)
            elif (qos := min(reason.value, self.announced.maximum_qos)) < self._settings.qos:
                self._refusals.refuse(topic, f"granted only QoS {qos}; allow QoS 1 at the broker, or set qos: {qos}")
            else:
                self._refusals.grant(topic)
                self._in_force.add(topic)
        self._go_on()


def _not_available(topic: str, announced: Announced) -> str:
    """The reason why CONNACK (MQTT 5) rules this filter out, as text for people; empty if the filter is possible.

    A broker may accept the filter all the same, and then no message ever comes. So the filter is not requested.
    """
    if topic.startswith("$share/") and not announced.shared:
        return f"the broker offers no shared subscriptions; {REMEDIES[0x9E]}"
    if ("+" in topic or "#" in topic) and not announced.wildcards:
        return f"the broker offers no wildcards; {REMEDIES[0xA2]}"
    if (size := len(topic.encode()) + _AROUND_FILTER + _AROUND_FILTERS) > announced.maximum_packet:
        return f"SUBSCRIBE has {size} bytes, and the broker takes {announced.maximum_packet}; {REMEDIES[0x95]}"
    return ""


def _set_up(client: Client, settings: MqttSection) -> None:
    """Set the path, the user and the certificates of a client."""
    url = urlsplit(settings.url)
    if url.scheme in ("ws", "wss"):
        client.ws_set_options(path=(url.path or "/mqtt") + (f"?{url.query}" if url.query else ""))
    if settings.username is not None:
        password = settings.password.get_secret_value() if settings.password else None
        client.username_pw_set(fresh(settings.username), password)
    if url.scheme in ("mqtts", "wss"):
        client.tls_set_context(settings.tls.context())
    client.connect_timeout = CONNECT_SECONDS
