"""The address at which the sandbox listens, and the base URLs of its API."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

BASE_PATH = "/v1/"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The address of a listener: a host name or IP address, and a port.

    Port 0 asks the system for a free port. With `tls`, the URL begins with https.
    """

    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read an address in the form `HOST:PORT`; an IPv6 address stands in brackets.

        Raises ValueError, whose text names the mistake.
        """
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, such as [::1]:8090")
        if not colon or not host:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8090")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError(f"{text!r}: the port must be a number from 0 to 65535")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """The base URL of the API for a client on this machine, with a trailing slash."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{BASE_PATH}"


def check_public_url(text: str) -> str:
    """The base URL in `text`, with a trailing slash.

    Raises ValueError if `text` is not an http or https URL with a host, or has a query or a fragment.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not an http or https URL, such as http://sandbox:8090{BASE_PATH}")
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r}: a base URL has no query and no fragment")
    return text if text.endswith("/") else text + "/"
