"""A publisher with a memory: what the broker acknowledged (QoS 1) is the ground truth of a test."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.waiting import wait_until

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Publisher:
    """Publishes measurements over QoS 1 and repeats them until they are acknowledged, over broker restarts too."""

    def __init__(self, port: int, host: str = "127.0.0.1", seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"publisher-{seed}", clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )  # fmt: skip
        self._client.max_inflight_messages_set(200)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 1)
        self._address = (host, port)
        self._acknowledgements = 0
        self._client.on_publish = self._acknowledged
        self._clock_us = (datetime.now(UTC) - EPOCH) // timedelta(microseconds=1) - 3600 * 1_000_000
        self.sent: dict[tuple[str, int], float] = {}
        """(input ID, time in µs) → value: what must be in Clarify once all is acknowledged."""
        self.messages = 0

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str) -> None:
        """One message with one measurement of its own time."""
        self._clock_us += self._random.randrange(1, 5_000)
        value = round(self._random.uniform(-1000, 1000), self._random.randrange(0, 6))
        moment = EPOCH + timedelta(microseconds=self._clock_us)
        payload = json.dumps({"ts": moment.isoformat(), "value": value})
        self.sent[f"{topic}:value", self._clock_us] = value
        self.raw(topic, payload)

    def raw(self, topic: str, payload: bytes | str, **more: Any) -> int:
        """Any message; returns its message ID."""
        sent = self._client.publish(topic, payload, qos=1, **more)  # queued while there is no connection
        self.messages += 1
        return sent.mid

    def _acknowledged(self, *_: Any) -> None:
        self._acknowledgements += 1

    def unacknowledged(self) -> int:
        """Messages that the broker has not acknowledged yet."""
        return self.messages - self._acknowledgements

    def wait_acknowledged(self, seconds: float = 60) -> None:
        """Wait until the broker has acknowledged everything."""
        wait_until(lambda: self.unacknowledged() == 0, seconds, "the broker acknowledged everything")
