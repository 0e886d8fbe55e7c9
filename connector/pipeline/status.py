"""The state of the pipeline, for metrics, health pages and the demo."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from connector.delivery.load import PackingAccount
from connector.delivery.pace import Pace
from connector.delivery.sender import Sender
from connector.ledger.account import Commit, Counts
from connector.ledger.progress import RecordLocation
from connector.mapping.time.clock_skew import Skew
from connector.mapping.time.times import format_time
from connector.packing.frame import Frame
from connector.packing.overwrites import Overwrite
from connector.packing.rates import SampleRates
from connector.pipeline.discoveries import Overwritten
from connector.pipeline.intake import SharedMapper
from connector.pipeline.notices import Notices
from connector.pipeline.rejects import Rejects
from connector.pipeline.signals import Signals
from connector.pipeline.under_way import Abandoned, UnderWay
from connector.records import Mapped, Rows
from connector.sources.source import Source

_RECENT_FRAMES: Final = 50
_STUCK_SECONDS: Final = 5.0
"""A source that was not polled for so long is not read: a poll waits for a second at most."""
_MOST_TOPICS: Final = 100
_MOST_INPUTS: Final = 200
_MOST_NAMED: Final = 20
"""Number of inputs with replaced values that have their own notice; all further inputs share one notice."""


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame that Clarify has stored."""

    at: float
    """Time of the answer, in seconds on the pipeline's clock."""
    rows: int
    series: int
    samples: int
    bytes: int
    density: float
    """Share of the frame's cells with a value, 0 to 1."""
    seconds: float
    """Duration of the insert request, in seconds."""
    integration: str = ""
    """The name of its integration; empty for the default integration."""


class DestinationState(Protocol):
    """The state of one integration."""

    name: str
    sender: Sender
    pace: Pace

    @property
    def trouble(self) -> str | None:
        """The reason why no sample can be sent now, for people; None while Clarify takes samples."""

    @property
    def waiting(self) -> int:
        """Number of samples that wait for a frame, with the values in open windows."""

    def rate(self) -> float:
        """Returns the requests a second that are allowed now."""

    def oldest_seconds(self) -> float:
        """Returns the age of the oldest waiting sample, in seconds; 0 while no sample waits."""

    def packing(self) -> PackingAccount | None:
        """Returns how full the frames are and whether the load fits; None before the first frame."""

    @property
    def signal_rates(self) -> SampleRates | None:
        """Sample rates of all signals in the last complete window; None before the first window ends."""


