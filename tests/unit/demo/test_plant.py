"""The simulated plant: the same seed gives the same plant, and it says what the demo wants to show."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import takewhile
from pathlib import Path

import pytest

from connector.config.read import load_config
from connector.demo.configuration import write_configuration
from connector.demo.odd_devices import ODDITIES, Moment
from connector.demo.plant import Message, Plant
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Mapped, Reason, Record

START_US = 1_780_000_000_000_000


def messages(seconds: float, *, machines: int = 36, rate: float = 1.0, seed: int = 1) -> list[Message]:
    stream = Plant(machines, rate, seed, START_US).messages()
    return list(takewhile(lambda message: message.due < seconds, stream))


def test_the_same_seed_gives_the_same_messages_and_another_one_others() -> None:
    assert messages(10) == messages(10)
    assert messages(10, seed=2) != messages(10)


def test_messages_come_in_the_order_of_time() -> None:
    dues = [message.due for message in messages(10)]
    assert dues == sorted(dues)
    assert dues[0] >= 0


@pytest.mark.parametrize(("machines", "rate"), [(1, 1.0), (36, 1.0), (36, 4.0), (200, 0.5)])
def test_every_machine_speaks_as_often_as_it_should(machines: int, rate: float) -> None:
    counts = Counter(message.topic for message in messages(60 / rate, machines=machines, rate=rate))
    regular = [count for topic, count in counts.items() if re.search(r"/(pump|press|meter)/\1-\d\d$", topic)]
    assert len(regular) >= machines * 3 // 4
    # A little irregular; and a gateway may still hold up to four readings back.
    assert all(54 <= count <= 66 for count in regular)


def test_clocks_disagree_and_presses_share_one() -> None:
    times: dict[str, set[int]] = {}
    for message in messages(30):
        if "/press/press-" in message.topic:
            times.setdefault(message.topic, set()).add(json.loads(message.payload)["timestamp"])
    readings = [sorted(shown) for shown in times.values()]
    assert len(readings) == 12
    assert all(shown == readings[0] for shown in readings)
    pumps = Counter(
        json.loads(message.payload)["ts"]
        for message in messages(30)
        if "/pump/" in message.topic and b'"firmware"' in message.payload
    )
    assert pumps.total() > 300
    assert max(pumps.values()) <= 2  # two pumps may agree to the millisecond by chance


def test_a_conveyor_repeats_times_because_its_clock_is_coarse() -> None:
    shown = Counter(
        (message.topic, json.loads(message.payload)["ts"]) for message in messages(30) if "/conveyor/" in message.topic
    )
    assert sum(count > 1 for count in shown.values()) > len(shown) / 2


def test_every_oddity_comes_within_six_seconds() -> None:
    moment = Moment("2026-05-28T20:26:40+00:00", 50.0)
    wanted = {topic for topic, _ in (make(moment) for make in ODDITIES.values())}
    assert wanted <= {message.topic for message in messages(6)}


def test_the_same_rules_hold_for_kafka_by_the_records_key(tmp_path: Path) -> None:
    config = load_config(write_configuration(tmp_path, "127.0.0.1:9092", None))
    (source,) = config.sources
    assert source.type == "kafka"
    mapper = Mapper(config.rules(), unmatched=config.mapping.unmatched, bounds=config.time_bounds())
    record = Record("plant", b'{"ts": 1790000000, "temperature": 41.5}', START_US, key=b"plant/hall1/pump/pump-1")
    assert mapper.map("plant", record).samples == [("hall1/pump-1/temperature", 1_790_000_000_000_000, 41.5)]
    assert mapper.map("plant", Record("plant", b"5", START_US, key=b"plant/hall1/log")).skipped
    other = mapper.map("plant", Record("plant", b"21.5", START_US, key=b"my/topic"))
    assert other.samples == [("plant/my/topic", START_US, 21.5)]


@pytest.fixture
def mapper(tmp_path_factory: pytest.TempPathFactory) -> Mapper:
    """The mapper of the demo's own configuration."""
    config = load_config(write_configuration(tmp_path_factory.mktemp("demo"), "mqtt://127.0.0.1:1883", "5"))
    return Mapper(config.rules(), unmatched=config.mapping.unmatched, bounds=config.time_bounds())


