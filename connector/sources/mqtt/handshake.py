"""The beginning of a connection: CONNECT and its answer, SUBSCRIBE and its answer.

Only this file decides about the requests, and reads the broker's grants.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connector.brokers.mqtt import connack_refusal, explained, tls_context
from connector.brokers.mqtt_section import MQTT_PORTS
from connector.sources.mqtt.agreement import Agreement
from connector.sources.mqtt.bounded_client import BoundedClient
from connector.sources.mqtt.packets import PROTOCOL_ERROR, BreachError, Publish
from connector.sources.mqtt.section import MqttSection

CONNECT_SECONDS: Final = 10.0
_HANDSHAKE_SECONDS: Final = 20.0


class Handshake:
    """The requests of one connection, and the broker's grants.

    The methods are for the thread that owns the connection. Any thread may read the public attributes.
    """

    def __init__(
        self,
        settings: MqttSection,
        client_id: str,
        remembered_filters: frozenset[str],
        *,
        keep_session: bool,
        leave: frozenset[str],
        granted: Callable[[frozenset[str]], None],
        received: Callable[[Publish], None],
    ) -> None:
        """`remembered_filters` were in force when the session was last used; filters in `leave` are not requested.

        Without `keep_session`, the broker begins with a new session, and forgets the session at the end. `granted` is
        called once, with the filters that are in force. `received` is called with each message.
        """
        self._settings = settings
        self._client_id = client_id
        self._remembered_filters = remembered_filters
        self._keep_session = keep_session
        self.leave = leave
        """The filters that are given up, and so are not requested. Any thread may set this attribute."""
        self._granted = granted
        self._received = received
        self.v5 = settings.protocol == "5"
        self._url: SplitResult = urlsplit(settings.url)
        self._asked: list[str] = []
        """The filters of our SUBSCRIBE, in the order of the packet."""
        self._bounded: BoundedClient
        self._suback_due: float | None = None
        self._connack_due = 0.0
        self._most_qos = 2
        self.connected = False
        """Whether CONNACK came."""
        self.ready = False
        """Whether the broker has granted every wanted filter."""
        self.session_present = False
        self.session_expiry = settings.session_expiry
        """The seconds that the broker keeps our session. The broker may grant less than requested."""
        self.refused_filters: dict[str, str] = {}
        """Filter → the reason why the broker does not grant the filter."""
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
            return f"cannot connect to {host}:{port}: {explained(error, CONNECT_SECONDS)}"
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
    def subscribing(self) -> bool:
        """Whether SUBSCRIBE is on its way."""
        return self._suback_due is not None

    def late(self, now: float) -> str | None:
        """The answer that did not come in time, in a sentence; None while all is well. `now` is `time.monotonic()`."""
        if not self.connected and now > self._connack_due:
            return "the broker did not answer CONNECT in time: is this an MQTT broker?"
        if self._suback_due is not None and now > self._suback_due:
            return "the broker did not answer SUBSCRIBE in time"
        return None

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
        self.session_expiry = getattr(properties, "SessionExpiryInterval", self.session_expiry)
        self._most_qos = getattr(properties, "MaximumQoS", self._most_qos)
        wanted = frozenset(settings.topics)
        if flags.session_present:
            if gone := sorted(self._remembered_filters - wanted):
                self._bounded.give_up(gone)
            kept = self._remembered_filters == wanted - self.leave
            if not self.v5 and kept and settings.retained != "always":
                # Before MQTT 5, subscribing again would bring every retained message again.
                self._grant(wanted - self.leave)
                return
        for topic in settings.topics:
            if topic not in self.leave and (why := _not_available(topic, properties)):
                self.refused_filters[topic] = why
        self._asked = [topic for topic in settings.topics if topic not in self.leave | self.refused_filters.keys()]
        if not self._asked:  # every filter is given up, or not available
            self._grant(frozenset())
            return
        subscriptions: list[tuple[str, Any]] = [(topic, self._options(topic)) for topic in self._asked]
        result, _ = self._bounded.ask_for(subscriptions)
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.refused = f"SUBSCRIBE could not be sent: {result!r}"
        self._suback_due = time.monotonic() + _HANDSHAKE_SECONDS

    def _options(self, topic: str) -> SubscribeOptions | int:
        if not self.v5:
            return self._settings.qos
        retained = {"always": 0, "new": 1, "never": 2}[self._settings.retained]
        if topic.startswith("$share/"):
            retained = 0  # brokers send no retained messages here, and some brokers refuse other values
        return SubscribeOptions(qos=self._settings.qos, retainHandling=retained)

    def _on_subscribe(
        self, _client: Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if len(reasons) != len(self._asked):
            raise BreachError(
                PROTOCOL_ERROR,
                "the broker sent SUBACK with a wrong number of reason codes",
                f"{len(reasons)} for {len(self._asked)} filters",
            )
        self._suback_due = None
        for topic, reason in zip(self._asked, reasons, strict=True):
            if reason.is_failure:
                self.refused_filters[topic] = reason.getName()
            elif (qos := min(reason.value, self._most_qos)) < self._settings.qos:
                self.refused_filters[topic] = f"granted only QoS {qos}"
        self._grant(frozenset(self._asked) - frozenset(self.refused_filters))

    def _grant(self, filters: frozenset[str]) -> None:
        self.ready = not self.refused_filters
        self._granted(filters)


def _not_available(topic: str, properties: Properties | None) -> str:
    """The reason why CONNACK (MQTT 5) rules this filter out, as text for people; empty if the filter is possible.

    A broker may accept the filter all the same, and then no message ever comes. So the filter is not requested.
    """
    if topic.startswith("$share/") and not getattr(properties, "SharedSubscriptionAvailable", 1):
        return (
            "the broker offers no shared subscriptions: enable shared subscriptions at the broker, or subscribe "
            "without $share/GROUP/ and run one connector"
        )
    if ("+" in topic or "#" in topic) and not getattr(properties, "WildcardSubscriptionAvailable", 1):
        return "the broker offers no wildcards: enable wildcards at the broker, or name each topic in full"
    return ""


def _set_up(client: Client, settings: MqttSection) -> None:
    """Set the path, the user and the certificates of a client."""
    url = urlsplit(settings.url)
    if url.scheme in ("ws", "wss"):
        client.ws_set_options(path=(url.path or "/mqtt") + (f"?{url.query}" if url.query else ""))
    if settings.username is not None:
        password = settings.password.get_secret_value() if settings.password else None
        client.username_pw_set(settings.username, password)
    if url.scheme in ("mqtts", "wss"):
        client.tls_set_context(tls_context(settings.tls))
    client.connect_timeout = CONNECT_SECONDS
