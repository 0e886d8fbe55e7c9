"""What every store of dead letters promises, at a real Mosquitto and a real Kafka too; and what is one kind's own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from connector.conformance.dead_letters import (
    FULL,
    ReadableStoreConformance,
    StoreConformance,
    a_letter,
    letters_in,
    same_letters,
)
from connector.dead_letters.as_json import to_json
from connector.dead_letters.store import DeadLettersError
from connector.dead_letters.writer import DeadLetterWriter
from connector.records import Record
from connector.settings import Referenced
from tests.brokers import password_line
from tests.dead_letter_places import (
    MIB,
    SECRET,
    FilePlace,
    KafkaPlace,
    MqttPlace,
    SqlitePlace,
)
from tests.kafka_brokers import KafkaBroker
from tests.kafka_fatal import make_fatal
from tests.raw_kafka import write_raw
from tests.secrets_used import WRONG
from tests.waiting import wait_until

LOCAL = ["sqlite", "file"]


AnyPlace = SqlitePlace | FilePlace | KafkaPlace | MqttPlace


def a_place(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[AnyPlace]:
    found: AnyPlace
    match kind:
        case "sqlite":
            found = SqlitePlace(folder)
        case "file":
            found = FilePlace(folder)
        case "kafka":
            found = KafkaPlace(request.getfixturevalue("kafka"))
        case _:
            found = MqttPlace()
    yield found
    found.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyPlace]:
    yield from a_place(request.param, request, tmp_path)


local_kinds = pytest.mark.parametrize("place", LOCAL, indirect=True)


class TestReadableStores(ReadableStoreConformance):
    @pytest.fixture(params=["sqlite", "file", "kafka"])
    def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyPlace]:
        yield from a_place(request.param, request, tmp_path)


class TestMqttStore(StoreConformance):
    @pytest.fixture
    def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyPlace]:
        yield from a_place("mqtt", request, tmp_path)


# -- stores whose bound is ours ----------------------------------------------------------------------


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@local_kinds
def test_a_hostile_publisher_cannot_fill_the_disk(place: AnyPlace, tmp_path: Path) -> None:
    """200 MiB of payloads of 4 MiB each, all different; the oldest letters go, and are counted."""
    bound = 8 * MIB
    settings = {"max_bytes": bound} if isinstance(place, SqlitePlace) else {"max_file_bytes": MIB, "max_files": 8}
    writer = DeadLetterWriter(place.open(**settings), max_payload=512 * 1024, configuration="", version="")
    largest = 0
    for i in range(50):
        writer.add([a_letter(i, i.to_bytes(4) + bytes(4 * MIB - 4))])
        largest = max(largest, size_of(tmp_path))
    usage = writer.usage()
    assert writer.problems() == [], "the store takes letters: the connector is ready"
    writer.close()
    kept = sorted(letter.position for letter in place.kept())
    assert largest < 2.5 * bound, "an SQLite file has a log beside it, which is bounded, too"
    assert kept == list(range(50 - len(kept), 50)), "the newest are kept"
    assert 5 < len(kept) < 20
    assert (usage.kept, usage.discarded) == (len(kept), 50 - len(kept))


@local_kinds
def test_a_store_that_stops_when_it_is_full_discards_nothing(place: AnyPlace) -> None:
    settings = {"max_bytes": MIB} if isinstance(place, SqlitePlace) else {"max_file_bytes": MIB // 4, "max_files": 4}
    store = place.open(**settings, when_full="stop")
    added = 0

    def add_for_ever() -> None:
        nonlocal added
        while added < 100:
            store.add([a_letter(added, bytes(50_000))])
            added += 1

    with pytest.raises(DeadLettersError, match="replay or drop some"):
        add_for_ever()
    assert 10 < added < 25
    assert sorted(letter.position for letter in place.kept()) == list(range(added))
    assert store.usage().discarded == 0
    store.forget([letter.key for letter in place.kept() if letter.position < added // 2])
    store.add([a_letter(1000)])
    store.close()


@local_kinds
def test_the_count_of_what_was_discarded_survives_a_restart(place: AnyPlace) -> None:
    settings = {"max_bytes": MIB} if isinstance(place, SqlitePlace) else {"max_file_bytes": MIB // 4, "max_files": 4}
    for start in (0, 100):
        store = place.open(**settings)
        for i in range(50):
            store.add([a_letter(start + i, bytes(50_000))])
        usage = store.usage()
        store.close()
    assert usage.discarded == 100 - len(place.kept())


_ADDS = """
import sys
from pathlib import Path
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.letter import letter_of
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.records import Reason, Record, Reject
folder = Path(sys.argv[2])
store = SqliteLetters(folder / "dead-letters.sqlite", 10**9) if sys.argv[1] == "sqlite" else FileLetters(
    folder / "letters", 10**9, 8)