def test_nearly_all_signals_get_names_and_units_from_nameplates_without_a_rule() -> None:
    section = MappingSection.model_validate({"presets": ["home_assistant"], "unmatched": "map"})
    mapper = Mapper(section.compile(), unmatched="map")
    signals: set[str] = set()
    states = (":running", ":state")
    for message in messages(10):
        if message.topic.rpartition("-")[2].isdigit():  # not the odd devices
            mapped = mapper.map("plant", Record(message.topic, message.payload, START_US))
            signals |= {input_id for input_id, _, _ in mapped.samples}
    for topic, payload in Plant(36, 1.0, 1, START_US).nameplates:
        assert mapper.map("plant", Record(topic, payload, START_US, retained=True)).why == "metadata"
    described = {
        input_id: found
        for input_id, found in mapper.take_discovered()
        if found.name != input_id and (found.unit or input_id.endswith(states))
    }
    assert len(signals) > 100
    assert len(signals & described.keys()) >= 0.95 * len(signals), sorted(signals - described.keys())
    temperature = described["plant/hall-1/pump/pump-01:temperature"]
    assert (temperature.name, temperature.unit) == ("pump-01 bearing temperature", "°C")


def say(mapper: Mapper, name: str) -> Mapped:
    topic, payload = ODDITIES[name](Moment("2026-05-28T20:26:40+00:00", 50.5))
    return mapper.map("plant", Record(topic, payload, START_US))


@pytest.mark.parametrize(
    ("name", "reason", "samples"),
    [
        ("cut JSON", Reason.INVALID_JSON, 0),
        ("NaN", Reason.NOT_FINITE, 1),
        ("infinity", Reason.NOT_FINITE, 1),
        ("text", Reason.INVALID_JSON, 0),
        ("JSON text", Reason.NO_NUMERIC_VALUE, 0),
        ("decimal comma", Reason.INVALID_JSON, 0),
        ("clock at 1970", Reason.TIME_OUT_OF_RANGE, 0),
        ("clock in 2099", Reason.TIME_OUT_OF_RANGE, 0),
        ("unreadable time", Reason.TIME_UNREADABLE, 0),
        ("duplicate key", Reason.DUPLICATE_KEY, 1),
        ("not UTF-8", Reason.NOT_UTF8, 0),
        ("nested too deeply", Reason.NESTED_TOO_DEEPLY, 0),
    ],
)
def test_bad_oddities_become_the_dead_letters_that_they_promise(
    mapper: Mapper, name: str, reason: Reason, samples: int
) -> None:
    mapped = say(mapper, name)
    assert [reject.reason for reject in mapped.rejects] == [reason]
    assert len(mapped.samples) == samples


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("numbers as text", 2),
        ("illegal characters", 1),
        ("bare number", 1),
        ("bare boolean", 1),
        ("colliding topic", 1),
        ("byte order mark", 1),
    ],
)
def test_harmless_oddities_become_samples(mapper: Mapper, name: str, samples: int) -> None:
    mapped = say(mapper, name)
    assert mapped.rejects == []
    assert len(mapped.samples) == samples


def test_the_colliding_topic_collides_with_a_pump_of_the_plant(mapper: Mapper) -> None:
    for message in messages(10):
        mapper.map("plant", Record(message.topic, message.payload, START_US))
    assert [collision.wanted for collision in mapper.ids.collisions] == ["hall-1/pump-01/temperature"]


def test_the_configuration_describes_every_regular_machine(mapper: Mapper) -> None:
    for message in messages(10):
        mapper.map("plant", Record(message.topic, message.payload, START_US))
    described = dict(mapper.discovered)
    assert described["hall-1/pump-01/temperature"].unit == "°C"
    for message in messages(10):
        if message.topic.rpartition("-")[2].isdigit():
            for input_id, _, _ in mapper.map("plant", Record(message.topic, message.payload, START_US)).samples:
                assert input_id in described
