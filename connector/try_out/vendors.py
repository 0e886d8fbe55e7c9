"""Recognises the vendor of messages, by the topics or by the structure of the payloads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from connector.try_out.observed import TopicSeen


@dataclass(frozen=True, slots=True)
class Vendor:
    """A well-known way to publish messages, with a name."""

    name: str
    """The name for people."""
    presets: tuple[str, ...]
    """Possible names of a preset or format for this vendor, in small letters and digits."""
    topics: tuple[str, ...] = ()
    """Patterns (with `*`) of the vendor's topics; empty if any topic is possible."""
    payload: Callable[[object], bool] | None = None
    """Returns whether a document is from this vendor; None if any document is possible."""
    whole: str | None = None
    """The pattern of all topics of the vendor, if one rule has to take all topics; else None."""

    def is_it(self, seen: TopicSeen) -> bool:
        """Returns whether the messages of this topic are from this vendor."""
        if self.topics and not any(fnmatchcase(seen.topic, pattern) for pattern in self.topics):
            return False
        return self.payload is None or any(map(self.payload, seen.documents))


def vendor_of(topics: Iterable[TopicSeen]) -> Vendor | None:
    """Returns the first vendor that fits all `topics`; None if no vendor fits."""
    seen = list(topics)
    return next((vendor for vendor in VENDORS if seen and all(map(vendor.is_it, seen))), None)


def preset_for(vendor: Vendor, known: Collection[str]) -> str | None:
    """Returns the name in `known` that is a preset or format for this vendor; None if there is no such name."""
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in known}
    return next((plain[name] for name in vendor.presets if name in plain), None)


def _object(*keys: str) -> Callable[[object], bool]:
    return lambda document: isinstance(document, dict) and all(key in document for key in keys)


def _kepware(document: object) -> bool:
    values = document.get("values") if isinstance(document, dict) else None
    return isinstance(values, list) and any(isinstance(v, dict) and {"id", "v", "q", "t"} <= v.keys() for v in values)


def _senml(document: object) -> bool:
    if not isinstance(document, list) or not document or not all(isinstance(entry, dict) for entry in document):
        return False
    return all({"n", "bn"} & entry.keys() or "v" in entry for entry in document) and any(
        {"n", "bn"} & entry.keys() and {"v", "vb", "vs", "bv", "s"} & entry.keys() for entry in document
    )


def _ua_data(document: object) -> bool:
    return isinstance(document, dict) and document.get("MessageType") == "ua-data"


def _debezium(document: object) -> bool:
    if not isinstance(document, dict):
        return False
    envelope = document.get("payload") if isinstance(document.get("payload"), dict) else document
    return isinstance(envelope, dict) and {"op", "after", "source"} <= envelope.keys()


VENDORS: Final = (
    Vendor("Sparkplug B", ("sparkplugb", "sparkplug"), ("spBv1.0/*",), whole="spBv1.0/#"),
    Vendor("Tasmota", ("tasmota",), ("tele/*", "stat/*", "*/tele/*", "*/stat/*", "tasmota/*")),
    Vendor("Zigbee2MQTT", ("zigbee2mqtt",), ("zigbee2mqtt/*",)),
    Vendor("Homie", ("homie",), ("homie/*",)),
    Vendor("Shelly (first generation)", ("shellygen1", "shelly1", "shelly"), ("shellies/*",)),
    Vendor("Shelly", ("shelly", "shellygen2", "shelly2"), ("shelly*/status/*", "shelly*/events/rpc")),
    Vendor("ChirpStack", ("chirpstack",), ("application/*/device/*/event/*",), _object("deviceInfo")),
    Vendor("ChirpStack (version 3)", ("chirpstack", "chirpstack3"), ("application/*/device/*/event/*",)),
    Vendor("The Things Stack", ("thethingsstack", "ttn", "tts", "thethingsnetwork"), ("v3/*/devices/*",)),
    Vendor("Home Assistant", ("homeassistant", "homeassistantstatestream"), ("homeassistant/*",)),
    Vendor("Kepware IoT Gateway", ("kepware", "kepwareiotgateway"), (), _kepware),
    Vendor("OPC UA PubSub", ("opcuapubsub", "opcua", "opcuapubsubjson"), (), _ua_data),
    Vendor("SenML", ("senml",), (), _senml),
    Vendor("Debezium", ("debezium",), (), _debezium),
    Vendor("Kafka Connect", ("kafkaconnect", "kafkaconnectjson", "connect"), (), _object("schema", "payload")),
)
