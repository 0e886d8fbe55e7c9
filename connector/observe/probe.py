"""Asks a running connector for its health, from outside of the process: for the health checks of containers."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final

from connector.config.address import Address, OpenPages

if TYPE_CHECKING:
    from pydantic import SecretStr

    from connector.config.observe import ObserveSection

_SECONDS: Final = 3.0
_MOST_BYTES: Final = 16 * 1024 * 1024
_FROM_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here: we only connect
_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a connector, as the connector's pages report it."""

    alive: bool
    """The connector works, or will recover without help; if False, only a restart helps."""
    ready: bool
    """The data can flow."""
    text: str
    """`alive` and `ready` as text for people, with the reasons."""


def ask(section: ObserveSection | OpenPages) -> Health:
    """Ask the connector of this machine at the address `listen` of `section`, and return the health within 6 s.

    A connector that does not answer counts as not alive. `listen` must not be None.
    """
    found: list[Health] = []
    thread = threading.Thread(target=lambda: found.append(_ask(section)), daemon=True)
    thread.start()
    thread.join(2 * _SECONDS)  # the timeout of a socket counts for each read, and a stranger may send byte by byte
    return found[0] if found else Health(False, False, f"no answer on {section.listen} within {2 * _SECONDS:g} s")


def _ask(section: ObserveSection | OpenPages) -> Health:
    listen = section.listen or ""
    try:
        alive, health = _page(section, "/healthz")
        ready, readiness = _page(section, "/readyz")
    except (OSError, HTTPException) as error:
        return Health(False, False, f"no answer on {listen} ({error}); is the connector running?")
    except ValueError:
        return Health(False, False, f"the program that answers on {listen} is not a connector")
    if not alive:
        return Health(False, False, f"failed: {health.get('failure')}")
    if not ready:
        problems = readiness.get("problems")
        return Health(True, False, f"alive, not ready: {'; '.join(problems) if isinstance(problems, list) else '?'}")
    notices = readiness.get("notices")
    said = [_notice(notice) for notice in notices if isinstance(notice, dict)] if isinstance(notices, list) else []
    return Health(True, True, "; ".join(["alive, ready", *said]))


def bearer(token: SecretStr | None) -> dict[str, str]:
    """Return the headers of a request with this token; no header without a token."""
    return {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}


def _notice(notice: Mapping[str, object]) -> str:
    worker = f"worker {notice['worker']}: " if "worker" in notice else ""
    source = f"{notice['source']}: " if notice.get("source") else ""
    return f"{worker}{source}{notice.get('text')}; {notice.get('remedy')}"


def _page(section: ObserveSection | OpenPages, path: str) -> tuple[bool, dict[str, object]]:
    status, body = read_page(section, path)
    content = json.loads(body)
    if not isinstance(content, dict):
        raise ValueError("not an object")  # noqa: TRY004 - for the caller the same as no JSON
    return status == 200, content


def read_page(section: ObserveSection | OpenPages, target: str, seconds: float = _SECONDS) -> tuple[int, bytes]:
    """Return (status, body) of a page of the connector of this machine; `target` is the path with the query.

    The token is sent only to a server that has the key of the configured certificate. `seconds` is the longest wait for
    a part of the answer. Raises OSError or HTTPException without an answer. `listen` must not be None.
    """
    connection = _connection(section, seconds)
    try:
        connection.request("GET", target, headers=bearer(section.token))
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES)
    finally:
        connection.close()


def _connection(section: ObserveSection | OpenPages, seconds: float) -> HTTPConnection:
    """Return a connection to the server of the pages; only a Unix socket is connected already. Raises OSError."""
    address = Address.of(section.listen or "")
    host = _FROM_HERE.get(address.host, address.host)
    if section.tls is not None:
        # The server must have the key of the configured certificate before the token is sent. The name and the dates
        # of the certificate do not count: a failed check of the dates would restart a connector that works.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        context.load_verify_locations(section.tls.cert_file)
        return HTTPSConnection(host, address.port, timeout=seconds, context=context)
    connection = HTTPConnection(host, address.port, timeout=seconds)
    if address.path is not None:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(seconds)
        try:
            connection.sock.connect(str(address.path))
        except OSError:
            connection.close()
            raise
    return connection
