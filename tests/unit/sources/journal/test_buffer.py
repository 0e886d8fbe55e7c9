"""How the writer of a journal waits for more messages, without making a broker wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.records import Record
from connector.sources.journal.buffer import WriteBuffer
from connector.sources.journal.journal import Batch
from tests.unit.sources.journal.journals import MIB, SECONDS
from tests.waiting import wait_until


@pytest.fixture
def buffer(path: Path) -> Iterator[WriteBuffer]:
    file = SourceFile.open(path)
    yield WriteBuffer("mqtt", file, MIB)
    file.close()


def messages(n: int) -> Batch:
    return Batch([Record("t", b"1", 1)] * n, lambda: None)


def test_a_message_after_a_pause_is_taken_at_once(buffer: WriteBuffer) -> None:
    buffer.linger = SECONDS
    buffer.append(messages(1))
    began = time.monotonic()
    assert len(buffer.take(SECONDS).batches) == 1
    assert time.monotonic() - began < SECONDS / 2


def test_messages_that_come_often_are_taken_together(buffer: WriteBuffer) -> None:
    buffer.linger = 0.2
    buffer.append(messages(1))
    buffer.take(0)
    began = time.monotonic()
    coming = threading.Thread(target=lambda: [(time.sleep(0.01), buffer.append(messages(1))) for _ in range(5)])
    coming.start()
    assert len(buffer.take(SECONDS).batches) == 5
    assert time.monotonic() - began >= 0.1
    coming.join()


def test_a_commit_does_not_wait_longer_than_messages(buffer: WriteBuffer) -> None:
    buffer.linger = 0.1
    buffer.append(messages(1))
    buffer.take(0)
    began = time.monotonic()
    commit = Commit("mqtt", "p", 1, {})
    buffer.commit(commit)
    assert buffer.take(SECONDS).commits == [commit]
    assert time.monotonic() - began < SECONDS / 2


def test_closing_ends_the_wait(buffer: WriteBuffer) -> None:
    buffer.linger = SECONDS * 10
    buffer.append(messages(1))
    buffer.take(0)
    buffer.append(messages(1))
    threading.Timer(0.05, buffer.close).start()
    began = time.monotonic()
    assert len(buffer.take(SECONDS).batches) == 1
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("window", [1, 2, 7, 20, 200])
def test_a_broker_that_waits_for_acknowledgements_does_not_wait_for_more_messages(
    buffer: WriteBuffer, window: int
) -> None:
    """The broker has `window` messages without an acknowledgement at most; each is acknowledged after its write."""
    buffer.linger = 0.25
    total = 60 * window
    credit = threading.Semaphore(window)

    def send() -> None:
        for _ in range(total):
            credit.acquire()
            buffer.append(messages(1))

    broker = threading.Thread(target=send, daemon=True)
    broker.start()
    began, written = time.monotonic(), 0
    while written < total:
        taken = len(buffer.take(SECONDS).batches)
        written += taken
        credit.release(taken)
    # Without learning, there would be 60 waits at least. Three stalls teach the window.
    assert time.monotonic() - began < 10 * buffer.linger
    broker.join(SECONDS)
    wait_until(lambda: not broker.is_alive(), SECONDS, "the broker has sent everything")


def test_a_slow_stream_is_no_broker_that_waits(buffer: WriteBuffer) -> None:
    """Pairs of messages with long pauses between stall each wait; then many come, and share their writes."""
    buffer.linger = 0.04
    for _ in range(6):
        buffer.append(messages(1))
        buffer.take(SECONDS)
        buffer.append(messages(1))
        buffer.take(SECONDS)
        threading.Timer(0.06, buffer.append, [messages(1)]).start()
        buffer.take(SECONDS)
        time.sleep(0.05)
    buffer.append(messages(1))
    buffer.take(SECONDS)
    for _ in range(8):
        buffer.append(messages(1))
    began = time.monotonic()
    assert len(buffer.take(SECONDS).batches) == 8
    assert time.monotonic() - began > 0.02, "8 are not enough to go on"


def test_messages_that_have_waited_are_taken_at_once(buffer: WriteBuffer) -> None:
    """Also during a wait that a commit began."""
    buffer.linger = SECONDS
    waited = Batch([Record("t", b"1", 1)], lambda: None, waited=True)
    buffer.append(messages(1))
    buffer.take(0)
    began = time.monotonic()
    buffer.append(waited)
    assert len(buffer.take(SECONDS).batches) == 1
    threading.Timer(0.02, buffer.append, [waited]).start()
    buffer.commit(Commit("mqtt", "p", 1, {}))
    assert len(buffer.take(SECONDS).batches) == 1
    assert time.monotonic() - began < SECONDS / 2
