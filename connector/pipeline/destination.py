"""The way of the samples into one integration: its sender thread plans, delivers and settles frames.

Each integration has its own waiting samples (a lane of `UnderWay`), planner, rate and circuit. So a refused, throttled
or slow integration delays no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from connector.delivery.circuit import Circuit
from connector.delivery.divided import by_record
from connector.delivery.load import PackingAccount
from connector.delivery.pace import Pace
from connector.delivery.sender import Inserter, Sender
from connector.delivery.slots import Slots
from connector.ledger.account import Outcome
from connector.packing.frame import Frame, encode_frame
from connector.packing.rates import SampleRates
from connector.pipeline.delays import Delays
from connector.pipeline.discoveries import Discoveries
from connector.pipeline.rejects import Rejects
from connector.pipeline.status import PipelineStatus
from connector.pipeline.traces import TracedSender, Tracer
from connector.pipeline.under_way import Limits, UnderWay
from connector.records import Sample, at_integration


@dataclass(frozen=True)
class Integration:
    """One integration of Clarify, as the pipeline needs it."""

    client: Inserter
    limits: Limits
    requests_per_second: float
    name: str = ""
    """The name before its input IDs (`at_integration`); empty for the default integration."""
    circuit: Circuit | None = None


class Destination:
    """Sends the samples of one integration; the owner of its frames."""

    def __init__(
        self,
        integration: Integration,
        under_way: UnderWay,
        rejects: Rejects,
        status: PipelineStatus,
        delays: Delays,
        discoveries: Discoveries,
        share: Callable[[], float],
        commit: Callable[[], None],
        told: Callable[[], None],
        aborted: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        tracer: Tracer | None = None,
    ) -> None:
        """`share` returns the share of the rate that this process may use now. `commit` commits settled records to the
        sources. `told` is called after each frame was made. `tracer` is told of each delivery."""
        self.name = integration.name
        self._under_way = under_way
        self._rejects = rejects
        self._status = status
        self._delays = delays
        self._discoveries = discoveries
        self._share = share
        self._commit = commit
        self._told = told
        self._aborted = aborted
        self.pace = Pace(integration.requests_per_second)
        self._slots = Slots(self.rate, aborted, clock)
        traced = tracer and TracedSender(status.shown(self.name), self, under_way.contexts, tracer)
        self.sender = Sender(
            integration.client, self._slots, traced or self, pace=self.pace, circuit=integration.circuit, clock=clock
        )
        self._deliver = partial(traced.deliver, self.sender) if traced else self.sender.deliver

    def send(self, draining: threading.Event) -> None:
        """Plan, deliver and settle frames until the pipeline is drained; for the sender thread."""
        while self._under_way.wait_until_due(self.name, draining, self._aborted) and self._slots.wait():
            slabs, waiting = self._under_way.take(self.name)
            if slabs:
                frame = encode_frame(slabs)
                self._under_way.made(self.name, frame, waiting, self.pace.rate)
                self._told()
                if not self._deliver(frame):
                    return

    def inserted(self, frame: Frame, seconds: float) -> None:
        """Settle a frame that Clarify has stored; the insert took `seconds`."""
        self._delays.inserted(frame, self._under_way.origins)
        self._remember_windows(frame)
        self._status.overwrote(self._under_way.overwrites(self.name, frame))
        self._under_way.settle(frame, Outcome.INSERTED)
        self._status.inserted(frame, seconds, self.name)
        self._commit()

    def rejected(self, frame: Frame, reason: str) -> None:
        """Write dead letters for a frame whose values Clarify all refused for `reason`, then settle the frame."""
        if not self._rejects.keep_refused(self._by_record(frame), self._under_way.locate, reason):
            return  # aborted: the source gives unsettled records again after the next start
        self._remember_windows(frame)
        self._under_way.settle(frame, Outcome.DEAD_LETTERED)
        self._commit()

    def still_ours(self, frame: Frame) -> Frame | None:
        """Returns the frame without samples of partitions that were given away; None if no sample is left."""
        return self._under_way.still_ours(frame)

    def _by_record(self, frame: Frame) -> Iterator[tuple[int, list[Sample]]]:
        """Yields the token of each record of a frame, and its samples as the mapping wrote them."""
        for token, samples in by_record(frame.columns):
            yield token, [(at_integration(self.name, one), time_us, value) for one, time_us, value in samples]

    def _remember_windows(self, frame: Frame) -> None:
        """Remember the windows of a frame; called before a commit.

        After a restart, a part of a window's values must not make the same window a second time.
        """
        if done := self._under_way.windows_of(self.name, frame):
            self._discoveries.windows_done(done)

    def rate(self) -> float:
        """Returns the requests a second that are allowed now.

        The number changes when the shares of the sources change, and when Clarify becomes slow.
        """
        self.pace.share = self._share()
        return self.pace.rate

    # -- state for metrics and pages --------------------------------------------------------------

    @property
    def trouble(self) -> str | None:
        """The reason why no sample can be sent now, for people; None while Clarify takes samples."""
        return self.sender.circuit.trouble

    @property
    def waiting(self) -> int:
        """Number of samples that wait for a frame, with the values in open windows."""
        return self._under_way.waiting_for(self.name)

    def oldest_seconds(self) -> float:
        """Returns the age of the oldest waiting sample, in seconds; 0 while no sample waits."""
        return self._under_way.oldest_seconds(self.name)

    def packing(self) -> PackingAccount | None:
        """Returns how full the frames are and whether the load fits; None before the first frame."""
        found = self._under_way.account(self.name, self.pace.rate)
        return found if found is None or not self.name else replace(found, integration=self.name)

    @property
    def signal_rates(self) -> SampleRates | None:
        """Sample rates of all signals in the last complete window; None before the first window ends."""
        return self._under_way.signal_rates(self.name)
