"""Places that keep dead letters, for the tests that every kind of store passes: opened, read, broken and mended."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from connector.conformance.dead_letters import Place, ReadablePlace
from connector.dead_letters.as_json import from_json
from connector.dead_letters.broker_sections import KafkaLettersSection, MqttLettersSection
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.kafka_store import KafkaLetters
from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.mqtt_store import MqttLetters
from connector.dead_letters.sqlite_store import SqliteLetters
from tests.brokers import Mosquitto
from tests.kafka_brokers import KafkaBroker
from tests.secrets_used import SETTING as SECRET

MIB = 1024 * 1024


class SqlitePlace(ReadablePlace):
    """An SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "dead-letters.sqlite"

    def open(self, **settings: Any) -> SqliteLetters:
        store = SqliteLetters(self.path, **{"max_bytes": 100 * MIB, **settings})
        store.start()
        return store

    def fail(self) -> None:
        self._run("CREATE TRIGGER full BEFORE INSERT ON letters BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    def mend(self) -> None:
        self._run("DROP TRIGGER full")

    def close(self) -> None:
        """Nothing of ours is open."""

    def _run(self, statement: str) -> None:
        other = sqlite3.connect(self.path)
        other.execute(statement)
        other.commit()
        other.close()


class FilePlace(ReadablePlace):
    """A folder of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "letters"

    def open(self, **settings: Any) -> FileLetters:
        store = FileLetters(self.folder, **{"max_file_bytes": 8 * MIB, "max_files": 8, **settings})
        store.start()
        return store

    def fail(self) -> None:
        (self.folder / "dead-letters-999999.ndjson").mkdir()  # the newest file is not one

    def mend(self) -> None:
        (self.folder / "dead-letters-999999.ndjson").rmdir()

    def close(self) -> None:
        """Nothing of ours is open."""


class KafkaPlace(ReadablePlace):
    """A topic of a Kafka. It can be missing, and be made while a store is open, but not taken away from one."""

    fails_from_the_start = True

    def __init__(self, kafka: KafkaBroker, config: Mapping[str, str] | None = None) -> None:
        self.kafka = kafka
        self.topic = f"letters-{uuid.uuid4().hex[:8]}"
        self._config = config
        self._timeout = "10s"
        kafka.create_topic(self.topic, 2, config)

    def section(self, **more: Any) -> KafkaLettersSection:
        return KafkaLettersSection.model_validate(
            {
                "type": "kafka",
                "bootstrap_servers": self.kafka.bootstrap,
                "topic": self.topic,
                "security": "plaintext",
                "timeout": self._timeout,
                **more,
            }
        )

    def open(self, **more: Any) -> KafkaLetters:
        store = KafkaLetters(self.section(**more))
        store.start()
        return store

    def fail(self) -> None:
        self.topic += "-missing"
        self._timeout = "1s"  # which no acknowledgement ever comes within

    def mend(self) -> None:
        self.kafka.create_topic(self.topic, 2, self._config)

    def close(self) -> None:
        """The topic stays."""


class MqttPlace(Place):
    """A topic of a Mosquitto of its own, with a subscriber whose session lasts."""

    secrets = (SECRET,)

    def __init__(self, settings: str = "", protocol: str = "5", *, subscriber: bool = True, **more: Any) -> None:
        self.broker = Mosquitto(settings=settings, persistence=True).start()
        self._protocol = protocol
        self._more = more
        self.received: list[bytes] = []
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id="reader", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=False
        )
        self._subscribed = threading.Event()
        if subscriber:
            self._client.on_message = lambda _c, _u, message: self.received.append(bytes(message.payload))
            self._client.on_connect = lambda client, *_: client.subscribe("clarify-connector/#", qos=1)
            self._client.on_subscribe = lambda *_: self._subscribed.set()
            self._client.on_disconnect = lambda *_: self._subscribed.clear()
            self._client.reconnect_delay_set(1, 1)
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            self._client.connect(self.broker.host, self.broker.port, clean_start=False, properties=properties)
            self._client.loop_start()
            assert self._subscribed.wait(10)

    def section(self) -> MqttLettersSection:
        return MqttLettersSection.model_validate(
            {
                "type": "mqtt",
                "url": f"mqtt://{self.broker.host}:{self.broker.port}",
                "protocol": self._protocol,
                "timeout": "1s",
                "username": "connector",
                "password": SECRET,
                **self._more,
            }
        )

    def open(self) -> MqttLetters:
        store = MqttLetters(self.section())
        store.start()
        return store

    def kept(self) -> list[DeadLetter]:
        """Acknowledged is not yet forwarded: the subscriber gets a moment, once it is back at a broker that runs."""
        if self._client.on_message is not None and self.broker.running:
            assert self._subscribed.wait(20), "the subscriber is not back"
        seen = -1
        while seen != len(self.received):
            seen = len(self.received)
            threading.Event().wait(0.2)
        return list({found.key: found for found in map(from_json, self.received)}.values())

    def fail(self) -> None:
        self.broker.stop()

    def mend(self) -> None:
        self.broker.start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self.broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
