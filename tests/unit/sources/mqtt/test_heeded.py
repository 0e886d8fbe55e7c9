"""What a broker announces or refuses is heeded, and said with a remedy: each test is a broker that follows a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from connector.ledger.source_file import SourceFile
from connector.sources.journal.journal import JournalFill
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import MqttSource
from tests.held_journal import CollectingJournal
from tests.hostile.mqtt_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    HostileBroker,
    Packet,
    Session,
    packet,
    publish,
    suback,
)
from tests.scripted import Clock, ScriptedHandover
from tests.waiting import wait_until

VERSIONS: Final = ("5", "3.1.1")
MAXIMUM_PACKET, SESSION_EXPIRY, KEEPALIVE = b"\x27", b"\x11", b"\x13"

Answer = Callable[[str], int | None]
"""Filter → the code in SUBACK; None ends the connection instead."""


def filters_of(asked: Packet, *, v5: bool) -> list[str]:
    """The filters of a SUBSCRIBE or UNSUBSCRIBE, with less than 128 bytes of properties."""
    at = 2 + (1 + asked.body[2] if v5 else 0)
    found = []
    while at < len(asked.body):
        end = at + 2 + int.from_bytes(asked.body[at : at + 2], "big")
        found.append(asked.body[at + 2 : end].decode())
        at = end + (asked.kind == SUBSCRIBE)
    return found


class Stage:
    """One source at a broker that grants what `answer` says, and unsubscribes with `unsuback`."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.answer: Answer = lambda _topic: 1
        self.unsuback = 0
        self.properties = b""
        self.present = False
        self.messages: list[list[int]] = []
        """The packet ids of the messages to `t/1` that each connection gets."""
        self.clock = Clock()
        self.journal = CollectingJournal()
        self.broker = HostileBroker(self._play)
        section = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{self.broker.port}", "topics": ["t/#"], "client_id": "c"}
        self.source = MqttSource(
            MqttSection.model_validate(section | settings),
            SourceFile.open(folder / "mqtt.sqlite"),
            self.journal,
            clock=self.clock,
            chance=lambda: 0.0,
        )

    def start(self) -> None:
        self.source.start(ScriptedHandover())

    def _play(self, session: Session) -> None:
        session.accept(properties=self.properties, present=self.present or session.index > 0)
        for mid in self.messages[session.index] if session.index < len(self.messages) else ():
            session.send(publish(session.v5, b"t/1", mid=mid, dup=session.index > 0))
        answered = 0
        while not session.closed.wait(0.005):
            new = session.received[answered:]
            answered += len(new)
            for one in new:
                if one.kind == SUBSCRIBE:
                    codes = [self.answer(topic) for topic in filters_of(one, v5=session.v5)]
                    if None in codes:
                        return
                    session.send(suback(session.v5, one.mid, [code for code in codes if code is not None]))
                elif one.kind == UNSUBSCRIBE:
                    codes = [self.unsuback] * len(filters_of(one, v5=session.v5))
                    session.send(packet(UNSUBACK << 4, one.body[:2] + (b"\0" + bytes(codes) if session.v5 else b"")))

    def subscribes(self) -> list[Packet]:
        """The SUBSCRIBEs of all connections."""
        return [one for session in self.broker.sessions for one in session.has(SUBSCRIBE)]

    def asked(self) -> list[list[str]]:
        """The filters of each SUBSCRIBE."""
        return [filters_of(one, v5=session.v5) for session in self.broker.sessions for one in session.has(SUBSCRIBE)]

    def wait_ready(self) -> None:
        wait_until(lambda: not self.source.problems(), 30, lambda: f"ready: {self.source.problems()}")

    def wait_problem(self, said: str) -> str:
        def problem() -> str:
            return next((one for one in self.source.problems() if said in one), "")

        return wait_until(problem, 30, lambda: f"{said!r} in {self.source.problems()}")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the clock of the test often."""
    monkeypatch.setattr("connector.sources.mqtt.connection._TICK_SECONDS", 0.02)
    monkeypatch.setattr("connector.sources.mqtt.connection._ROOM_SECONDS", 0.02)


@pytest.fixture
def stages(tmp_path: Path) -> Callable[..., Any]:
    @contextmanager
    def stage(**settings: Any) -> Iterator[Stage]:
        made = Stage(tmp_path, settings)
        with made.broker:
            try:
                yield made
            finally:
                made.source.close(10)

    return stage


# -- subscriptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", VERSIONS)
def test_many_filters_go_in_several_subscribes(stages: Callable[..., Any], protocol: str) -> None:
    """AWS IoT Core takes eight filters in one SUBSCRIBE, and ends the connection at more."""
    topics = [f"plant/{i}" for i in range(60)] + ["long/" + "x" * 40_000, "long/" + "y" * 40_000]
    with stages(topics=topics, protocol=protocol) as stage:
        stage.start()
        stage.wait_ready()
        assert [topic for filters in stage.asked() for topic in filters] == topics
        assert [len(filters) for filters in stage.asked()] == [8, 8, 8, 8, 8, 8, 8, 5, 1]
        stage.source.leave(end_session=True)
        wait_until(lambda: stage.source.leaving() is None, 30, stage.source.leaving)
        unsubscribes = stage.broker.sessions[0].has(UNSUBSCRIBE)
        given_up = [filters_of(one, v5=protocol == "5") for one in unsubscribes]
        assert set(topics) == {topic for filters in given_up for topic in filters}
        assert max(map(len, given_up)) == 8


def test_a_subscribe_is_no_longer_than_the_broker_takes(stages: Callable[..., Any]) -> None:
    most = 60
    topics = ["a/" + "x" * 30, "b/" + "x" * 30, "c", "d", "e/" + "x" * 60]
    with stages(topics=topics) as stage:
        stage.properties = MAXIMUM_PACKET + most.to_bytes(4, "big")
        stage.start()
        said = stage.wait_problem("did not grant")
        assert "SUBSCRIBE has 73 bytes, and the broker takes 60; raise the longest packet" in said
        wait_until(lambda: stage.asked() == [topics[:1], topics[1:4]], 10, lambda: f"all others: {stage.asked()}")
        assert max(2 + len(one.body) for one in stage.subscribes()) <= most
        assert not stage.source.publish("t/command", b"x" * 60), "a packet that the broker does not take"


@pytest.mark.parametrize(
    ("protocol", "code", "said", "pause"),
    [
        ("5", 0x97, "Quota exceeded; raise the broker's quota", 30),
        ("5", 0x80, "refused without a reason; may this user do that? The broker's log", 30),
        ("3.1.1", 0x80, "refused without a reason; may this user do that? The broker's log", 30),
        ("5", 0x87, "Not authorized; give this user the right", 60),
    ],
)
def test_a_refused_filter_is_requested_again_when_that_can_help(
    stages: Callable[..., Any], capsys: pytest.CaptureFixture[str], protocol: str, code: int, said: str, pause: int
) -> None:
    with stages(topics=["good", "bad", "wrong"], protocol=protocol) as stage:
        wrong = code if protocol == "3.1.1" else 0x8F
        stage.answer = lambda topic: {"good": 1, "bad": code, "wrong": wrong}[topic]
        stage.start()
        assert f"did not grant 'bad' ({said}" in stage.wait_problem("did not grant")
        stage.clock.now += pause * 0.4
        assert len(stage.asked()) == 1
        stage.clock.now += pause * 0.2
        again = ["bad", "wrong"] if protocol == "3.1.1" else ["bad"]
        wait_until(lambda: stage.asked()[1:] == [sorted(again)], 10, "asked for again")
        stage.answer = lambda topic: 1 if topic != "wrong" else wrong
        stage.clock.now += pause * 1.1
        wait_until(lambda: "'bad'" not in "".join(stage.source.problems()), 10, lambda: str(stage.source.problems()))
        assert "'wrong'" in stage.source.problems()[0], "this one is never right"
        assert len(stage.broker.sessions) == 1, "all on one connection"
        assert stage.source.gauges()["mqtt_lost_sessions_total"] == 0
    assert capsys.readouterr().out.count("mqtt_subscription_refused") == 2, "once for each change"


@pytest.mark.parametrize("protocol", VERSIONS)
def test_filters_at_which_the_broker_ends_the_connection_are_found_and_set_aside(
    stages: Callable[..., Any], capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    """So some brokers refuse a filter; it looked as if another client had our client ID."""
    topics = [f"plant/{i}" for i in range(5)]
    with stages(topics=topics, protocol=protocol) as stage:
        stage.answer = lambda topic: None if topic in ("plant/1", "plant/3") else 1
        stage.start()
        said = stage.wait_problem("'plant/3' (the broker ends the connection at this filter; give this user the right")
        assert "did not grant 'plant/1' (the broker ends" in said
        wait_until(lambda: stage.asked()[-3:] == [["plant/0"], ["plant/2"], ["plant/4"]], 10, "all other filters")
        assert len(stage.broker.sessions) == 5
        stage.answer = lambda _topic: 1
        stage.clock.now += 301
        stage.wait_ready()
        assert len(stage.broker.sessions) == 5
    said = capsys.readouterr().out
    assert "another client" not in said
    assert "Unspecified error" not in said
    assert "without a reason, instead of SUBACK; may this user read there" in said


@pytest.mark.parametrize("protocol", VERSIONS)
def test_a_session_that_was_lost_is_said_although_the_connection_ends_before_its_subscriptions(
    stages: Callable[..., Any], protocol: str
) -> None:
    """The next connection resumes the new session: before MQTT 5, its subscriptions seemed to be in force."""
    with stages(topics=["t"], protocol=protocol) as stage:
        stage.source._session.remember(frozenset({"t"}))

        def end(_topic: str) -> None:
            stage.present = True
            stage.answer = lambda _topic: 1

        stage.answer = end
        stage.start()
        stage.wait_ready()
        assert stage.asked() == [["t"], ["t"]]
        assert stage.source.gauges()["mqtt_lost_sessions_total"] == 1


def test_before_mqtt_5_only_new_filters_are_requested_of_a_kept_session(stages: Callable[..., Any]) -> None:
    """Another SUBSCRIBE would bring every retained message again."""
    with stages(topics=["old", "new"], protocol="3.1.1") as stage:
        stage.source._session.remember(frozenset({"old"}))
        stage.present = True
        stage.start()
        stage.wait_ready()
        assert stage.asked() == [["new"]]


# -- leaving -----------------------------------------------------------------------------------------


def test_a_subscription_that_the_broker_does_not_end_is_not_left(
    stages: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with stages(topics=["$share/g/t"]) as stage:
        stage.unsuback = 0x87
        stage.messages = [[1, 2]]
        stage.journal.holds = True
        stage.start()
        stage.wait_ready()
        stage.source.leave(end_session=False)
        said = "the broker does not end '$share/g/t' (Not authorized; give this user the right"
        wait_until(lambda: said in (stage.source.leaving() or ""), 10, stage.source.leaving)
        stage.journal.release()
        wait_until(lambda: len(stage.broker.sessions[0].has(UNSUBSCRIBE)) >= 2, 10, "the question about the rest")
        wait_until(lambda: len(stage.broker.sessions[0].has(PUBACK)) == 2, 10, "no acknowledgement is held back")
        assert stage.source.leaving() is not None
    assert "mqtt_unsubscribe_refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("protocol", "code", "unsure"),
    [
        ("5", 0, ["another member"]),
        ("5", 0x11, ["did not know our subscriptions '$share/g/t', 'own'", "another member"]),
        ("3.1.1", 0, ["another member", "does not say whether it has shared subscriptions"]),
    ],
)
def test_what_leaving_cannot_know_is_said(
    stages: Callable[..., Any], protocol: str, code: int, unsure: Sequence[str]
) -> None:
    with stages(topics=["$share/g/t", "own"], protocol=protocol) as stage:
        stage.unsuback = code
        stage.start()
        stage.wait_ready()
        stage.source.leave(end_session=True)
        wait_until(lambda: stage.source.leaving() is None, 10, stage.source.leaving)
        found = stage.source.unsure()
        assert len(found) == len(unsure)
        assert all(part in text for part, text in zip(unsure, found, strict=True)), found


@pytest.mark.parametrize("protocol", VERSIONS)
def test_the_end_of_a_connection_wakes_the_other_members(stages: Callable[..., Any], protocol: str) -> None:
    """HiveMQ serves them again at the end of a connection with a message that is not acknowledged, and not at UNSUBACK.

    Only the next connection finds out whether the broker has more for us, since one message more may fill its window.
    """
    with stages(topics=["$share/g/t/#"], protocol=protocol) as stage:
        stage.journal.holds = True
        stage.messages = [[1, 2, 3], [3]]
        stage.start()
        stage.wait_ready()
        wait_until(lambda: len(stage.journal.records) == 3, 30, "the messages")
        stage.source.leave(end_session=False)
        first = stage.broker.sessions[0]
        wait_until(lambda: first.has(UNSUBSCRIBE), 30, "UNSUBSCRIBE")
        assert not first.has(DISCONNECT), "all messages may come again"
        stage.journal.release()
        wait_until(lambda: stage.source.leaving() is None, 30, stage.source.leaving)
        assert [one.mid for one in first.has(PUBACK)] == [1, 2]
        assert [one.body for one in first.has(DISCONNECT)] == [b""], "the session stays"
        second = stage.broker.sessions[1]
        assert [one.mid for one in second.has(PUBACK)] == [3]
        stage.source.close(10)
        assert second.has(DISCONNECT)[0].body == (b"\0\5\x11\0\0\0\0" if protocol == "5" else b"")
        assert len(stage.broker.sessions) == (2 if protocol == "5" else 3), "before MQTT 5, a clean session ends ours"


def test_a_shared_subscription_that_is_configured_no_more_is_left_alike(stages: Callable[..., Any]) -> None:
    with stages(topics=["own"]) as stage:
        stage.source._session.remember(frozenset({"own", "$share/g/t/#"}))
        stage.present = True
        stage.messages = [[1], [1]]
        stage.start()
        wait_until(lambda: len(stage.journal.records) == 2, 30, "the message, twice")
        stage.wait_ready()
        wait_until(lambda: stage.broker.sessions[1].has(PUBACK), 30, "its acknowledgement")
        assert [session.has(PUBACK) for session in stage.broker.sessions[:-1]] == [[]]


@pytest.mark.parametrize("properties", [b"", SESSION_EXPIRY + b"\0\0\0\0"])
def test_a_member_without_a_message_or_a_session_leaves_on_one_connection(
    stages: Callable[..., Any], properties: bytes
) -> None:
    with stages(topics=["$share/g/t/#"]) as stage:
        stage.properties = properties
        stage.messages = [[1]] if properties else []
        stage.journal.holds = True
        stage.start()
        stage.wait_ready()
        wait_until(lambda: len(stage.journal.records) == sum(map(len, stage.messages)), 30, "the message")
        stage.source.leave(end_session=False)
        wait_until(lambda: stage.broker.sessions[0].has(UNSUBSCRIBE), 30, "UNSUBSCRIBE")
        stage.journal.release()
        wait_until(lambda: stage.source.leaving() is None, 30, stage.source.leaving)
        assert len(stage.broker.sessions) == 1


# -- time --------------------------------------------------------------------------------------------


def test_pings_follow_the_keepalive_of_the_broker_while_the_journal_is_full(
    stages: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a SUBACK that is not read meanwhile is not missed."""
    monkeypatch.setattr("connector.sources.mqtt.handshake._HANDSHAKE_SECONDS", 0.5)
    room: list[bool] = []
    with stages(keepalive="60s") as stage:
        monkeypatch.setattr(stage.journal, "has_room", lambda: bool(room))
        stage.properties = KEEPALIVE + b"\0\1"
        began = time.monotonic()
        stage.start()
        wait_until(lambda: stage.subscribes() and stage.broker.sessions[0].has(PINGREQ)[2:], 10, "three pings")
        assert time.monotonic() - began < 20, "with our own keepalive, a ping goes out every 30 s"
        room.append(True)
        stage.wait_ready()
        assert len(stage.broker.sessions) == 1


