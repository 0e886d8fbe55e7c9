"""The configuration section of the format `sparkplug_b`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries
from connector.formats.sparkplug.rule import SparkplugRule

if TYPE_CHECKING:
    from connector.formats.format import Format


class SparkplugFormatSection(FormatSection):
    """Sparkplug B: births, data and deaths of edge nodes and devices.

    The meaning of a message depends on the messages before it, so a rule with this format must take all messages of a
    node. The templates of the rule have the variables `{group}`, `{node}`, `{device}`, `{descriptor}` (`GROUP/NODE` or
    `GROUP/NODE/DEVICE`) and `{metric}`; the default input is `{descriptor}/{metric}`.
    """

    type: Literal["sparkplug_b"] = Field(description="The payload is Sparkplug B.")
    bad_quality: Literal["keep", "drop", "reject", "signal"] = Field(
        default="drop",
        description="The treatment of values whose property `Quality` is not good (192 to 255, or no quality, is "
        "good): `keep` them, `drop` them (counted as filtered), `reject` them as dead letters; `signal` keeps them, "
        "and the quality becomes a signal of its own, `METRIC/_quality`.",
    )
    online: bool = Field(
        default=False,
        description="Make a signal `_online` of the births (1) and deaths (0) of each node and device.",
    )
    metadata: bool = Field(
        default=True,
        description="Save the metadata in births with the signals: name, unit, description, range, states, and "
        "group, node and device as labels. Settings of the rule take precedence.",
    )
    rebirth_requests: bool = Field(
        default=False,
        description="Ask nodes to send their births again (`NCMD`, `Node Control/Rebirth`) if their births are not "
        "known or messages were lost: seldom, and more and more seldom. The connector must be allowed to publish "
        "to `spBv1.0/+/NCMD/+`. Otherwise it only listens.",
    )
    max_metrics: int = Field(
        default=200_000,
        ge=1,
        description="The most metrics that are remembered, of all nodes of a source. More births are dead letters.",
    )
    max_devices: int = Field(
        default=10_000, ge=1, description="The most nodes and devices of a source that are remembered."
    )

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """Always raises ValueError: the mapping reads Sparkplug B with a `Host`.

        The meaning of a message depends on the messages before it, so no format of single payloads can read it.
        """
        del registry, max_payload
        raise ValueError("sparkplug_b is no format of single payloads; it is for rules of a mapping")

    def rule(self) -> SparkplugRule:
        """The settings in the form that the mapper uses."""
        return SparkplugRule(
            self.bad_quality, self.online, self.metadata, self.rebirth_requests, self.max_metrics, self.max_devices
        )
