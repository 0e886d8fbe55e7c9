"""The common parts of all connections to an MQTT broker: TLS, waiting for sockets, and texts for errors."""

from __future__ import annotations

import errno
import resource
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from paho.mqtt import client as paho_client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connector.settings import READ_AGAIN

_ANSWER_BYTES: Final = 64 * 1024
"""The longest packet of a broker to a client that subscribes to nothing."""
_TOO_LARGE: Final = 0x95
_IN_FLIGHT: Final = 20
"""The most messages without acknowledgement, where the broker allows them."""


def ready_sockets(
    reading: Sequence[Any], writing: Sequence[Any], exceptional: Sequence[Any] = (), seconds: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """As `select.select`, for descriptors of any number: `select` refuses 1,024 and above. Raises OSError or ValueError
    if a socket is closed."""
    del exceptional  # nobody asks for them
    poll = select.poll()
    events: dict[int, int] = {}
    for socks, event in ((reading, select.POLLIN), (writing, select.POLLOUT)):
        for sock in socks:
            number = sock.fileno()
            if number < 0:
                raise ValueError("the socket is closed")
            events[number] = events.get(number, 0) | event
    for number, event in events.items():
        poll.register(number, event)
    found = dict(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))
    if any(event & select.POLLNVAL for event in found.values()):
        raise OSError(errno.EBADF, "the socket is closed")
    failed = select.POLLERR | select.POLLHUP  # as with `select`, a read or a write then says what failed
    return (
        [sock for sock in reading if found.get(sock.fileno(), 0) & (select.POLLIN | failed)],
        [sock for sock in writing if found.get(sock.fileno(), 0) & (select.POLLOUT | failed)],
        [],
    )


class _Polling:
    """Takes the place of the module `select` in paho, whose own thread calls nothing else of this module."""

    select = staticmethod(ready_sockets)


vars(paho_client)["select"] = _Polling


@dataclass(frozen=True, slots=True)
class Announced:
    """The limits that a broker announced in CONNACK (MQTT 5). Each default is what the protocol says without a word."""

    receive_maximum: int = 65_535
    """The number of our messages of QoS 1 that may wait for their acknowledgements."""
    maximum_qos: int = 2
    maximum_packet: int = 268_435_460
    """The longest packet that the broker takes, in bytes, with its first byte and its length."""
    retained: bool = True
    wildcards: bool = True
    shared: bool = True
    """Whether the broker has shared subscriptions."""
    session_expiry: int | None = None
    """The seconds that the broker keeps our session; None: as long as requested."""

    @classmethod
    def read(cls, properties: Properties | None) -> Announced:
        """The limits in the properties of a CONNACK; None stands for a CONNACK of MQTT 3.1.1."""
        names = {
            "receive_maximum": "ReceiveMaximum",
            "maximum_qos": "MaximumQoS",
            "maximum_packet": "MaximumPacketSize",
            "retained": "RetainAvailable",
            "wildcards": "WildcardSubscriptionAvailable",
            "shared": "SharedSubscriptionAvailable",
            "session_expiry": "SessionExpiryInterval",
        }
        return cls(**{name: getattr(properties, word) for name, word in names.items() if hasattr(properties, word)})


def publish_bytes(topic: str, payload: bytes, properties: Properties | None = None) -> int:
    """The most bytes of a PUBLISH: first byte, length (at most four), topic, packet id, properties, payload."""
    around = len(properties.pack()) if properties else 1  # type: ignore[no-untyped-call]
    return 1 + 4 + 2 + len(topic.encode()) + 2 + around + len(payload)


class PublishingClient(paho_client.Client):
    """paho's client for one that subscribes to nothing: a broker that sends messages, or long packets, is left.

    paho keeps a whole packet of up to 256 MB, and every message of QoS 2 until its exchange ends.
    """

    _answered: Callable[[], None] = staticmethod(lambda: None)

    def heed(self, announced: Announced) -> None:
        """Send no more messages without acknowledgement than the broker takes. For the callback `on_connect`."""
        self._max_inflight_messages = min(_IN_FLIGHT, announced.receive_maximum)

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Use another context for the next connection, which paho makes by itself."""
        self._ssl_context = context

    def ping(self, answered: Callable[[], None]) -> None:
        """Send PINGREQ. `answered` is called at each PINGRESP, in paho's thread."""
        self._answered = answered
        self._send_pingreq()

    def _handle_pingresp(self) -> MQTTErrorCode:
        result = super()._handle_pingresp()
        self._answered()
        return result

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if self._protocol != MQTTProtocolVersion.MQTTv5 or packet[2:3] != bytes([_TOO_LARGE]):
            return super()._handle_pubackcomp(cmd)
        # Mosquitto with `message_size_limit`. The protocol has this code for DISCONNECT only, so paho cannot read it.
        mid = int.from_bytes(packet[:2], "big")
        with self._out_message_mutex:
            if mid not in self._out_messages:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            reason = ReasonCode(PacketTypes.DISCONNECT, identifier=_TOO_LARGE)
            return self._do_on_publish(mid, reason, Properties(PacketTypes.PUBACK))  # type: ignore[no-untyped-call]

    def _handle_connack(self) -> MQTTErrorCode:
        ours = self._keepalive
        result = super()._handle_connack()
        self._keepalive = min(self._keepalive or ours, ours)  # a broker must not switch our pings off
        return result

    def _handle_publish(self) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._in_packet["remaining_length"] > _ANSWER_BYTES:
            raise ConnectionError("the broker sends a packet that is too long")
        return super()._sock_recv(bufsize)


