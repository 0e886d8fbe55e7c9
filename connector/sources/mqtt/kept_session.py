"""What the source remembers of its session at the broker: the client ID that names it, and the filters in force."""

from __future__ import annotations

import json
import secrets
import sqlite3

import structlog

from connector.ledger.source_file import SourceFile

_log = structlog.get_logger(__name__)


class KeptSession:
    """The client ID and the filters, in the file of the source."""

    def __init__(self, source: str, file: SourceFile, client_id: str | None) -> None:
        """Without a `client_id` of the configuration, one is made, and kept. Raises sqlite3.Error."""
        self._source = source
        self._file = file
        self.client_id = client_id or self._made_client_id()
        known = file.remembered("subscriptions")
        self.filters: frozenset[str] = frozenset(json.loads(str(known))) if known else frozenset()
        """The filters in force when the session was last used."""

    def remember(self, filters: frozenset[str]) -> None:
        """Remember the filters in force. If the disk is full, the next connection tries again."""
        if filters == self.filters:
            return
        try:
            self._file.remember("subscriptions", json.dumps(sorted(filters)))
        except sqlite3.OperationalError as error:
            _log.warning("mqtt_subscriptions_not_remembered", source=self._source, reason=str(error))
        else:
            self.filters = filters

    def _made_client_id(self) -> str:
        known = self._file.remembered("client_id")
        if known is None:
            known = f"clarify-connector-{secrets.token_hex(6)}"
            self._file.remember("client_id", known)
        return str(known)
