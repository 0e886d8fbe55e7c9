"""The plant's process, as the demo sees it: what it reports, line by line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from connector.demo.brokers import KAFKA_TOPIC, Broker
from connector.demo.children import Child


class PlantProcess:
    """The publisher on its leash. What it says replaces what it said before."""

    def __init__(self, broker: Broker, machines: int, rate: float, seed: int, folder: Path) -> None:
        """Start publishing to this broker."""
        self._connected = False
        self._published = 0
        self._topics: Mapping[str, int] | None = None
        options = {"machines": machines, "rate": rate, "seed": seed}
        if broker.protocol is None:
            command = [sys.executable, "-m", "connector.demo.kafka_publisher", f"--bootstrap={broker.url}"]
            command.append(f"--topic={KAFKA_TOPIC}")
        else:
            command = [sys.executable, "-m", "connector.demo.publisher", f"--port={broker.port}"]
        command += [f"--{name}={value}" for name, value in options.items()]
        self.child = Child("the plant", command, folder / "plant.log", self._hear)

    @property
    def connected(self) -> bool:
        """Whether it is connected to the broker."""
        return self._connected

    @property
    def published(self) -> int:
        """Messages that the broker has acknowledged, as far as we know."""
        return self._published

    @property
    def topics(self) -> Mapping[str, int] | None:
        """Topic → acknowledged messages, once the plant has ended in order."""
        return self._topics

    def _hear(self, line: str) -> None:
        report = json.loads(line)
        self._connected = report["connected"]
        self._published = report["published"]
        self._topics = report.get("topics")