def test_the_granted_session_expiry_bounds_the_forecast(
    stages: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CollectingJournal, "fill", lambda _journal: JournalFill(0, 1000), raising=False)
    with stages(topics=["t", "refused"]) as stage:
        stage.answer = lambda topic: 0x87 if topic == "refused" else 1
        stage.properties = SESSION_EXPIRY + (90).to_bytes(4, "big")
        stage.start()
        stage.wait_problem("did not grant 'refused'")
        assert [one.cause for one in stage.source.horizons(0.0)] == ["journal"], "our session is in use"
        stage.source.close(10)
        stage.source.horizons(0.0)
        (found,) = (one for one in stage.source.horizons(30.0) if one.cause == "session_expiry")
        assert found.room == 60
        assert "kept for 90 s" in found.text


# -- the end of a connection -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", VERSIONS)
@pytest.mark.parametrize(
    ("until", "said"),
    [
        (CONNECT, "instead of CONNACK; does the port want TLS or none"),
        (SUBSCRIBE, "instead of SUBACK; may this user read there"),
        (0, "is the client_id in use? The broker's log may say more"),
    ],
)
def test_a_closed_connection_is_said_with_its_likely_causes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str, until: int, said: str
) -> None:
    def script(session: Session) -> None:
        if session.index:
            session.wait_closed()
        elif until == CONNECT:
            session.wait_for(CONNECT)
        elif until == SUBSCRIBE:
            session.accept()
            session.wait_for(SUBSCRIBE)
        else:
            session.begin()

    with HostileBroker(script) as broker:
        section = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "topics": ["t"], "protocol": protocol}
        source = MqttSource(
            MqttSection.model_validate(section), SourceFile.open(tmp_path / "mqtt.sqlite"), CollectingJournal()
        )
        source.start(ScriptedHandover())
        wait_until(lambda: said in "".join(source.problems()), 10, lambda: str(source.problems()))
        source.close(10)
    out = capsys.readouterr().out
    assert "the broker closed the connection without a reason" in out
    assert "Unspecified error" not in out
