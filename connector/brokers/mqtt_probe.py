"""Finds out whether the port of an MQTT broker speaks TLS where the address says otherwise, or HTTP.

A broker says nothing about that: it ends the connection. Neither a log-in nor a secret is sent.
"""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import urlsplit

from connector.brokers.mqtt_section import MQTT_PORTS
from connector.brokers.reach import speaks_tls

_OTHER: Final = {"mqtt": "mqtts", "ws": "wss", "mqtts": "mqtt", "wss": "ws"}
_HELLO: Final = bytes.fromhex("100c00044d5154540402000a0000")
"""CONNECT of MQTT 3.1.1 with a clean session, without client ID and log-in."""
_TLS_ALERT: Final = b"\x15"


def other_security(url: str, seconds: float = 2.0) -> str | None:
    """A sentence if the port of `url` speaks TLS and `url` does not say so, or the reverse, or HTTP; else None.

    Waits for at most `seconds` at each of a few steps. Raises nothing.
    """
    parts = urlsplit(url)
    host, port, scheme = parts.hostname or "", parts.port or MQTT_PORTS[parts.scheme], parts.scheme
    other = f"{_OTHER[scheme]}://{host}:{port}"
    if scheme in ("mqtt", "ws"):
        if speaks_tls(host, port, seconds):
            return f"the port speaks TLS; write {other}, or name the port without TLS"
        if scheme == "mqtt" and _first_bytes(host, port, _HELLO, seconds).startswith(b"HTTP"):
            return f"the port speaks HTTP and not MQTT; write ws://{host}:{port} if it is for websockets"
        return None
    question = _HELLO if scheme == "mqtts" else f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    if _first_bytes(host, port, question, seconds):
        return f"the port speaks no TLS; write {other} (all is in clear text), or name the port for TLS"
    return None


def _first_bytes(host: str, port: int, question: bytes, seconds: float) -> bytes:
    try:
        with socket.create_connection((host, port), seconds) as connection:
            connection.settimeout(seconds)
            connection.sendall(question)
            found = connection.recv(4)
    except OSError:
        return b""
    return b"" if found[:1] == _TLS_ALERT else found
