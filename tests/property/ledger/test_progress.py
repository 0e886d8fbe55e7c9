"""The account balances whatever happens: chunks of several partitions are settled in any order and in any parts, some
values are in bundles, and some partitions are given away meanwhile."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connector.ledger.account import Outcome, Tallies
from connector.ledger.progress import Progress, ProgressError
from connector.records import Chunk, Mapped, Part, Reason, Record, Reject
from tests.property.fuzz import FUZZ

PARTITIONS = [("mqtt", "0"), ("mqtt", "1"), ("kafka", "0")]
TOPICS = ["a", "b"]
ORDER = [Outcome.INSERTED, Outcome.DEAD_LETTERED, Outcome.SUPERSEDED, Outcome.FILTERED]
WORDS = {
    Outcome.INSERTED: "inserted",
    Outcome.DEAD_LETTERED: "dead_lettered",
    Outcome.SUPERSEDED: "superseded",
    Outcome.FILTERED: "filtered",
}


@dataclass
class ModelRecord:
    """The expected state of one record."""

    topic: str
    token: int = 0
    open: int = 0
    """How many values are open. Values in bundles are included."""
    held: int = 0
    """How many of the open values are in bundles."""
    values: list[Outcome] = field(default_factory=list)
    fates: set[Outcome] = field(default_factory=set)
    given_away: bool = False

    @property
    def free(self) -> int:
        """How many open values are in no bundle, so that they can be settled by themselves."""
        return self.open - self.held

    def settle(self, n: int, outcome: Outcome) -> int:
        """Settle `n` values. Returns how many of them were late."""
        self.open -= n
        if self.given_away:
            return n
        self.values += [outcome] * n
        self.fates.add(outcome)
        return 0


@dataclass
class ModelBundle:
    """The expected state of a bundle: one sample that stands for several values."""

    token: int
    parts: list[tuple[ModelRecord, int]]
    last: ModelRecord


@dataclass
class ModelChunk:
    last: int
    records: list[ModelRecord]
    more: bool
    """Whether another part of the same chunk of the source follows."""


@st.composite
def results(draw: st.DrawFn) -> Mapped:
    """Any mix of samples, rejects and filtered values that a mapping may make of a record; never nothing at all."""
    mapped = Mapped(
        samples=[("id", i, 1.0) for i in range(draw(st.integers(0, 3)))],
        rejects=[
            Reject(Reason.NOT_FINITE, "", path) for path in draw(st.lists(st.sampled_from([None, "x"]), max_size=2))
        ],
        filtered=draw(st.integers(0, 2)),
    )
    mapped.skipped = not (mapped.samples or mapped.rejects or mapped.filtered) or draw(st.booleans())
    return mapped


class ProgressMachine(RuleBasedStateMachine):
    """Compares `Progress` with a model that keeps every value by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress()
        self.model: dict[tuple[str, str], list[ModelChunk]] = {partition: [] for partition in PARTITIONS}
        self.next_position = dict.fromkeys(PARTITIONS, 1)
        self.received = 0
        self.given_away: list[ModelRecord] = []
        self.abandoned = 0
        self.late = 0
        self.bundles: list[ModelBundle] = []

    @rule(
        partition=st.sampled_from(PARTITIONS),
        mapped=st.lists(results(), min_size=1, max_size=4),
        topics=st.lists(st.sampled_from(TOPICS), min_size=4, max_size=4),
        hole=st.integers(0, 3),
        more=st.sampled_from([False, False, True]),
    )
    def begin(self, partition: tuple[str, str], mapped: list[Mapped], topics: list[str], hole: int, more: bool) -> None:
        first = self.next_position[partition] + hole
        positions = range(first, first + len(mapped))
        self.next_position[partition] = first + len(mapped)
        records = [Record(topic, b"", 0) for topic in topics[: len(mapped)]]
        token = self.progress.begin(Chunk(*partition, positions, records), list(enumerate(mapped)), more=more)
        chunk = ModelChunk(positions[-1], [], more)
        for i, (topic, result) in enumerate(zip(topics, mapped, strict=False)):
            record = ModelRecord(topic, token + i, len(result.samples))
            record.values += [Outcome.DEAD_LETTERED] * sum(reject.path is not None for reject in result.rejects)
            record.values += [Outcome.FILTERED] * result.filtered
            if result.rejects:
                record.fates.add(Outcome.DEAD_LETTERED)
            if result.filtered or result.skipped:
                record.fates.add(Outcome.FILTERED)
            chunk.records.append(record)
        self.model[partition].append(chunk)
        self.received += len(mapped)
        open_record = next((record for record in chunk.records if record.open), None)
        if open_record is not None:
            i = open_record.token - token
            assert self.progress.locate(open_record.token) == (*partition, positions[i], topics[i])

    def open_records(self) -> list[ModelRecord]:
        """The records that are not given away and have a value that can be settled by itself."""
        return [r for chunks in self.model.values() for chunk in chunks for r in chunk.records if r.free]

    @precondition(lambda self: self.open_records())
    @rule(data=st.data(), outcome=st.sampled_from(ORDER))
    def settle(self, data: st.DataObject, outcome: Outcome) -> None:
        waiting = self.open_records()
        chosen = data.draw(
            st.lists(st.sampled_from(range(len(waiting))), min_size=1, max_size=len(waiting), unique=True)
        )
        tokens = {}
        for index in chosen:
            record = waiting[index]
            n = tokens[record.token] = data.draw(st.integers(1, record.free))
            record.settle(n, outcome)
        if self.bundles and data.draw(st.booleans()):  # a frame settles values and bundles together
            bundle = self.bundles.pop(data.draw(st.integers(0, len(self.bundles) - 1)))
            tokens[bundle.token] = 1
            self.late += settle_bundle(bundle, outcome)
        self.progress.settle(tokens, outcome)

    @precondition(lambda self: self.open_records())
    @rule(data=st.data())
    def bundle(self, data: st.DataObject) -> None:
        """Values of any records, in any partitions, become one sample."""
        waiting = self.open_records()
        chosen = data.draw(
            st.lists(st.sampled_from(range(len(waiting))), min_size=1, max_size=len(waiting), unique=True)
        )
        parts = [(waiting[i], data.draw(st.integers(1, waiting[i].free))) for i in chosen]
        last = data.draw(st.sampled_from([record for record, _ in parts]))
        for record, n in parts:
            record.held += n
        token = self.progress.bundle(Counter({record.token: n for record, n in parts}), last.token)
        assert token < 0
        assert self.progress.locate(token) == self.progress.locate(last.token)
        self.bundles.append(ModelBundle(token, parts, last))

    @precondition(lambda self: self.bundles)
    @rule(data=st.data(), outcome=st.sampled_from(ORDER))
    def settle_a_bundle(self, data: st.DataObject, outcome: Outcome) -> None:
        """The value that came last gets the outcome, and the other values are filtered. Values whose partition was
        given away meanwhile are late. The bundle cannot be settled again."""
        bundle = self.bundles.pop(data.draw(st.integers(0, len(self.bundles) - 1)))
        self.progress.settle({bundle.token: 1}, outcome)
        self.late += settle_bundle(bundle, outcome)
        with pytest.raises(ProgressError):
            self.progress.settle({bundle.token: 1}, outcome)

    @precondition(lambda self: self.bundles)
    @rule(data=st.data())
    def drop_a_bundle(self, data: st.DataObject) -> None:
        """A bundle is dropped only if the partitions of all its values were given away."""
        bundle = data.draw(st.sampled_from(self.bundles))
        everything = all(record.given_away for record, _ in bundle.parts)
        assert self.progress.is_abandoned(bundle.token) == everything
        if not everything:
            return
        self.bundles.remove(bundle)
        self.progress.dropped({bundle.token: 1})
        for record, n in bundle.parts:
            record.open -= n
            record.held -= n

    @rule(partitions=st.sets(st.sampled_from(["0", "1"]), min_size=1))
    def only_bundles_are_open(self, partitions: set[str]) -> None:
        """The question before a partition is given away: are only values of windows still open in it?"""
        chunks = [chunk for partition in partitions for chunk in self.model["mqtt", partition]]
        records = [record for chunk in chunks for record in chunk.records]
        held = [b.token for b in self.bundles]
        tokens = [r.token for b in self.bundles for r, n in b.parts for _ in range(n)]
        assert held == sorted(set(held), reverse=True), "no token is given out twice"
        assert self.progress.only_open("mqtt", partitions, tokens) == all(not record.free for record in records)

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data(), outcome=st.sampled_from(ORDER))
    def settle_too_much(self, data: st.DataObject, outcome: Outcome) -> None:
        everything = [r for chunks in self.model.values() for chunk in chunks for r in chunk.records]
        record = data.draw(st.sampled_from(everything))
        with pytest.raises(ProgressError):
            self.progress.settle({record.token: record.open + 1}, outcome)

    @rule(partition=st.sampled_from(PARTITIONS))
    def forget(self, partition: tuple[str, str]) -> None:
        """The chunks of the partition are never committed. Their open values may still be settled, late."""
        chunks, self.model[partition] = self.model[partition], []
        records = [record for chunk in chunks for record in chunk.records]
        assert self.progress.open_in(partition[0], [partition[1]]) == bool(chunks)
        assert self.progress.forget(partition[0], [partition[1]]) == len(records)
        assert not self.progress.open_in(partition[0], [partition[1]])
        self.abandoned += len(records)
        for record in records:
            record.given_away = True
        self.given_away += [record for record in records if record.open]

    @precondition(lambda self: any(record.free for record in self.given_away))
    @rule(data=st.data(), dropped=st.booleans())
    def settle_late(self, data: st.DataObject, dropped: bool) -> None:
        record = data.draw(st.sampled_from([record for record in self.given_away if record.free]))
        assert self.progress.is_abandoned(record.token)
        n = data.draw(st.integers(1, record.free))
        record.open -= n
        if dropped:
            self.progress.dropped({record.token: n})
        else:
            self.progress.settle({record.token: n}, Outcome.INSERTED)
            self.late += n

    @rule()
    def settle_what_never_was(self) -> None:
        with pytest.raises(ProgressError):
            self.progress.settle({(10**6) << 20: 1}, Outcome.INSERTED)

    @rule()
    def commit(self) -> None:
        commits = {(commit.source, commit.partition): commit for commit in self.progress.commits()}
        for partition, chunks in self.model.items():
            settled = list(takewhile(lambda chunk: not any(record.open for record in chunk.records), chunks))
            while settled and settled[-1].more:  # such a part is committed with the following ones
                settled.pop()
            del chunks[: len(settled)]
            commit = commits.pop(partition, None)
            assert (commit is None) == (not settled)
            if commit is not None:
                assert commit.position == settled[-1].last
                assert_account(commit.tallies, [record for chunk in settled for record in chunk.records])
        assert commits == {}
        assert self.progress.commits() == [], "each position is committed once"

    @invariant()
    def counts_agree(self) -> None:
        waiting = sum(len(chunk.records) for chunks in self.model.values() for chunk in chunks)
        assert self.progress.open_records == waiting
        assert self.progress.received_records == self.received
        assert self.progress.abandoned_records == self.abandoned
        assert self.progress.late_samples == self.late
        assert self.progress.any_abandoned == any(record.open for record in self.given_away)


