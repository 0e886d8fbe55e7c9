"""The acknowledgements and messages that other threads want to send over a connection.

The thread that owns the connection sends both. An acknowledgement belongs to the connection that received the message,
because a packet id means another message on the next connection. So after the end of the connection, an acknowledgement
is stale: the acknowledgement is dropped and counted.
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
"""The largest number of our messages that may wait."""


class Outbound:
    """The queues of one connection.

    `open_socket`, `read_wakes`, `send` and `close` are for the owner of the connection; the other methods are for any
    thread.
    """

    def __init__(self, stale: Callable[[int], None]) -> None:
        """`stale` is called in any thread, with the number of acknowledgements that came too late."""
        self._stale = stale
        self._queues = threading.Lock()
        """Protects the queues and `_open`."""
        self._open = True
        self._acknowledgements: deque[list[int]] = deque()
        self._messages: deque[tuple[str, bytes]] = deque(maxlen=_MESSAGES)
        self.quiet = False
        """Whether acknowledgements wake nobody, because the owner looks soon."""
        self.holds_back = False
        """Whether the newest acknowledgement waits for a newer one, so that the broker never has all."""
        self.held: list[int] = []
        """The packet id of the acknowledgement that is held back; empty if there is none."""
        self._sender: socket.socket | None = None
        self.woken: socket.socket
        """A socket that is readable when another thread has data to send. `open_socket` sets the attribute."""

    def acknowledge(self, mids: list[int]) -> None:
        """Send PUBACK for these packet ids, in this order. If the connection has ended, nothing is sent."""
        with self._queues:
            if not self._open:
                self._stale(len(mids))
                return
            self._acknowledgements.append(mids)
        if not self.quiet:
            self.wake()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send this message, QoS 0, after the acknowledgements that wait.

        Returns False if the connection has ended, or if too many messages wait already. Then the message is not sent.
        """
        with self._queues:
            if not self._open or len(self._messages) == _MESSAGES:
                return False
            self._messages.append((topic, payload))
        self.wake()
        return True

    def wake(self) -> None:
        """Make the owner check the queues at once."""
        sender = self._sender
        if sender is None:  # the owner has not begun, and will check the queues anyway
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
        """Hand everything that waits to paho. Returns the number of acknowledgements."""
        sent = self.send_acknowledgements(client)
        while self._messages:
            client.publish(*self._messages.popleft(), qos=0)
        return sent

    def send_acknowledgements(self, client: BoundedClient) -> int:
        """Hand the acknowledgements that wait to paho. Returns the number of acknowledgements."""
        sent = 0
        if self.held and not self.holds_back:
            with self._queues:
                self._acknowledgements.appendleft(self.held)
            self.held = []
        while True:
            with self._queues:
                if not self._acknowledgements:
                    return sent
                mids = self._acknowledgements.popleft()
            if self.holds_back:
                due = self.held + mids
                mids, self.held = due[:-1], due[-1:]
            client.acknowledge(mids)
            sent += len(mids)

    def close(self) -> None:
        """Note that the connection has ended: the acknowledgements that were not sent are stale."""
        with self._queues:
            self._open = False
            unsent = sum(len(mids) for mids in self._acknowledgements)
            self._acknowledgements.clear()
        self._stale(unsent)
        if self._sender is not None:
            self.woken.close()
            self._sender.close()
