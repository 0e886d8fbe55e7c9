"""The page /ledger: the stored account, without mapping the waiting messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from connector.observe.http import json_page

if TYPE_CHECKING:
    from connector.config.model import Config

KEEP: Final = {"/metrics": 1.0, "/ledger": 10.0}
"""Page → least seconds for which a page is kept: many requests do not produce a page more often."""
TOPICS: Final = 1_000
"""Most lines of a source on the page; further topics share one line."""


def ledger_page(config: Callable[[], Config]) -> Callable[[], tuple[int, str, bytes]]:
    """Return the function that makes the page, for the connector with all its workers; `config` returns its
    configuration at the time of the call."""

    def page() -> tuple[int, str, bytes]:
        from connector.runtime.ledger import read_kept  # noqa: PLC0415 - the ledger reads the files by itself

        try:
            return json_page(200, read_kept(config(), TOPICS).as_json())
        except sqlite3.Error as error:
            return json_page(503, {"error": str(error)})

    return page
