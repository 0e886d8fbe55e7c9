"""Finds out why a bootstrap server does not talk to us, where librdkafka does not say it.

librdkafka 2.16 says nothing about a port that speaks TLS while we do not, nor about a port that wants a log-in, and one
text about every certificate that cannot be verified. So the probe connects, begins TLS, and asks for the brokers. The
probe sends no log-in and no secret.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Final
from urllib.parse import urlsplit

from connector.brokers.kafka_section import KafkaConnectionSection
from connector.brokers.reach import certificate_fault

_WAIT_SECONDS: Final = 3.0
_QUESTION: Final = struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0)
"""A request of Kafka: size, Metadata, version 1, number 1, no client ID, no topics. Only a log-in may come before."""


def why_silent(section: KafkaConnectionSection, seconds: float = _WAIT_SECONDS) -> str | None:
    """The reason why a server that can be reached does not talk to us, and the remedy; None if no reason was found.

    Each bootstrap server is asked, until one accepts a connection. Waits for at most `seconds` at each of a few steps.
    Raises nothing.
    """
    for server in section.bootstrap_servers:
        parts = urlsplit(f"//{server}")
        address = parts.hostname or "", parts.port or 0
        try:
            connection = socket.create_connection(address, seconds)
        except OSError:  # librdkafka says why there is no connection
            continue
        with connection:
            connection.settimeout(seconds)
            try:
                found = _tls(section, connection, address[0])
                if found is None and section.security == "plaintext" and section.sasl is None:
                    with socket.create_connection(address, seconds) as another:
                        found = _answer(another)
            except TimeoutError:
                found = "accepts connections, and does not answer: the broker hangs, or another program has the port"
            except OSError:  # for example, a file of tls is not there any more
                continue
        return found and f"{server} {found}"
    return None


def _tls(section: KafkaConnectionSection, connection: socket.socket, host: str) -> str | None:
    """What is wrong with TLS; raises TimeoutError if the server says nothing."""
    encrypted = section.security == "tls"
    context = ssl.create_default_context(cafile=section.tls.ca_file if encrypted else None)
    if not encrypted or not section.tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        secure = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return f"has a certificate that is not valid: {'; '.join(certificate_fault(error, host))}"
    except TimeoutError:
        raise
    except OSError:
        return "speaks no TLS: set security: plaintext, or name the port for TLS" if encrypted else None
    with secure:
        if not encrypted:
            return "speaks TLS: set security: tls, or name the port without TLS"
        return _answer(secure) if section.sasl is None and section.tls.cert_file is None else None


def _answer(connection: socket.socket) -> str | None:
    """Why the server does not answer a question without a log-in; raises TimeoutError if the server says nothing."""
    try:
        connection.sendall(_QUESTION)
        answered = connection.recv(4)
    except ssl.SSLError:
        return "wants a certificate of ours: set tls.cert_file and tls.key_file"
    except ConnectionError:
        answered = b""
    return None if answered else "closes the connection: the port wants a log-in; set sasl, or name the port without"