def explained(error: Exception, seconds: float) -> str:
    """Why a connection could not be made, for people. `seconds` is the time-out of the connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the broker's certificate is not trusted ({error.verify_message}); name the authority in tls.ca_file, "
            "and check "
            "that the host name in the URL is the one in the certificate"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}); does the port speak TLS, and does the broker want a certificate?"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"too many open files: this process may have {limit} at a time; raise the limit "
            "(ulimit -n, LimitNOFILE of systemd, --ulimit nofile of Docker), or find out which files are open"
        )
    plain: dict[type[Exception], str] = {
        ConnectionRefusedError: "connection refused; is the broker running, and is this its port?",
        socket.gaierror: "the host name is not known",
        FileNotFoundError: "a certificate file is not there; see tls.ca_file, tls.cert_file and tls.key_file: they are "
        "read again before the next try",
        TimeoutError: f"no answer within {seconds:g} s; is a firewall in between?",
    }
    return plain.get(type(error)) or str(error) or type(error).__name__


REMEDIES: Final = {
    0x80: "may this user do that? The broker's log has the reason",
    0x83: "may this user do that? The broker's log has the reason",
    0x87: "give this user the right in the broker's access list",
    0x8F: "the broker forbids this filter; write another one",
    0x90: "the broker forbids this topic; choose another one",
    0x91: "trying again helps",
    0x95: "raise the longest packet that the broker takes",
    0x97: "raise the broker's quota",
    0x99: "the broker checks payloads, and forbids this one",
    0x9E: "enable shared subscriptions at the broker, or subscribe without $share/GROUP/ and run one connector",
    0xA2: "enable wildcards at the broker, or name each topic in full",
}
"""Reason code of a broker that refuses a subscription or a message → a remedy, for people."""


def refusal(reason: ReasonCode) -> str:
    """The text for a reason code that refuses a subscription or a message, with a remedy."""
    name = "refused without a reason" if reason.value == 0x80 else str(reason.getName())
    remedy = REMEDIES.get(reason.value)
    return f"{name}; {remedy}" if remedy else name


def loss(reason: ReasonCode, *, waits_for: str = "", protocol: str = "5") -> tuple[str, bool]:
    """The text for a connection that ended without DISCONNECT, and whether the other side closed the connection.

    `reason` is paho's. `waits_for` is the packet (CONNACK, SUBACK, PUBACK) that the broker had still to send; empty if
    it had to send none.
    """
    name = reason.getName()
    if name != "Unspecified error":  # paho's words for a connection that the other side has closed
        return f"the connection was lost: {name}", False
    causes = {
        "CONNACK": f"does the port want TLS or none, does the broker know MQTT {protocol}, may this user and client_id "
        "connect?",
        "SUBACK": "may this user read there, and does the broker allow such a filter?",
        "PUBACK": "may this user publish there with QoS 1, and is the message too long for the broker?",
    }
    cause = causes.get(waits_for, "was the broker stopped, does a firewall cut connections, is the client_id in use?")
    closed = "the broker closed the connection without a reason"
    instead = f", instead of {waits_for}" if waits_for else ""
    return f"the connection was lost: {closed}{instead}; {cause} The broker's log may say more", True


def connack_refusal(name: str, protocol: str) -> str:
    """The text for a refused connection: the reason code in the broker's answer, and a remedy."""
    hints = {
        "Unsupported protocol version": f"set protocol: {'3.1.1' if protocol == '5' else '5'}",
        "Bad user name or password": f"check username and password; {READ_AGAIN}",
        "Not authorized": f"check username, password and the broker's access list; {READ_AGAIN}",
        "Client identifier not valid": "set another client_id",
    }
    hint = hints.get(name)
    return f"the broker refused the connection: {name}" + (f"; {hint}" if hint else "")