def settle_bundle(bundle: ModelBundle, outcome: Outcome) -> int:
    """Settle the bundle in the model. Returns how many of its values were late."""
    late = 0
    for record, n in bundle.parts:
        record.held -= n
        others = n - (record is bundle.last)
        late += n if record.given_away else 0
        if record is bundle.last:
            record.settle(1, outcome)
        if others:
            record.settle(others, Outcome.FILTERED)
    return late


def assert_account(tallies: Tallies, records: list[ModelRecord]) -> None:
    """The expected account: a message counts once, with its best outcome; each value counts by itself."""
    assert set(tallies) == {record.topic for record in records}
    for topic, tally in tallies.items():
        mine = [record for record in records if record.topic == topic]
        assert tally.messages.received == tally.messages.settled == len(mine)
        assert tally.samples.received == tally.samples.settled == sum(len(record.values) for record in mine)
        for outcome, word in WORDS.items():
            best = [next(o for o in ORDER if o in record.fates) for record in mine]
            assert getattr(tally.messages, word) == best.count(outcome)
            assert getattr(tally.samples, word) == sum(record.values.count(outcome) for record in mine)


TestProgress = ProgressMachine.TestCase
TestProgress.settings = settings(max_examples=max(50, FUZZ.max_examples // 3), stateful_step_count=30, deadline=None)


PLACES = st.sets(st.integers(0, 99), max_size=2)


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    width=st.integers(1, 3),
    wider=PLACES,
    before=PLACES,
    after=PLACES,
    forgotten=st.booleans(),
    cut=st.integers(0, 99),
)
@example(sizes=[40], width=2, wider={20}, before=set(), after=set(), forgotten=False, cut=0)
@example(sizes=[40], width=2, wider=set(), before=set(), after={20}, forgotten=False, cut=0)
@example(sizes=[40], width=1, wider=set(), before={20}, after=set(), forgotten=False, cut=0)
@example(sizes=[40, 40], width=1, wider=set(), before=set(), after=set(), forgotten=True, cut=20)
def test_rows_inserted_at_once_are_what_they_are_one_by_one(
    sizes: list[int], width: int, wider: set[int], before: set[int], after: set[int], forgotten: bool, cut: int
) -> None:
    """Records at the places `wider` have one more value than the rows have; at the places `before`, one value of each
    record is settled before the rows; and at the places `after`, all values are settled after the rows."""
    at_once, each = Progress(), Progress()
    tokens: list[int] = []
    left: Counter[int] = Counter()
    for number, size in enumerate(sizes):
        values = [width + (len(tokens) + i in wider) for i in range(size)]
        chunk = Chunk("kafka", str(number % 2), range(size), [Record("t", b"", 0)] * size)
        parts: list[Part] = [(i, Mapped([("x", i, 1.0)] * n)) for i, n in enumerate(values)]
        for progress in (at_once, each):
            begun = progress.begin(chunk, parts)
        left.update({begun + i: n for i, n in enumerate(values)})
        tokens += range(begun, begun + size)
    first, last = ({tokens[place] for place in places if place < len(tokens)} for places in (before, after))
    for progress in (at_once, each):
        progress.settle(dict.fromkeys(first, 1), Outcome.DEAD_LETTERED)
        if forgotten:
            progress.forget("kafka", ["1"])
    left.subtract(first)
    rows = [token for token in tokens if token not in last and left[token] >= width]
    left.subtract(dict.fromkeys(rows, width))
    for some in (array("q", rows[:cut]), array("q", rows[cut:])):
        at_once.settle(dict.fromkeys(at_once.insert_runs(some, width), width), Outcome.INSERTED)
        each.settle(dict.fromkeys(some, width), Outcome.INSERTED)
        assert at_once.commits() == each.commits()
    for progress in (at_once, each):
        progress.settle(+left, Outcome.FILTERED)
    assert at_once.commits() == each.commits()
    assert (at_once.open_records, at_once.late_samples) == (each.open_records, each.late_samples)
    assert at_once.open_records == 0
    with pytest.raises(ProgressError):
        at_once.settle(dict.fromkeys(at_once.insert_runs(array("q", tokens), width), width), Outcome.INSERTED)
