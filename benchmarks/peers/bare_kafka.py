"""The least that anybody would do with records of Kafka: `consume(1000)` and `orjson.loads`.

`python -m benchmarks.peers.bare_kafka BOOTSTRAP TOPIC FIRST RECORDS` prints a line after the first records, and another
one after as many more records as `RECORDS` says.
"""

from __future__ import annotations

import sys
import time

import orjson
from confluent_kafka import Consumer

from connector.sources.kafka.section import KafkaSection
from connector.sources.kafka.settings import consumer_settings


def main(bootstrap: str, topic: str, first: int, records: int) -> None:
    """Read, with the settings of the connector's consumer."""
    section = {"bootstrap_servers": bootstrap, "topics": [topic], "group_id": topic, "security": "plaintext"}
    settings = consumer_settings(KafkaSection.model_validate({"type": "kafka", **section}))
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    for wanted in (first, records):
        seen = 0
        while seen < wanted:
            messages = consumer.consume(1000, 0.2)
            for message in messages:
                if message.error() is None:  # no end of a partition, which these settings ask for
                    orjson.loads(message.value())  # type: ignore[arg-type]
                    seen += 1
        print(seen, flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
