"""Asks the pages of the connector that runs with a configuration, and says what is wrong if no page comes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from connector import ConnectorError
from connector.commands.health import pages_in
from connector.config.address import UNIX, Address
from connector.observe.probe import read_page

_SECONDS: Final = 10.0
"""A page takes at most this long (`observe.http.SECONDS`)."""


class NoPageError(ConnectorError):
    """The connector gives no such page; the text says why and what to do."""


class RunningPages:
    """The pages of the connector that runs with a configuration, on this machine."""

    def __init__(self, config: Path) -> None:
        """Read the address, the token and the certificate. Raises `ConfigError`, click.ClickException, NoPageError."""
        self._config = config
        self._section = pages_in(config)
        self.listen: Final = self._section.listen or ""
        if not self.listen.startswith(UNIX) and Address.of(self.listen).port == 0:
            raise NoPageError("observe.listen has the port 0, and only the log names the real port; set a port")

    def text(self, page: str, parameters: Mapping[str, object] | None = None) -> tuple[int, str]:
        """Return (status, text) of a page. Raises `NoPageError`."""
        target = f"{page}?{urlencode(parameters)}" if parameters else page
        try:
            status, body = read_page(self._section, target, _SECONDS)
        except (OSError, HTTPException) as error:
            raise NoPageError(
                f"no answer on {self.listen} ({error}); is the connector running? Without a running connector, "
                f"clarify-connector preview {self._config} --live 30s shows what comes and what becomes of it"
            ) from None
        said = body.decode(errors="replace")
        remedies = {
            401: "observe.token of the configuration is not the token of the running connector: restart the connector",
            404: f"the program that answers on {self.listen} has no page {page}: it is another program, or a connector "
            "of another version; restart the connector",
            421: said.strip(),
        }
        if status in remedies:
            raise NoPageError(remedies[status])
        return status, said

    def json(self, page: str, parameters: Mapping[str, object] | None = None) -> tuple[int, dict[str, Any]]:
        """Return (status, object) of a page with JSON. Raises `NoPageError`."""
        status, text = self.text(page, parameters)
        try:
            content = json.loads(text)
        except ValueError:
            content = None
        if isinstance(content, dict):
            return status, content
        if status in (500, 503):  # a page that was not made: the server says why, as text
            raise NoPageError(f"{self.listen}{page}: {text.strip()}")
        raise NoPageError(f"the program that answers on {self.listen} is not a connector")
