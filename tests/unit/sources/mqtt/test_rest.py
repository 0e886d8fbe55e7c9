"""Messages at a low, steady rate are read together, and no broker is made to wait for its acknowledgements."""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from connector.ledger.source_file import SourceFile
from connector.sources.journal.journal import Batch
from connector.sources.mqtt.rest import Rest
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import MqttSource
from tests.held_journal import CollectingJournal
from tests.hostile.mqtt_broker import PUBACK, HostileBroker, Session, publish
from tests.scripted import ScriptedHandover
from tests.waiting import wait_until

SECONDS: Final = 0.05
_STEP: Final = 0.001
_COMMIT: Final = 0.003
"""Seconds until a message is durable, and may be acknowledged."""


@dataclass
class Flow:
    """What became of a stream of messages."""

    seconds: float
    """The time until the last message was read."""
    reads: int
    rests: int
    longest_wait: float
    """The longest time from the arrival of a message in the socket to its read, in seconds."""


def flow(sent: Iterable[float], rest: Rest, window: int = 65_535, linger: float = 0.0) -> Flow:
    """The messages come to a broker at the times `sent`; it leaves at most `window` of them without acknowledgement.

    Between two writes of the journal are `linger` seconds, unless the messages have waited in a rest.
    """
    coming, at_broker, in_socket = deque(sent), 0, deque[float]()
    durable, unsent, in_flight = deque[tuple[float, int]](), 0, 0
    now = longest = written = 0.0
    reads = rests = on_way = 0
    rest.begin(now)
    while coming or at_broker or on_way or in_socket:
        now += _STEP
        while coming and coming[0] <= now:
            coming.popleft()
            at_broker += 1
        while durable and durable[0][0] <= now:
            unsent += durable.popleft()[1]
        in_socket.extend([now] * on_way)
        if rest.until <= now:  # the acknowledgements go out
            in_flight, unsent = in_flight - unsent, 0
        on_way = min(at_broker, window - in_flight)
        at_broker, in_flight = at_broker - on_way, in_flight + on_way
        if rest.until > now or not (in_socket or rest.resting):
            continue
        if in_socket:
            longest = max(longest, now - in_socket[0])
            written = now if rest.resting else max(now, written + linger) if written <= now else written
            durable.append((written + _COMMIT, len(in_socket)))
        reads, rests = reads + 1, rests + rest.resting
        rest.read(len(in_socket), now)
        in_socket.clear()
    return Flow(now, reads, rests, longest)


def steady(rate: float, seconds: float = 10.0) -> list[float]:
    return [n / rate for n in range(round(rate * seconds))]


def by_chance(rate: float, seconds: float = 10.0) -> list[float]:
    chance = random.Random(1)
    return list(itertools.accumulate(chance.expovariate(rate) for _ in range(round(rate * seconds))))


@pytest.mark.parametrize(("sent", "share"), [(steady(60), 0.6), (steady(100), 0.4), (by_chance(100), 0.65)])
def test_messages_at_a_low_steady_rate_are_read_together(sent: list[float], share: float) -> None:
    found = flow(sent, Rest(SECONDS))
    assert found.reads < share * len(sent)
    assert found.longest_wait <= SECONDS + 2 * _STEP


@pytest.mark.parametrize("sent", [steady(1), steady(10), by_chance(20), steady(200), steady(1000, 2), [0.0] * 3000])
def test_there_are_no_rests_at_other_rates(sent: list[float]) -> None:
    assert flow(sent, Rest(SECONDS)).rests == 0


@pytest.mark.parametrize("window", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("rate", [60, 90])
def test_a_broker_with_a_small_window_is_as_fast_as_without_rests(window: int, rate: float) -> None:
    """A steady rate brings rests; then the broker has many messages at once."""
    sent = steady(rate, 4) + [4.0] * 2000
    assert flow(sent, Rest(SECONDS), window).seconds < flow(sent, Rest(), window).seconds + 0.7


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6, 8, 10, 20])
@pytest.mark.parametrize("rate", [60, 75, 90])
def test_a_small_window_is_noticed_although_the_journal_waits_as_well(window: int, rate: float) -> None:
    sent = steady(rate, 4) + [4.0] * 400
    usual = flow(sent, Rest(), window, linger=SECONDS).seconds
    assert flow(sent, Rest(SECONDS), window, linger=SECONDS).seconds < usual + 0.7


