"""What is known of brokers by their names: the pages in docs/brokers/ say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.brokers.findings import Level
from connector.brokers.known_mqtt import BROKERS, KnownBroker, about_broker, known_broker
from connector.brokers.mqtt import Announced
from connector.sources.mqtt.section import MqttSection

PAGES = Path(__file__).parents[3] / "docs" / "brokers"


@pytest.mark.parametrize("broker", BROKERS, ids=lambda broker: broker.name)
def test_the_page_of_a_broker_has_its_defaults(broker: KnownBroker) -> None:
    page = (PAGES / broker.page).read_text()
    assert broker.queue is None or f"{broker.queue:,} " in page or f"{broker.queue:,};" in page
    assert all(setting.split(" ")[0] in page for setting in (broker.more_queue, broker.forgets))


@pytest.mark.parametrize(
    ("host", "texts", "name", "version"),
    [
        ("b", {"$SYS/broker/version": "mosquitto version 2.0.21"}, "Mosquitto", "2.0.21"),
        ("b", {"$SYS/brokers/emqx@10.0.0.1/version": "5.8.0"}, "EMQX", "5.8.0"),
        ("a1-ats.iot.eu-north-1.amazonaws.com", {}, "AWS IoT Core", ""),
        ("n.norwayeast-1.ts.eventgrid.azure.net", {}, "Azure Event Grid", ""),
        ("a.s1.eu.hivemq.cloud", {}, "HiveMQ", ""),
    ],
)
def test_a_broker_is_known_by_its_text_or_host(host: str, texts: dict[str, str], name: str, version: str) -> None:
    found = known_broker(host, texts)
    assert found is not None
    assert (found[0].name, found[1]) == (name, version)


def test_a_broker_is_known_by_the_limits_that_it_announces() -> None:
    limits = (20, 2, 268_435_460), (10, 2, 268_435_460), (65_535, 2, 268_435_455)
    found = [known_broker("b", {}, Announced(*one)) for one in limits]
    assert [one and one[0].name for one in found] == ["Mosquitto", "HiveMQ", "ActiveMQ Artemis"]
    assert known_broker("b", {}, Announced()) is None, "the protocol's own limits are everybody's"


@pytest.mark.parametrize(
    ("host", "settings", "words"),
    [
        ("n.norwayeast-1.ts.eventgrid.azure.net", {}, ["broker_queue: 100", "8 h"]),
        ("n.norwayeast-1.ts.eventgrid.azure.net", {"broker_queue": 100, "session_expiry": "8h"}, []),
        ("a1-ats.iot.eu-north-1.amazonaws.com", {"topics": ["$share/g/t"]}, ["1 h"]),
        (
            "n.norwayeast-1.ts.eventgrid.azure.net",
            {"broker_queue": 100, "session_expiry": "8h", "topics": ["t", "$share/g/t"]},
            ["no shared subscriptions"],
        ),
        ("broker.emqxsl.com", {}, []),
        ("broker.example.com", {"broker_queue": None}, []),
    ],
)
def test_check_knows_a_service_by_its_host(host: str, settings: dict[str, object], words: list[str]) -> None:
    section = MqttSection.model_validate({"type": "mqtt", "url": f"mqtts://{host}", "topics": ["t"]} | settings)
    found = section.check()
    assert len(found) == len(words), found
    assert all(word in text and "docs/brokers/" in text for word, text in zip(words, found, strict=True)), found


def test_a_stranger_is_nobody() -> None:
    assert known_broker("eventgrid.azure.net.example.com", {"$SYS/broker/version": "my own 1.0"}) is None


@pytest.mark.parametrize(
    ("version", "faulty"), [("2.0.11", False), ("2.0.12", True), ("2.0.18", True), ("2.0.19", False), ("2.1", False)]
)
def test_a_known_fault_is_told_by_the_version(version: str, faulty: bool) -> None:
    texts = {"$SYS/broker/version": f"mosquitto version {version}"}
    known = known_broker("b", texts)
    assert known is not None
    found = [one.text for one in about_broker(*known, texts, queue=1000, expiry=60) if one.level is not Level.OK]
    assert any("per_listener_settings" in text for text in found) == faulty


def test_dropped_messages_of_the_broker_are_told() -> None:
    texts = {"$SYS/broker/version": "mosquitto version 2.0.21", "$SYS/broker/publish/messages/dropped": "12"}
    known = known_broker("b", texts)
    assert known is not None
    found = [one for one in about_broker(*known, texts, queue=1000, expiry=60) if "dropped 12 messages" in one.text]
    assert "max_queued_messages" in found[0].remedy
