"""Asks an MQTT broker what it is, what it grants and what it announces, on sessions that end at once.

Each session has a client ID of its own and a clean start, so the connector's session is not touched. Nothing is
published, no group is joined, and what comes to a subscription is dropped: all other subscribers get it as ever.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connector.brokers.findings import Examination, Finding, Look, advice, ok, split, wrong
from connector.brokers.mqtt import Announced, connack_refusal, explained
from connector.brokers.mqtt_probe import other_security
from connector.brokers.mqtt_section import MQTT_PORTS, MqttConnectionSection
from connector.brokers.reach import own_files, reach

_TURN: Final = 0.05
_NO_RETAINED: Final = 2
_MOST_TEXTS: Final = 50
ANOTHER_ID: Final = "the doctor connects with another client_id (clarify-connector-doctor-…): does the broker allow it?"


class Visit:
    """One connection to a broker, for questions; used by one thread. `with` ends the session."""

    def __init__(self, section: MqttConnectionSection, seconds: float, *, protocol: str = "", expiry: int = 0) -> None:
        """`expiry` (seconds) is asked for, to see what is granted; the session ends with the connection in any case."""
        self._section = section
        self._seconds = seconds
        self._expiry = expiry
        self.v5 = (protocol or section.protocol) == "5"
        self.refusal: ReasonCode | None = None
        """The reason code of a CONNACK that refuses."""
        self.connected = False
        self.announced = Announced()
        self.texts: dict[str, str] = {}
        """What the broker says of itself: topic under $SYS → payload, and user property of CONNACK → value."""
        self._answers: dict[int, ReasonCode] = {}
        self._closed = False
        self._client = self._made()

    def connect(self) -> None:
        """Connect, and wait for CONNACK. Raises OSError or ValueError if there is no connection."""
        parts = urlsplit(self._section.url)
        host, port = parts.hostname or "", parts.port or MQTT_PORTS[parts.scheme]
        if self.v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = self._expiry
            self._client.connect(host, port, clean_start=True, properties=properties)
        else:
            self._client.connect(host, port)
        self.turn(lambda: self.connected or self.refusal is not None)

    def ask(self, topic: str, qos: int) -> ReasonCode | None:
        """The broker's answer to a SUBSCRIBE; None if the broker closed the connection instead, or said nothing."""
        options = SubscribeOptions(qos=qos, retainHandling=_NO_RETAINED)
        plain = not self.v5 or topic.startswith("$SYS/")  # the values there are retained messages
        _, mid = self._client.subscribe(topic, qos) if plain else self._client.subscribe(topic, options=options)
        if mid is None:
            return None
        self.turn(lambda: mid in self._answers)
        return self._answers.get(mid)

    def turn(self, until: Callable[[], bool], seconds: float | None = None) -> None:
        """Read and write until a condition holds, the connection ends, or the time is over."""
        ends = time.monotonic() + (self._seconds if seconds is None else seconds)
        while not (until() or self._closed) and time.monotonic() < ends:
            if self._client.loop(_TURN) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._closed = True

    @property
    def closed(self) -> bool:
        """Whether the broker ended the connection."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        properties = None
        if self.v5:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            if self._expiry:
                properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        self._client.loop(0.0)

    def _made(self) -> Client:
        section, url = self._section, urlsplit(self._section.url)
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"clarify-connector-doctor-{secrets.token_hex(4)}",
            protocol=MQTTProtocolVersion.MQTTv5 if self.v5 else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if url.scheme in ("ws", "wss") else "tcp",
            reconnect_on_failure=False,
            **({} if self.v5 else {"clean_session": True}),
        )
        if url.scheme in ("ws", "wss"):
            client.ws_set_options(path=(url.path or "/mqtt") + (f"?{url.query}" if url.query else ""))
        if section.username is not None:
            client.username_pw_set(section.username, section.password.get_secret_value() if section.password else None)
        if url.scheme in ("mqtts", "wss"):
            client.tls_set_context(section.tls.context())
        client.connect_timeout = self._seconds
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = lambda _client, _data, mid, reasons, _more: self._answers.update({mid: reasons[0]})
        return client

    def _on_connect(
        self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, more: Properties | None
    ) -> None:
        if reason.is_failure:
            self.refusal = reason
            return
        self.connected = True
        self.announced = Announced.read(more)
        self.texts |= {str(name)[:100]: str(value)[:200] for name, value in getattr(more, "UserProperty", [])[:10]}

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic.startswith("$SYS/") and len(self.texts) < _MOST_TEXTS:
            self.texts[message.topic] = message.payload[:200].decode("utf-8", "replace")


def log_in(section: MqttConnectionSection, asked: Examination) -> Look:
    """Look at name, port, TLS and log-in of a broker; returns whether the broker lets us in."""
    url = urlsplit(section.url)
    host, port = url.hostname or "", url.port or MQTT_PORTS[url.scheme]
    encrypted = url.scheme in ("mqtts", "wss")
    sound = (yield from own_files(section.tls)) if encrypted else True
    tls = section.tls.context if encrypted else None
    if not (yield from reach(host, port, asked.seconds, tls, lambda: _other(section.url, asked.seconds))) or not sound:
        return False
    for warning in [] if asked.short else section.warnings:
        yield advice("TLS", warning.partition("; ")[0], warning.partition("; ")[2] or "see docs/security.md")
    try:
        with Visit(section, asked.seconds) as visit:
            visit.connect()
    except (OSError, ValueError) as error:
        found = _other(section.url, asked.seconds)
        yield found or split(
            "log-in", f"no connection: {explained(error, asked.seconds)}"[:500], "see the broker's log"
        )
        return False
    if visit.connected:
        who = f"as {section.username}" if section.username else "without a user name"
        yield ok("log-in", f"the broker lets us in {who} (MQTT {section.protocol})")
        return True
    yield _refused(section, visit, asked.seconds)
    return False


def _other(url: str, seconds: float) -> Finding | None:
    found = other_security(url, seconds)
    return split("TLS", found, "") if found else None


def _refused(section: MqttConnectionSection, visit: Visit, seconds: float) -> Finding:
    if visit.refusal is not None:
        found = split("log-in", connack_refusal(visit.refusal.getName(), section.protocol), "see the broker's log")
        if visit.refusal.getName() in ("Not authorized", "Client identifier not valid"):
            return wrong(found.subject, found.text, f"{found.remedy} ({ANOTHER_ID})")
        return found
    if other := _other(section.url, seconds):
        return other
    if section.protocol == "5":
        try:
            with Visit(section, seconds, protocol="3.1.1") as older:
                older.connect()
        except (OSError, ValueError, ssl.SSLError):
            pass  # the finding below says the same
        else:
            if older.connected:
                return wrong("protocol", "the broker has no MQTT 5, and closes the connection", "set protocol: 3.1.1")
    if visit.closed:
        return wrong(
            "log-in",
            "the broker closes the connection without an answer",
            f"check username, password, and whether the broker wants a certificate of ours ({ANOTHER_ID})",
        )
    return wrong(
        "port", f"no answer to CONNECT within {seconds:g} s", "is this an MQTT broker? Another program has the port"
    )
