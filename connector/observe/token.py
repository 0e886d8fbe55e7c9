"""The bearer token of the pages, which is read again when its file changes."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import SecretStr

from connector.config.otlp import HEADER_TEXT

if TYPE_CHECKING:
    from connector.settings import Secret

_RENEW_SECONDS: Final = 1.0
"""The longest time for which a token that was taken out of its file is still accepted."""

_log = structlog.get_logger(__name__)


class PagesToken:
    """What a visitor must send. Safe for threads."""

    def __init__(self, token: Secret, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._secret = token
        self._clock = clock
        self._text = self._refused = token.get_secret_value()
        self._looked = clock()

    def admits(self, authorization: bytes) -> bool:
        """Whether a visitor with this header may have the pages. The whole token is compared, in constant time.

        The file is read again after a second, and at once for another token: a renewed one works immediately.
        """
        if self._clock() - self._looked < _RENEW_SECONDS and self._is(authorization):
            return True
        self._renew()
        return self._is(authorization)

    def newest(self) -> SecretStr:
        """Returns the token as its file has it now; the one before, if the new one cannot be sent."""
        self._renew()
        return SecretStr(self._text)

    def _is(self, authorization: bytes) -> bool:
        return hmac.compare_digest(authorization, b"Bearer " + self._text.encode())

    def _renew(self) -> None:
        self._looked = self._clock()
        text = self._secret.get_secret_value()
        if text in (self._text, self._refused):
            return
        if HEADER_TEXT.fullmatch(text):
            self._text = self._refused = text
            _log.info("credentials_reloaded", settings=["observe.token"])
        else:
            self._refused = text
            _log.warning(
                "credentials_not_reloaded",
                setting="observe.token",
                reason="a token has only printable ASCII characters",
                effect="the token that was read before is used",
                remedy="mend the file; it is read again at the next visit",
            )
