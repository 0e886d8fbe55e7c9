"""Checks that data really flows, for every subscription, rule and watched signal of the configuration.

The check runs every few seconds. A subscription without a message becomes a notice, and so does a rule that never took
a message. The cause is mostly a typing mistake, which nothing else would report. Signals that have stopped are found
by `silence`. Once an hour, a line in the log has the numbers of messages, samples and requests. The check also notes
the points of the last hour (`history`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from connector.mapping.mapper import Mapper
from connector.pipeline.notices import Notices
from connector.pipeline.status import PipelineStatus
from connector.records import Record
from connector.runtime.history import History
from connector.runtime.silence import Silence
from connector.settings import same
from connector.sources.loss import readable_duration
from connector.sources.section import SourceSection
from connector.sources.source import Source
from connector.sources.subscriptions import Subscription
from connector.threads.watched import WatchedThread, moves

_LOOK_SECONDS: Final = 5.0
_SUMMARY_SECONDS: Final = 3600.0

_log = structlog.get_logger(__name__)


class _Expected:
    """The subscriptions of one source."""

    def __init__(self, section: SourceSection) -> None:
        self.every = section.expect_every
        self.again = "expect_every" in section.model_fields_set
        """Whether messages are expected all the time, and not only after the start."""
        self.all = list(section.subscriptions())
        self.silent = [] if self.every is None else list(self.all)
        """The subscriptions without a message after `since`."""
        self.connected: float | None = None
        """Time of the first connection of the source, in seconds; None before the first connection."""
        self.since: float | None = None
        """Time in seconds from which silence counts; None while the source is not read."""

    def heard(self, records: Sequence[Record]) -> list[Subscription]:
        """Note the topics of these records; returns the subscriptions that were silent until now."""
        topics = {record.topic for record in records}
        found = [one for one in self.silent if any(map(one.matches, topics))]
        for one in found:
            self.silent.remove(one)
        return found


class Carrying:
    """Checks whether data flows, in its own thread, or when `look` is called."""

    def __init__(
        self,
        sections: Sequence[SourceSection],
        notices: Notices,
        *,
        judges_rules: bool = True,
        our_clock: Callable[[], float | None] = lambda: None,
        clock_warning: float = 60.0,
        silence: Silence | None = None,
        looked: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`judges_rules` means that a rule without a message gets a notice: no other process reads these sources.

        `our_clock` returns the seconds by which this machine's clock is ahead of Clarify's clock, or None if that is
        unknown. A difference of more than `clock_warning` seconds gets a notice. `silence` has the watched signals;
        None if no rule has any. `looked` is called at the end of each look. `clock` gives seconds.
        """
        self._our_clock = our_clock
        self._clock_warning = clock_warning
        self._sections = {section.name: section for section in sections}
        self._expected = {name: _Expected(section) for name, section in self._sections.items()}
        self._notices = notices
        self._judges_rules = judges_rules
        self._silence = silence
        self._looked = looked
        self._clock = clock
        self._read_since: dict[str, float | None] = {}
        """Source → time in seconds since which it is read without a pause; None while it is not read.

        A source is not read while it has problems, and while Clarify takes no samples, or not so many.
        """
        self._look_due = -math.inf
        self._lock = threading.Lock()
        self._sources: Mapping[str, Source] = {}
        self._mapper: Mapper | None = None
        self._mapper_since = -math.inf
        """When this mapper took the place of another one, in seconds."""
        self._status: PipelineStatus | None = None
        self._summary_due = clock() + _SUMMARY_SECONDS
        self._before: dict[str, int] = {}
        self.history = History()
        self._stopping = threading.Event()
        self.thread = WatchedThread("carrying", "", self._run)

    def start(self, sources: Sequence[Source], mapper: Mapper, status: PipelineStatus) -> None:
        """Start the thread, which checks these sources and this mapper every few seconds."""
        self.attach(sources, mapper, status)
        self.thread.start()

    def attach(self, sources: Sequence[Source], mapper: Mapper, status: PipelineStatus) -> None:
        """Set the sources, the mapper and the status for `look`, without a thread."""
        self._sources = {source.name: source for source in sources}
        self._mapper, self._status = mapper, status

    def use(self, sections: Sequence[SourceSection], sources: Sequence[Source], clock_warning: float) -> None:
        """Check these sources from now on; what is known of a source whose section did not change stays."""
        with self._lock:
            before = self._expected
            stays = {one.name for one in sections if one.name in before and same(self._sections[one.name], one)}
            self._expected = {one.name: before[one.name] if one.name in stays else _Expected(one) for one in sections}
            self._sections = {section.name: section for section in sections}
            self._clock_warning = clock_warning
            self._sources = {source.name: source for source in sources}
        for name, expected in before.items():
            for one in () if name in stays else expected.all:
                self._notices.over("subscription_silent", name, one.text)

    def use_mapper(self, mapper: Mapper) -> None:
        """Check the rules of this mapper from now on; no rule counts as unused because of the mapper before."""
        before, self._mapper, self._mapper_since = self._mapper, mapper, self._clock()
        for number, _ in [] if before is None else before.rules_without_records():
            self._notices.over("rule_unused", "", f"rule {number + 1}")

    def close(self, timeout: float) -> None:
        """Stop the thread, and wait for its end for at most `timeout` seconds."""
        self._stopping.set()
        if self.thread.ident is not None:
            self.thread.join(timeout)
            self._looked()
        if self._silence is not None:
            self._silence.keep()

    def saw(self, source: str, records: Sequence[Record]) -> None:
        """Note that these records came from a source."""
        expected = self._expected.get(source)
        if expected is None or not expected.silent:
            return
        with self._lock:
            heard = expected.heard(records)
        for one in heard:
            self._notices.over("subscription_silent", source, one.text)

    def look(self) -> None:
        """Check the sources, the rules and the clock now."""
        now = self._clock()
        self._note_reading(now)
        for name, source in list(self._sources.items()):
            if (expected := self._expected.get(name)) is not None:
                self._look_at(source, expected, now)
        self._look_at_rules(now)
        self._look_at_clock()
        if now >= self._summary_due:
            self._summary_due = now + _SUMMARY_SECONDS
            self._summarize()
        self._looked()

    def look_at_signals(self) -> None:
        """Check the watched signals now."""
        if self._silence is not None:
            self._note_reading(self._clock())
            whole = {name for name, source in self._sources.items() if source.share() >= 1}
            self._silence.look(self._read_since, whole)

    def _note_reading(self, now: float) -> None:
        for name, source in self._sources.items():
            if source.problems() or (self._status is not None and self._status.pause(name)):
                self._read_since[name] = None  # /readyz has the problem, which explains why no message comes
            elif self._read_since.get(name) is None:
                self._read_since[name] = now

    def _look_at(self, source: Source, expected: _Expected, now: float) -> None:
        if self._read_since[source.name] is None:
            expected.since = None
            return
        if expected.since is None:
            expected.since = now
            if expected.connected is None:
                expected.connected = now
        if expected.every is None or now - expected.since < expected.every:
            return
        with self._lock:
            silent = list(expected.silent)
            if expected.again:
                expected.since, expected.silent = now, list(expected.all)
        for one in silent:
            if not source.expects(one):
                continue
            self._notices.say(
                "subscription_silent",
                source.name,
                one.text,
                f"no message came for {one.text!r} in {readable_duration(expected.every)}",
                "is the topic right, and may we read it? "
                f"{one.silence}{' ' * bool(one.silence)}Where it is seldom used, set expect_every of the source",
            )

    def _look_at_rules(self, now: float) -> None:
        mapper, status = self._mapper, self._status
        found = self._expected.values()
        waits = [one.every for one in found if one.every is not None]
        if mapper is None or status is None or not self._judges_rules or not waits or not status.messages.received:
            return
        since = self._mapper_since
        if any(one.connected is None or now - max(one.connected, since) < max(waits) for one in found):
            return
        for number, text in mapper.rules_without_records():
            self._notices.say(
                "rule_unused",
                "",
                f"rule {number + 1}",
                f"rule {number + 1} ({text}) has not taken any message",
                "is its topic right, and does an earlier rule take its messages?",
                times=0,
            )
        for number in list(mapper.rules_taken):
            self._notices.over("rule_unused", "", f"rule {number + 1}")

    def _look_at_clock(self) -> None:
        ahead = self._our_clock()
        if ahead is None:
            return
        if abs(ahead) <= self._clock_warning:
            self._notices.over("our_clock_off", "", "")
            return
        self._notices.say(
            "our_clock_off",
            "",
            "",
            f"the clock of this machine is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} Clarify's, so "
            "times of arrival are wrong, and all devices seem to be off by as much",
            "set the clock of this machine (NTP)",
            times=0,
        )

    def _summarize(self) -> None:
        status = self._status
        if status is None:
            return
        messages, samples = status.messages, status.samples
        total = {
            "messages": messages.received,
            "samples_inserted": samples.inserted,
            "samples_superseded": samples.superseded,
            "values_filtered": samples.filtered,
            "requests": status.requests,
            "dead_letters": sum(status.reasons.values()),
            **{f"filtered_{why}": n for why, n in status.filtered.items()},
        }
        passed = {name: n - self._before.get(name, 0) for name, n in total.items()}
        self._before = total
        _log.info("summary", hours=1, **passed)

    def _run(self) -> None:
        tick = _LOOK_SECONDS if self._silence is None else self._silence.tick
        while not self._stopping.wait(tick):
            moves()
            self.look_at_signals()
            if self._clock() >= self._look_due:
                self._look_due = self._clock() + _LOOK_SECONDS
                self.look()
                if self._status is not None:
                    self.history.note(self._status)
