"""How fast to send: our share of the allowed rate, less where the server shows that it is too much. No I/O.

A request above Clarify's limit is not refused but delayed, and several replicas have one limit between them.
So answers that take much longer than requests of that size usually do are taken as congestion: the rate goes
down at once, by a third, and comes back a little with each prompt answer. All replicas do the same, and meet
at what the server gives (additive increase, multiplicative decrease).

What is usual is known for each class of sizes: what a byte costs beside what a request costs is unknown, and the
first large frame after many small ones must not look like trouble. Where everybody sends too much from the start,
slow is all that anybody knows; so there is a limit to what can be usual, well below the 10 s after which Clarify
drops a request that waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import structlog

_DOWN: Final = 0.7
_UP: Final = 0.05
_LEAST_CONGESTED: Final = 0.1
_LEAST_RATE: Final = 0.01
"""Of the allowed rate: a small share of a busy server still has to find out when that is prompt again."""
_SHARE_OF_NOTHING: Final = 0.05
"""Whoever owns nothing any more still has something to send, and must not take for ever."""
_SLOW_SECONDS: Final = 1.0
_SLOW_TIMES: Final = 3.0
_SMALL_BYTES: Final = 64 * 1024
"""Up to here all requests take equally long; beyond, a class ends at each power of two."""
_FORGET: Final = 1.02
"""The usual time is the lowest seen, and rises by this with each request, so that it can change."""
_USUAL_SECONDS: Final = 1.0
_USUAL_SECONDS_A_BYTE: Final = 0.25 / 2**20
"""More than these together is never usual."""
_CALM_ANSWERS: Final = 60
"""Prompt ones at the full rate, until the trouble is said to be over: it comes and goes while others send, too."""

_log = structlog.get_logger(__name__)


def effective_share(setting: float | Literal["auto"], shares: Sequence[float]) -> float:
    """Our share of the rate: as configured, or the mean of our part in each source (0 to 1 each)."""
    if setting != "auto":
        return setting
    return sum(shares) / len(shares) if shares else 1.0


class Pace:
    """The rate of one method, in requests a second."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self.share = 1.0
        self.congestion = 1.0
        """1 when the server is prompt, less when it is not."""
        self._usual: dict[int, float] = {}
        """Class of sizes → seconds."""
        self._lowered = False
        self._calm = 0

    @property
    def rate(self) -> float:
        """Requests a second, now."""
        share = self.share or _SHARE_OF_NOTHING
        return self._per_second * max(_LEAST_RATE, share * self.congestion)

    def answered(self, seconds: float, size: int) -> None:
        """A request of `size` bytes was answered after so many seconds."""
        kind = max(size, _SMALL_BYTES).bit_length()
        # what a larger one takes, a smaller one need not exceed
        known = min((found for other, found in self._usual.items() if other >= kind), default=seconds)
        usual = min(known, _USUAL_SECONDS + _USUAL_SECONDS_A_BYTE * size)
        if seconds > max(_SLOW_SECONDS, usual * _SLOW_TIMES):
            self._slower(f"an answer took {seconds:.1f} s, and usually takes {usual:.2f} s")
        else:
            self._faster()
        for other, found in self._usual.items():
            self._usual[other] = found * _FORGET
        self._usual[kind] = min(seconds, self._usual.get(kind, seconds))

    def throttled(self, reason: str) -> None:
        """A request was refused or not answered in time because there were too many."""
        self._slower(reason)

    def _faster(self) -> None:
        if self.congestion < 1.0:
            self.congestion = min(1.0, self.congestion + _UP)
        elif self._lowered:
            self._calm += 1
            if self._calm >= _CALM_ANSWERS:
                self._lowered = False
                _log.info("pace_back_to_normal", requests_per_second=round(self.rate, 3))

    def _slower(self, reason: str) -> None:
        self._calm = 0
        if not self._lowered:
            self._lowered = True
            _log.warning(
                "pace_lowered",
                reason=reason,
                effect="fewer and fuller requests until Clarify is prompt again; do several connectors share one "
                "integration? then set delivery.share",
            )
        self.congestion = max(_LEAST_CONGESTED, self.congestion * _DOWN)