@pytest.mark.parametrize("rate", [50, 65, 90, 100])
def test_a_window_of_one_message_ends_the_rests_for_longer_and_longer(rate: float) -> None:
    assert flow(steady(rate), Rest(SECONDS), window=1).rests <= 40


def test_a_message_that_comes_alone_after_rests_is_not_waited_for() -> None:
    rest = Rest(SECONDS)
    assert flow(steady(100, 3), rest).rests > 20
    now = 3.0
    for _ in range(3):  # nothing came during the rests
        now = max(now, rest.until)
        rest.read(0, now)
    assert rest.until <= now


def test_no_rest_while_times_of_arrival_count() -> None:
    rest = Rest(SECONDS)
    flow(steady(100, 1), rest)
    assert rest.wanted, "somebody has to say whether times of arrival count"
    rest.arrival_counts(-580.0)  # it counts for ten minutes
    assert flow(steady(100, 19), rest).rests == 0
    assert flow(steady(100, 22), rest).rests > 0


def test_a_low_max_delay_allows_no_rest() -> None:
    assert flow(steady(100), Rest(0.01)).rests == 0


# -- with a connection -------------------------------------------------------------------------------------------------


class Journal(CollectingJournal):
    """A journal that notes how many messages of each batch have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[int] = []

    def append(self, batch: Batch) -> None:
        self.waited.append(len(batch.records) if batch.waited else 0)
        super().append(batch)


@contextmanager
def steady_stream(folder: Path, journal: Journal) -> Iterator[tuple[MqttSource, HostileBroker, list[int]]]:
    """A source at a broker that sends a message each 6 ms; and the packet ids so far."""
    sent: list[int] = []

    def play(session: Session) -> None:
        session.begin()
        for mid in range(1, 10_000):
            sent.append(mid)
            session.send(publish(session.v5, b"t/1", mid=mid))
            if session.closed.wait(0.006):
                return

    with HostileBroker(play) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        section = MqttSection.model_validate({"type": "mqtt", "url": url, "topics": ["t/#"], "client_id": "c"})
        source = MqttSource(section, SourceFile.open(folder / "mqtt.sqlite"), journal)
        source.start(ScriptedHandover(max_delay=0.6))
        try:
            yield source, broker, sent
        finally:
            source.close(10)


def test_a_rest_gives_one_batch_and_its_acknowledgements_in_order(tmp_path: Path) -> None:
    journal = Journal()
    with steady_stream(tmp_path, journal) as (source, broker, sent):
        wait_until(lambda: sum(n > 1 for n in journal.waited) >= 3, 60, lambda: f"rests: {journal.waited}")
        session = broker.sessions[0]
        before = sent[-1]
        began = time.monotonic()
        wait_until(lambda: len(session.has(PUBACK)) >= before, 60, "what was sent is acknowledged", every=0.002)
        assert time.monotonic() - began < 5
        source.read_at_once()
        wait_until(lambda: not any(journal.waited[-20:]), 60, "no rests any more")
    acknowledged = [one.mid for one in session.has(PUBACK)]
    assert acknowledged == list(range(1, len(journal.records) + 1)), "also what was read last"


def test_stopping_ends_a_rest(tmp_path: Path) -> None:
    journal = Journal()
    with steady_stream(tmp_path, journal) as (source, broker, _):
        wait_until(lambda: any(journal.waited), 60, "rests")
        source.stop_reading()
        wait_until(
            lambda: len(broker.sessions[0].has(PUBACK)) == len(journal.records), 60, "all is acknowledged", every=0.002
        )
