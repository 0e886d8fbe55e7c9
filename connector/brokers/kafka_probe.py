"""Finds out why a bootstrap server does not talk to us, where librdkafka does not say it.

librdkafka 2.16 says nothing about a port that speaks TLS while we do not, and one text about every certificate that
cannot be verified. So the probe connects, begins TLS, and sends nothing more: no log-in, no secret.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from connector.brokers.kafka_section import KafkaConnectionSection

_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's numbers of the reasons why a certificate cannot be verified."""
_CONNECT_SECONDS: Final = 3.0


def why_silent(section: KafkaConnectionSection, seconds: float = _CONNECT_SECONDS) -> str | None:
    """The reason why a server that can be reached does not talk to us, and the remedy; None if no reason was found.

    Each bootstrap server is asked, until one accepts a connection, for at most `seconds` each. Raises nothing.
    """
    for server in section.bootstrap_servers:
        parts = urlsplit(f"//{server}")
        host, port = parts.hostname or "", parts.port or 0
        try:
            with socket.create_connection((host, port), seconds) as connection:
                return _reason(section, connection, host, server)
        except OSError:  # librdkafka says why there is no connection
            continue
    return None


def _reason(section: KafkaConnectionSection, connection: socket.socket, host: str, server: str) -> str | None:
    encrypted = section.security == "tls"
    context = ssl.create_default_context(cafile=section.tls.ca_file if encrypted else None)
    if not encrypted or not section.tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {server} is not valid: {_certificate(error, host)}"
    except OSError:
        if encrypted:
            return None  # no TLS there, or TLS that only librdkafka can begin: it says so
    else:
        if not encrypted:
            return f"{server} speaks TLS: set security: tls, or name the port without TLS"
    if section.sasl is None:
        return f"{server} closes the connection: does the port want a log-in? Set sasl"
    return None


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    """The reason why a certificate cannot be verified, and the remedy."""
    if error.verify_code == _EXPIRED:
        return "it has expired; renew the broker's certificate, and check the clock of this machine"
    if error.verify_code == _NOT_YET_VALID:
        return "it is not valid yet; check the clocks of the broker and of this machine"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return f"it is for another name than {host}; name the server in bootstrap_servers as its certificate does"
    return f"{error.verify_message}; name the authority that signed it in tls.ca_file"