def letter(i, size):
    return letter_of("s", "p", i, "t", [Reject(Reason.INVALID_JSON, "no")], Record("t", bytes(size), i))
for i in range(100_000):
    store.add([letter(2 * i, 20_000), letter(2 * i + 1, 10)])
    print(i, flush=True)
"""


@local_kinds
def test_a_killed_writer_has_what_add_returned_for(place: AnyPlace, tmp_path: Path) -> None:
    kind = "sqlite" if isinstance(place, SqlitePlace) else "file"
    process = subprocess.Popen(
        [sys.executable, "-c", _ADDS, kind, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    told = max(int(line) for line, _ in zip(process.stdout, range(25), strict=False))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    positions = {letter.position for letter in place.kept()}
    assert set(range(2 * told + 2)) <= positions


def test_a_line_that_a_crash_has_torn_is_passed_over(tmp_path: Path) -> None:
    place = FilePlace(tmp_path)
    store = place.open()
    store.add([a_letter(1), a_letter(2)])
    store.close()
    (file,) = place.folder.glob("*.ndjson")
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 5)
    again = place.open()
    again.add([a_letter(2), a_letter(3)])
    assert [letter.position for letter in place.kept()] == [1, 2, 3]
    assert all(json.loads(line)["topic"] == "plant/7" for line in file.read_bytes().splitlines() if line.endswith(b"}"))
    again.close()


# -- Kafka's own -------------------------------------------------------------------------------------


def test_a_kafka_letter_is_the_original_record_with_headers_that_anybody_can_read(kafka: KafkaBroker) -> None:
    from confluent_kafka import Consumer

    place = KafkaPlace(kafka)
    store = place.open()
    store.add([FULL])
    store.close()
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": place.topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([place.topic])
    message = wait_until(lambda: consumer.poll(0.5), 20, "the record")
    consumer.close()
    assert message.value() == b"\x00\xff binary"
    headers = dict(message.headers())
    assert (headers["clarify-topic"], headers["clarify-position"]) == ("plant/ü/7".encode(), str(2**60).encode())
    assert headers["clarify-reason"] == b"insert_rejected"
    assert headers["clarify-time"] == b"1969-12-31T23:59:59.999Z"
    assert message.headers()[:2] == [("h", b"v"), ("h", b"")], "its own come first"


def test_a_record_cannot_pretend_to_be_another_letter(kafka: KafkaBroker) -> None:
    forged = to_json(a_letter(666), with_payload=False).decode()
    letter = a_letter(1, record=Record("plant/7", b"x", 1, None, (("clarify-letter", forged),)))
    place = KafkaPlace(kafka)
    store = place.open()
    store.add([letter])
    assert letters_in(store) == [letter]
    store.close()


def test_records_of_others_in_the_kafka_topic_are_left_alone(kafka: KafkaBroker) -> None:
    from confluent_kafka import Producer

    place = KafkaPlace(kafka)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(place.topic, b"not ours", key=b"k")
    producer.produce(place.topic, b"x", headers=[("clarify-letter", b"{broken")])
    producer.produce(place.topic, None, key=b"\xff")
    producer.flush(10)
    if kafka.real:
        write_raw(kafka.bootstrap, place.topic, [(b"k", b"v", [(b"\xff", b"not text")])] * 300, 1)
    store = place.open()
    store.add([a_letter(1)])
    assert letters_in(store) == [a_letter(1)]
    store.close()


def test_a_letter_that_is_too_large_for_the_kafka_topic_is_cut_until_it_fits_and_takes_none_along(
    kafka: KafkaBroker,
) -> None:
    if not kafka.real:
        pytest.skip("librdkafka's mock cluster has no limits of topics")
    place = KafkaPlace(kafka, {"max.message.bytes": "20000"})
    store = place.open()
    store.add([a_letter(1, os.urandom(200_000)), *(a_letter(i, os.urandom(9000)) for i in range(2, 6))])
    found = {letter.position: letter for letter in place.kept()}
    store.close()
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert all(found[i].whole for i in range(2, 6)), "each of them fits by itself"
    cut = found[1].cut
    assert cut is not None
    assert cut.payload_length == 200_000
    assert 4000 < len(found[1].record.payload) < 20_000


@pytest.mark.parametrize("under_way", [0, 1, 3])
def test_after_a_fatal_error_a_new_producer_goes_on(kafka: KafkaBroker, under_way: int) -> None:
    place = KafkaPlace(kafka)
    store = place.open()
    store.add([a_letter(1)])
    producer = store._producer
    assert producer is not None
    for _ in range(under_way):
        store._produce([], key=b"k", value=None)
    make_fatal(producer, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "made by a test")
    with pytest.raises(DeadLettersError, match=r"made by a test|the log has the cause"):
        store.add([a_letter(2)])
    store.add([a_letter(2), a_letter(3)])
    assert same_letters(letters_in(store), [a_letter(i) for i in (1, 2, 3)])
    assert store._producer is not None
    make_fatal(store._producer, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "and again, before the end")
    store.close()


# -- MQTT's own --------------------------------------------------------------------------------------


def test_a_letter_for_a_broker_without_a_reader_is_reported() -> None:
    with MqttPlace(subscriber=False) as place:
        store = place.open()
        store.add([a_letter(1)])
        assert "nobody subscribes" in "".join(store.problems())
        store.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_refused_log_in_says_what_to_do(protocol: str, tmp_path: Path) -> None:
    with MqttPlace("allow_anonymous false", protocol, subscriber=False) as place:
        store = place.open()
        with pytest.raises(DeadLettersError, match="check username") as refused:
            store.add([a_letter(1)])
        assert SECRET not in str(refused.value)
        assert "check username" in "".join(store.problems())
        store.close()


def test_a_mended_password_is_read_again(tmp_path: Path) -> None:
    """Also by a connection that paho makes anew by itself."""
    passwords, file = tmp_path / "passwords", tmp_path / "password"
    passwords.write_text(password_line("connector", SECRET))
    tmp_path.chmod(0o755)
    passwords.chmod(0o644)
    file.write_text(WRONG)
    password = Referenced.of(WRONG, "dead_letters.password", file.read_text)
    settings = f"allow_anonymous false\npassword_file {passwords}"
    with MqttPlace(settings, subscriber=False, password=password) as place:
        store = place.open()
        wait_until(lambda: "check username" in "".join(store.problems()), 60, lambda: str(store.problems()))
        file.write_text(SECRET)
        wait_until(lambda: "check username" not in "".join(store.problems()), 60, lambda: str(store.problems()))
        store.add([a_letter(1)])
        store.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_drops_long_letters_after_its_acknowledgement_keeps_them_cut(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Mosquitto's `message_size_limit`. With MQTT 3.1.1, its PUBACK looks like any other."""
    monkeypatch.setattr("connector.dead_letters.mqtt_store._FIRST_DELAY", 0.02)
    with MqttPlace("message_size_limit 20000", protocol) as place:
        store = place.open()
        for position in (1, 2):
            for _ in range(20):
                with contextlib.suppress(DeadLettersError):
                    store.add([a_letter(position, os.urandom(25_000))])
                    break
        found = {letter.position: letter for letter in place.kept()}
        store.close()
    assert sorted(found) == [1, 2]
    assert all(letter.cut is not None for letter in found.values())


def test_a_letter_that_is_too_large_for_the_mqtt_broker_is_cut_until_it_fits() -> None:
    with MqttPlace("max_packet_size 20000") as place:
        store = place.open()
        store.add([a_letter(1, os.urandom(200_000)), a_letter(2)])
        found = {letter.position: letter for letter in place.kept()}
        store.close()
    assert sorted(found) == [1, 2]
    assert found[1].cut is not None
    assert found[1].cut.payload_length == 200_000
