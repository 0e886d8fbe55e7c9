"""The MQTT source: keeps a session at a broker and feeds what arrives to the journal.

Connections (`connection.py`) come and go; the session, named by a stable client ID, stays. Between connections the
source waits with full jitter, so that a fleet does not come back as one. A rival with our client ID: `rival.py`.
"""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.records import Chunk
from connector.sources.journal.disk import DiskJournal
from connector.sources.journal.journal import Batch, Journal
from connector.sources.journal.memory import MemoryJournal
from connector.sources.loss import Horizon
from connector.sources.mqtt.bounded_client import MESSAGE_BYTES
from connector.sources.mqtt.connection import Connection, End, Received, end_session
from connector.sources.mqtt.loss import MqttHorizons, MqttSituation
from connector.sources.mqtt.packets import AROUND_PAYLOAD
from connector.sources.mqtt.rival import Rival
from connector.sources.mqtt.section import MqttSection
from connector.sources.source import Handover, Reread, Source, SourceFailedError
from connector.threads.watched import STILL_SECONDS, WatchedThread, moves

_FIRST_DELAY: Final = 0.5
_LAST_DELAY: Final = 30.0
_STEADY_SECONDS: Final = 30.0
"""A connection that lasted this long was a good one: the next delay starts small again."""
_SILENT_PAUSE: Final = 120.0

_REMEDY: Final = (
    "see whether the address is that of an MQTT broker, and the broker's log; if another program used the client_id "
    "with other subscriptions, set another client_id, or delete the session at the broker; else update the broker"
)

_log = structlog.get_logger(__name__)


