"""Sent, lost, restarted at any point: each window is stored with all of its values, and all of them are settled."""

from __future__ import annotations

from array import array
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.ledger.account import Outcome, Tallies, merge
from connector.ledger.progress import Progress
from connector.mapping.thinning.thinning import Aggregate, Thinning
from connector.mapping.thinning.windows import Closed, Windows, aggregate
from connector.records import Chunk, Mapped, Record, Sample

WINDOW = 10


class Run:
    """A connector over one log from one start to a crash, with what it remembers durably in `done`."""

    def __init__(self, how: Thinning, done: dict[str, int]) -> None:
        self.done = done
        self.progress = Progress()
        self.windows = Windows(dict.fromkeys("abc", how), done)
        self.waiting: list[tuple[int, Sample, Closed | None]] = []

    def take(self, position: int, samples: list[Sample], now: float) -> None:
        mapped = [Mapped(samples, skipped=not samples)]
        token = self.progress.begin(Chunk("s", "p", [position], [Record("t", b"", 0)]), list(enumerate(mapped)))
        rest, late, closed = self.windows.take(token, enumerate(mapped), now)
        self.progress.settle(late, Outcome.FILTERED)
        self.close(closed)
        self.waiting += [
            (token, sample, None) for _, part in rest if isinstance(part, Mapped) for sample in part.samples
        ]

    def close(self, closed: list[Closed]) -> None:
        for one in closed:
            token = self.progress.bundle(one.tokens, one.last)
            self.waiting.append((token, (one.input_id, one.start_us, one.value), one))

    def send(self, n: int, stored: dict[tuple[str, int], float], *, crash: bool) -> None:
        """Insert the first n that wait; with `crash`, nothing is remembered of it."""
        sent, self.waiting = self.waiting[:n], self.waiting[n:]
        stored.update({(input_id, time): value for _, (input_id, time, value), _ in sent})
        if crash:
            return
        for _, (input_id, _, _), one in sent:
            if one is not None:
                others = [start for _, (other, start, _), open_one in self.waiting if open_one and other == input_id]
                self.done[input_id] = min([self.windows.done(input_id), *others])
        for token, _, _ in sent:
            self.progress.settle({token: 1}, Outcome.INSERTED)


@settings(max_examples=150, deadline=None)
@given(
    signals=st.lists(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12), st.integers(-5, 5)), min_size=1, max_size=4),
        min_size=1,
        max_size=40,
    ),
    by=st.sampled_from(["last", "mean", "min", "max"]),
    seed=st.integers(0, 2**32),
)
def test_every_window_is_stored_with_all_of_its_values(
    signals: list[list[tuple[str, int, int]]], by: Aggregate, seed: int
) -> None:
    chance = Random(seed)
    how = Thinning(window_us=WINDOW, by=by)
    now = dict.fromkeys("abcd", 0)
    log: list[list[Sample]] = []
    for record in signals:  # times of each signal only rise, so that nothing is late
        samples: list[Sample] = []
        for signal, step, value in record:
            now[signal] += step
            samples.append((signal, now[signal], value))
        log.append(samples)
    wanted: dict[tuple[str, int], float] = {}
    by_window: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for signal, time, value in (sample for samples in log for sample in samples):
        if signal == "d":
            wanted[signal, time] = value
        else:
            by_window.setdefault((signal, time // WINDOW * WINDOW), []).append((time, value))
    for at, found in by_window.items():
        wanted[at] = aggregate(by, array("q", [t for t, _ in found]), array("d", [v for _, v in found]))

    stored: dict[tuple[str, int], float] = {}
    tallies: Tallies = {}
    done: dict[str, int] = {}
    committed = 0
    while committed < len(log):
        run = Run(how, done)
        at = committed
        crash_at = chance.randint(5, 60) if chance.random() < 0.7 else 10**9
        for step in range(10**6):
            if step >= crash_at:
                run.send(chance.randint(0, 3), stored, crash=True)
                break
            if at < len(log) and chance.random() < 0.6:
                run.take(at, log[at], 0.0)
                at += 1
            elif run.waiting:
                run.send(chance.randint(1, 3), stored, crash=False)
            elif at == len(log):
                run.close(run.windows.end())
            for commit in run.progress.commits():
                committed = commit.position + 1
                merge(tallies, commit.tallies)
            if committed == len(log):
                break
        done = dict(run.done)
    assert stored == wanted
    counts = tallies["t"].samples
    assert counts.received == sum(map(len, log)) == counts.inserted + counts.filtered
    assert tallies["t"].messages.received == len(log)
