"""The pipeline's way to a store: letters get their provenance, are cut to the declared bounds, and are kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.store import DeadLettersError, DeadLetterStore, Usage
from connector.dead_letters.trimming import trimmed

_NEWEST: Final = 50


class DeadLetterWriter:
    """Writes letters to a store. Safe for threads."""

    def __init__(
        self,
        store: DeadLetterStore,
        *,
        max_payload: int,
        configuration: str,
        version: str,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Every letter names `configuration` and `version`. `max_payload` is the bound of a payload in bytes."""
        self.store = store
        self._max_payload = max_payload
        self.configuration = configuration
        """The digest of the configuration, which every letter names."""
        self._version = version
        self._now_us = now_us
        self._newest: deque[DeadLetter] = deque(maxlen=_NEWEST)
        self.trouble: str | None = None
        """Why the last attempt to write letters failed, for people; None if it succeeded."""
        self.written = 0
        """The number of letters written since the start."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep the letters: they are durable when the call returns. Raises `DeadLettersError`: then try again."""
        now_us = self._now_us()
        kept = [
            msgspec.structs.replace(part, configuration=self.configuration, version=self._version, written_us=now_us)
            for letter in letters
            for part in trimmed(letter, self._max_payload)
        ]
        try:
            self.store.add(kept)
        except DeadLettersError as error:
            self.trouble = str(error)
            raise
        self.trouble = None
        self.written += len(kept)
        self._newest.extend(msgspec.structs.replace(letter, record=None) for letter in kept[-_NEWEST:])

    def newest(self, n: int) -> list[DeadLetter]:
        """At most `n` letters written since the start, the newest first, without their records."""
        return list(reversed(self._newest.copy()))[:n]

    def usage(self) -> Usage:
        """How full the store is."""
        return self.store.usage()

    def problems(self) -> list[str]:
        """Why letters cannot be written; else the problems of the store."""
        if self.trouble is not None:
            return [f"dead letters: {self.trouble}; intake waits"]
        return [f"dead letters: {problem}" for problem in self.store.problems()]

    def close(self) -> None:
        """Close the store."""
        self.store.close()
