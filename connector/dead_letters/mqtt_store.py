"""Dead letters published to an MQTT topic: each letter is one message of JSON, with QoS 1.

A letter counts as kept when the broker has acknowledged it. Without a subscriber that has a session, the broker keeps
no letters. A broker with MQTT 5 says that nobody subscribes; then the store reports this as a problem. When an
acknowledgement does not come in time, the store drops the connection with all messages under way, so that no messages
pile up in it. The letters are sent again on a new connection.

The limits that a broker announces (MQTT 5) are heeded. A broker may also end the connection at a letter that is too
long, and MQTT 3.1.1 has no other way. So after a connection has ended, each letter is sent alone. If the connection
ends again and again at one letter, letters are cut to half of its length.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connector.brokers.mqtt import (
    Announced,
    PublishingClient,
    connack_refusal,
    explained,
    loss,
    publish_bytes,
    refusal,
)
from connector.brokers.mqtt_section import MQTT_PORTS
from connector.dead_letters.as_json import to_json
from connector.dead_letters.broker_sections import MqttLettersSection
from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.longest_letter import LongestLetter
from connector.dead_letters.store import DeadLettersError, Usage
from connector.dead_letters.trimming import shrunk
from connector.settings import CredentialsInUse, SettingsError, fresh
from connector.threads.watched import STILL_SECONDS, moves

_CONNECT_SECONDS: Final = 10.0
_FIRST_DELAY: Final = 1
_LAST_DELAY: Final = 30
_NOBODY: Final = 0x10
"""MQTT 5 reason code of PUBACK: the message was accepted, but nobody subscribes."""
_TOO_LARGE: Final = 0x95
_FAILURE: Final = 0x80

_ONLY_QOS_0: Final = (
    "the broker takes only messages of QoS 0, and acknowledges none, so that no letter is known to be kept; allow QoS "
    "1 at the broker, or choose another store (sqlite, file, kafka)"
)

_log = structlog.get_logger(__name__)


class MqttLetters:
    """A `DeadLetterStore` that publishes letters to an MQTT topic; nobody can read letters back from it."""

    def __init__(self, section: MqttLettersSection) -> None:
        """Raises SettingsError if a certificate file cannot be used."""
        self._section = section
        self._credentials = CredentialsInUse(section, dead_letters=section.type)
        self._adding = threading.Lock()
        self._changed = threading.Condition()
        self._client: PublishingClient | None = None
        self._connected = False
        self._announced = Announced()
        self._losses = 0
        """The number of connections that the broker, or the network, has ended."""
        self._end_code = 0
        """The reason code of the broker's last DISCONNECT; 0 if the last connection ended without DISCONNECT."""
        self._answers: dict[int, int] = {}
        """Packet ID → reason code of its acknowledgement."""
        self._trouble = "not connected yet"
        self._nobody = False
        self._closed = False
        url = urlsplit(section.url)
        self._host, self._port = url.hostname or "", url.port or MQTT_PORTS[url.scheme]
        self._longest = LongestLetter(self.address)
        self._tls = None
        if url.scheme in ("mqtts", "wss"):
            try:
                self._tls = section.tls.context()
            except (OSError, ValueError) as error:
                raise SettingsError(f"dead_letters.tls: {explained(error, _CONNECT_SECONDS)}") from None

    @property
    def address(self) -> str:
        """The topic and the address of the broker."""
        return f"MQTT topic {self._section.topic} at {self._host}:{self._port}"

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        with self._adding:
            self._renew()

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Publish the letters and wait until the broker has acknowledged each of them. Raises `DeadLettersError`."""
        with self._adding:
            waiting: list[DeadLetter] = list(letters)
            while waiting:
                waiting = self._publish(waiting)

    def usage(self) -> Usage:
        """Unknown numbers: only the broker knows how full it is."""
        return Usage()

    def problems(self) -> list[str]:
        """A problem if there is no connection, or if nobody subscribes to the topic."""
        if not self._connected:
            return [f"{self.address}: {self._trouble}"]
        if self._announced.maximum_qos == 0:
            return [f"{self.address}: {_ONLY_QOS_0}"]
        if self._nobody:
            return [f"{self.address}: nobody subscribes, so the broker keeps none of the letters"]
        return []

    def close(self) -> None:
        """End the connection."""
        with self._adding:
            self._closed = True
            self._drop()

    # -- details ----------------------------------------------------------------------------------

    def _publish(self, letters: list[DeadLetter]) -> list[DeadLetter]:
        """Publish the letters once; returns letters to publish next: shortened copies of letters that were too large.

        Letters that must be sent alone are returned, too, and not sent. Raises `DeadLettersError` if a letter is not
        acknowledged or is refused.
        """
        moves(STILL_SECONDS + 2 * self._section.timeout)
        client = self._ready_client()
        until = time.monotonic() + self._section.timeout
        most = min(self._announced.maximum_packet, self._longest.size)
        sent: dict[int, DeadLetter] = {}
        sizes: dict[int, int] = {}
        smaller: list[DeadLetter] = []
        losses = self._losses
        while letters and not (self._longest.one_by_one and sent):
            letter = letters.pop(0)
            body, properties = to_json(letter), self._properties(letter)
            if (size := publish_bytes(self._section.topic, body, properties)) > most:
                smaller.append(self._shrunk(letter, size, most))
                continue
            result = client.publish(self._section.topic, body, qos=1, properties=properties)
            if result.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                self._fail(f"cannot publish: {result.rc!r}")
            sent[result.mid], sizes[result.mid] = letter, size
        with self._changed:
            self._changed.wait_for(
                lambda: sent.keys() <= self._answers.keys() or self._losses > losses, until - time.monotonic()
            )
            answers = {mid: self._answers.pop(mid) for mid in sent if mid in self._answers}
            complete = len(answers) == len(sent)
        if complete and sent and self._section.protocol == "3.1.1" and not self._still_there(client, losses, until):
            answers.clear()
        with self._changed:
            why = self._trouble if self._losses > losses else f"no answer within {self._section.timeout:g} s"
        if len(answers) < len(sent):
            unanswered = [size for mid, size in sizes.items() if mid not in answers]
            if self._losses > losses:
                self._longest.lost(unanswered, too_large=self._end_code == _TOO_LARGE)
            self._fail(f"{len(unanswered)} letters were not acknowledged: {why}")
        for mid, letter in sent.items():
            if answers[mid] == _TOO_LARGE:
                self._longest.refused(sizes[mid])
                smaller.append(self._shrunk(letter, sizes[mid], sizes[mid] - 1))
        refused = sorted({code for code in answers.values() if code >= _FAILURE and code != _TOO_LARGE})
        if refused:
            names = ", ".join(refusal(ReasonCode(PacketTypes.PUBACK, identifier=code)) for code in refused)
            self._fail(f"the broker refuses the letters: {names}")
        self._longest.taken(max(sizes.values(), default=0), more=bool(letters))
        self._see_nobody(any(code == _NOBODY for code in answers.values()))
        return smaller + letters

    def _shrunk(self, letter: DeadLetter, size: int, most: int) -> DeadLetter:
        smaller = shrunk(letter)
        if smaller is None:
            self._longest.forget()
            raise DeadLettersError(
                f"{self.address}: a letter has {size} bytes even after everything was cut, and the broker takes {most}"
                "; raise the longest packet that the broker takes, or choose another store (sqlite, file, kafka)"
            )
        return smaller

    def _still_there(self, client: PublishingClient, losses: int, until: float) -> bool:
        """Whether the broker answers a ping after its acknowledgements.

        A Mosquitto with `message_size_limit` acknowledges a message that is too long, drops it, and ends the
        connection: with MQTT 3.1.1, PUBACK has no reason code.
        """
        answers = 0

        def answered() -> None:
            nonlocal answers
            with self._changed:
                answers += 1
                self._changed.notify_all()

        client.ping(answered)
        with self._changed:
            self._changed.wait_for(lambda: answers or self._losses > losses, until - time.monotonic())
            return answers > 0 and self._losses == losses

    def _ready_client(self) -> PublishingClient:
        if self._client is None:
            self._renew()
        with self._changed:
            if self._client is None or not self._changed.wait_for(lambda: self._connected, self._section.timeout):
                raise DeadLettersError(f"{self.address}: {self._trouble}")
            if self._announced.maximum_qos == 0:
                raise DeadLettersError(f"{self.address}: {_ONLY_QOS_0}")
            return self._client

    def _fail(self, why: str) -> NoReturn:
        """Drop the connection and raise `DeadLettersError`.

        Never call this method under `_changed`: the client's thread, which has to end, may wait for that lock.
        """
        self._drop()
        raise DeadLettersError(f"{self.address}: {why}")

    def _see_nobody(self, nobody: bool) -> None:
        if nobody and not self._nobody:
            _log.error(
                "dead_letters_without_reader",
                store=self.address,
                effect="the broker accepts letters and keeps none of them",
                remedy="let a client with a persistent session subscribe, or choose another store",
            )
        self._nobody = nobody

    def _properties(self, letter: DeadLetter) -> Properties | None:
        if self._section.protocol != "5":
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = "application/json"
        properties.UserProperty = [("reason", str(letter.rejects[0].reason)), ("source", letter.source)]
        return properties

    # -- the connection ---------------------------------------------------------------------------

    def _renew(self) -> None:
        """Start a new connection, which does not repeat messages of the old one."""
        self._drop()
        if self._closed:
            return
        section = self._section
        url = urlsplit(section.url)
        v5 = section.protocol == "5"
        options: dict[str, Any] = {} if v5 else {"clean_session": True}
        client = PublishingClient(
            CallbackAPIVersion.VERSION2,
            client_id=section.client_id or f"clarify-dead-letters-{secrets.token_hex(4)}",
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if url.scheme in ("ws", "wss") else "tcp",
            **options,
        )
        if url.scheme in ("ws", "wss"):
            client.ws_set_options(path=(url.path or "/mqtt") + (f"?{url.query}" if url.query else ""))
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_pre_connect = self._before_connect
        client.connect_timeout = _CONNECT_SECONDS
        client.reconnect_delay_set(_FIRST_DELAY, _LAST_DELAY)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        self._client = client
        client.connect_async(self._host, self._port, keepalive=max(1, round(section.keepalive)))
        try:
            client.loop_start()
        except (OSError, RuntimeError) as error:  # no free descriptor or thread: the next letters try again
            self._client = None
            with self._changed:
                self._say(f"cannot connect: {explained(error, _CONNECT_SECONDS)}")

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(OSError, ValueError):
            client.disconnect()
        client.loop_stop()
        with self._changed:
            self._connected = False
            self._answers.clear()

    def _before_connect(self, client: Client, _userdata: Any) -> None:
        """Read the log-in and the certificates again, before each connection."""
        section = self._section
        renewed = self._credentials.renewed()
        if section.username is not None:
            password = section.password.get_secret_value() if section.password else None
            client.username_pw_set(fresh(section.username), password)
        if self._tls is None or not renewed or not isinstance(client, PublishingClient):
            return
        try:
            self._tls = section.tls.context()
            client.renew_tls(self._tls)
        except (OSError, ValueError) as error:  # the old certificates are used
            with self._changed:
                self._say(f"dead_letters.tls: {explained(error, _CONNECT_SECONDS)}")

    def _on_connect(
        self, client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            if reason.is_failure:
                self._say(connack_refusal(reason.getName(), self._section.protocol))
            elif client is self._client:
                self._connected = True
                self._announced = Announced.read(properties)
                self._client.heed(self._announced)
                _log.info("dead_letters_connected", store=self.address)
            self._changed.notify_all()

    def _on_connect_fail(self, _client: Client, _userdata: Any) -> None:
        with self._changed:
            self._say("cannot connect; is the broker running, is this its port, and does it speak TLS there?")

    def _on_disconnect(
        self, client: Client, _userdata: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        with self._changed:
            if client is not self._client:  # we have dropped this connection
                return
            by_packet = flags.is_disconnect_packet_from_server
            self._end_code = reason.value if by_packet else 0
            if by_packet:
                self._say(f"the broker disconnected us: {refusal(reason)}")
            elif self._connected:
                self._say(loss(reason, waits_for="PUBACK")[0])
            elif self._trouble == "not connected yet":
                self._say(loss(reason, waits_for="CONNACK", protocol=self._section.protocol)[0])
            self._losses += self._connected
            self._connected = False
            self._changed.notify_all()

    def _on_publish(self, _client: Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        with self._changed:
            self._answers[mid] = int(reason.value)
            self._changed.notify_all()

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("dead_letters_unreachable", store=self.address, reason=trouble, effect="trying again")
        self._trouble = trouble
