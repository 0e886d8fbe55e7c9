"""The process of the plant, and its reports to the demo, line by line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from connector.demo.brokers import KAFKA_TOPIC, Broker
from connector.demo.children import Child


class PlantProcess:
    """The child process that publishes the plant. Each of its reports replaces the report before."""

    def __init__(self, broker: Broker, machines: int, rate: float, seed: int, folder: Path) -> None:
        """Start the process, which publishes to `broker`; `folder` gets its log."""
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
        """Whether the plant is connected to the broker."""
        return self._connected

    @property
    def published(self) -> int:
        """Messages that the broker has acknowledged, as in the last report."""
        return self._published

    @property
    def topics(self) -> Mapping[str, int] | None:
        """Topic → acknowledged messages; None until the plant has ended in order."""
        return self._topics

    def _hear(self, line: str) -> None:
        report = json.loads(line)
        self._connected = report["connected"]
        self._published = report["published"]
        self._topics = report.get("topics")
