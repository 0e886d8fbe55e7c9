"""The MQTT publisher: QoS 1, over every restart of the broker, and again what the broker may have forgotten.

`python -m tests.chaos.harness.publish_mqtt PORT STREAMS TRUTH SEED RATE SCHEMA…`. Some messages of m0 are framed with
the ID of a schema, and every few of them with the next ID. What a broker has acknowledged but not saved when it
is killed is lost with it, and no client can help that. So the publisher is told when the broker last saved, and
publishes everything again that was acknowledged since: until then it does not count as published.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.chaos.harness.messages import Message, Truth
from tests.chaos.harness.orders import Orders
from tests.publisher import Publisher

FIELD: Final = "value"
_MACHINES: Final = 20
_FRAMED_SHARE: Final = 0.05
_FRAMED: Final = "m0/framed/"
_MESSAGES_A_SCHEMA: Final = 5
_FORGET_AFTER: Final = 120.0
"""Seconds after which a message is saved for certain."""


class Remembering(Publisher):
    """Knows when each message was acknowledged."""

    def __init__(self, port: int, truth: Truth, seed: int, schemas: Sequence[int]) -> None:
        super().__init__(port, seed=seed)
        self._truth = truth
        self._chance = random.Random(seed)
        self._under_way: dict[int, Message] = {}
        self._acked: deque[tuple[int, float]] = deque()
        self._known: deque[tuple[float, Message]] = deque()
        self.again = 0
        self._schemas = schemas
        self._framed = 0

    def send(self, stream: str, *, good: bool = False) -> Message:
        """The next message of a stream."""
        topic = f"{stream}/line{self._chance.randrange(3)}/machine{self._chance.randrange(_MACHINES)}"
        if topic.startswith("m0/") and self._chance.random() < _FRAMED_SHARE:
            topic, good = f"{_FRAMED}machine{self._chance.randrange(_MACHINES)}", True
        message = self._truth.message(stream, topic, FIELD, good=good)
        self._send(message)
        return message

    def send_again(self, acknowledged_since: float) -> int:
        """Everything that was acknowledged since this time (seconds since the epoch)."""
        self.take_acknowledgements()
        unsafe = [message for at, message in self._known if at >= acknowledged_since]
        self._known = deque((at, message) for at, message in self._known if at < acknowledged_since)
        for message in unsafe:
            self._send(message)
        self.again += len(unsafe)
        return len(unsafe)

    def take_acknowledgements(self) -> None:
        """Note what was acknowledged. In our own thread: paho holds a lock while it calls back."""
        for _ in range(len(self._acked)):
            number, at = self._acked.popleft()
            self._known.append((at, self._under_way.pop(number)))
        oldest = time.time() - _FORGET_AFTER
        while self._known and self._known[0][0] < oldest:
            self._known.popleft()

    def _send(self, message: Message) -> None:
        payload = message.payload.encode()
        if message.topic.startswith(_FRAMED):
            schema = self._schemas[self._framed // _MESSAGES_A_SCHEMA % len(self._schemas)]
            payload = b"\0" + schema.to_bytes(4, "big") + payload
            self._framed += 1
        self._under_way[self.raw(message.topic, payload)] = message

    def _acknowledged(self, *details: Any) -> None:
        super()._acknowledged(*details)
        self._acked.append((details[2], time.time()))


def main(port: int, streams: Sequence[str], truth: Path, seed: int, rate: float, schemas: Sequence[int]) -> None:
    """Publish until told otherwise."""
    orders = Orders()
    held = False
    notes = Truth(truth, seed)
    due = time.monotonic()
    with Remembering(port, notes, seed, schemas) as publisher:
        while True:
            while not held and (now := time.monotonic()) >= due:
                due = max(due + 1 / rate, now - 1)
                publisher.send(streams[publisher.messages % len(streams)])
            order = orders.next(0.1 if held else max(0.0, due - time.monotonic()))
            publisher.take_acknowledgements()
            match order:
                case ["hold"]:  # the last of each stream: when it has arrived, all before it have
                    held = True
                    last = [publisher.send(stream, good=True).key for stream in streams]
                    publisher.wait_acknowledged(180)
                    orders.answer("held", last)
                case ["go"]:
                    held, due = False, time.monotonic()
                    orders.answer("going")
                case ["again", since]:
                    orders.answer("again", publisher.send_again(since))
                case ["poison", n]:
                    notes.poison_due += n
                    orders.answer("poison", n)
                case ["finish"]:
                    held = True
                    publisher.wait_acknowledged(180)
                    orders.answer("finished", publisher.again)
                case ["quit"]:
                    return


if __name__ == "__main__":
    main(
        int(sys.argv[1]),
        sys.argv[2].split(","),
        Path(sys.argv[3]),
        int(sys.argv[4]),
        float(sys.argv[5]),
        [int(schema) for schema in sys.argv[6:]],
    )
