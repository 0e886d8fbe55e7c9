"""Learns how long a letter may be, from a broker that does not say it but ends the connection at a longer letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

_CLOSINGS: Final = 3
"""A broker that has ended this many connections at one letter takes no letter of this length."""
_UNBOUNDED: Final = 2**32
_ALWAYS_TAKEN: Final = 1024
"""A letter of fewer bytes is too long for no broker."""

_log = structlog.get_logger(__name__)


class LongestLetter:
    """The length of the longest letter that a broker takes, as far as it is known. All lengths are in bytes."""

    def __init__(self, store: str) -> None:
        """`store` names the store in the log."""
        self._store = store
        self.size = _UNBOUNDED
        self.one_by_one = False
        """Whether each letter is sent alone, to find out at which letter the broker ends the connection."""
        self._closings = 0
        """The number of connections in succession that ended while one letter alone was under way."""
        self._culprit = 0
        """The length of this letter."""
        self._length_matters = True
        """Whether the length may be the reason: False after the connection has ended at a short letter, too."""

    def taken(self, longest: int, *, more: bool) -> None:
        """Note that the broker took letters. `longest` is 0 if none was sent, `more` says whether letters wait."""
        if longest and longest >= self._culprit:
            self._closings = self._culprit = 0
            self._length_matters = True
        self.one_by_one = self.one_by_one and more

    def refused(self, size: int) -> None:
        """Note that the broker does not take a letter of this length: longer ones than half of it are cut from now on.

        The cut is logged.
        """
        self.size = min(size // 2, self.size)
        _log.error(
            "dead_letters_cut",
            store=self._store,
            reason=f"the broker does not take a letter of {size} bytes",
            effect=f"letters of more than {self.size} bytes are cut",
            remedy="raise the longest message that the broker takes, or lower dead_letters.max_payload",
        )

    def lost(self, sizes: Sequence[int], *, too_large: bool) -> None:
        """Learn from a connection that ended while letters of these lengths were under way.

        `too_large` says that the broker gave the length as the reason.
        """
        if len(sizes) > 1:
            self.one_by_one = True
            return
        self._closings += 1
        self._culprit = sizes[0]
        if not too_large and self._closings < _CLOSINGS:
            return
        self._closings = self._culprit = 0
        if sizes[0] <= _ALWAYS_TAKEN:
            self.forget()
        elif self._length_matters:
            self.refused(sizes[0])

    def forget(self) -> None:
        """Give up the known length, which may be a wrong guess."""
        self.size, self._length_matters = _UNBOUNDED, False
