"""The load of a pipeline: the filling of frames, the forecast, and the rates of signals.

A load that is too high is logged long before data is at risk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from connector.packing.forecast import Forecast, FrameSize, Outlook
from connector.packing.frame import Frame
from connector.packing.pending import Pending
from connector.packing.rates import RateWatch, SampleRates

_SURE_SECONDS: Final = 30.0
"""A load is reported after it was too high for this time (seconds): after a start, many samples come at once."""
_FITS_WELL: Final = 1.2
"""From this factor on, a load that was reported fits again."""
_REPORT_RATES_SECONDS: Final = 6 * 3600.0
"""Seconds between two reports of fast signals."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PackingAccount:
    """The filling of frames since the start, and the forecast. Rates are in samples a second."""

    requests: int
    samples: int
    bytes: int
    cells: int
    """Rows times series, over all frames."""
    full_requests: int
    aligned_saves: float
    """Number of full requests that alignment to whole seconds would have saved."""
    inflow: float
    """The rate at which samples come in."""
    capacity: float
    """The rate at which samples can leave at the present packing."""
    most: float
    """The rate at which samples could leave if as many waited as may wait; a higher inflow is too much."""
    backlog_seconds: float
    """Seconds to send everything that waits at the present packing, if no more samples come in."""
    aligned: int = 0
    """Samples whose time was moved to a common grid."""
    not_aligned: int = 0
    """Samples that were not moved, because the grid was too far away."""
    collisions: int = 0
    """Samples that were moved to the time of the sample before them of the same input."""
    greatest_shift_us: int = 0
    integration: str = ""
    """The name of the integration; empty for the default integration."""

    @property
    def samples_per_request(self) -> float:
        """The mean number of samples of a request."""
        return self.samples / self.requests if self.requests else 0.0

    @property
    def density(self) -> float:
        """The share of cells with a value, 0 to 1."""
        return self.samples / self.cells if self.cells else 0.0

    @property
    def factor(self) -> float | None:
        """`most` divided by `inflow`: below 1 the load is too high. None without an inflow."""
        return self.most / self.inflow if self.inflow > 1e-3 else None


class Load:
    """The load of one pipeline. Not safe for threads: the pipeline holds its lock around every call."""

    def __init__(self, max_frame_bytes: int, max_waiting_samples: int) -> None:
        self._forecast = Forecast(max_frame_bytes, max_waiting_samples)
        self._watch = RateWatch(self._rates_seen)
        self._rates: SampleRates | None = None
        self._requests = self._samples = self._bytes = self._cells = 0
        self._now = 0.0
        self._too_much_since: float | None = None
        self._reported = False
        self._rates_reported: float | None = None

    def came(self, samples: int, now: float) -> None:
        """Note the number of samples that came in at `now`, in seconds."""
        self._forecast.received(samples, now)

    def made(self, frame: Frame, waiting: int, pending: Pending, rate: float, now: float) -> None:
        """Note that a frame was made when `waiting` samples waited; logs if the load is too high, or fits again.

        `pending` has the remaining samples. `rate` is in requests a second.
        """
        self._now = now
        self._requests += 1
        self._samples += frame.samples
        self._bytes += len(frame.body)
        self._cells += frame.rows * frame.series
        size = FrameSize(len(frame.body), frame.rows, frame.series, frame.samples, waiting)
        self._forecast.sent(size, frame.times)
        self._watch.look(pending, now)
        if (outlook := self.outlook(pending.waiting, rate, now)) is not None:
            self._look(outlook, now)

    def rates(self, pending: Pending, now: float) -> SampleRates | None:
        """Returns the rates of signals in the last complete window; None before the end of the first window.

        `pending` has the counters of the signals. A window ends while no frame is made, too: after a burst, the next
        one has no signals.
        """
        if self._requests:
            self._now = now
            self._watch.look(pending, now)
        return self._rates

    def outlook(self, waiting: int, rate: float, now: float) -> Outlook | None:
        """Returns the forecast for this number of waiting samples; None before the first frame."""
        return self._forecast.outlook(waiting, rate, now)

    def account(self, waiting: int, rate: float, now: float) -> PackingAccount | None:
        """Returns the account for this number of waiting samples; None before the first frame."""
        outlook = self.outlook(waiting, rate, now)
        if outlook is None:
            return None
        return PackingAccount(
            self._requests,
            self._samples,
            self._bytes,
            self._cells,
            self._forecast.full_requests,
            self._forecast.aligned_saves,
            outlook.inflow,
            outlook.capacity,
            outlook.most,
            outlook.backlog_seconds,
        )

    def _look(self, outlook: Outlook, now: float) -> None:
        if outlook.sustainable:
            self._too_much_since = None
            if self._reported and outlook.factor >= _FITS_WELL:
                self._reported = False
                _log.info("load_fits_again", samples_per_second=round(outlook.inflow), factor=round(outlook.factor, 2))
            return
        if self._too_much_since is None:
            self._too_much_since = now
        if now - self._too_much_since >= _SURE_SECONDS and not self._reported:
            self._reported = True
            _log.error(
                "load_not_sustainable",
                samples_per_second=round(outlook.inflow),
                most_samples_per_second=round(outlook.most),
                factor=round(outlook.factor, 2),
                backlog_seconds=round(outlook.backlog_seconds),
                effect="samples that cannot be sent wait in the journal or in Kafka; their number grows",
                remedy="align the times of a rule (align: 1s), send less data, or use a second integration",
            )

    def _rates_seen(self, rates: SampleRates) -> None:
        self._rates = rates
        if not rates.over_average:
            return
        if self._rates_reported is not None and self._now - self._rates_reported < _REPORT_RATES_SECONDS:
            return
        self._rates_reported = self._now
        _log.warning(
            "signals_faster_than_clarify_asks_for",
            signals=rates.signals,
            more_than_one_a_minute=rates.over_average,
            more_than_one_a_second=rates.over_burst,
            fastest={input_id: f"{rate:.3g}/s" for input_id, rate in rates.fastest},
            remedy="Clarify asks for at most one sample of a signal a minute on average, and one a second in bursts: "
            "thin the fast signals in their rule",
        )
