"""A websocket whose other side takes few bytes."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

import pytest
from paho.mqtt.client import _WebsocketWrapper

from connector.sources.mqtt.websocket import BoundedWebsocket
from tests.hostile.mqtt_broker import Session, frame
from tests.tls_server import NAME, client_context, come, sent, server_context, with_ours

_PING = 9


def connected(ours: Any, theirs: socket.socket, *, secure: bool) -> tuple[BoundedWebsocket, Session, socket.socket]:
    """The client, the server, and the server's socket."""
    served: list[tuple[Session, socket.socket]] = []

    def serve() -> None:
        sock = server_context(ssl.TLSVersion.TLSv1_3).wrap_socket(theirs, server_side=True) if secure else theirs
        served.append((Session(sock, 0, websocket=True, reads=False), sock))

    thread = threading.Thread(target=serve)
    thread.start()
    sock = with_ours(ours, client_context(), NAME) if secure else ours
    client = BoundedWebsocket(sock, NAME, 1, secure, "/mqtt", 10)
    thread.join()
    client.setblocking(False)
    served[0][1].setblocking(False)
    return client, *served[0]


@pytest.mark.parametrize("pings", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_what_does_not_fit_goes_with_the_next_try(secure: bool, pings: bool) -> None:
    """With 0 sent bytes, paho forgets the packet. Half a pong, or half a packet, would spoil all that comes after."""
    messages = [bytes([i]) * 3000 for i in range(60)]
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that there is
    client, session, server = connected(ours, theirs, secure=secure)
    got, refused = bytearray(), 0

    def take() -> bool:
        """Whether something has come."""
        data = come(server, 1500)
        session._behind += data or b""
        while payload := session._next_frame():
            got.extend(payload)
        return bool(data)

    for message in messages:
        while (count := sent(client, message)) is None:
            refused += 1
            if pings:
                server.send(frame(b"there?", _PING))
                assert come(client) is None
            take()
            if pings:  # with room for a pong
                server.send(frame(b"there?", _PING))
                assert come(client) is None
        assert count == len(message)
        if pings:  # with room for half a pong, maybe
            server.send(frame(b"x" * 120, _PING))
            assert come(client) is None
    while take():
        continue
    client.close()
    server.close()
    assert refused > 10
    assert got == b"".join(messages)


def test_paho_sends_a_frame_by_the_method_that_is_ours() -> None:
    assert "_send_impl" in _WebsocketWrapper.send.__code__.co_names
    assert {"_sendbuffer", "_requested_size"} <= set(_WebsocketWrapper.__init__.__code__.co_names)
