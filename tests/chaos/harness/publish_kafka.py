"""The Kafka publisher: idempotent, acknowledged by all replicas, over every restart of the broker.

`python -m tests.chaos.harness.publish_kafka BOOTSTRAP PARTITIONS TRUTH SEED RATE`
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from tests.chaos.harness.messages import KAFKA_TOPIC, Truth
from tests.chaos.harness.orders import Orders

_FLUSH_SECONDS: Final = 180


def main(bootstrap: str, partitions: int, truth: Path, seed: int, rate: float) -> None:
    """Publish until told otherwise."""
    orders = Orders()
    notes = Truth(truth, seed)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20, "log_level": 0,
         "delivery.timeout.ms": 600_000, "reconnect.backoff.max.ms": 500}
    )  # fmt: skip
    failed: list[str] = []
    written = [0] * partitions

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failed.append(str(error))

    def produce(n: int) -> None:
        partition = n % partitions
        message = notes.message(f"p{partition}", KAFKA_TOPIC, f"p{partition}")
        written[partition] += 1
        while True:
            try:
                return producer.produce(KAFKA_TOPIC, message.payload, partition=partition, on_delivery=delivered)
            except BufferError:
                producer.poll(0.1)

    due = time.monotonic()
    sent = 0
    while True:
        while (now := time.monotonic()) >= due:
            due = max(due + 1 / rate, now - 1)
            produce(sent)
            sent += 1
        producer.poll(0)
        match orders.next(max(0.0, due - time.monotonic())):
            case ["poison", n]:
                notes.poison_due += n
                orders.answer("poison", n)
            case ["finish"]:
                left = producer.flush(_FLUSH_SECONDS)
                orders.answer("finished", written, left, failed[:3])
                return
            case ["quit"]:
                return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
