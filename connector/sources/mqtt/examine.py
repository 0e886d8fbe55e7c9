"""Looks at the broker of an MQTT source: log-in, filters, announced limits, version. Nothing is changed or taken away.

A filter of a shared subscription is asked for without its group: a member of the group would take messages away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from connector.brokers.findings import Examination, Finding, Look, advice, ok, split, wrong
from connector.brokers.known_mqtt import VERSION_TOPICS, about_broker, known_broker
from connector.brokers.mqtt import REMEDIES, Announced, refusal
from connector.brokers.mqtt_visit import ANOTHER_ID, Visit, log_in
from connector.sources.mqtt.section import MqttSection

_TEXTS_SECONDS: Final = 0.3
_MOST_FILTERS: Final = 50


def examine(section: MqttSection, asked: Examination) -> Look:
    """Look at the broker; returns whether the source can read there."""
    if not (yield from log_in(section, asked)) or asked.short:
        return asked.short
    with Visit(section, asked.seconds, expiry=round(section.session_expiry)) as visit:
        visit.connect()
    yield from announced(section, visit.announced)
    if section.qos == 0:
        yield advice("QoS", "with qos: 0, messages while the connector is away are lost", "set qos: 1")
    limits = visit.announced if section.protocol == "5" else _in_mqtt_5(section, asked)
    yield from _version(section, limits, asked)
    return (yield from _filters(section, limits, asked))


def _in_mqtt_5(section: MqttSection, asked: Examination) -> Announced:
    """What the broker announces to a client of MQTT 5, for a source with 3.1.1, which has no such announcements."""
    with Visit(section, asked.seconds, protocol="5") as visit:
        try:
            visit.connect()
        except (OSError, ValueError):
            return Announced()  # a broker without MQTT 5
    return visit.announced


def announced(section: MqttSection, limits: Announced) -> Iterator[Finding]:
    """What the limits in CONNACK mean for the source."""
    if section.protocol != "5":
        shared = [topic for topic in section.topics if topic.startswith("$share/")]
        if shared:
            yield advice(
                "topics",
                f"with MQTT 3.1.1, nobody can say whether the broker has shared subscriptions ({shared[0]})",
                "set protocol: 5 if the broker has it; else see the broker's page in docs/brokers/",
            )
        yield ok("limits", "MQTT 3.1.1: the broker announces none")
        return
    yield ok(
        "limits",
        f"receive maximum {limits.receive_maximum}, QoS up to {limits.maximum_qos}, packets up to "
        f"{limits.maximum_packet} bytes",
    )
    if limits.maximum_qos < section.qos:
        yield wrong(
            "QoS",
            f"the broker has only QoS {limits.maximum_qos}",
            "allow QoS 1 at the broker; with qos: 0, messages while the connector is away are lost",
        )
    granted = limits.session_expiry
    if granted == 0:
        yield wrong(
            "session",
            "the broker keeps no session: all messages while the connector is away are lost",
            "allow sessions at the broker: its maximum session expiry is 0",
        )
    elif granted is not None and granted < section.session_expiry:
        yield advice(
            "session",
            f"the broker keeps a session for {granted} s, and session_expiry is {section.session_expiry:g} s",
            "raise the broker's maximum, or set session_expiry to what it grants",
        )


def _filters(section: MqttSection, limits: Announced, asked: Examination) -> Look:
    sound = True
    topics = section.topics[:_MOST_FILTERS]
    if left := len(section.topics) - len(topics):
        yield ok("topics", f"{left} more filters are not asked for")
    visit: Visit | None = None
    try:
        for topic in topics:
            if unavailable := _unavailable(topic, limits):
                sound = False
                yield split("topics", f"{topic}: {unavailable}", "")
                continue
            if visit is None or visit.closed:
                visit = Visit(section, asked.seconds)
                visit.connect()
            found = _granted(section, visit, topic)
            sound = sound and not found.remedy
            yield found
    finally:
        if visit is not None:
            visit.__exit__()
    return sound


def _granted(section: MqttSection, visit: Visit, topic: str) -> Finding:
    plain = topic.split("/", 2)[2] if topic.startswith("$share/") else topic
    reason = visit.ask(plain, section.qos)
    if reason is None and visit.closed:
        return wrong(
            "topics",
            f"{topic}: the broker closes the connection instead of an answer",
            f"give {section.username or 'the client'} the right to read {plain} ({ANOTHER_ID})",
        )
    if reason is None:
        return wrong("topics", f"{topic}: the broker does not answer SUBSCRIBE", "see the broker's log and its load")
    if reason.is_failure:
        return split("topics", f"{topic}: {refusal(reason)}", f"give the right to read {plain}")
    if reason.value < section.qos:
        return wrong("topics", f"{topic}: granted only QoS {reason.value}", "allow QoS 1 at the broker, or set qos: 0")
    return ok("topics", f"{topic}: granted")


def _unavailable(topic: str, limits: Announced) -> str:
    if topic.startswith("$share/") and not limits.shared:
        return f"the broker offers no shared subscriptions; {REMEDIES[0x9E]}"
    if set(topic) & set("+#") and not limits.wildcards:
        return f"the broker offers no wildcards; {REMEDIES[0xA2]}"
    return ""


def _version(section: MqttSection, limits: Announced, asked: Examination) -> Iterator[Finding]:
    """What the broker says of itself. Many brokers say nothing, or not to everybody."""
    texts: dict[str, str] = {}
    host = urlsplit(section.url).hostname or ""
    if known_broker(host, {}) is None:  # some services end a connection that asks for $SYS
        with Visit(section, asked.seconds) as visit:
            visit.connect()
            for topic in VERSION_TOPICS:
                visit.ask(topic, 0)
                if visit.closed:
                    break
            visit.turn(lambda: len(visit.texts) >= len(VERSION_TOPICS) - 1, _TEXTS_SECONDS)
        texts = visit.texts
    found = known_broker(host, texts, limits)
    if found is None:
        said = "; ".join(f"{name}: {text}" for name, text in texts.items()) or "nothing"
        yield ok("broker", f"the broker says of itself: {said}; docs/brokers/ has a page for each of the usual ones")
        yield ok(
            "topics", "some brokers, such as Mosquitto with an acl_file, also grant filters that they do not deliver"
        )
        return
    broker, version = found
    yield from about_broker(broker, version, texts, queue=section.broker_queue, expiry=section.session_expiry)
    if broker.silent_refusals:
        yield ok("topics", f"{broker.name} with an acl_file also grants filters that it does not deliver")
