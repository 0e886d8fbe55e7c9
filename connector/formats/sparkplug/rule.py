"""What a rule says of messages of Sparkplug B, and what its templates know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from connector.formats.sparkplug.topic import TopicError, parse_topic

SPARKPLUG_VARIABLES: Final = ("group", "node", "device", "descriptor", "metric")
"""The parts of the topic (`device` is empty for a node's own metrics), `GROUP/NODE` or `GROUP/NODE/DEVICE` as the
specification calls it, and the metric's name, with those of the parts of it after slashes."""
SPARKPLUG_INPUT: Final = "{descriptor}/{metric}"


@dataclass(frozen=True, slots=True)
class SparkplugRule:
    """How a rule maps Sparkplug B."""

    bad_quality: Literal["keep", "drop", "reject", "signal"] = "drop"
    """What becomes of values whose quality is not good; `signal`: they are kept, and the quality is a signal too."""
    online: bool = False
    """Births and deaths are a signal of each node and device."""
    metadata: bool = True
    """What births say of their metrics is saved with the signals."""
    rebirths: bool = False
    """Nodes may be asked for their births."""
    max_metrics: int = 200_000
    """Of all nodes of a source together."""
    max_devices: int = 10_000
    """Nodes and devices of a source together."""


def variables_of(topic: str) -> dict[str, str]:
    """What templates know of a node's or device's topic; empty texts where it is none."""
    try:
        found = parse_topic(topic)
    except TopicError:
        return dict.fromkeys(SPARKPLUG_VARIABLES, "")
    return {"group": found.group, "node": found.node, "device": found.device, "descriptor": found.descriptor}
