"""Signals that have stopped: each signal of a rule with `expect_every` is watched.

Theory of operation. A sample of a signal only writes the time into the signal, once for each chunk. A wheel holds each
watched signal in the slot of the time at which the signal would count as silent. When a slot is due, its signals are
looked at: a signal that has come since goes into a later slot, and the others are silent. So each signal is looked at
about once in its period, whatever the number of its samples. A slot is a twentieth of the shortest period long, so
silence is seen within 1.1 of the period.

Silence counts only while the source is read. After a start, after a pause of the source or of Clarify, and after
partitions moved, the period begins anew. A signal whose messages may have moved to another member of a group is not
judged before it comes again, unless this process has the whole source. Silent signals are kept in the state file, so
that "silent since" survives a restart.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import nsmallest
from operator import itemgetter
from typing import Final, NamedTuple

import structlog

from connector.mapping.rules.rules import LEARNED, Rule
from connector.mapping.time.times import format_time
from connector.pipeline.notices import Notices
from connector.records import Part, Rows, of_integration
from connector.sources.loss import readable_duration
from connector.terminal.text import shown

_LOOK_SECONDS: Final = 5.0
_LOOKS: Final = 20
"""Looks in the shortest period."""
_LEAST_LEARNED: Final = 30.0
_MOST_LEARNED: Final = 7 * 86_400.0
"""The bounds of a learned period, in seconds."""
_PAUSES: Final = 3.0
"""A learned period is so many times the longest pause."""
_LEARNING_PAUSES: Final = 10.0
_LEARNING_SECONDS: Final = 60.0
"""A period is learned for this time, and for so many times the longest pause."""
_MOST: Final = 250_000
"""The most signals that are watched: about 170 bytes each."""
_MOST_KEPT: Final = 10_000
"""The most silent signals in the state file."""
_KEEP_SECONDS: Final = 10.0
"""The least time between two writes of the state file with the most signals; with few, a second."""
_GONE_SECONDS: Final = 30 * 86_400.0
"""After this time, a silent signal is no longer watched until it comes again."""
_GONE_LOOK_SECONDS: Final = 60.0
_EXAMPLES: Final = 3

_input_of: Final = itemgetter(0)
"""Sample → its input ID."""

_log = structlog.get_logger(__name__)


class WatchedRule(NamedTuple):
    """A rule with `expect_every`."""

    number: int
    """As people count, from 1."""
    topic: str
    every: float | None
    """The period of its signals, in seconds; None if each signal has learned its own."""


class SilentSignal(NamedTuple):
    """A silent signal."""

    input: str
    """As `at_integration` writes it."""
    source: str
    rule: int
    since: float
    """The time of the last message with a sample of the signal, in seconds since the epoch."""
    expect_every: float
    """Its period, in seconds."""


class _Signal:
    __slots__ = ("began", "every", "input", "last", "longest", "queued", "rule", "simple", "since", "source", "sure")

    def __init__(self, input_id: str, source: str, rule: WatchedRule) -> None:
        self.input = input_id
        self.source = source
        self.rule = rule
        self.every = rule.every or 0.0
        """The period in seconds; 0 while it is being learned."""
        self.last: float | None = None
        """The time of the last sample in seconds; None before the first one."""
        self.simple = False
        """Whether a sample only sets `last`."""
        self.sure = False
        """Whether a sample came in this run, and no partition of the source has moved since."""
        self.queued = False
        """Whether the signal is in the wheel."""
        self.since: float | None = None
        """For a silent signal, the time of its last sample in seconds since the epoch; else None."""
        self.began = 0.0
        """The begin of the learning, in seconds."""
        self.longest = 0.0
        """The longest pause so far, in seconds; only for a learned period."""


class Silence:
    """The watched signals of all sources. Safe for threads; one thread calls `look`."""

    def __init__(
        self,
        notices: Notices,
        keep: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`keep` writes the text of the silent signals to the state file. `clock` gives seconds, and `wall` seconds
        since the epoch."""
        self._notices = notices
        self._keep = keep
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        """Protects all attributes below."""
        self._signals: dict[str, _Signal] = {}
        self._silent: dict[str, _Signal] = {}
        self._rules: dict[int, WatchedRule] = {}
        self._watched: Counter[int] = Counter()
        """Number of a rule → its watched signals."""
        self._too_many = False
        """Whether there are signals that are not watched, because there are too many."""
        self._slots: defaultdict[int, list[_Signal]] = defaultdict(list)
        self.tick = _LOOK_SECONDS
        """Seconds between two looks, which is the length of a slot."""
        self._done = 0
        """The slot up to which signals were looked at."""
        self._moved: dict[str, float] = {}
        """Source → the last time, in seconds, at which partitions of it have moved."""
        self._gone: dict[str, None] = {}
        """Signals that were silent for so long that they are not watched; the oldest first."""
        self._gone_due = -math.inf
        self._changed = False
        self._said: set[int] = set()
        """Numbers of the rules with a notice."""
        self._kept = True
        """Whether the state file has the present signals."""
        self._keep_due = -math.inf
        self._earlier: dict[str, float] = {}
        """Silent signals of the run before → the time since which they are silent, in seconds since the epoch."""

    def begin(self, rules: Iterable[Rule], earlier: str) -> None:
        """Set the rules, and the text that `keep` got last; to be called before the first signal."""
        with self._lock:
            self._set_rules(rules)
        if earlier:
            self._changed = True
            before = json.loads(earlier)
            self._earlier = {one[0]: one[3] for one in before["signals"]}
            self._gone = dict.fromkeys(before["gone"])

    def renew(self, rules: Iterable[Rule], signals: Iterable[tuple[str, str, Rule]]) -> None:
        """Use other rules: the known ones of `signals` (input ID, source, rule) go on as they were, and all others are
        forgotten until their next sample. `tick` may be another one now."""
        with self._lock:
            before, self._signals = self._signals, {}
            for kept in (self._silent, self._rules, self._watched, self._slots):
                kept.clear()
            self._set_rules(rules)
            for input_id, source, rule in signals:
                one, old = self._expect(input_id, source, rule), before.get(input_id)
                if one is not None and (old is None or old.last is None):
                    self._recall(one)
                elif one is not None and old is not None:
                    one.last, one.since, one.sure, one.began, one.longest = (
                        old.last, old.since, old.sure, old.began, old.longest
                    )  # fmt: skip
                    if one.rule.every is None and old.rule.every is None:
                        one.every = old.every
                    if one.since is not None:
                        one.every = one.every or old.every
                        self._silent[input_id] = one
                    elif one.every and one.last is not None:
                        self._queue(one, one.last + one.every)
            self._changed = True

    def _set_rules(self, rules: Iterable[Rule]) -> None:
        for rule in rules:
            if rule.expect_every is not None:
                self._watch(rule)
        periods = [one.every or _LEAST_LEARNED for one in self._rules.values()]
        self.tick = min([_LOOK_SECONDS, *(period / _LOOKS for period in periods)])
        self._done = int(self._clock() / self.tick)

    def _watch(self, rule: Rule) -> WatchedRule:
        number = -1 if rule.number is None else rule.number
        every = None if rule.expect_every is None or rule.expect_every == LEARNED else float(rule.expect_every)
        return self._rules.setdefault(number + 1, WatchedRule(number + 1, rule.pattern.text, every))

    # -- told by the mapping and the intakes -------------------------------------------------------

    def expect(self, input_id: str, source: str, rule: Rule) -> None:
        """Watch a signal from its first sample on."""
        with self._lock:
            self._expect(input_id, source, rule)

    def recall(self, input_id: str, source: str, rule: Rule) -> None:
        """Watch a signal of an earlier run from now on, as if it had come now; or go on with its silence."""
        with self._lock:
            one = self._expect(input_id, source, rule)
            if one is not None and one.last is None:
                self._recall(one)

    def _recall(self, one: _Signal) -> None:
        now, since = self._clock(), self._earlier.get(one.input)
        if since is not None:
            one.last, one.since = now - (self._wall() - since), since
            one.every = one.every or _LEAST_LEARNED
            self._silent[one.input] = one
        elif one.every and one.input not in self._gone:
            one.last = now
            self._queue(one, now + one.every)

    def _expect(self, input_id: str, source: str, rule: Rule) -> _Signal | None:
        one = self._signals.get(input_id)
        if one is None:
            if len(self._signals) >= _MOST:
                self._changed = self._changed or not self._too_many
                self._too_many = True
                return None
            one = self._signals[input_id] = _Signal(input_id, source, self._watch(rule))
            self._watched[one.rule.number] += 1
        return one

    def saw(self, parts: Iterable[Part]) -> None:
        """Note the samples of a chunk."""
        now, get = self._clock(), self._signals.get
        with self._lock:
            for _, part in parts:
                inputs = part.inputs if type(part) is Rows else map(_input_of, part.samples)
                for input_id in inputs:
                    one = get(input_id)
                    if one is not None:
                        if one.simple:
                            one.last = now
                        else:
                            self._look_closer(one, now)

    def left_out(self, input_id: str) -> None:
        """Note a value that became no sample, because it is thinned out."""
        with self._lock:
            one = self._signals.get(input_id)
            if one is not None:
                self._look_closer(one, self._clock())

    def forget(self, source: str) -> None:
        """Note that partitions of a source have moved: the messages of its signals may come to another process now."""
        with self._lock:
            now = self._moved[source] = self._clock()
            for one in self._signals.values():
                if one.source == source and one.last is not None:
                    one.sure = one.simple = False
                    if one.since is not None:
                        self._back(one)
                        self._queue(one, now + one.every)

    def _look_closer(self, one: _Signal, now: float) -> None:
        """Note a sample of a signal that is new, silent or learned."""
        one.sure = True
        learns = one.rule.every is None
        if learns:
            if one.last is None or not one.began:
                one.began = now
            elif one.since is None:
                one.longest = max(one.longest, now - one.last)
                if one.every or now - one.began >= max(_LEARNING_SECONDS, _LEARNING_PAUSES * one.longest):
                    one.every = min(_MOST_LEARNED, max(one.every, _LEAST_LEARNED, _PAUSES * one.longest))
            else:  # it comes less often than before, or it was away: the second silence must be longer
                one.every = min(_MOST_LEARNED, 2 * one.every)
        one.last = now
        if one.since is not None:
            self._back(one)
        if self._gone:
            self._gone.pop(one.input, None)
        if self._earlier:
            self._earlier.pop(one.input, None)
        if one.every and not one.queued:
            self._queue(one, now + one.every)
        one.simple = not learns

    def _back(self, one: _Signal) -> None:
        """Take a signal out of the silent ones."""
        one.since = None
        self._silent.pop(one.input, None)
        self._changed = True

    def _queue(self, one: _Signal, due: float) -> None:
        one.queued = True
        self._slots[max(self._done + 1, math.ceil(due / self.tick))].append(one)

    # -- the thread --------------------------------------------------------------------------------

    def look(self, read_since: Mapping[str, float | None], whole: Collection[str]) -> None:
        """Find the signals that are silent now, and renew the notices.

        `read_since` has the time since which each source is read without a pause, in seconds of the clock; None while
        it is not read. `whole` has the sources of which this process gets all messages.
        """
        now = self._clock()
        with self._lock:
            first, self._done = self._done + 1, int(now / self.tick)
            for slot in range(first, self._done + 1):
                for one in self._slots.pop(slot, ()):
                    self._look_at(one, now, read_since.get(one.source), whole)
            if now >= self._gone_due:
                self._forget_gone()
                self._gone_due = now + _GONE_LOOK_SECONDS
            changed, self._changed = self._changed, False
        if changed:
            self._say()
            self._kept = False
        if not self._kept and now >= self._keep_due:
            self._keep_due = now + max(1.0, _KEEP_SECONDS * min(1.0, len(self._silent) / _MOST_KEPT))
            self.keep()

    def _look_at(self, one: _Signal, now: float, read_since: float | None, whole: Collection[str]) -> None:
        one.queued = False
        if one.last is None or one.since is not None:
            return
        begin = now if read_since is None else max(one.last, read_since, self._moved.get(one.source, read_since))
        if now - begin < one.every or not (one.sure or one.source in whole):
            self._queue(one, (begin if now - begin < one.every else now) + one.every)
            return
        one.simple = False
        one.since = self._wall() - (now - one.last)
        self._silent[one.input] = one
        self._changed = True

    def _forget_gone(self) -> None:
        oldest = self._wall() - _GONE_SECONDS
        for one in list(self._silent.values()):
            if one.since is not None and one.since < oldest:
                self._back(one)
                one.last = None
                self._gone[one.input] = None
                _log.info("signal_gone", input=one.input, effect="silent for 30 days: not in the list until it comes")
        while len(self._gone) > _MOST_KEPT:
            del self._gone[next(iter(self._gone))]

    def _say(self) -> None:
        by_rule: defaultdict[int, list[_Signal]] = defaultdict(list)
        with self._lock:
            for one in self._silent.values():
                by_rule[one.rule.number].append(one)
            too_many = self._too_many
        for number in {*self._said, *by_rule}:
            silent, subject = by_rule[number], f"rule {number}"
            if not silent:
                self._notices.over("signals_silent", "", subject)
                continue
            rule = self._rules[number]
            every = "the usual time" if rule.every is None else readable_duration(rule.every)
            newest = ", ".join(shown(one.input) for one in silent[-_EXAMPLES:])
            more = f" and {len(silent) - _EXAMPLES} more" if len(silent) > _EXAMPLES else ""
            self._notices.say(
                "signals_silent",
                "",
                subject,
                f"{len(silent)} of {self._watched[number]} signals of rule {number} ({rule.topic}) are silent for "
                f"longer than {every}: {newest}{more}",
                "clarify-connector silent CONFIG has all of them, and since when; do the devices work? Where signals "
                "come less often, raise expect_every of the rule",
                times=0,
            )
        self._said = {number for number, found in by_rule.items() if found}
        if too_many:
            self._notices.say(
                "signals_not_watched",
                "",
                "",
                f"only the first {_MOST} signals with expect_every are watched",
                "set expect_every only in rules whose silence matters",
                times=0,
            )

    def keep(self) -> None:
        """Write the silent signals to the state file; while the disk refuses the write, it is tried again later."""
        with self._lock:
            silent = [self._shown(one) for one in self._silent.values()][-_MOST_KEPT:]
            more, gone = len(self._silent) - len(silent), list(self._gone)
        try:
            self._keep(json.dumps({"signals": silent, "more": more, "gone": gone}))
            self._kept = True
        except sqlite3.Error as error:
            _log.debug("silent_signals_not_noted", reason=str(error))

    # -- for the metrics and the page --------------------------------------------------------------

    def counts(self) -> list[tuple[WatchedRule, int, int]]:
        """Returns (rule, number of watched signals, number of silent signals) for each rule with `expect_every`."""
        with self._lock:
            silent = Counter(one.rule.number for one in self._silent.values())
            return [(rule, self._watched[number], silent[number]) for number, rule in self._rules.items()]

    def signals(self, after: str, most: int, rule: int | None) -> list[SilentSignal]:
        """Returns the first `most` silent signals behind the input ID `after`, sorted; with `rule`, only of this."""
        with self._lock:
            found = [one for one in self._silent.values() if one.input > after and rule in (None, one.rule.number)]
            return [self._shown(one) for one in nsmallest(most, found, key=lambda one: one.input)]

    def _shown(self, one: _Signal) -> SilentSignal:
        return SilentSignal(one.input, one.source, one.rule.number, one.since or 0.0, one.every)


def signal_as_json(one: SilentSignal, default: str) -> dict[str, object]:
    """Returns a silent signal as JSON data; `default` is the name of the default integration."""
    integration, input_id = of_integration(one.input)
    return {
        "at": one.input,
        "input": input_id,
        "integration": integration or default,
        "source": one.source,
        "rule": one.rule,
        "since": format_time(int(one.since) * 1_000_000),
        "expect_every": one.expect_every,
    }