class MqttSource(Source):
    """A `Source` over one MQTT broker.

    While the intake has no room (`hold`) the network thread goes on, and the journal takes what comes, up to its bound.
    """

    def __init__(
        self,
        settings: MqttSection,
        file: SourceFile,
        journal: Journal,
        *,
        message_bytes: int = MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._file = file
        self._journal = journal
        self._message_bytes = message_bytes
        self._clock = clock
        self._chance = chance
        self.client_id = settings.client_id or _kept_client_id(file)
        self._filters = _remembered_filters(file)
        self._horizons = MqttHorizons(file.path.parent, settings.broker_queue, settings.session_expiry)
        self._leave: frozenset[str] = frozenset()
        self._leaving_now = False
        self._left = False
        self._ends_session = False
        self._session_ended = False
        self._draining = threading.Event()
        self._stopping = threading.Event()
        self._connection: Connection | None = None
        self._failure: str | None = None
        self._trouble: str | None = "not connected yet"
        self._rival = Rival(self.client_id)
        self._received = 0
        self._connections = 0
        self._lost_sessions = 0
        self._stale_acks = 0
        self._unwanted = 0
        self._too_early = 0
        self._protocol_errors = 0
        self._breaches: set[str] = set()
        """Rules that the broker broke."""
        self._stale_lock = threading.Lock()
        self._thread = WatchedThread(f"mqtt-{settings.name}", settings.name, self._run)

    def start(self, handover: Handover) -> None:  # noqa: ARG002 - its partition is never given away
        """Connect in the background."""
        self._journal.start()
        self._thread.start()

    def poll(self, timeout: float) -> Chunk | None:
        """What the journal has next; a failed session is reported once the journal is read to its end."""
        chunk = self._journal.poll(timeout)
        if chunk is None and self._failure:
            raise SourceFailedError(self._failure)
        return chunk

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the broker, QoS 0; False if we are not connected, and then it is not kept."""
        connection = self._connection
        return connection is not None and connection.ready and connection.publish(topic, payload)

    def commit(self, commit: Commit) -> None:
        """To the journal."""
        self._journal.commit(commit)

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:  # noqa: ARG002 - it has one
        """From the journal."""
        return self._journal.read_again(positions, max_bytes)

    def stop_reading(self) -> None:
        """Read no more; the connection stays for the acknowledgements of what is still on its way."""
        self._draining.set()

    def leave(self, *, end_session: bool) -> None:
        """Unsubscribe from what other members of a shared subscription take over, or from everything."""
        topics = self._settings.topics
        self._leave = frozenset(topic for topic in topics if end_session or topic.startswith("$share/"))
        self._ends_session = len(self._leave) == len(set(topics))
        self._leaving_now = True
        connection = self._connection
        if connection is not None:
            connection.leave(self._leave)

    def leaving(self) -> str | None:
        """Unsubscribing, and receiving what the broker has queued for us already."""
        if not self._leaving_now or not self._leave or self._left:
            return None
        connection = self._connection
        if connection is not None and connection.left:  # also where some filters were refused
            self._left = True
            return None
        if connection is None or not connection.ready:
            return f"not connected: {self._trouble or 'connecting to the broker'}"
        return "unsubscribing, and receiving what the broker has for us already"

    def close(self, timeout: float) -> None:
        """End the connection (the session stays at the broker, unless all was left), then close the journal."""
        self._draining.set()
        self._stopping.set()
        connection = self._connection
        if connection is not None:
            connection.wake()
        until = time.monotonic() + timeout
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if self._may_end_session() and self._settings.protocol == "3.1.1" and not self._session_ended:
            self._session_ended = True
            end_session(self._settings, self.client_id)
        self._journal.close(max(0.1, until - time.monotonic()))

    def problems(self) -> list[str]:
        """No connection, refused filters, or the journal's own."""
        found = self._journal.problems()
        connection = self._connection
        if self._failure:
            found.append(self._failure)
        elif connection is None or not connection.ready:
            found.append(self._trouble or "connecting to the broker")
        return found

    def ended(self) -> str | None:
        """The thread of the connection, or the journal's."""
        return self._thread.ended or self._journal.ended()

    def threads(self) -> list[WatchedThread]:
        """The thread of the connection, and those of the journal."""
        return [self._thread, *self._journal.threads()]

    def gauges(self) -> dict[str, float]:
        """Connection and journal."""
        connection = self._connection
        return {
            "mqtt_connected": float(connection is not None and connection.ready),
            "mqtt_session_present": float(connection is not None and connection.session_present),
            "mqtt_connections_total": self._connections,
            "mqtt_received_total": self._received,
            "mqtt_lost_sessions_total": self._lost_sessions,
            "mqtt_stale_acks_total": self._stale_acks,
            "mqtt_unwanted_total": self._unwanted,
            "mqtt_beyond_receive_maximum_total": self._too_early,
            "mqtt_protocol_errors_total": self._protocol_errors,
            **self._journal.gauges(),
        }

    def unread(self) -> int:
        """Those in the journal."""
        return self._journal.unread()

    def horizons(self, now: float) -> list[Horizon]:
        """The journal's bound, the disk, the broker's queue, the session's end."""
        connected = self._connection is not None and self._connection.ready
        return self._horizons.look(now, MqttSituation(self._journal.fill(), self._received, connected=connected))

    # -- the network thread -----------------------------------------------------------------------

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while not self._draining.is_set() and not self._failure:
            moves()
            started = self._clock()
            end = self._one_connection()
            if self._draining.is_set():
                return
            if end.breach is not None:
                self._report_breach(end)
            elif self._clock() - started >= _STEADY_SECONDS:
                delay = _FIRST_DELAY
                self._rival.steady()
            pause = self._judge(end) or delay * (0.1 + 0.9 * self._chance())
            if self._failure:
                _log.error("mqtt_stopped", source=self.name, reason=self._failure)
                return
            _log.warning("mqtt_disconnected", source=self.name, reason=end.message, next_try_in_seconds=round(pause, 2))
            delay = min(delay * 2, _LAST_DELAY)
            moves(STILL_SECONDS + pause)
            self._draining.wait(pause)

    def _one_connection(self) -> End:
        self._connections += 1
        try:
            connection = Connection(
                self._settings,
                self.client_id,
                remembered_filters=self._filters,
                received=self._append,
                subscribed=self._subscribed,
                unsubscribed=self._remember,
                stale=self._count_stale,
                leave=self._leave,
                ends_session=self._may_end_session,
                message_bytes=self._message_bytes,
            )
            self._connection = connection
            if self._leave:  # it may have been said between the two lines above
                connection.leave(self._leave)
            end = connection.run(may_read=self._may_read, stopping=self._stopping.is_set)
        except Exception as error:  # noqa: BLE001 - whatever a broker makes paho raise must not end the source
            _log.exception("mqtt_connection_failed", source=self.name)
            end = End(f"unexpected: {error}")
        self._connection = None
        self._trouble = end.message
        return end

    def _report_breach(self, end: End) -> None:
        """Count it; and log it the first time that this rule is broken."""
        self._protocol_errors += 1
        if end.breach is not None and end.breach not in self._breaches:
            self._breaches.add(end.breach)
            _log.error(
                "mqtt_protocol_error",
                source=self.name,
                reason=end.message,
                effect="we end such a connection, and connect again after a pause; the broker keeps our session",
                remedy=_REMEDY,
            )

    def _may_end_session(self) -> bool:
        """Not while anything is at the broker that only we would get."""
        return self._ends_session and self._left

    def _count_stale(self, acknowledgements: int) -> None:
        with self._stale_lock:
            self._stale_acks += acknowledgements

    def _may_read(self) -> bool:
        return not self._draining.is_set() and self._journal.has_room()

    def _judge(self, end: End) -> float | None:
        """Whether a rival ended the connection. Returns a pause in seconds, or None for the usual one."""
        if end.taken_over:
            self._failure = self._rival.took_over(self._clock())
        elif end.by_broker and (suspicion := self._rival.closed(self._clock())):
            self._trouble = suspicion
            _log.error("mqtt_closed_repeatedly", source=self.name, reason=suspicion, pause=_SILENT_PAUSE)
            return _SILENT_PAUSE * (0.75 + 0.5 * self._chance())
        return None

    def _append(self, connection: Connection, received: Received) -> None:
        self._received += len(received.records)
        self._unwanted += received.unwanted
        self._too_early += received.too_early
        mids = received.mids
        self._journal.append(Batch(received.records, lambda: connection.acknowledge(mids)))

    def _subscribed(self, connection: Connection, filters: frozenset[str]) -> None:
        if self._filters and not connection.session_present:
            self._lost_sessions += 1
            _log.warning(
                "mqtt_session_lost",
                source=self.name,
                client_id=self.client_id,
                effect="the broker has forgotten our session: what it queued for us since we were last here is gone",
                remedy="persistence at the broker, and a session_expiry longer than our absence",
            )
        if connection.session_expiry < self._settings.session_expiry:
            _log.warning(
                "mqtt_session_expiry_reduced",
                source=self.name,
                asked_seconds=self._settings.session_expiry,
                granted_seconds=connection.session_expiry,
                effect="what comes while we are away for longer is lost at the broker",
            )
        self._remember(filters)
        if connection.refused_filters:
            self._trouble = "the broker did not grant " + ", ".join(
                f"{topic!r} ({why})" for topic, why in connection.refused_filters.items()
            )
            _log.error("mqtt_subscription_refused", source=self.name, reason=self._trouble)
        else:
            _log.info(
                "mqtt_connected",
                source=self.name,
                client_id=self.client_id,
                session_present=connection.session_present,
                topics=self._settings.topics,
            )

    def _remember(self, filters: frozenset[str]) -> None:
        """What is subscribed now; where the disk is full, at the next connection."""
        if filters == self._filters:
            return
        try:
            self._file.remember("subscriptions", json.dumps(sorted(filters)))
        except sqlite3.OperationalError as error:
            _log.warning("mqtt_subscriptions_not_remembered", source=self.name, reason=str(error))
        else:
            self._filters = filters


def _kept_client_id(file: SourceFile) -> str:
    known = file.remembered("client_id")
    if known is None:
        known = f"clarify-connector-{secrets.token_hex(6)}"
        file.remember("client_id", known)
    return str(known)


def _remembered_filters(file: SourceFile) -> frozenset[str]:
    known = file.remembered("subscriptions")
    return frozenset(json.loads(str(known))) if known else frozenset()


def open_source(section: MqttSection, file: SourceFile, message_bytes: int) -> MqttSource:
    """The source with the journal that its section asks for; a longer message than `message_bytes` is not kept whole.
    Raises `ValueError` if messages wait in a journal on disk while the section wants the one in memory."""
    journal: Journal
    if section.journal.storage == "disk":
        journal = DiskJournal(section.name, file, section.journal.max_bytes)
    else:
        journal = MemoryJournal(section.name, file, section.journal.max_bytes)
    return MqttSource(section, file, journal, message_bytes=message_bytes + AROUND_PAYLOAD)
