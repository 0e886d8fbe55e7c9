"""The limits of a broker, announced or not: the store of dead letters heeds them, or says what to change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from connector.conformance.dead_letters import a_letter
from connector.dead_letters.broker_sections import MqttLettersSection
from connector.dead_letters.mqtt_store import MqttLetters
from connector.dead_letters.store import DeadLettersError
from tests.hostile.mqtt_broker import (
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBLISH,
    HostileBroker,
    Packet,
    Session,
    packet,
    with_mid,
)

RECEIVE_MAXIMUM, QOS_0_ONLY, MAXIMUM_PACKET = b"\x21", b"\x24\0", b"\x27"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again at once."""
    monkeypatch.setattr("connector.dead_letters.mqtt_store._FIRST_DELAY", 0.02)


def letter_in(published: Packet) -> tuple[int, bytes]:
    """The packet id and the letter of a PUBLISH of MQTT 3.1.1, or of MQTT 5 with less than 128 bytes of properties."""
    at = 2 + int.from_bytes(published.body[:2], "big")
    return int.from_bytes(published.body[at : at + 2], "big"), published.body[published.body.index(b"{", at) :]


def kept(broker: HostileBroker) -> list[dict[str, Any]]:
    """All letters that came, also those that were not acknowledged."""
    return [json.loads(letter_in(one)[1]) for session in broker.sessions for one in session.has(PUBLISH)]


@contextmanager
def store_at(
    answer: Callable[[Session, int, int], None], properties: bytes = b"", **settings: Any
) -> Iterator[tuple[MqttLetters, HostileBroker]]:
    """A store at a broker that calls `answer` with each PUBLISH: its packet id, and its bytes after the header."""

    def script(session: Session) -> None:
        session.accept(properties=properties)
        count = 0
        while not session.closed.wait(0.002):
            for one in session.received[count:]:
                count += 1
                if one.kind == PUBLISH:
                    answer(session, letter_in(one)[0], len(one.body))
                elif one.kind == PINGREQ:
                    session.send(packet(PINGRESP << 4))

    with HostileBroker(script) as broker:
        section = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "timeout": "5s"} | settings
        store = MqttLetters(MqttLettersSection.model_validate(section))
        try:
            yield store, broker
        finally:
            store.close()


def acknowledge(session: Session, mid: int, _length: int) -> None:
    session.send(with_mid(PUBACK << 4, mid))


def test_no_more_letters_are_under_way_than_the_broker_takes() -> None:
    """A broker ends a connection with more: the store would send the same letters again and again."""
    waiting: list[int] = []
    acknowledged: list[int] = []

    def answer(session: Session, mid: int, _length: int) -> None:
        waiting.append(mid)
        if len(session.has(PUBLISH)) - len(acknowledged) > 3:
            session.send(packet(DISCONNECT << 4, b"\x93\0"))
        while len(waiting) == 3 or len(acknowledged) % 3:
            acknowledged.append(waiting.pop(0))
            session.send(with_mid(PUBACK << 4, acknowledged[-1]))

    with store_at(answer, RECEIVE_MAXIMUM + b"\0\3") as (store, broker):
        store.add([a_letter(i) for i in range(30)])
        assert len(broker.sessions) == 1
        assert [one["position"] for one in kept(broker)] == list(range(30))


def test_a_broker_that_takes_only_qos_0_is_no_place_for_letters() -> None:
    with store_at(acknowledge, QOS_0_ONLY) as (store, broker):
        for _ in range(2):
            with pytest.raises(DeadLettersError, match=r"only messages of QoS 0.*allow QoS 1 at the broker"):
                store.add([a_letter()])
        assert "only messages of QoS 0" in store.problems()[0]
        assert len(broker.sessions) == 1
        assert not broker.sessions[0].has(PUBLISH)


def test_a_letter_has_room_for_its_topic_and_properties_and_one_without_room_is_said() -> None:
    most = 2000
    topic = "t" * 600
    with store_at(acknowledge, MAXIMUM_PACKET + most.to_bytes(4, "big"), topic=topic) as (store, broker):
        store.add([a_letter(1, b"x" * 5000), a_letter(2)])
        assert len(broker.sessions) == 1
        assert max(3 + len(one.body) for one in broker.sessions[0].has(PUBLISH)) <= most
        assert {one["position"] for one in kept(broker)} == {1, 2}
        with pytest.raises(
            DeadLettersError, match=rf"even after everything was cut, and the broker takes {most}; raise"
        ):
            store.add([a_letter(3, partition="p" * 5000)])
        store.add([a_letter(4)])
        assert len(broker.sessions) == 1, "no letter costs a connection"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_ends_the_connection_at_a_long_letter_gets_it_cut(
    capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    """It announces nothing: with MQTT 5 it gives the reason afterwards, with 3.1.1 none at all."""

    def answer(session: Session, mid: int, length: int) -> None:
        if length <= 20_000:
            return acknowledge(session, mid, length)
        if session.v5:
            session.send(packet(DISCONNECT << 4, b"\x95\0"))
        return session.close()

    with store_at(answer, protocol=protocol) as (store, broker):
        letters = [a_letter(1), a_letter(2, b"\xff" * 50_000), a_letter(3)]
        said_by_error = ""
        for _ in range(12):
            try:
                store.add(letters)
            except DeadLettersError as error:
                said_by_error = str(error)
            else:
                break
        else:
            pytest.fail("the letter is never kept")
        assert ("Packet too large" if protocol == "5" else "is the message too long for the broker?") in said_by_error
        found = broker.sessions[-1].has(PUBLISH)
        assert [json.loads(letter_in(one)[1])["position"] for one in found] == [1, 3, 2]
        assert max(len(one.body) for one in found) <= 20_000
        connections = len(broker.sessions)
        store.add(letters)
        assert len(broker.sessions) == connections, "what was learnt is not learnt again"
    said = capsys.readouterr().out
    assert said.count("dead_letters_cut") <= 3
    assert "raise the longest message that the broker takes" in said


def test_a_broker_that_ends_the_connection_at_any_letter_gets_none_of_them_cut_for_ever() -> None:
    """So some brokers refuse a user without the right to publish, with MQTT 3.1.1."""
    refuses = [True]

    def answer(session: Session, mid: int, length: int) -> None:
        return session.close() if refuses[0] else acknowledge(session, mid, length)

    with store_at(answer, protocol="3.1.1") as (store, broker):
        for _ in range(7):
            with pytest.raises(DeadLettersError, match="without a reason, instead of PUBACK; may this user publish"):
                store.add([a_letter(1, b"x" * 1_000)])
        refuses[0] = False
        store.add([a_letter(1, b"x" * 1_000)])
        assert kept(broker)[-1].get("cut") is None
