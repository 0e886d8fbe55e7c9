"""Recognises the vendor of messages, by the topics or by the structure of the payloads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

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
    headers: frozenset[str] = frozenset()
    """Names of headers that each message has; empty if any headers are possible."""
    whole: str | None = None
    """The pattern of all topics of the vendor, if one rule has to take all topics; else None."""

    def is_it(self, seen: TopicSeen) -> bool:
        """Returns whether the messages of this topic are from this vendor."""
        if self.topics and not any(fnmatchcase(seen.topic, pattern) for pattern in self.topics):
            return False
        named = [{name for name, _ in record.headers} for record in seen.records]
        if self.headers and not (named and all(map(self.headers.issubset, named))):
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


def _opc_publisher(document: object) -> bool:
    if _ua_data(document):
        return True
    sample = document[0] if isinstance(document, list) and document else document
    return isinstance(sample, dict) and {"NodeId", "Value"} <= sample.keys()


def _telegraf(document: object) -> bool:
    metrics = document.get("metrics") if isinstance(document, dict) else None
    metric = metrics[0] if isinstance(metrics, list) and metrics else document
    return _members(metric, {"name": str, "tags": dict, "fields": dict})


def _neuron(document: object) -> bool:
    return _members(document, {"node": str, "group": str, "values": dict}) or _members(
        document, {"node": str, "group": str, "tags": list}
    )


def _signalk(document: Any) -> bool:
    if not _members(document, {"updates": list}) or not document["updates"]:
        return False
    update = document["updates"][0]
    return _members(update, {"values": list}) and all(_members(value, {"path": str}) for value in update["values"])


def _sitewise(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    entries = document.get("entries")
    entry = entries[0] if isinstance(entries, list) and entries else document
    if _members(entry, {"propertyValues": list}):
        return True
    return document.get("type") == "PropertyValueUpdate" and _members(document, {"payload": dict})


def _teltonika(document: Any) -> bool:
    return _members(document, {"state": dict}) and _members(document["state"].get("reported"), {"ts": int})


def _ngsi(document: object) -> bool:
    if not isinstance(document, dict):
        return False
    data = document.get("data")
    entity = data[0] if isinstance(data, list) and data else document
    if not _members(entity, {"id": str, "type": str}):
        return False
    return any(_members(attribute, {"type": str}) and "value" in attribute for attribute in entity.values())


def _members(document: Any, kinds: Mapping[str, type]) -> bool:
    """Whether a document is an object with members of these types, by their keys."""
    return isinstance(document, dict) and all(isinstance(document.get(key), kind) for key, kind in kinds.items())


def _with(**kinds: type) -> Callable[[object], bool]:
    return lambda document: _members(document, kinds)


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
    Vendor("Siemens Industrial Edge", ("siemensie",), ("ie/d/*", "ie/m/*")),
    Vendor("Siemens IIH Essentials", ("siemensiih",), (), _with(Topic=str, datapoints=list)),
    Vendor("A gateway of Clarify's data frames", ("dataframe",), (), _with(times=list, series=dict)),
    Vendor("United Manufacturing Hub", ("umh",), ("umh/v1/*",)),
    Vendor("United Manufacturing Hub in Kafka", ("umhkafka",), ("umh.messages",)),
    Vendor("Victron Venus OS", ("victron",), ("N/*/*/*",)),
    Vendor("OpenDTU", ("opendtu",), ("solar/*",)),
    Vendor("rtl_433", ("rtl433",), ("rtl_433/*",)),
    Vendor("wmbusmeters", ("wmbusmeters",), ("wmbusmeters/*",)),
    Vendor("DSMR-reader", ("dsmr",), ("dsmr/json", "dsmr/reading/*", "dsmr/day-consumption/*", "dsmr/meter-stats/*")),
    Vendor("ThingsBoard's gateway API", ("thingsboardgateway",), ("v1/gateway/telemetry",)),
    Vendor("Teltonika", ("teltonika",), ("*/data",), _teltonika),
    Vendor("OpenTelemetry", ("otlp",), (), _with(resourceMetrics=list)),
    Vendor("CloudEvents", ("cloudevents",), (), _with(specversion=str, source=str, type=str)),
    Vendor("CloudEvents", ("cloudevents",), headers=frozenset({"ce_source", "ce_type"})),
    Vendor("CloudEvents", ("cloudevents",), headers=frozenset({"specversion", "source", "type"})),
    Vendor("Telegraf", ("telegraf",), (), _telegraf),
    Vendor("EMQX Neuron", ("neuron",), (), _neuron),
    Vendor("Litmus Edge", ("litmus",), (), _with(deviceName=str, tagName=str, registerId=str)),
    Vendor("Signal K", ("signalk",), (), _signalk),
    Vendor("FIWARE NGSI", ("ngsi",), (), _ngsi),
    Vendor("Prometheus as JSON", ("prometheusjson",), (), _with(name=str, value=str, labels=dict)),
    Vendor("AWS IoT SiteWise", ("sitewise",), (), _sitewise),
    Vendor("OPC UA PubSub", ("opcuapubsub",), ("opcua/json/data/*",), _ua_data),
    Vendor("Azure OPC Publisher", ("opcpublisher",), (), _opc_publisher),
    Vendor("Kepware IoT Gateway", ("kepware", "kepwareiotgateway"), (), _kepware),
    Vendor("SenML", ("senml",), (), _senml),
    Vendor("Debezium", ("debezium",), (), _debezium),
    Vendor("Kafka Connect", ("kafkaconnect", "kafkaconnectjson", "connect"), (), _object("schema", "payload")),
)
