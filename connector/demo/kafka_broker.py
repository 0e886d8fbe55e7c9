"""The embedded Kafka, a process of its own: `python -m connector.demo.kafka_broker TOPIC`.

The broker is librdkafka's mock cluster: one broker in memory, with a few MiB for each partition. All data is gone when
the process ends. The broker is good enough for a demo, not for production. It writes its address to standard output,
and serves until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading

from confluent_kafka import Producer


def serve(topic: str) -> None:
    """Serve `topic` on a free port of this host until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cluster = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1})
    found = cluster.list_topics(topic, timeout=10)  # a request for a topic creates the topic
    (broker,) = found.brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)  # noqa: T201 - for the parent process
    while not stop.wait(0.5):
        cluster.poll(0)


if __name__ == "__main__":
    serve(sys.argv[1])
