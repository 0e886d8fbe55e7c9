"""Topics of a real Kafka: writing into them, and seeing how far they were read, committed and stored."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.kafka_brokers import KafkaBroker
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until


def kafka_source(kafka: KafkaBroker, topic: str, more: str = "", topics: str = "") -> str:
    """The YAML of a source that reads this topic, or these, in a group with the topic's name.

    `more` are further settings.
    """
    settings = f"topics: [{topics or topic}], group_id: {topic}, security: plaintext"
    if more:
        settings = f"{settings}, {more}"
    return f"  - {{type: kafka, bootstrap_servers: '{kafka.bootstrap}', {settings}}}\n"


def produce(bootstrap: str, topic: str, values: list[bytes], partition: int = 0) -> None:
    """Send these values, and see them acknowledged; raises KafkaException for the first that is not."""
    results: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=lambda error, _: results.append(error))
    assert producer.flush(20) == 0
    assert len(results) == len(values)
    for error in results:
        if error is not None:  # `error == None` of a KafkaError ends in a SystemError
            raise KafkaException(error)


def read(settings: dict[str, str], topic: str, count: int, offset: int = 0) -> list[bytes | None]:
    """The values of partition 0 from this offset on, at least `count` of them."""
    consumer = Consumer({"group.id": "reader", "auto.offset.reset": "error", **settings})
    consumer.assign([TopicPartition(topic, 0, offset)])
    got: list[bytes | None] = []

    def enough() -> bool:
        message = consumer.poll(0.2)
        if message is not None:
            assert message.error() is None, message.error()
            got.append(message.value())
        return len(got) >= count

    try:
        wait_until(enough, 20, f"{count} records of {topic}", every=0)
    finally:
        consumer.close()
    return got


def committed(kafka: KafkaBroker, topic: str, partitions: int = 3) -> list[int]:
    """The position of the group with the topic's name in each partition; -1001 where it has none."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})
    found = consumer.committed([TopicPartition(topic, number) for number in range(partitions)], timeout=10)
    consumer.close()
    return [partition.offset for partition in found]


def end_of(kafka: KafkaBroker, topic: str, partition: int) -> int:
    """The offset after the last one of the partition that no open transaction holds back."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10, cached=False)
    consumer.close()
    return end


def stored(sandbox: SandboxServer, topic: str) -> dict[int, float]:
    """The samples of the topic's field `v` in Clarify: time in µs → value."""
    return dict(sandbox.samples(f"{topic}:v")) if f"{topic}:v" in sandbox.signals() else {}
