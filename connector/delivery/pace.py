"""The pace: the requests a second that may be sent. No I/O.

The pace is the share of this replica in the allowed rate. It is lower while the server is slow.

Congestion. Clarify does not refuse a request above its limit, but delays it; and several replicas may share one limit.
So an answer that takes much longer than usual for a request of its size is taken as congestion. The rate goes down at
once, by a third, and rises a little with each prompt answer. All replicas do the same, and settle at the rate that the
server can give (additive increase, multiplicative decrease).

The usual time is known for each class of sizes, because it is not known how the time depends on the size: the first
large frame after many small ones must not look like congestion. If all replicas send too much from the start, every
answer is slow and slow would be usual. So the usual time has an upper limit, well below the 10 s after which Clarify
drops a request that waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import structlog

_DOWN: Final = 0.7
"""Factor of the rate after a slow answer."""
_UP: Final = 0.05
"""Share of the allowed rate that a prompt answer adds."""
_LEAST_CONGESTED: Final = 0.1
"""The congestion never lowers the rate below this share."""
_LEAST_RATE: Final = 0.01
"""The rate is never below this share of the allowed rate: requests are needed to notice that the server is prompt."""
_SHARE_OF_NOTHING: Final = 0.05
"""The share of a replica that owns nothing any more: it may still have samples to send."""
_SLOW_SECONDS: Final = 1.0
_SLOW_TIMES: Final = 3.0
"""An answer is slow if it takes more than `_SLOW_SECONDS`, and more than `_SLOW_TIMES` as long as usual."""
_SMALL_BYTES: Final = 64 * 1024
"""The first class of sizes ends here: smaller requests take equally long. Each next class ends at a power of two."""
_FORGET: Final = 1.02
"""The usual time of a class is the shortest seen, and rises by this factor with each request, so that it can change."""
_USUAL_SECONDS: Final = 1.0
_USUAL_SECONDS_A_BYTE: Final = 0.25 / 2**20
"""Upper limit of the usual time: `_USUAL_SECONDS`, and `_USUAL_SECONDS_A_BYTE` for each byte."""
_CALM_ANSWERS: Final = 60
"""Prompt answers at the full rate before the end of congestion is logged: congestion comes and goes with other senders.
"""

_log = structlog.get_logger(__name__)


def effective_share(setting: float | Literal["auto"], shares: Sequence[float]) -> float:
    """Returns the share of this replica in the allowed rate, 0 to 1: the `setting`, if it is a number.

    With `auto`, the share is the mean of `shares`, the parts of this replica in each source (0 to 1); 1 without a
    source.
    """
    if setting != "auto":
        return setting
    return sum(shares) / len(shares) if shares else 1.0


class Pace:
    """The rate of one method, in requests a second."""

    def __init__(self, per_second: float) -> None:
        """`per_second` is the allowed rate."""
        self._per_second = per_second
        self.share = 1.0
        """The share of this replica in the allowed rate, 0 to 1."""
        self.congestion = 1.0
        """1 while the server is prompt, less while it is slow."""
        self._usual: dict[int, float] = {}
        """Class of sizes → usual time of an answer, in seconds."""
        self._lowered = False
        """Whether congestion was logged, and its end was not."""
        self._calm = 0
        """Number of prompt answers at the full rate in a row."""

    @property
    def rate(self) -> float:
        """The requests a second that may be sent now."""
        share = self.share or _SHARE_OF_NOTHING
        return self._per_second * max(_LEAST_RATE, share * self.congestion)

    def answered(self, seconds: float, size: int) -> None:
        """Note that a request of `size` bytes was answered after `seconds`."""
        size_class = max(size, _SMALL_BYTES).bit_length()
        # a request should not take longer than a larger one
        known = min((found for other, found in self._usual.items() if other >= size_class), default=seconds)
        usual = min(known, _USUAL_SECONDS + _USUAL_SECONDS_A_BYTE * size)
        if seconds > max(_SLOW_SECONDS, usual * _SLOW_TIMES):
            self._slower(f"an answer took {seconds:.1f} s, and usually takes {usual:.2f} s")
        else:
            self._faster()
        for other, found in self._usual.items():
            self._usual[other] = found * _FORGET
        self._usual[size_class] = min(seconds, self._usual.get(size_class, seconds))

    def throttled(self, reason: str) -> None:
        """Note that a request was refused, or not answered in time, because of too many requests."""
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
