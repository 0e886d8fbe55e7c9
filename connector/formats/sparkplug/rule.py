"""The part of a rule that is about Sparkplug B: its settings, and the variables of its templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from connector.formats.sparkplug.topic import TopicError, parse_topic

SPARKPLUG_VARIABLES: Final = ("group", "node", "device", "descriptor", "metric")
"""`group`, `node` and `device` are parts of the topic (`device` is empty for the metrics of the node itself).
`descriptor` is `GROUP/NODE` or `GROUP/NODE/DEVICE`, as in the specification. `metric` is the name of the metric; for a
member, element or cell, its name follows after a slash."""
SPARKPLUG_INPUT: Final = "{descriptor}/{metric}"
"""The default template of input IDs."""


@dataclass(frozen=True, slots=True)
class SparkplugRule:
    """The settings of a rule for Sparkplug B."""

    bad_quality: Literal["keep", "drop", "reject", "signal"] = "drop"
    """The treatment of values whose quality is not good. `signal`: they are kept, and the quality is a signal, too."""
    online: bool = False
    """Whether births and deaths become a signal of each node and device."""
    metadata: bool = True
    """Whether the metadata in births is saved with the signals."""
    rebirths: bool = False
    """Whether nodes may be asked to send their births again."""
    max_metrics: int = 200_000
    """The most metrics that are remembered, of all nodes of a source together."""
    max_devices: int = 10_000
    """The most nodes and devices of a source that are remembered."""


def variables_of(topic: str) -> dict[str, str]:
    """The variables that come from the topic of a node or device; empty texts if it is no topic of Sparkplug."""
    try:
        found = parse_topic(topic)
    except TopicError:
        return dict.fromkeys(SPARKPLUG_VARIABLES, "")
    return {"group": found.group, "node": found.node, "device": found.device, "descriptor": found.descriptor}
