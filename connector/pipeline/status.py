"""How the pipeline is, for whoever watches: metrics, health, the demo."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from connector.delivery.load import PackingAccount
from connector.delivery.sender import Sender
from connector.ledger.account import Commit, Counts
from connector.ledger.progress import RecordLocation
from connector.mapping.mapper import Mapper
from connector.mapping.time.clock_skew import Skew
from connector.mapping.time.times import format_time
from connector.packing.frame import Frame
from connector.packing.overwrites import Overwrite
from connector.packing.rates import SampleRates
from connector.pipeline.discoveries import Overwritten
from connector.pipeline.intake import SharedMapper
from connector.pipeline.notices import Notices
from connector.pipeline.rejects import Rejects
from connector.pipeline.under_way import Abandoned, UnderWay
from connector.records import Mapped, Rows
from connector.sources.source import Source

_RECENT_FRAMES: Final = 50
_MOST_TOPICS: Final = 100
_MOST_INPUTS: Final = 200
_MOST_NAMED: Final = 20
"""Inputs with replaced values of which each has a notice."""


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame that Clarify has."""

    at: float
    """When it was answered, in seconds on the pipeline's clock."""
    rows: int
    series: int
    samples: int
    bytes: int
    density: float
    """Share of its cells with a value."""
    seconds: float
    """How long its insert took."""


class PipelineStatus:
    """Counts for itself what passes, and asks the parts for the rest. Safe for threads."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        mapper: Mapper,
        shared: SharedMapper,
        under_way: UnderWay,
        rejects: Rejects,
        sender: Sender,
        rate: Callable[[], float],
        failure: Callable[[], str | None],
        notices: Notices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rate` says how many requests a second are allowed now, `failure` why the pipeline stops for good."""
        self._sources = sources
        self._mapper = mapper
        self._shared = shared
        self._under_way = under_way
        self._rejects = rejects
        self._sender = sender
        self._rate = rate
        self._failure = failure
        self._notices = notices
        self._clock = clock
        self._overwritten: dict[str, Overwritten] = {}
        """Input ID → its values that other values of the same time replaced since `take_overwritten`, for a bounded
        number of inputs."""
        self._named: set[str] = set()
        """The inputs with replaced values that have a notice each."""
        self.overwritten_by_topic: Counter[str] = Counter()
        """Topic → values since the start that another value of the same input and time replaced; beyond a bound the
        topic is `(others)`."""
        self._counting = threading.Lock()
        self.messages = Counts()
        """Messages since the start, by what became of them."""
        self.samples = Counts()
        """Samples since the start, by what became of them."""
        self.filtered: Counter[str] = Counter()
        """Word of `FILTERED_BECAUSE` → messages since the start that became nothing for that reason."""
        self.frames: deque[SentFrame] = deque(maxlen=_RECENT_FRAMES)
        """The newest frames, the newest last."""

    # -- told by the pipeline ---------------------------------------------------------------------

    def received(self, records: int, samples: int) -> None:
        """So many records and samples came in since the start."""
        self.messages.received = records
        self.samples.received = samples

    def left_out(self, parts: Iterable[Mapped | Rows]) -> None:
        """Count the messages that became nothing on purpose, by their reasons."""
        whys = [part.why for part in parts if type(part) is Mapped and part.why]
        if whys:
            with self._counting:
                self.filtered.update(whys)

    def overwrote(self, found: Sequence[tuple[Overwrite, RecordLocation]]) -> None:
        """Values that other values of the same input and time replaced, each with the record of the later value."""
        for one, record in found:
            known = record.topic in self.overwritten_by_topic or len(self.overwritten_by_topic) < _MOST_TOPICS
            self.overwritten_by_topic[record.topic if known else "(others)"] += 1
            before = self._overwritten.get(one.input_id)
            if before is not None or len(self._overwritten) < _MOST_INPUTS:
                self._overwritten[one.input_id] = Overwritten(record.topic, (before.values if before else 0) + 1)
            self._say_overwritten(one, record)

    def _say_overwritten(self, one: Overwrite, record: RecordLocation) -> None:
        """A line and a notice for each of the first inputs, and one for all others together."""
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
                f"values of more inputs are replaced by others of the same time; the newest is {one.input_id!r} of "
                f"topic {record.topic!r}",
                "clarify-connector ledger CONFIG names the inputs; the remedy is as for the first of them",
                topic=record.topic,
            )

    def take_overwritten(self) -> dict[str, Overwritten]:
        """The inputs with replaced values since the last call, at most so many as a person would look at."""
        found, self._overwritten = self._overwritten, {}
        return found

    def inserted(self, frame: Frame, seconds: float) -> None:
        """Clarify has this frame; its insert took so many seconds."""
        self.frames.append(
            SentFrame(self._clock(), frame.rows, frame.series, frame.samples, len(frame.body), frame.density, seconds)
        )

    def committed(self, commit: Commit) -> None:
        """A source was told this."""
        for tally in commit.tallies.values():
            _count(self.messages, tally.messages)
            _count(self.samples, tally.samples)

    # -- asked by whoever watches -----------------------------------------------------------------

    def waiting(self) -> tuple[int, int]:
        """(records, samples) that were taken in and are not settled yet."""
        return self._under_way.waiting()

    def oldest_seconds(self) -> float:
        """How long the oldest waiting sample has waited, in seconds; 0 while nothing waits."""
        return self._under_way.oldest_seconds()

    def abandoned(self) -> Abandoned:
        """Records and samples that were given to another member before they were settled."""
        return self._under_way.abandoned()

    def packing(self) -> PackingAccount | None:
        """How well frames are filled and whether the load fits; None before the first frame."""
        account = self._under_way.account(self._rate())
        shifts = self._mapper.aligner.shifts
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
        """Why the pipeline is not ready, for people; empty if it is."""
        found = [f"{name}: {problem}" for name, source in self._sources.items() for problem in source.problems()]
        if trouble := self.clarify_trouble:
            found.append(f"Clarify: {trouble}")
        if failure := self._failure():
            found.append(failure)
        found += [f"{name}: {trouble}" for name, trouble in dict(self._shared.schema_trouble).items()]
        return found

    @property
    def clarify_trouble(self) -> str | None:
        """Why nothing can be sent now, for people; None while Clarify takes samples."""
        return self._sender.circuit.trouble

    @property
    def requests(self) -> int:
        """Insert requests since the start."""
        return self._sender.status.requests

    @property
    def reasons(self) -> Counter[str]:
        """Reason of dead letters → how many there were since the start."""
        return self._rejects.reasons

    @property
    def signal_rates(self) -> SampleRates | None:
        """Sample rates of all signals in the last complete window; None before the first window ends."""
        return self._under_way.signal_rates

    @property
    def late_for_windows(self) -> int:
        """Values that came after their window was closed, since the start."""
        return self._under_way.late_for_windows

    def clocks(self, most: int) -> list[Skew]:
        """The devices whose clocks are furthest off, `most` of them."""
        return self._shared.clocks(most)

    def sparkplug_gauges(self) -> dict[str, dict[str, float]]:
        """Source → numbers about the Sparkplug nodes that were heard there, for its gauges."""
        return self._shared.sparkplug_gauges()

    def sources(self) -> Sequence[Source]:
        """The sources, for their gauges."""
        return list(self._sources.values())


def _count(total: Counts, part: Counts) -> None:
    """Add what was settled; what was received is counted when it comes."""
    total.inserted += part.inserted
    total.dead_lettered += part.dead_lettered
    total.superseded += part.superseded
    total.filtered += part.filtered
