"""What other threads want to send over a connection: acknowledgements, and messages of ours.

The thread that owns the connection sends them. An acknowledgement belongs to the connection that received the message:
a packet id means something else on the next connection. So once the connection has ended, an acknowledgement is stale:
it is dropped, and counted.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from connector.sources.mqtt.bounded_client import BoundedClient

_MESSAGES: Final = 1000
"""Messages of ours that may wait."""


class Outbound:
    """The queues of one connection. `open_socket`, `read_wakes`, `send` and `close` are for the owner of the
    connection; the other methods are for any thread."""

    def __init__(self, stale: Callable[[int], None]) -> None:
        """`stale` is told how many acknowledgements came too late; in any thread."""
        self._stale = stale
        self._queues = threading.Lock()
        """Protects the queues and `_open`."""
        self._open = True
        self._acknowledgements: deque[list[int]] = deque()
        self._messages: deque[tuple[str, bytes]] = deque(maxlen=_MESSAGES)
        self._sender: socket.socket | None = None
        self.woken: socket.socket
        """Readable when another thread has something to send; there is one after `open_socket`."""

    def acknowledge(self, mids: list[int]) -> None:
        """Send PUBACK for these packet ids, in this order; not at all if the connection has ended."""
        with self._queues:
            if not self._open:
                self._stale(len(mids))
                return
            self._acknowledgements.append(mids)
        self.wake()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send this message, QoS 0, behind the acknowledgements that wait. Returns False if the connection has ended,
        or if too many messages wait already."""
        with self._queues:
            if not self._open or len(self._messages) == _MESSAGES:
                return False
            self._messages.append((topic, payload))
        self.wake()
        return True

    def wake(self) -> None:
        """Have the owner look at once."""
        sender = self._sender
        if sender is None:  # the owner has not begun, and will look when it begins
            return
        with contextlib.suppress(OSError):  # full: the owner is awake already; closed: the connection has ended
            sender.send(b"\0")

    def open_socket(self) -> None:
        """Make the sockets that wake the owner. Raises `OSError`."""
        self.woken, self._sender = socket.socketpair()
        self.woken.setblocking(False)
        self._sender.setblocking(False)

    def read_wakes(self) -> None:
        """Take note of all calls of `wake` so far."""
        with contextlib.suppress(BlockingIOError):  # empty again
            while self.woken.recv(4096):
                continue

    def send(self, client: BoundedClient) -> int:
        """Hand everything that waits to paho. Returns how many acknowledgements that were."""
        sent = self.send_acknowledgements(client)
        while self._messages:
            client.publish(*self._messages.popleft(), qos=0)
        return sent

    def send_acknowledgements(self, client: BoundedClient) -> int:
        """Hand the acknowledgements that wait to paho. Returns how many that were."""
        sent = 0
        while True:
            with self._queues:
                if not self._acknowledgements:
                    return sent
                mids = self._acknowledgements.popleft()
            client.acknowledge(mids)
            sent += len(mids)

    def close(self) -> None:
        """The connection has ended: what was not sent is stale."""
        with self._queues:
            self._open = False
            unsent = sum(len(mids) for mids in self._acknowledgements)
            self._acknowledgements.clear()
        self._stale(unsent)
        if self._sender is not None:
            self.woken.close()
            self._sender.close()