class PipelineStatus:
    """Counts records, samples and frames, and asks the parts of the pipeline for all other state. Safe for threads."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        shared: SharedMapper,
        under_way: UnderWay,
        rejects: Rejects,
        destinations: Mapping[str, DestinationState],
        failure: Callable[[], str | None],
        notices: Notices,
        clock: Callable[[], float] = time.monotonic,
        default: str = "default",
    ) -> None:
        """`destinations` has the state of each integration by its name, and `default` the name of the one whose name is
        empty there. `failure` returns why the pipeline stops for good, or None."""
        self._sources = sources
        self._shared = shared
        self._under_way = under_way
        self._rejects = rejects
        self.destinations = destinations
        self._default = default
        self._failure = failure
        self._notices = notices
        self._clock = clock
        self.signals = Signals(shared, under_way)
        self._overwritten: dict[str, Overwritten] = {}
        """Input ID → the replaced values of this input since `take_overwritten`; the number of inputs is bounded."""
        self._named: set[str] = set()
        """The inputs with replaced values that have their own notice."""
        self.overwritten_by_topic: Counter[str] = Counter()
        """Topic → number of values, since the start, that a later value of the same input and time replaced.

        The number of topics is bounded; all further topics count as `(others)`.
        """
        self.ended: set[str] = set()
        """The sources that will give no more messages."""
        self.polled: dict[str, float] = {}
        """Source → the time of its last poll, in seconds on the pipeline's clock."""
        self._counting = threading.Lock()
        self.messages = Counts()
        """Messages since the start, by outcome."""
        self.samples = Counts()
        """Samples since the start, by outcome."""
        self.settled: dict[str, Counts] = {}
        """Source → its settled messages since the start, by outcome."""
        self.filtered: Counter[str] = Counter()
        """Word of `FILTERED_BECAUSE` → number of messages, since the start, that became no sample for this reason."""
        self.inserted_samples: Counter[str] = Counter()
        """Integration → number of samples, since the start, that it has stored."""
        self.inserted_at: dict[str, float] = {}
        """Integration → the time of its last insert, in seconds since the epoch."""
        self.frames: deque[SentFrame] = deque(maxlen=_RECENT_FRAMES)
        """The newest frames, the newest last."""

    # -- told by the pipeline ---------------------------------------------------------------------

    def received(self, records: int, samples: int) -> None:
        """Note the numbers of records and samples that came in since the start."""
        self.messages.received = records
        self.samples.received = samples

    def left_out(self, parts: Iterable[Mapped | Rows]) -> None:
        """Count the messages that the mapping left out on purpose, by reason."""
        whys = [part.why for part in parts if type(part) is Mapped and part.why]
        if whys:
            with self._counting:
                self.filtered.update(whys)

    def overwrote(self, found: Sequence[tuple[Overwrite, RecordLocation]]) -> None:
        """Count and report replaced values; each pair has the location of the later value's record."""
        if not found:
            return
        with self._counting:
            for one, record in found:
                known = record.topic in self.overwritten_by_topic or len(self.overwritten_by_topic) < _MOST_TOPICS
                self.overwritten_by_topic[record.topic if known else "(others)"] += 1
                before = self._overwritten.get(one.input_id)
                if before is not None or len(self._overwritten) < _MOST_INPUTS:
                    self._overwritten[one.input_id] = Overwritten(record.topic, (before.values if before else 0) + 1)
                self._say_overwritten(one, record)

    def _say_overwritten(self, one: Overwrite, record: RecordLocation) -> None:
        """Report a replaced value: each of the first inputs has its own notice, and all others share one notice."""
        if one.input_id in self._named:
            self._notices.again("value_overwritten", record.source, one.input_id)
        elif len(self._named) < _MOST_NAMED:
            self._named.add(one.input_id)
            self._notices.say(
                "value_overwritten",
                record.source,
                one.input_id,
                f"input {one.input_id!r} has two values at {format_time(one.time_us)}, {one.before:g} and then "
                f"{one.after:g} of topic {record.topic!r}: the later one stands",
                "if two things share the input, tell them apart in input; if the times are too coarse, take a "
                "finer one (time), or the arrival (time: arrival)",
                topic=record.topic,
            )
        else:
            self._notices.say(
                "more_values_overwritten",
                record.source,
                "",
                f"values of more inputs are replaced by values of the same time; the newest is {one.input_id!r} of "
                f"topic {record.topic!r}",
                "clarify-connector ledger CONFIG names the inputs; the remedy is the same as for the first inputs",
                topic=record.topic,
            )

    def take_overwritten(self) -> dict[str, Overwritten]:
        """Returns input ID → the replaced values of this input since the last call, for a bounded number of inputs."""
        with self._counting:
            found, self._overwritten = self._overwritten, {}
        return found

    def inserted(self, frame: Frame, seconds: float, integration: str = "") -> None:
        """Note a frame that Clarify has stored; the insert took `seconds`."""
        size = len(frame.body)
        self.inserted_samples[integration] += frame.samples
        self.inserted_at[integration] = time.time()
        self.frames.append(
            SentFrame(self._clock(), frame.rows, frame.series, frame.samples, size, frame.density, seconds, integration)
        )

    def committed(self, commit: Commit) -> None:
        """Count the outcomes in a commit that a source has received."""
        of_source = self.settled.setdefault(commit.source, Counts())
        for tally in commit.tallies.values():
            _count(of_source, tally.messages)
            _count(self.messages, tally.messages)
            _count(self.samples, tally.samples)

    # -- asked by metrics, pages and the demo -----------------------------------------------------

    def waiting(self) -> tuple[int, int]:
        """Returns the numbers of records and of samples that were taken in and are not settled yet."""
        return self._under_way.waiting()

    def oldest_seconds(self) -> float:
        """Returns the age of the oldest waiting sample of all integrations, in seconds; 0 while no sample waits."""
        return max(one.oldest_seconds() for one in self.destinations.values())

    def shown(self, integration: str) -> str:
        """Returns the name of an integration for people: also the default one has a name there."""
        return integration or self._default

    def abandoned(self) -> Abandoned:
        """Returns the counts of records and samples that went to another member before they were settled."""
        return self._under_way.abandoned()

    def packing(self, integration: str = "") -> PackingAccount | None:
        """Returns how full the frames are and whether the load fits; None before the first frame.

        The counts of aligned samples are those of all integrations together.
        """
        account = self.destinations[integration].packing()
        shifts = self._shared.mapper.aligner.shifts
        if account is None or not shifts.aligned + shifts.left:
            return account
        return replace(
            account,
            aligned=shifts.aligned,
            not_aligned=shifts.left,
            collisions=shifts.collisions,
            greatest_shift_us=shifts.greatest_us,
        )

    def problems(self) -> list[str]:
        """Returns the reasons why the pipeline is not ready, for people; empty if the pipeline is ready."""
        found = [f"{name}: {problem}" for name, source in list(self._sources.items()) for problem in source.problems()]
        for name, one in self.destinations.items():
            if trouble := one.trouble:
                of = f" (integration {self.shown(name)})" if len(self.destinations) > 1 else ""
                found.append(f"Clarify{of}: {trouble}")
        if failure := self._failure():
            found.append(failure)
        found += [f"{name}: {trouble}" for name, trouble in dict(self._shared.schema_trouble).items()]
        return found

    def clarify_trouble(self, source: str) -> str | None:
        """The reason why an integration that a source feeds takes no samples now, for people; None if there is none."""
        several = len(self.destinations) > 1
        for name, one in self.destinations.items():
            if (trouble := one.trouble) and (not several or self._under_way.feeds(source, name)):
                return trouble
        return None

    def pause(self, source: str) -> str | None:
        """The reason why a source is not read at present although nothing is wrong with it, for people; None if it is
        read."""
        if source in self.ended:
            return "all of it was read"
        if self._under_way.holds(source):
            return "too many samples wait for Clarify"
        if self._clock() - self.polled.get(source, math.inf) > _STUCK_SECONDS:
            return "what was read cannot be taken in"  # for example while dead letters or input IDs cannot be written
        return self._shared.schema_trouble.get(source) or self.clarify_trouble(source)

    @property
    def requests(self) -> int:
        """Number of insert requests since the start."""
        return sum(one.sender.status.requests for one in self.destinations.values())

    @property
    def reasons(self) -> Counter[str]:
        """Reason → number of dead letters with this reason since the start."""
        return self._rejects.reasons

    @property
    def late_for_windows(self) -> int:
        """Number of values, since the start, that came after their window was closed."""
        return self._under_way.late_for_windows

    @property
    def tolerated(self) -> dict[tuple[str, str], int]:
        """(source, kind of fault) → number of messages, since the start, in which the fault was overlooked."""
        return dict(self._shared.mapper.tolerances.counts)

    def clocks(self, most: int) -> list[Skew]:
        """Returns the `most` devices with the greatest clock errors."""
        return self._shared.clocks(most)

    def sparkplug_gauges(self) -> dict[str, dict[str, float]]:
        """Returns source → name of a gauge → its value, about the Sparkplug nodes of this source."""
        return self._shared.sparkplug_gauges()

    def sources(self) -> Sequence[Source]:
        """Returns the sources, for their gauges."""
        return list(self._sources.values())


def _count(total: Counts, part: Counts) -> None:
    """Add the settled counts of `part`; received messages and samples are counted at intake."""
    total.inserted += part.inserted
    total.dead_lettered += part.dead_lettered
    total.superseded += part.superseded
    total.filtered += part.filtered
