"""The embedded Kafka, a process of its own: `python -m connector.demo.kafka_broker TOPIC`.

librdkafka's mock cluster: one broker in memory, a few MiB a partition, gone with its process. Enough to look at,
not to rely on. It writes its address, and serves until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading

from confluent_kafka import Producer


def serve(topic: str) -> None:
    """Serve on a free port of this host until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cluster = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1})
    found = cluster.list_topics(topic, timeout=10)  # asking for a topic makes it
    (broker,) = found.brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)  # noqa: T201 - for whoever started us
    while not stop.wait(0.5):
        cluster.poll(0)


if __name__ == "__main__":
    serve(sys.argv[1])
