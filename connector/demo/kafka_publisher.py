"""Writes the plant to a Kafka topic, in a process of its own: `python -m connector.demo.kafka_publisher --help`.

Like a bridge from MQTT, it writes all messages to one topic, and the key of a message is its MQTT topic. It reports in
the same way as `publisher`.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Final

import click
from confluent_kafka import KafkaError, Message, Producer

from connector.demo.plant import Plant
from connector.terminal.text import say_json

_REPORT_SECONDS: Final = 0.5
_LAST_SECONDS: Final = 5.0


class KafkaPublisher:
    """A producer that counts the acknowledged messages."""

    def __init__(self, bootstrap: str, topic: str, stop: threading.Event) -> None:
        self._topic = topic
        self._stop = stop
        self._acknowledged = 0
        self._sent = 0
        self._failed: str | None = None
        self._next_report = 0.0
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20})

    def run(self, plant: Plant) -> None:
        """Write each message at its due time until `stop` is set, then wait for the open acknowledgements.

        Raises ClickException if Kafka refuses a message.
        """
        self._producer.list_topics(self._topic, timeout=10)
        started = time.monotonic()
        for message in plant.messages():
            if not self._wait_until(started + message.due):
                break
            self._producer.produce(
                self._topic, message.payload, key=message.topic.encode(), on_delivery=self._on_delivery
            )
            self._sent += 1
        self._producer.flush(_LAST_SECONDS)
        self._report(last=True)

    def _wait_until(self, moment: float) -> bool:
        while (left := moment - time.monotonic()) > 0:
            self._report_if_due()
            self._producer.poll(0)
            if self._stop.wait(min(left, _REPORT_SECONDS / 10)):
                return False
        self._report_if_due()
        return not self._stop.is_set()

    def _report_if_due(self) -> None:
        if time.monotonic() >= self._next_report:
            self._report()

    def _report(self, *, last: bool = False) -> None:
        self._next_report = time.monotonic() + _REPORT_SECONDS
        self._producer.poll(0)
        if self._failed is not None:
            raise click.ClickException(self._failed)
        report: dict[str, object] = {
            "connected": True,
            "published": self._acknowledged,
            "unacknowledged": self._sent - self._acknowledged,
        }
        if last:
            report["topics"] = {self._topic: self._acknowledged}
        say_json(report)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._acknowledged += 1
        else:
            self._failed = f"writing to {self._topic!r} failed: {error.str()}"


@click.command()
@click.option("--bootstrap", required=True, help="The broker's HOST:PORT.")
@click.option("--topic", required=True, help="The topic.")
@click.option("--machines", type=int, default=36, show_default=True, help="How many machines the plant has.")
@click.option("--rate", type=float, default=1.0, show_default=True, help="Messages a second of each machine.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same plant.")
def main(bootstrap: str, topic: str, machines: int, rate: float, seed: int) -> None:
    """Write the simulated plant until SIGTERM."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    KafkaPublisher(bootstrap, topic, stop).run(Plant(machines, rate, seed, time.time_ns() // 1000))


if __name__ == "__main__":
    main()
