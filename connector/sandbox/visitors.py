"""Keeps other web sites away from the page and from the orders of faults.

A browser on this machine runs the scripts of every site that its user visits. Such a script can send requests to the
sandbox: under a name of its own that leads to this machine (DNS rebinding), or across origins.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request


def refusal(request: Request, name: str) -> str | None:
    """Why the request is not answered, for people; None for a request of this machine or of the page itself.

    `name` is the published host name of the sandbox.
    """
    host = request.headers.get("host", "")
    server = request.scope.get("server") or ("", None)
    if not _is_own_name(_host_name(host), name, str(server[0])):
        return "The sandbox answers only under this machine's own name: use localhost, or the listener's name."
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.strip().lower():
        return "The sandbox takes no requests from the pages of other sites."
    return None


def _host_name(header: str) -> str:
    """The host name in a Host header, without port, brackets and final dot, in lower case."""
    text = header.strip().lower()
    name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    return name.removesuffix(".")


def _is_own_name(host: str, name: str, server: str) -> bool:
    """Whether `host` is this machine, the published name, or `server`, the address that took the request."""
    if host in ("localhost", name):
        return host != ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    try:
        own = ipaddress.ip_address(server)
    except ValueError:
        return False
    mapped = own.ipv4_mapped if isinstance(own, ipaddress.IPv6Address) else None
    return address in (own, mapped)
