"""Finds out whether a server can be reached: name, port, TLS, certificate. Nothing is sent but the begin of TLS."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connector.brokers.findings import Finding, Level, Look, advice, ok, wrong
from connector.settings import TlsSection

_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's numbers of the reasons why a certificate cannot be verified."""
_SOON_DAYS: Final = 14
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_DAY: Final = 86_400


def reach(
    host: str,
    port: int,
    seconds: float,
    tls: Callable[[], ssl.SSLContext] | None = None,
    otherwise: Callable[[], Finding | None] = lambda: None,
) -> Look:
    """Look at a name, a port, and TLS with the context that `tls` makes; returns whether all of it works.

    `otherwise` says what the port speaks if it speaks no TLS, and may know a better remedy.
    """
    where = f"{host}:{port}"
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        yield wrong("name", f"the name {host} is not known", "correct the name, or see to the DNS of this machine")
        return False
    connection = None
    failure: OSError = OSError(f"{where} cannot be reached")
    try:
        connection = socket.create_connection((host, port), seconds)
    except OSError as error:
        failure = error
    if connection is None:
        found = ", ".join(dict.fromkeys(str(address[4][0]) for address in addresses[:3]))
        yield wrong("port", f"no connection to {where} ({found}): {_why(failure, seconds)}", _what_to_do(failure))
        return False
    with connection:
        if tls is None:
            yield ok("port", f"{where} accepts connections")
            return True
        try:
            context = tls()
        except (OSError, ValueError) as error:
            yield wrong("TLS", f"a certificate file cannot be used ({error})", "see tls.ca_file, cert_file, key_file")
            return False
        connection.settimeout(seconds)
        return (yield from _encrypted(connection, host, where, context, otherwise))


def _encrypted(
    connection: socket.socket,
    host: str,
    where: str,
    context: ssl.SSLContext,
    otherwise: Callable[[], Finding | None],
) -> Look:
    try:
        secure = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        cause, remedy = certificate_fault(error, host)
        yield wrong("certificate", f"the certificate of {where} is not valid: {cause}", remedy)
        return False
    except OSError as error:
        yield otherwise() or wrong(
            "TLS",
            f"{where} does not begin TLS ({_why(error, 0)})",
            "name the port for TLS, or an address without TLS; does the server want a certificate of ours?",
        )
        return False
    with secure:
        ends = (secure.getpeercert() or {}).get("notAfter")
        if isinstance(ends, str):
            yield _expiry("certificate", f"the certificate of {where}", ssl.cert_time_to_seconds(ends))
        else:
            yield ok("TLS", f"{where} speaks {secure.version()}")
    return True


def certificate_fault(error: ssl.SSLCertVerificationError, host: str) -> tuple[str, str]:
    """The reason why a certificate cannot be verified, and the remedy."""
    if error.verify_code == _EXPIRED:
        return "it has expired", "renew the server's certificate, and check the clock of this machine"
    if error.verify_code == _NOT_YET_VALID:
        return "it is not valid yet", "check the clocks of the server and of this machine"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return f"it is for another name than {host}", "write the address with a name that is in the certificate"
    return str(error.verify_message), "name the authority that signed it in tls.ca_file"


def speaks_tls(host: str, port: int, seconds: float) -> bool:
    """Whether a server begins TLS, with any certificate. Raises nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), seconds) as connection:
            connection.settimeout(seconds)
            with context.wrap_socket(connection, server_hostname=host):
                return True
    except ssl.SSLError as error:  # a server that wants a certificate of ours speaks TLS, too
        return "CERTIFICATE" in str(error.reason)
    except OSError:
        return False


def own_files(tls: TlsSection) -> Look:
    """Look at the certificates that the section names; returns whether none has expired."""
    sound = True
    for name, path in (("tls.ca_file", tls.ca_file), ("tls.cert_file", tls.cert_file)):
        ends = certificate_ends(path, alone=name == "tls.ca_file") if path is not None else None
        if ends is not None:
            found = _expiry("certificate", f"{name} {path}", ends)
            sound = sound and found.level is not Level.WRONG
            yield found
    return sound


def certificate_ends(path: Path, *, alone: bool) -> float | None:
    """The time when the first certificate in a PEM file expires, in seconds since 1970; None if it cannot be read.

    With `alone`, also None if there are several: of many authorities, those that matter may be valid.
    """
    try:
        if alone and path.read_bytes().count(_BEGIN) != 1:
            return None
        decode: Any = ssl._ssl._test_decode_cert  # type: ignore[attr-defined] # Python has no public reader
        return float(ssl.cert_time_to_seconds(decode(str(path))["notAfter"]))
    except (AttributeError, KeyError, OSError, ValueError):
        return None


def _expiry(subject: str, what: str, ends: float) -> Finding:
    day = datetime.fromtimestamp(ends, UTC).date()
    left = ends - time.time()
    if left <= 0:
        return wrong(subject, f"{what} has expired on {day}", "renew it, and check the clock of this machine")
    if left < _SOON_DAYS * _DAY:
        return advice(subject, f"{what} expires on {day}", "renew it before; nothing connects after that day")
    return ok(subject, f"{what} is valid until {day}")


def _why(error: OSError, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s" if seconds else "no answer"
    return getattr(error, "reason", None) or error.strerror or str(error) or type(error).__name__


def _what_to_do(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "check the address; is a firewall in between?"
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
        return "see to the network of this machine, and to its routes"
    return "check the port; is the server running?"
