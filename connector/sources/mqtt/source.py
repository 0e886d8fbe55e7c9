"""The MQTT source: keeps a session at a broker, and appends the messages to the journal.

Connections (`connection.py`) come and go; the session, named by a stable client ID, stays. Between connections the
source waits with full jitter, so that a fleet does not come back as one. A rival with our client ID: `rival.py`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from connector.brokers.mqtt import REMEDIES
from connector.ledger.account import Commit
from connector.ledger.delays import Histogram
from connector.ledger.source_file import SourceFile
from connector.records import Chunk
from connector.settings import CredentialsInUse
from connector.sources.journal.disk import DiskJournal
from connector.sources.journal.journal import Batch, Journal
from connector.sources.journal.memory import MemoryJournal
from connector.sources.loss import Horizon
from connector.sources.mqtt.arrivals import Received
from connector.sources.mqtt.bounded_client import MESSAGE_BYTES
from connector.sources.mqtt.connection import Connection, End, end_session
from connector.sources.mqtt.kept_session import KeptSession
from connector.sources.mqtt.loss import MqttHorizons, MqttSituation
from connector.sources.mqtt.packets import AROUND_PAYLOAD
from connector.sources.mqtt.refusals import Refusals
from connector.sources.mqtt.reports import doubts, say_breach, say_greeting, say_not_ended, with_reasons
from connector.sources.mqtt.rest import Rest
from connector.sources.mqtt.rival import Rival
from connector.sources.mqtt.section import MqttSection
from connector.sources.source import Handover, Reread, Source, SourceFailedError
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import STILL_SECONDS, WatchedThread, moves

_FIRST_DELAY: Final = 0.5
_LAST_DELAY: Final = 30.0
_STEADY_SECONDS: Final = 30.0
"""A connection that lasted this long was a good one: the next delay starts small again."""
_LOOK_SECONDS: Final = 2.0
"""Seconds between two looks at the files of the log-in, while there is no connection."""
_SILENT_PAUSE: Final = 120.0
_MOST_LINGER: Final = 0.05
"""The most seconds that a message waits for others before the write to the journal."""
_LINGER_SHARE: Final = 0.05
"""The share of `delivery.max_delay` that a message may wait so."""

_log = structlog.get_logger(__name__)


class MqttSource(Source):
    """A `Source` over one MQTT broker.

    While the intake has no room (`hold`), the network thread goes on, and the journal takes the messages, up to its
    bound. The class is long because it has a method for each question to a source, and one for each event of a
    connection.
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
        self._credentials = CredentialsInUse(settings, source=settings.name)
        self._journal = journal
        self._message_bytes = message_bytes
        self._clock = clock
        self._chance = chance
        self._session = KeptSession(settings, file)
        self.client_id = self._session.client_id
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
        self._failing = RepeatedFailure("mqtt_disconnected", None, is_error=False)
        self._rival = Rival(self.client_id)
        self._refusals = Refusals(clock=clock, chance=chance)
        self._refused = ""
        """The refused filters that are in the log."""
        self._greeted: Connection | None = None
        """The newest connection that the broker has accepted."""
        self._connected: Connection | None = None
        """The newest connection with all subscriptions granted."""
        self._unsure: list[str] = []
        self._received = 0
        self._connections = 0
        self._lost_sessions = 0
        self._stale_acks = 0
        self._unwanted = 0
        self._too_early = 0
        self._protocol_errors = 0
        self._breaches: set[str] = set()
        """The rules that the broker broke."""
        self._stale_lock = threading.Lock()
        self._rest = Rest()
        self._thread = WatchedThread(f"mqtt-{settings.name}", settings.name, self._run)

    def start(self, handover: Handover) -> None:
        """Connect in the background."""
        linger = min(_MOST_LINGER, _LINGER_SHARE * handover.max_delay)
        self._rest = Rest(linger)
        self._journal.start(linger)
        self._thread.start()

    def poll(self, timeout: float) -> Chunk | None:
        """The next chunk of the journal; None if nothing comes within `timeout` seconds.

        Raises SourceFailedError if the session has failed, but not before the journal is read to its end.
        """
        chunk = self._journal.poll(timeout)
        if chunk is None and self._failure:
            raise SourceFailedError(self._failure)
        return chunk

    def gather(self, seconds: float) -> bool:
        """Wait for rows of the journal."""
        return self._journal.gather(seconds)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the broker, QoS 0. Returns False without a connection; the message is then not kept."""
        connection = self._connection
        return connection is not None and connection.handshake.connected and connection.publish(topic, payload)

    def commit(self, commit: Commit) -> None:
        """Hand the commit to the journal."""
        self._journal.commit(commit)

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:  # noqa: ARG002 - only one
        """Read the positions again from the journal."""
        return self._journal.read_again(positions, max_bytes)

    def stop_reading(self) -> None:
        """Read no more messages. The connection stays open for the acknowledgements that are still to come."""
        self._draining.set()
        self._journal.wake()
        connection = self._connection
        if connection is not None:
            connection.wake()

    def leave(self, *, end_session: bool) -> None:
        """Unsubscribe from the shared subscriptions, which other members go on reading; with `end_session`, from all.

        A session that loses all its subscriptions ends when the source is closed.
        """
        topics = self._settings.topics
        self._leave = frozenset(topic for topic in topics if end_session or topic.startswith("$share/"))
        self._ends_session = len(self._leave) == len(set(topics))
        self._leaving_now = True
        connection = self._connection
        if connection is not None:
            connection.leave(self._leave)

    def leaving(self) -> str | None:
        """The present step of leaving, as text for people; None if leaving is finished, or was not requested."""
        if not self._leaving_now or not self._leave or self._left:
            return None
        connection = self._connection
        if connection is not None and connection.left:  # also if some filters were refused
            self._unsure = doubts(self._settings.protocol, self._leave, connection.handshake)
            self._left = True
            return None
        if connection is not None and connection.handshake.not_ended:
            return f"the broker does not end {with_reasons(connection.handshake.not_ended.copy())}"
        if connection is None or not (connection.handshake.ready or connection.handshake.refused_filters):
            return f"not connected: {self._trouble or 'connecting to the broker'}"
        return "unsubscribing, and receiving the messages that the broker has queued for us"

    def unsure(self) -> list[str]:
        """What the broker did not say while we left, for people; empty if nothing was left in doubt."""
        return self._unsure

    def close(self, timeout: float) -> None:
        """End the connection, then close the journal. The session stays, unless all subscriptions were left."""
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
        """The missing connection, the refused filters, and the problems of the journal."""
        found = self._journal.problems()
        connection = self._connection
        if self._failure:
            found.append(self._failure)
            return found
        refused = self._refusals.text()
        if refused:
            found.append(refused)
        if connection is None or not (connection.handshake.ready or refused):
            found.append(self._trouble or "connecting to the broker")
        return found

    def ended(self) -> str | None:
        """The error that ended the thread of the connection, or a thread of the journal; None while the threads run."""
        return self._thread.ended or self._journal.ended()

    def threads(self) -> list[WatchedThread]:
        """The thread of the connection, and the threads of the journal."""
        return [self._thread, *self._journal.threads()]

    def gauges(self) -> dict[str, float]:
        """The gauges of the connection and of the journal."""
        connection = self._connection
        return {
            "mqtt_connected": float(connection is not None and connection.handshake.ready),
            "mqtt_session_present": float(connection is not None and connection.handshake.session_present),
            "mqtt_connections_total": self._connections,
            "mqtt_received_total": self._received,
            "mqtt_lost_sessions_total": self._lost_sessions,
            "mqtt_stale_acks_total": self._stale_acks,
            "mqtt_unwanted_total": self._unwanted,
            "mqtt_beyond_receive_maximum_total": self._too_early,
            "mqtt_protocol_errors_total": self._protocol_errors,
            **self._journal.gauges(),
        }

    def durable_delays(self) -> Histogram | None:
        """The times until the messages were in the journal; None for a journal in memory."""
        return self._journal.delays if isinstance(self._journal, DiskJournal) else None

    def reads_late(self) -> bool:
        """Whether messages may wait in the socket until they are read together (see `rest.py`)."""
        return self._rest.wanted

    def read_at_once(self) -> None:
        """Leave out the rests of the network thread for the next ten minutes."""
        self._rest.arrival_counts(time.monotonic())

    def unread(self) -> int:
        """The number of unread messages in the journal."""
        return self._journal.unread()

    def horizons(self, now: float) -> list[Horizon]:
        """The bounds of the journal, the disk, the broker's queue and the session."""
        connection = self._connection
        connected = connection is not None and connection.handshake.connected
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
                self._journal.wake()
                return
            about = {"source": self.name, "next_try_in_seconds": round(pause, 2)}
            if end.again:
                _log.info("mqtt_disconnected", reason=end.message, **about)
            else:
                self._failing.failed(end.message, **about)
            delay = min(delay * 2, _LAST_DELAY)
            moves(STILL_SECONDS + pause)
            self._pause(pause)

    def _pause(self, seconds: float) -> None:
        """Wait for the next try, which comes at once if a person mends the log-in or a certificate."""
        while seconds > 0 and not self._draining.wait(min(seconds, _LOOK_SECONDS)):
            seconds -= _LOOK_SECONDS
            if self._credentials.renewed():
                return

    def _one_connection(self) -> End:
        self._connections += 1
        self._credentials.renewed()
        try:
            connection = Connection(
                self._settings,
                self.client_id,
                remembered_filters=self._session.filters,
                other_qos=self._session.other_qos,
                received=self._append,
                subscribed=self._subscribed,
                unsubscribed=self._unsubscribed,
                stale=self._count_stale,
                leave=self._leave,
                ends_session=self._may_end_session,
                refusals=self._refusals,
                message_bytes=self._message_bytes,
                rest=self._rest,
            )
            self._connection = connection
            if self._leave:  # another thread may have called `leave` between the two lines above
                connection.leave(self._leave)
            end = connection.run(may_read=self._may_read, stopping=self._stopping.is_set)
        except Exception as error:  # noqa: BLE001 - no error that a broker provokes in paho may end the source
            _log.exception("mqtt_connection_failed", source=self.name)
            end = End(f"unexpected: {error}")
        self._connection = None
        self._trouble = end.message
        return end

    def _report_breach(self, end: End) -> None:
        """Count the breach, and log the breach if this rule was never broken before."""
        self._protocol_errors += 1
        if end.breach is not None and end.breach not in self._breaches:
            self._breaches.add(end.breach)
            say_breach(self.name, end.message)

    def _may_end_session(self) -> bool:
        """Whether the session may end: not while the broker holds messages that only our session would get."""
        return self._ends_session and self._left

    def _count_stale(self, acknowledgements: int) -> None:
        with self._stale_lock:
            self._stale_acks += acknowledgements

    def _may_read(self) -> bool:
        return not self._draining.is_set() and self._journal.has_room()

    def _judge(self, end: End) -> float | None:
        """Whether a rival or a filter ended the connection. Returns a pause in seconds, or None for the usual one."""
        if end.taken_over:
            self._failure = self._rival.took_over(self._clock())
        elif end.unanswered:
            if self._refusals.ended(end.unanswered, f"the broker ends the connection at this filter; {REMEDIES[0x87]}"):
                return _FIRST_DELAY * (0.1 + 0.9 * self._chance())
        elif end.by_broker and (suspicion := self._rival.closed(self._clock())):
            self._trouble = suspicion
            _log.error("mqtt_closed_repeatedly", source=self.name, reason=suspicion, pause=_SILENT_PAUSE)
            return _SILENT_PAUSE * (0.75 + 0.5 * self._chance())
        return None

    def _append(self, connection: Connection, received: Received) -> None:
        self._received += len(received.records)
        self._unwanted += received.unwanted
        self._too_early += received.too_early
        self._journal.append(Batch(received.records, lambda: connection.acknowledge(received.mids), received.rested))

    def _subscribed(self, connection: Connection, filters: frozenset[str]) -> None:
        if self._greeted is not connection:
            self._greeted = connection
            self._failing.works()
            self._horizons.session_expiry = connection.handshake.session_expiry
            lost = bool(self._session.filters) and not connection.handshake.session_present
            self._lost_sessions += lost
            left = self._session.left(session_present=connection.handshake.session_present)
            say_greeting(self._settings, self.client_id, connection.handshake, lost=lost, left=left)
        self._session.remember(filters)
        if connection.handshake.subscribing:  # the broker has forgotten our session, and nothing is in force yet
            return
        refused, before = self._refusals.text(), self._refused
        self._refused = refused
        if refused and refused != before:
            _log.error("mqtt_subscription_refused", source=self.name, reason=refused)
        if not refused and self._connected is not connection:
            self._connected = connection
            _log.info(
                "mqtt_connected",
                source=self.name,
                client_id=self.client_id,
                session_present=connection.handshake.session_present,
                topics=self._settings.topics,
            )

    def _unsubscribed(self, filters: frozenset[str]) -> None:
        self._session.remember(filters)
        if self._connection is not None:
            say_not_ended(self.name, self._connection.handshake)


def open_source(section: MqttSection, file: SourceFile, message_bytes: int) -> MqttSource:
    """The source with the journal that its section asks for. A message of more than `message_bytes` is not kept whole.

    Raises `ValueError` if messages wait in a journal on disk while the section wants a journal in memory.
    """
    journal: Journal
    if section.journal.storage == "disk":
        journal = DiskJournal(section.name, file, section.journal.max_bytes)
    else:
        journal = MemoryJournal(section.name, file, section.journal.max_bytes)
    return MqttSource(section, file, journal, message_bytes=message_bytes + AROUND_PAYLOAD)
