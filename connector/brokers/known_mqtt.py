"""Facts about MQTT brokers by the names that they give themselves: their defaults, and their known faults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connector.brokers.findings import Finding, advice, ok
from connector.brokers.mqtt import Announced

VERSION_TOPICS: Final = (
    "$SYS/broker/version",
    "$SYS/brokers/+/version",
    "$SYS/broker/publish/messages/dropped",
)
"""The topics with the names, versions and counters of brokers: retained messages, and often only for some users."""
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_BY_SETTINGS: Final = ("queue", "session")
"""The subjects of findings that a setting of the source ends."""
_DROPPED: Final = "$SYS/broker/publish/messages/dropped"


@dataclass(frozen=True, slots=True)
class KnownBroker:
    """The defaults of a broker, from its page in docs/brokers/."""

    name: str
    page: str
    says: str = "(?!)"
    """An expression for its text under `VERSION_TOPICS`."""
    hosts: str = "(?!)"
    """An expression for the names of its hosts, for a broker that is a service."""
    limits: tuple[int, int] | None = None
    """The receive maximum and the longest packet (bytes) in its CONNACK by default, if no other broker has these."""
    forgets: str = ""
    """What to set so that sessions outlast a restart; empty if they do by default."""
    queue: int | None = None
    """How many messages it queues for a session, by default."""
    more_queue: str = ""
    """The setting for a longer queue."""
    expiry: float | None = None
    """The seconds that it keeps a session at most, by default."""
    shares: bool = True
    """Whether it has shared subscriptions."""
    silent_refusals: bool = False
    """Whether it may grant a filter that the client may not read, and deliver nothing."""


BROKERS: Final = (
    KnownBroker(
        "Mosquitto",
        "mosquitto.md",
        says="^mosquitto version",
        limits=(20, 268_435_460),
        forgets="persistence true and persistence_location",
        queue=1000,
        more_queue="max_queued_messages",
        silent_refusals=True,
    ),
    KnownBroker(
        "EMQX",
        "emqx.md",
        hosts=r"\.emqxsl\.com$",
        forgets="durable_sessions.enable = true",
        queue=1000,
        more_queue="mqtt.max_mqueue_len",
    ),
    KnownBroker("AWS IoT Core", "aws-iot-core.md", hosts=r"\.iot\.[a-z0-9-]+\.amazonaws\.com$", expiry=3600.0),
    KnownBroker(
        "Azure Event Grid",
        "azure-event-grid.md",
        hosts=r"\.eventgrid\.azure\.net$",
        queue=100,
        expiry=28_800.0,
        shares=False,
    ),
    KnownBroker(
        "HiveMQ",
        "hivemq.md",
        hosts=r"\.hivemq\.cloud$",
        limits=(10, 268_435_460),
        queue=1000,
        more_queue="max-queue-size",
    ),
    KnownBroker("ActiveMQ Artemis", "artemis.md", limits=(65_535, 268_435_455)),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of some versions of a broker, from `first` to `last`."""

    broker: str
    first: tuple[int, int, int]
    last: tuple[int, int, int]
    text: str
    remedy: str


FAULTS: Final = (
    Fault(
        "Mosquitto",
        (2, 0, 12),
        (2, 0, 18),
        "these versions keep no messages for an absent session with per_listener_settings true",
        "install Mosquitto 2.0.19 or newer, or remove per_listener_settings",
    ),
)


def known_broker(
    host: str, texts: Mapping[str, str], limits: Announced | None = None
) -> tuple[KnownBroker, str] | None:
    """The broker and its version (empty if unknown).

    A broker is known by its host, by topic → text under `VERSION_TOPICS`, and by the limits in its CONNACK.
    """
    for topic, text in texts.items():
        if topic.startswith("$SYS/brokers/"):  # EMQX: $SYS/brokers/NODE/version
            return next(one for one in BROKERS if one.name == "EMQX"), text
        for broker in BROKERS:
            if re.search(broker.says, text):
                found = _NUMBERS.search(text)
                return broker, found[0] if found else ""
    announced = None if limits is None else (limits.receive_maximum, limits.maximum_packet)
    for broker in BROKERS:
        if re.search(broker.hosts, host) or (announced is not None and broker.limits == announced):
            return broker, ""
    return None


def warnings_by_host(host: str, topics: Sequence[str], *, queue: int | None, expiry: float) -> list[str]:
    """What `check` says of a source at a broker that its host tells, without any network."""
    found = known_broker(host, {})
    if found is None:
        return []
    broker = found[0]
    warnings = [
        f"{one.text}; {one.remedy}"
        for one in about_broker(*found, {}, queue=queue, expiry=expiry)
        if one.subject in _BY_SETTINGS and one.remedy
    ]
    shared = next((topic for topic in topics if topic.startswith("$share/")), None)
    if shared and not broker.shares:
        remedy = f"subscribe without $share/GROUP/ and run one connector (docs/brokers/{broker.page})"
        warnings.append(f"{shared}: {broker.name} has no shared subscriptions; {remedy}")
    return warnings


def about_broker(
    broker: KnownBroker, version: str, texts: Mapping[str, str], *, queue: int | None, expiry: float
) -> Iterator[Finding]:
    """What is known of a broker, against a source's `broker_queue` and `session_expiry` (seconds)."""
    page = f"docs/brokers/{broker.page}"
    yield ok("broker", f"{broker.name} {version}".strip() if version else f"{broker.name}, by its host or its limits")
    numbers = _NUMBERS.fullmatch(version)
    if numbers is not None:
        exact = int(numbers[1]), int(numbers[2]), int(numbers[3] or 0)
        for fault in FAULTS:
            if fault.broker == broker.name and fault.first <= exact <= fault.last:
                yield advice("broker", f"{broker.name} {version}: {fault.text}", fault.remedy)
    if broker.forgets:
        yield advice(
            "persistence",
            f"by default, {broker.name} forgets all sessions at a restart; it does not say what is set",
            f"see that it has {broker.forgets} ({page})",
        )
    if broker.queue is not None and (queue is None or queue > broker.queue):
        more = f", or see that the broker has {broker.more_queue}" if broker.more_queue else ""
        bound = "no bound" if queue is None else str(queue)
        yield advice(
            "queue",
            f"broker_queue says {bound}; by default, {broker.name} queues {broker.queue} messages and drops the rest",
            f"set broker_queue: {broker.queue}{more} ({page})",
        )
    if broker.expiry is not None and expiry > broker.expiry:
        yield advice(
            "session",
            f"by default, {broker.name} keeps a session for {broker.expiry / 3600:g} h, and session_expiry is "
            f"{expiry / 3600:g} h",
            f"set session_expiry to what the broker grants ({page})",
        )
    dropped = texts.get(_DROPPED, "")
    if dropped.isdecimal() and int(dropped):
        yield advice(
            "queue",
            f"the broker has dropped {dropped} messages since its start, for some client",
            f"raise {broker.more_queue or 'the queue of sessions'} ({page})",
        )
