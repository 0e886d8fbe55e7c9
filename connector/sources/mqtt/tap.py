"""A tap on an MQTT broker: a clean session with another client ID than the connector's session.

A shared subscription would take messages away from the other members. So the tap subscribes to the filter of a shared
subscription without the group.
"""

from __future__ import annotations

import queue
import secrets
import threading
from typing import Final

from connector.records import Record
from connector.sources.mqtt.arrivals import Received
from connector.sources.mqtt.connection import Connection, End
from connector.sources.mqtt.section import MqttSection
from connector.sources.tap import TapError

_BATCHES: Final = 64
"""The number of turns of the network loop that may wait for `poll`; beyond this number, the broker has to wait."""
_CLOSE_SECONDS: Final = 3.0


class MqttTap:
    """A `Tap` on one broker."""

    def __init__(self, section: MqttSection) -> None:
        self.name = section.name
        topics = list(dict.fromkeys(_unshared(topic) for topic in section.topics))
        self._settings = section.model_copy(update={"topics": topics})
        self._queue: queue.Queue[list[Record]] = queue.Queue()
        self._stopping = threading.Event()
        self._end: End | None = None
        self._connection = Connection(
            self._settings,
            f"clarify-connector-tap-{secrets.token_hex(6)}",
            remembered_filters=frozenset(),
            received=self._take,
            subscribed=lambda _connection, _filters: None,
            stale=lambda _acknowledgements: None,
            keep_session=False,
        )
        self._thread = threading.Thread(target=self._run, name=f"tap-{section.name}", daemon=True)

    def start(self) -> None:
        """Connect in the background."""
        self._thread.start()

    def poll(self, timeout: float) -> list[Record]:
        """The records that came; empty if none came within `timeout` seconds.

        Raises TapError if the broker refused a filter, or if the connection has ended.
        """
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            refused = self._connection.handshake.refused_filters
            if refused:
                names = ", ".join(f"{topic!r} ({why})" for topic, why in refused.items())
                raise TapError(f"source {self.name}: the broker did not grant {names}") from None
            if self._end is not None:
                raise TapError(f"source {self.name}: {self._end.message}") from None
            return []

    def listening(self) -> bool:
        """Whether the subscriptions are in force."""
        return self._connection.handshake.ready

    def close(self) -> None:
        """Disconnect. The broker forgets the session."""
        self._stopping.set()
        self._connection.wake()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._end = self._connection.run(
                may_read=lambda: self._queue.qsize() < _BATCHES, stopping=self._stopping.is_set
            )
        except Exception as error:  # noqa: BLE001 - any error that a broker provokes in paho ends the tap
            self._end = End(str(error))

    def _take(self, connection: Connection, received: Received) -> None:
        self._queue.put(received.records)
        connection.acknowledge(received.mids)


def _unshared(topic: str) -> str:
    return topic.split("/", 2)[2] if topic.startswith("$share/") else topic
