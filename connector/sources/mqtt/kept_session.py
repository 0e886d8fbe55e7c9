"""What the source remembers of its sessions at brokers: their client IDs and servers, and the filters in force.

A session belongs to one client ID at one server. Another `client_id` or `url` is another session: the filters of the
one say nothing about the other.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from typing import Final

import structlog

from connector.ledger.source_file import SourceFile
from connector.sources.mqtt.section import MqttSection

_MOST_SESSIONS: Final = 8
"""The most sessions that are remembered: the newest ones."""

_log = structlog.get_logger(__name__)


class KeptSession:
    """The client ID and the filters of the session in use, and the filters of earlier ones, in the file of the source.

    The sessions are (client ID, server, QoS, filters); the last one was used last.
    """

    def __init__(self, settings: MqttSection, file: SourceFile) -> None:
        """Without a `client_id` of the configuration, one is made, and kept. Raises sqlite3.Error."""
        self._source = settings.name
        self._file = file
        self.client_id = settings.client_id or self._made_client_id()
        self._server = settings.server
        self._qos = settings.qos
        known = file.remembered("sessions")
        self._sessions: list[tuple[str, str, int, list[str]]] = json.loads(str(known)) if known else []
        own = next((one[2:] for one in self._sessions if list(one[:2]) == [self.client_id, self._server]), None)
        self._is_known = own is not None
        qos, filters = own or (self._qos, [])
        self.filters = frozenset(filters)
        """The filters in force when the session was last used."""
        self.other_qos = qos != self._qos
        """Whether these filters are in force with another QoS than the configuration wants."""

    def left(self, *, session_present: bool) -> str:
        """The session that was used before this one and may hold messages, for people; empty if there is none.

        `session_present` says that the broker knows the session in use. If only the server is new, it may be a new name
        of the old one, and the session the same.
        """
        if not self._sessions:
            return ""
        client_id, server, _, filters = self._sessions[-1]
        renamed = session_present and not self._is_known and client_id == self.client_id
        if not filters or renamed or (client_id, server) == (self.client_id, self._server):
            return ""
        return f"{client_id!r} at {server}"

    def remember(self, filters: frozenset[str]) -> None:
        """Remember the filters in force. If the disk is full, the next connection tries again."""
        others = [one for one in self._sessions if list(one[:2]) != [self.client_id, self._server]]
        sessions = [*others, (self.client_id, self._server, self._qos, sorted(filters))][-_MOST_SESSIONS:]
        if json.dumps(sessions) == json.dumps(self._sessions):
            return
        try:
            self._file.remember("sessions", json.dumps(sessions))
        except sqlite3.OperationalError as error:
            _log.warning("mqtt_subscriptions_not_remembered", source=self._source, reason=str(error))
        else:
            self._sessions, self.filters = sessions, filters
            self._is_known, self.other_qos = True, False

    def _made_client_id(self) -> str:
        known = self._file.remembered("client_id")
        if known is None:
            known = f"clarify-connector-{secrets.token_hex(6)}"
            self._file.remember("client_id", known)
        return str(known)
