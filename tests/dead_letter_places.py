"""Places that keep dead letters, for the tests that every kind of store passes: opened, read, broken and mended."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from connector.dead_letters.as_json import from_json
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.kafka_store import KafkaLetters
from connector.dead_letters.letter import DeadLetter, letter_of
from connector.dead_letters.mqtt_store import MqttLetters
from connector.dead_letters.section import KafkaLettersSection, MqttLettersSection
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLetterStore, Gone, ReadableStore
from connector.records import Reason, Record, Reject
from tests.brokers import Mosquitto
from tests.kafka_brokers import KafkaBroker
from tests.secrets_used import SETTING as SECRET

MIB = 1024 * 1024


def a_letter(position: int = 1, payload: bytes | None = b"payload", **changes: Any) -> DeadLetter:
    """A letter about a record of its own."""
    record = Record("plant/7", payload, 1_790_000_000_000_000 + position)
    reject = Reject(Reason.INVALID_JSON, "it is no JSON")
    fields = {"source": "mqtt", "partition": "journal-1", "position": position, "topic": "plant/7"}
    return letter_of(**{**fields, "rejects": [reject], "record": record, **changes})


def letters_in(store: ReadableStore) -> list[DeadLetter]:
    """What a reader makes of it: the last of each key counts, and what is gone is gone."""
    found: dict[str, DeadLetter] = {}
    for entry in store.read(lambda _done, _total: None):
        if isinstance(entry, Gone):
            found.pop(entry.key, None)
        else:
            found[entry.key] = entry
    return list(found.values())


class Place(Protocol):
    """Where one kind of store keeps its letters."""

    readable: bool

    def open(self) -> DeadLetterStore:
        """Open the store, again if need be."""

    def kept(self) -> list[DeadLetter]:
        """What is there, read without the store that wrote it."""

    def fail(self) -> None:
        """From now on it cannot be written."""

    def mend(self) -> None:
        """It can again."""

    def close(self) -> None:
        """Release everything."""


class SqlitePlace:
    """An SQLite file."""

    readable = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "dead-letters.sqlite"

    def open(self, **settings: Any) -> SqliteLetters:
        return SqliteLetters(self.path, **{"max_bytes": 100 * MIB, **settings})

    def kept(self) -> list[DeadLetter]:
        store = self.open()
        found = letters_in(store)
        store.close()
        return found

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


class FilePlace:
    """A folder of files."""

    readable = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "letters"

    def open(self, **settings: Any) -> FileLetters:
        return FileLetters(self.folder, **{"max_file_bytes": 8 * MIB, "max_files": 8, **settings})

    def kept(self) -> list[DeadLetter]:
        store = self.open()
        found = letters_in(store)
        store.close()
        return found

    def fail(self) -> None:
        (self.folder / "dead-letters-999999.ndjson").mkdir()  # the newest file is not one

    def mend(self) -> None:
        (self.folder / "dead-letters-999999.ndjson").rmdir()

    def close(self) -> None:
        """Nothing of ours is open."""


class KafkaPlace:
    """A topic of a Kafka."""

    readable = True

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
        return KafkaLetters(self.section(**more))

    def kept(self) -> list[DeadLetter]:
        store = self.open()
        found = letters_in(store)
        store.close()
        return found

    def fail(self) -> None:
        self.topic += "-missing"
        self._timeout = "1s"  # which no acknowledgement ever comes within

    def mend(self) -> None:
        self.kafka.create_topic(self.topic, 2, self._config)

    def close(self) -> None:
        """The topic stays."""


class MqttPlace:
    """A topic of a Mosquitto of its own, with a subscriber whose session lasts."""

    readable = False

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
        """Acknowledged is not yet forwarded: the subscriber gets a moment for it."""
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
