"""The way of the data, killed anywhere: whatever was committed is stored or kept as a dead letter, and nothing else is.

One thread goes the way of the intake and then that of the sender; a kill is an exception that nobody catches, just
before or just after something outside was changed: an insert, a letter, a commit. The next pipeline begins at the
position that was committed last, as a journal or a consumer group would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.clarify import InsertResult, InvalidParams, Problem, TooLarge
from connector.dead_letters.letter import DeadLetter
from connector.ledger.account import Commit
from connector.mapping.mapper import Mapper
from connector.packing.planner import plan_frame
from connector.pipeline.destination import Integration
from connector.pipeline.pipeline import Pipeline
from connector.pipeline.under_way import Limits
from connector.records import Chunk, Record
from tests.listeners import Notes
from tests.property.fuzz import FUZZ
from tests.scripted import ListSource, Stored, read_frame

TIME = 1_790_000_000_000_000
NAMED, UNNAMED = 666.0, 777.0
"""Values that Clarify refuses, with the name of their series or without."""
PAYLOADS = [b"1", b'{"a": 2, "b": 3}', b"666", b'{"a": 777, "b": 4}', b"no number", b'{"a": "x"}', b"\xff", b"[5, 6]"]


class Killed(BaseException):
    """Nobody may catch it."""


class World:
    """All that outlives a process."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.stored: Stored = {}
        self.letters: dict[str, DeadLetter] = {}
        self.committed = 0
        self.received = 0
        self.steps_left = 0
        """Changes until the kill."""

    def change(self, what: Callable[[], None]) -> None:
        """Two moments to be killed in: before it is done, and after."""
        self._step()
        what()
        self._step()

    def _step(self) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            raise Killed

    # -- Clarify ----------------------------------------------------------------------------------

    def insert_encoded(self, data_json: bytes) -> InsertResult:
        frame = read_frame(data_json)
        if len(frame) > 6:
            raise TooLarge("too large")
        for (name, _), value in frame.items():
            if value == NAMED:
                raise InvalidParams("bad", code=-32602, problems=[Problem(f"data.series.{name}", "bad")])
        if UNNAMED in frame.values():
            raise InvalidParams("bad", code=-32602, problems=[])
        self.change(lambda: self.stored.update(frame))
        return InsertResult({})

    # -- the dead letters -------------------------------------------------------------------------

    def add(self, letters: Sequence[DeadLetter]) -> None:
        self.change(lambda: self.letters.update((letter.key, letter) for letter in letters))

    # -- the log ----------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        assert commit.position > self.committed, "positions only rise"
        assert self.settled_to() >= commit.position, "committed, and neither stored nor a letter"
        received = sum(tally.messages.received for tally in commit.tallies.values())
        assert received == commit.position - self.committed, "each record is counted once"
        for tally in commit.tallies.values():
            assert tally.messages.settled == tally.messages.received
            assert tally.samples.settled == tally.samples.received

        def durable() -> None:
            self.committed = commit.position
            self.received += received

        self.change(durable)

    def settled_to(self) -> int:
        """The position up to which each value of each record is stored or in a letter."""
        mapper = Mapper()
        lettered = {
            (letter.position, r.input_id, r.time_us) for letter in self.letters.values() for r in letter.rejects
        }
        positions = {letter.position for letter in self.letters.values()}
        for position, record in enumerate(self.records, 1):
            mapped = mapper.map("mqtt", record)
            for input_id, time_us, value in mapped.samples:
                found = self.stored.get((input_id, time_us)) == value
                if not found and (position, input_id, time_us) not in lettered:
                    return position - 1
            if mapped.rejects and position not in positions:
                return position - 1
        return len(self.records)


class Log(ListSource):
    """The records that are not committed, in chunks."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.records = dict(enumerate(world.records, 1))

    def commit(self, commit: Commit) -> None:
        self.world.commit(commit)


def life(world: World, sizes: list[int], max_bytes: int) -> None:
    """A process, from its start to its end or until it is killed."""
    log = Log(world)
    pipeline = Pipeline(
        [log], Mapper(), [Integration(world, Limits(0.0, max_bytes, 10**6), 10**6)], plan_frame, world, Notes()
    )
    position = world.committed
    turn = 0
    while position < len(world.records):
        n = sizes[turn % len(sizes)]
        turn += 1
        records = world.records[position : position + n]
        pipeline.intakes.of("mqtt").take_in(
            Chunk("mqtt", "p", range(position + 1, position + 1 + len(records)), records)
        )
        position += len(records)
    pipeline._under_way.intake_ended(finished=False)
    pipeline.drain()
    pipeline._send(pipeline.destinations[""])
    assert pipeline.status.waiting() == (0, 0)


@settings(FUZZ, max_examples=max(40, FUZZ.max_examples // 3), suppress_health_check=[HealthCheck.too_slow])
@given(
    payloads=st.lists(st.sampled_from(PAYLOADS), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    kills=st.lists(st.integers(1, 12), max_size=4),
    max_bytes=st.sampled_from([300, 100_000]),
)
def test_killed_anywhere_nothing_is_lost(
    payloads: list[bytes], sizes: list[int], kills: list[int], max_bytes: int
) -> None:
    world = World([Record("t", payload, TIME + i) for i, payload in enumerate(payloads)])
    for steps in [*kills, 0]:
        world.steps_left = steps
        try:
            life(world, sizes, max_bytes)
        except Killed:
            assert world.settled_to() >= world.committed
        else:
            break
    assert world.committed == world.received == len(payloads)
    assert world.settled_to() == len(payloads)
    mapper = Mapper()
    sent = {(i, t): v for record in world.records for i, t, v in mapper.map("mqtt", record).samples}
    assert world.stored.items() <= sent.items(), "nothing is invented"
    assert {NAMED, UNNAMED}.isdisjoint(world.stored.values())
    good = {key for key, value in sent.items() if value not in (NAMED, UNNAMED)}
    blamed = {(r.input_id, r.time_us) for letter in world.letters.values() for r in letter.rejects if r.input_id}
    assert good == set(world.stored) | (good & blamed)
