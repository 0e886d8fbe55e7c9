"""The common parts of all connections to an MQTT broker: TLS, waiting for sockets, and texts for errors."""

from __future__ import annotations

import errno
import resource
import select
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final

from paho.mqtt import client as paho_client
from paho.mqtt.enums import MQTTErrorCode

from connector.settings import TlsSection

_ANSWER_BYTES: Final = 64 * 1024
"""The longest packet of a broker to a client that subscribes to nothing."""


def tls_context(tls: TlsSection) -> ssl.SSLContext:
    """The TLS context for a section. Raises OSError or ValueError if a file cannot be used."""
    context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
    if tls.cert_file:
        password = tls.key_password.get_secret_value() if tls.key_password else None
        context.load_cert_chain(tls.cert_file, tls.key_file, password)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


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


class PublishingClient(paho_client.Client):
    """paho's client for one that subscribes to nothing: a broker that sends messages, or long packets, is left.

    paho keeps a whole packet of up to 256 MB, and every message of QoS 2 until its exchange ends.
    """

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
        FileNotFoundError: "a certificate file is not there; see tls.ca_file, tls.cert_file and tls.key_file",
        TimeoutError: f"no answer within {seconds:g} s; is a firewall in between?",
    }
    return plain.get(type(error)) or str(error) or type(error).__name__


def connack_refusal(name: str, protocol: str) -> str:
    """The text for a refused connection: the reason code in the broker's answer, and a remedy."""
    hints = {
        "Unsupported protocol version": f"set protocol: {'3.1.1' if protocol == '5' else '5'}",
        "Bad user name or password": "check username and password",
        "Not authorized": "check username, password and the broker's access list",
        "Client identifier not valid": "set another client_id",
    }
    hint = hints.get(name)
    return f"the broker refused the connection: {name}" + (f"; {hint}" if hint else "")
