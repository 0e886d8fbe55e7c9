"""Asks the sources every few seconds for records that may be lost soon, and logs each change once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from connector.sources.loss import Threat, readable_duration, threats
from connector.sources.source import Source, ThreatenedSource
from connector.threads.watched import WatchedThread, moves

_LOOK_SECONDS: Final = 5.0
_CALM_FACTOR: Final = 1.5
"""A threat is over only if its time is longer than the limit times this factor."""

_log = structlog.get_logger(__name__)


class LossWatch:
    """The threats to each source, found in its own thread, or when `look` is called."""

    def __init__(
        self, sources: Sequence[Source], warn_below: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A threat of a loss in less than `warn_below` seconds is a problem; `clock` gives seconds."""
        self._warn_below = warn_below
        self._clock = clock
        self._threats: dict[str, list[Threat]] = {}
        self._warned: dict[tuple[str, str], Threat] = {}
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self.thread = WatchedThread("loss-watch", "", self._run)
        self.watch(sources, warn_below)

    def watch(self, sources: Sequence[Source], warn_below: float) -> None:
        """Ask these sources from now on, with this limit; what was found about other sources is forgotten."""
        with self._looking:
            self._sources = [source for source in sources if isinstance(source, ThreatenedSource)]
            self._warn_below = warn_below
            names = {source.name for source in self._sources}
            self._threats = {name: found for name, found in self._threats.items() if name in names}
            self._warned = {key: threat for key, threat in self._warned.items() if key[0] in names}

    def start(self) -> None:
        """Start the thread, if a source can be threatened and the thread does not run."""
        if self._sources and self.thread.ident is None and not self._stopping.is_set():
            self.thread.start()

    def close(self, timeout: float) -> None:
        """Stop the thread, and wait for its end for at most `timeout` seconds."""
        self._stopping.set()
        if self.thread.ident is not None:
            self.thread.join(timeout)

    def seconds(self) -> dict[tuple[str, str], float]:
        """Returns (source, cause) → seconds until records would be lost; infinite if no loss is in sight."""
        return {(name, threat.cause): threat.seconds for name, found in list(self._threats.items()) for threat in found}

    def problems(self) -> list[str]:
        """Returns the threats that are nearer than the limit, for people."""
        return [f"{source}: {_text(threat)}" for (source, _), threat in list(self._warned.items())]

    def look(self) -> None:
        """Ask the sources now."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        now = self._clock()
        for source in self._sources:
            found = threats(source.horizons(now))
            self._threats[source.name] = found
            for threat in found:
                self._judge(source.name, threat)
            gone = {cause for name, cause in self._warned if name == source.name} - {threat.cause for threat in found}
            for cause in gone:
                self._over(source.name, cause, math.inf)

    def _judge(self, source: str, threat: Threat) -> None:
        key = source, threat.cause
        if key in self._warned and threat.seconds > self._warn_below * _CALM_FACTOR:
            self._over(source, threat.cause, threat.seconds)
        elif key in self._warned or threat.seconds < self._warn_below:
            if key not in self._warned:
                _log.warning(
                    "loss_ahead", source=source, cause=threat.cause, seconds=round(threat.seconds), detail=_text(threat)
                )
            self._warned[key] = threat

    def _over(self, source: str, cause: str, seconds: float) -> None:
        del self._warned[source, cause]
        _log.info("loss_not_ahead_any_more", source=source, cause=cause, seconds=seconds)

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            moves()
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a forecast that fails must not stop the thread, nor the connector
                _log.exception("loss_forecast_failed")


def _text(threat: Threat) -> str:
    when = "now" if threat.seconds <= 0 else f"in {readable_duration(threat.seconds)} at the present rates"
    return f"{when}: {threat.text}"
