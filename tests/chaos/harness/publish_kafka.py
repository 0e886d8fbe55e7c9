"""The Kafka publisher: idempotent, acknowledged by all replicas, over every restart of the broker.

`python -m tests.chaos.harness.publish_kafka BOOTSTRAP PARTITIONS TRUTH SEED RATE`. Beside the partitions of the one
large topic it writes into a topic that is made anew now and then, and into one in which others leave transactions open.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from tests.chaos.harness.messages import ANEW_TOPIC, HELD_TOPIC, KAFKA_TOPIC, Truth
from tests.chaos.harness.orders import Orders

_FLUSH_SECONDS: Final = 180
ANEW: Final = "a0"
HELD: Final = "t0"


class Writer:
    """One producer, and how many records it has given to each stream."""

    def __init__(self, bootstrap: str, notes: Truth) -> None:
        self._notes = notes
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20, "log_level": 0,
             "delivery.timeout.ms": 600_000, "reconnect.backoff.max.ms": 500}
        )  # fmt: skip
        self.written: dict[str, int] = {}
        self.failed: list[str] = []

    def produce(self, stream: str, topic: str, partition: int) -> None:
        """The next message of a stream."""
        message = self._notes.message(stream, topic, stream)
        self.written[stream] = self.written.get(stream, 0) + 1
        while True:
            try:
                return self._producer.produce(topic, message.payload, partition=partition, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:  # the producer has not heard of a new partition yet
                if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                    raise
                self._producer.list_topics(topic, timeout=10)

    def poll(self) -> None:
        """Take acknowledgements."""
        self._producer.poll(0)

    def flush(self) -> int:
        """Wait until all is acknowledged; how much is not."""
        return self._producer.flush(_FLUSH_SECONDS)

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self.failed.append(str(error))


class Streams:
    """What is written, in turn."""

    def __init__(self, bootstrap: str, partitions: int, notes: Truth) -> None:
        self._bootstrap = bootstrap
        self._notes = notes
        self.partitions = partitions
        self.main = Writer(bootstrap, notes)
        self.anew: Writer | None = Writer(bootstrap, notes)
        self._numbers = 0
        """Of the stream in the topic that is made anew: in all its lives before."""
        self._turns = self._all_turns()

    def next(self) -> None:
        """One record."""
        partition = next(self._turns)
        if partition >= 0:
            self.main.produce(f"p{partition}", KAFKA_TOPIC, partition)
        elif partition == -1:
            self.main.produce(HELD, HELD_TOPIC, 0)
        elif self.anew is not None:
            self.anew.produce(ANEW, ANEW_TOPIC, 0)

    def poll(self) -> None:
        """Take acknowledgements."""
        for writer in (self.main, self.anew):
            if writer is not None:
                writer.poll()

    def grow(self, burst: int) -> None:
        """There is one partition more; write into it at once."""
        self.partitions += 1
        for _ in range(burst):
            self.main.produce(f"p{self.partitions - 1}", KAFKA_TOPIC, self.partitions - 1)

    def retire(self, burst: int) -> tuple[int, int, int]:
        """Write so many more into the topic that is about to go, and nothing after them: (number of its first message,
        number after its last one, how many of them are not acknowledged)."""
        writer, self.anew = self.anew, None
        assert writer is not None
        for _ in range(burst):
            writer.produce(ANEW, ANEW_TOPIC, 0)
        left = writer.flush() + len(writer.failed)
        first, self._numbers = self._numbers + 1, self._numbers + writer.written.get(ANEW, 0)
        return first, self._numbers + 1, left

    def begin_anew(self, burst: int) -> int:
        """The topic is there again: write so many at once, and go on; how many are not acknowledged."""
        self.anew = Writer(self._bootstrap, self._notes)
        for _ in range(burst):
            self.anew.produce(ANEW, ANEW_TOPIC, 0)
        return self.anew.flush()

    def finish(self) -> tuple[dict[str, int], int, list[str]]:
        """(records of each stream of topics that stay, records that are not acknowledged, errors)."""
        writers = [writer for writer in (self.main, self.anew) if writer is not None]
        left = sum(writer.flush() for writer in writers)
        return self.main.written, left, [error for writer in writers for error in writer.failed][:3]

    def _all_turns(self) -> Iterator[int]:
        while True:
            yield from range(self.partitions)
            yield from (-1, -2)


def main(bootstrap: str, partitions: int, truth: Path, seed: int, rate: float) -> None:
    """Publish until told otherwise."""
    orders = Orders()
    notes = Truth(truth, seed)
    streams = Streams(bootstrap, partitions, notes)
    due = time.monotonic()
    while True:
        while (now := time.monotonic()) >= due:
            due = max(due + 1 / rate, now - 1)
            streams.next()
        streams.poll()
        match orders.next(max(0.0, due - time.monotonic())):
            case ["poison", n]:
                notes.poison_due += n
                orders.answer("poison", n)
            case ["grow", n]:
                streams.grow(n)
                orders.answer("grown", streams.partitions)
            case ["retire", n]:
                orders.answer("retired", *streams.retire(n))
            case ["anew", n]:
                orders.answer("anew", streams.begin_anew(n))
            case ["finish"]:
                orders.answer("finished", *streams.finish())
                return
            case ["quit"]:
                return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
