"""The address of the pages, known without the library of the sections: `health` runs every 30 s, and must be quick."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from connector.formats.text.bounded_yaml import BoundedYamlError, read_yaml

DEFAULT_LISTEN: Final = "127.0.0.1:9464"
LISTEN: Final = r"^(\[[0-9a-fA-F:]+\]:\d{1,5}|unix:~?/.+|[^:\s]+:\d{1,5})$"
UNIX: Final = "unix:"
_LONGEST_PATH: Final = 100
"""Most bytes of the path of a Unix socket: Linux takes 107, macOS and BSD 103."""
_LAST_PORT: Final = 65_535
_NOT_ASKED: Final = frozenset(
    {"socket_access", "hosts", "loss_warning", "ledger_topics", "log_level", "log_format", "otlp"}
)
"""Settings of `observe` that do not matter to a visitor."""


class Address(NamedTuple):
    """An address of the pages: host and port, or the path of a Unix socket."""

    host: str
    port: int
    path: Path | None = None

    @classmethod
    def of(cls, listen: str) -> Address:
        """Return the address in `observe.listen`: HOST:PORT, [IPv6]:PORT or unix:/PATH. Raises ValueError otherwise."""
        if listen.startswith(UNIX):
            return cls("localhost", 0, Path(os.path.expanduser(listen.removeprefix(UNIX))))  # noqa: PTH111
        host, _, port = listen.rpartition(":")
        return cls(host.strip("[]").lower(), int(port))

    @property
    def local(self) -> bool:
        """Whether only programs on this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return is_localhost(self.host)


class OpenPages(NamedTuple):
    """The part of `ObserveSection` that a visitor needs, for pages with neither token nor TLS."""

    listen: str
    token: None = None
    tls: None = None


def is_localhost(name: str) -> bool:
    """Whether every resolver resolves this name, in lower case, to this machine (RFC 6761)."""
    return name == "localhost" or name.endswith(".localhost")


def usable_address(listen: str) -> str:
    """Return this address in the form `LISTEN`. Raises ValueError if no server can have it."""
    address = Address.of(listen)
    if address.port > _LAST_PORT:
        raise ValueError(f"the port {address.port} is greater than {_LAST_PORT}")
    if address.path is not None and len(bytes(address.path)) > _LONGEST_PATH:
        raise ValueError(f"the path of a Unix socket may have at most {_LONGEST_PATH} bytes")
    return listen


def open_pages(file: Path) -> OpenPages | None:
    """Return where the pages of this configuration are; None if only `load_observe` can tell, or can say what is wrong.

    That is so for pages with a token, TLS or a `${…}` in their address, and for a file with a mistake there.
    """
    try:
        document: Any = read_yaml(file)
        observe = document.get("observe", {})
        if not observe.keys() <= {"listen", *_NOT_ASKED}:
            return None
        listen = observe.get("listen", DEFAULT_LISTEN)
        if "$" in listen or not re.match(LISTEN, listen):
            return None
        return OpenPages(usable_address(str(listen)))
    except (OSError, BoundedYamlError, AttributeError, TypeError, ValueError):
        return None
