"""Requests with a body: which of them a page takes, and the bounded body.

No other web site may send such a request through a visitor's browser. A browser names the site in `Origin` with each
POST. A form cannot send JSON, and a script of another site may send JSON only after a question that is never answered
here. So `Origin` and the content type are checked, beside the token and the `Host` of all pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import h11

if TYPE_CHECKING:
    import asyncio

BODY_BYTES: Final = 256 * 1024
"""The longest body of a request."""
_PIECE: Final = 64 * 1024
Refusal: TypeAlias = tuple[int, bytes]
"""(status, text for people)."""
TOO_LARGE: Final[Refusal] = (413, f"a body has at most {BODY_BYTES} bytes\n".encode())


def refusal(headers: Mapping[bytes, bytes]) -> Refusal | None:
    """Returns why a request with these headers, by their names in small letters, is not taken; None if it is."""
    origin, host = headers.get(b"origin"), headers.get(b"host", b"")
    if origin is not None and origin.partition(b"://")[2].lower() != host.lower():
        return 403, b"only the page of this connector may send this, and no other web site\n"
    if headers.get(b"sec-fetch-site", b"same-origin").strip().lower() not in (b"same-origin", b"none"):
        return 403, b"only the page of this connector may send this, and no other web site\n"
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        return 415, b"only JSON: send Content-Type: application/json\n"
    length = headers.get(b"content-length", b"0")
    return TOO_LARGE if not length.isdigit() or int(length[:20]) > BODY_BYTES else None


async def read_body(http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
    """Returns the body of the request that has begun; None as soon as it is too long.

    Raises `h11.RemoteProtocolError` for a body that ends too early.
    """
    if http.they_are_waiting_for_100_continue:
        writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
    body = bytearray()
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_BYTES:
                return None
        else:  # the visitor has left
            return None
    return bytes(body)
