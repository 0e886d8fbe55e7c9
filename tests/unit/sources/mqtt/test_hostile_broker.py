"""A broker that breaks the protocol: each breach ends the connection in a stated way, and the next, honest broker is
served as if nothing had been."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from connector.ledger.source_file import SourceFile
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import MqttSource
from connector.sources.mqtt.tap import MqttTap
from connector.sources.tap import TapError
from tests.held_journal import CollectingJournal
from tests.hostile.mqtt_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    SUBSCRIBE,
    HostileBroker,
    Packet,
    Script,
    Session,
    connack,
    frame_header,
    number,
    packet,
    publish,
    suback,
    text,
    with_mid,
)
from tests.scripted import ScriptedHandover
from tests.waiting import wait_until

MIB: Final = 1024 * 1024
MALFORMED, PROTOCOL_ERROR, ALIAS, TOO_LARGE = 0x81, 0x82, 0x94, 0x95
VERSIONS: Final = ("5", "3.1.1")


class Attack:
    """One source, and a broker that is hostile on its first connection and honest on all others."""

    def __init__(
        self,
        folder: Path,
        script: Script,
        protocol: str,
        *,
        holds: bool = False,
        websocket: bool = False,
        **settings: Any,
    ) -> None:
        self._script = script
        self.broker = HostileBroker(self._play, websocket=websocket)
        scheme = "ws" if websocket else "mqtt"
        section = {
            "type": "mqtt", "url": f"{scheme}://127.0.0.1:{self.broker.port}", "topics": ["t/#"], "client_id": "c",
            "protocol": protocol, "keepalive": "5s",
        }  # fmt: skip
        self.journal = CollectingJournal(holds=holds)
        self.source = MqttSource(
            MqttSection.model_validate(section | settings),
            SourceFile.open(folder / "mqtt.sqlite"),
            self.journal,
            chance=lambda: 0.0,
        )

    def _play(self, session: Session) -> None:
        if session.index == 0:
            self._script(session)
            session.wait_closed()
            return
        self.journal.holds = False
        session.begin()
        session.send(publish(session.v5, b"t/honest", b"honest", mid=9))
        session.serve()

    def __enter__(self) -> Attack:
        self.broker.__enter__()
        self.source.start(ScriptedHandover())
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close(10)
        self.broker.__exit__()

    def came(self, kind: int, count: int = 1) -> list[Packet]:
        """The packets of this kind that came to the hostile broker, as soon as there are so many."""

        def enough() -> list[Packet]:
            found = self.broker.sessions[0].has(kind) if self.broker.sessions else []
            return found if len(found) >= count else []

        return wait_until(enough, 10, f"{count} packets of type {kind}")

    def wait_over(self) -> Session:
        """Wait until the honest broker is served, and its message came and was acknowledged. Returns the connection on
        which the broker was hostile."""
        wait_until(lambda: b"honest" in self.journal.payloads(), 40, lambda: f"honest: {self.source.problems()}")
        wait_until(lambda: self.broker.sessions[1].has(PUBACK), 10, "its acknowledgement")
        assert self.source.problems() == []
        return self.broker.sessions[0]


Packets = bytes | Callable[[bool], bytes]
"""Packets, or a function that makes them for MQTT 5 (True) or 3.1.1."""


def honest_then(data: Packets) -> Script:
    """CONNACK and SUBACK as they should be, then this."""

    def script(session: Session) -> None:
        session.begin()
        session.send(data if isinstance(data, bytes) else data(session.v5))

    return script


def at_once(data: Packets) -> Script:
    """This in answer to CONNECT."""

    def script(session: Session) -> None:
        session.wait_for(CONNECT)
        session.send(data if isinstance(data, bytes) else data(session.v5))

    return script


def wrong_suback(codes: list[int], mid: int = 0) -> Script:
    """SUBACK with these codes for one filter; with the right packet id, plus `mid`."""

    def script(session: Session) -> None:
        session.accept()
        asked = session.wait_for(SUBSCRIBE)
        session.send(suback(session.v5, asked.mid + mid, codes))

    return script


def second_suback(session: Session) -> None:
    session.begin()
    session.send(suback(session.v5, session.wait_for(SUBSCRIBE).mid, [1]))


ALIASED: Final = b"\x23\x00\x01"
BREACHES: Final[dict[str, tuple[Script, int, str]]] = {
    # name: the script, the reason code of our DISCONNECT, a part of the log
    "QoS 2": (honest_then(lambda v5: publish(v5, b"t", qos=2)), PROTOCOL_ERROR, "QoS 2"),
    "QoS 2 before SUBACK": (at_once(lambda v5: connack(v5) + publish(v5, b"t", qos=2)), PROTOCOL_ERROR, "QoS 2"),
    "QoS 3": (honest_then(packet(0x36, text(b"t") + b"\0\1\0")), MALFORMED, "QoS 3"),
    "packet id 0": (honest_then(lambda v5: publish(v5, b"t/1", mid=0)), PROTOCOL_ERROR, "packet id"),
    "packet id in use": (honest_then(lambda v5: publish(v5, b"t/1") * 2), PROTOCOL_ERROR, "packet id"),
    "topic longer than the packet": (honest_then(packet(0x30, b"\xff\xfft")), MALFORMED, "PUBLISH"),
    "PUBLISH without anything": (honest_then(packet(0x30)), MALFORMED, "PUBLISH"),
    "remaining length of five bytes": (honest_then(b"\x30\xff\xff\xff\xff\x01"), MALFORMED, "length"),
    "huge SUBACK": (honest_then(b"\x90" + number(200_000_000)), TOO_LARGE, "200000000"),
    "huge packet of a forbidden kind": (honest_then(b"\x10" + number(200_000_000)), PROTOCOL_ERROR, "CONNECT"),
    "huge CONNACK": (at_once(b"\x20" + number(268_435_455)), TOO_LARGE, "268435455"),
    "second CONNACK": (honest_then(connack), PROTOCOL_ERROR, "CONNACK"),
    "PUBLISH before CONNACK": (at_once(lambda v5: publish(v5, b"t")), PROTOCOL_ERROR, "before CONNACK"),
    "CONNACK with reserved flags": (at_once(lambda v5: packet(0x20, b"\x02\0" + b"\0" * v5)), MALFORMED, "CONNACK"),
    "CONNACK cut short": (at_once(packet(0x20, b"\0")), MALFORMED, "CONNACK"),
    "SUBACK for nothing": (wrong_suback([1], mid=7), PROTOCOL_ERROR, "SUBACK"),
    "SUBACK twice": (second_suback, PROTOCOL_ERROR, "SUBACK"),
    "too few codes": (wrong_suback([]), PROTOCOL_ERROR, "SUBACK"),
    "too many codes": (wrong_suback([1, 1]), PROTOCOL_ERROR, "SUBACK"),
    "unknown code": (wrong_suback([0x7F]), MALFORMED, "SUBACK"),
    "UNSUBACK for nothing": (honest_then(with_mid(0xB0, 7)), PROTOCOL_ERROR, "UNSUBACK"),
    "PINGRESP for nothing": (honest_then(packet(0xD0)), PROTOCOL_ERROR, "PINGRESP"),
    "PINGRESP with something in it": (honest_then(packet(0xD0, b"x")), MALFORMED, "PINGRESP"),
    "PINGREQ": (honest_then(packet(0xC0)), PROTOCOL_ERROR, "PINGREQ"),
    "PUBACK for nothing": (honest_then(with_mid(0x40, 7)), PROTOCOL_ERROR, "PUBACK"),
    "PUBREC for nothing": (honest_then(with_mid(0x50, 7)), PROTOCOL_ERROR, "PUBREC"),
    "PUBCOMP for nothing": (honest_then(with_mid(0x70, 7)), PROTOCOL_ERROR, "PUBCOMP"),
    "PUBREL twice": (honest_then(with_mid(0x62, 7) * 2), PROTOCOL_ERROR, "PUBREL"),
    "reserved flags": (honest_then(with_mid(0x60, 7)), MALFORMED, "flags"),
    "AUTH": (honest_then(packet(0xF0)), PROTOCOL_ERROR, "AUTH"),
    "AUTH before CONNACK": (at_once(packet(0xF0, b"\x18\0")), PROTOCOL_ERROR, "AUTH"),
    "type 0": (honest_then(packet(0x00)), PROTOCOL_ERROR, "type 0"),
    "SUBSCRIBE": (honest_then(packet(0x82, b"\0\1\0\0\1t\1")), PROTOCOL_ERROR, "SUBSCRIBE"),
}
ONLY_5: Final[dict[str, tuple[Script, int, str]]] = {
    "topic alias that we do not allow": (honest_then(publish(True, b"t/1", properties=ALIASED)), ALIAS, "alias"),
    "topic alias that was never defined": (honest_then(publish(True, b"", properties=ALIASED)), ALIAS, "alias"),
    "topic alias 0": (honest_then(publish(True, b"", properties=b"\x23\0\0")), ALIAS, "alias"),
    "no topic and no alias": (honest_then(publish(True, b"")), PROTOCOL_ERROR, "topic"),
    "unknown property": (honest_then(publish(True, b"t/1", properties=b"\x7f\0")), MALFORMED, "PUBLISH"),
    "property of another packet": (honest_then(publish(True, b"t/1", properties=b"\x21\0\1")), MALFORMED, "PUBLISH"),
    "properties longer than the packet": (
        honest_then(packet(0x32, text(b"t/1") + b"\0\1" + number(100_000_000))), MALFORMED, "PUBLISH",
    ),
    "property cut short": (honest_then(publish(True, b"t/1", properties=b"\x26\xff\xff")), MALFORMED, "PUBLISH"),
    "CONNACK with an unknown code": (at_once(connack(True, 0x7E)), MALFORMED, "CONNACK"),
    "CONNACK with a forbidden value": (at_once(connack(True, properties=b"\x21\0\0")), MALFORMED, "CONNACK"),
    "DISCONNECT with an unknown code": (honest_then(packet(0xE0, b"\x7e")), MALFORMED, "DISCONNECT"),
    "huge DISCONNECT": (honest_then(b"\xe0" + number(100_000_000)), TOO_LARGE, "100000000"),
}  # fmt: skip
ONLY_3: Final[dict[str, tuple[Script, int, str]]] = {
    "DISCONNECT": (honest_then(packet(0xE0)), 0, "DISCONNECT"),
    "empty topic": (honest_then(publish(False, b"")), 0, "topic"),
}
CASES: Final = [
    pytest.param(version, *breach, id=f"{version}: {name}")
    for versions, breaches in ((VERSIONS, BREACHES), (("5",), ONLY_5), (("3.1.1",), ONLY_3))
    for version in versions
    for name, breach in breaches.items()
]


@pytest.mark.parametrize(("protocol", "script", "code", "said"), CASES)
def test_a_breach_ends_the_connection_in_a_stated_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str, script: Script, code: int, said: str
) -> None:
    with Attack(tmp_path, script, protocol, holds=True, receive_maximum=100) as attack:
        hostile = attack.wait_over()
        goodbyes = [one.body for one in hostile.has(DISCONNECT)]
        assert [body[0] for body in goodbyes] == ([code] if protocol == "5" else [])
        assert attack.source.gauges()["mqtt_protocol_errors_total"] == 1
        assert attack.source.gauges()["mqtt_connections_total"] == 2
        received = [payload for payload in attack.journal.payloads() if payload != b"honest"]
        assert len(received) <= 201, "what came before the breach"
    log = [line for line in capsys.readouterr().out.splitlines() if "mqtt_protocol_error" in line]
    assert len(log) == 1
    assert said in log[0]
    assert "remedy" in log[0]


def test_no_more_than_twice_the_receive_maximum_is_read_before_acknowledgements_are_out(tmp_path: Path) -> None:
    """Mosquitto up to 2.0.12 exceeds the Receive Maximum, so the connection must not end."""

    def script(session: Session) -> None:
        session.begin()
        session.send(b"".join(publish(True, b"t/1", mid=mid) for mid in range(1, 1002)))
        session.serve()

    with Attack(tmp_path, script, "5", holds=True, receive_maximum=100) as attack:
        wait_until(lambda: len(attack.journal.records) == 200, 10, "as much as may be read")
        attack.broker.sessions[0].wait_for(PINGREQ, 2)  # at least half a keepalive later
        assert len(attack.journal.records) == 200
        assert attack.source.gauges()["mqtt_beyond_receive_maximum_total"] == 100
        attack.journal.release()
        wait_until(lambda: len(attack.broker.sessions[0].has(PUBACK)) == 1001, 10, "the acknowledgement of all")
        assert [one.mid for one in attack.broker.sessions[0].has(PUBACK)] == list(range(1, 1002))
        assert attack.source.gauges()["mqtt_connections_total"] == 1


NOT_TAKEN: Final = {
    "other/1": (b"other/1", "matches no subscription"),
    "$SYS/x": (b"$SYS/x", "matches no subscription"),
    "t/+": (b"t/+", "wildcard"),
    "t/#": (b"t/#", "wildcard"),
    "NUL": (b"t/\0", "NUL"),
    "not UTF-8": (b"t/\xff\xfe", "not UTF-8"),
    "a surrogate": (b"t/\xed\xa0\x80", "not UTF-8"),
    "65,535 levels": (b"/" * 65_535, "matches no subscription"),
}


@pytest.mark.parametrize("protocol", VERSIONS)
def test_a_message_with_a_topic_that_is_not_ours_is_no_data_and_does_not_come_again(
    tmp_path: Path, protocol: str
) -> None:
    """A publisher may have chosen the topic at a lax broker. Such a message must not stop the others."""

    def script(session: Session) -> None:
        session.begin()
        for mid, (topic, _) in enumerate(NOT_TAKEN.values(), 1):
            session.send(publish(session.v5, topic, b"1", mid=mid))
        session.send(publish(session.v5, b"t/good", b"2", mid=100))
        session.serve()

    with Attack(tmp_path, script, protocol) as attack:
        attack.came(PUBACK, len(NOT_TAKEN) + 1)
        *refused, good = attack.journal.records
        for record, (_, said) in zip(refused, NOT_TAKEN.values(), strict=True):
            assert said in record.problem
        assert (good.topic, good.problem) == ("t/good", "")
        assert attack.source.gauges()["mqtt_unwanted_total"] == len(NOT_TAKEN)
        assert attack.source.problems() == []


def test_messages_of_an_earlier_subscription_are_taken(tmp_path: Path) -> None:
    """A broker may have queued them before the filter was removed from the configuration."""

    def script(session: Session) -> None:
        session.accept(present=True)
        session.send(publish(True, b"old/1", mid=1) + publish(True, b"shared/1", mid=2) + publish(True, b"x/1", mid=3))
        session.grant()
        session.serve()

    attack = Attack(tmp_path, script, "5")
    attack.source._session.remember(frozenset({"old/#", "$share/g/shared/#"}))
    with attack:
        wait_until(lambda: len(attack.journal.records) == 3, 10, "all three")
        assert [bool(record.problem) for record in attack.journal.records] == [False, False, True]


def test_qos_1_is_taken_and_acknowledged_where_qos_0_was_asked_for(tmp_path: Path) -> None:
    """A broker may have queued such messages before the setting was changed."""
    with Attack(tmp_path, honest_then(lambda v5: publish(v5, b"t/1", mid=7)), "5", qos=0) as attack:
        assert attack.came(PUBACK)[0].mid == 7
        assert attack.source.gauges()["mqtt_protocol_errors_total"] == 0


def test_a_qos_2_exchange_of_an_earlier_client_is_ended(tmp_path: Path) -> None:
    with Attack(tmp_path, honest_then(with_mid(0x62, 7)), "5") as attack:
        assert attack.came(PUBCOMP)[0].mid == 7


def refusal(tap: MqttTap) -> str:
    """Why the tap cannot go on; empty while it can."""
    try:
        tap.poll(0.05)
    except TapError as error:
        return str(error)
    return ""


def test_a_tap_refuses_a_session_that_it_did_not_ask_for(tmp_path: Path) -> None:
    def script(session: Session) -> None:
        session.accept(present=True)
        session.wait_closed()

    with HostileBroker(script) as broker:
        tap = MqttTap(
            MqttSection.model_validate({"type": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "topics": ["t/#"]})
        )
        tap.start()
        assert "resumed a session" in wait_until(lambda: refusal(tap), 10, "the refusal")
        tap.close()


FRAMES: Final = {
    "text": b"\x81\x02{}",
    "masked": b"\x82\x82\0\0\0\0\xd0\0",
    "reserved bits": b"\xf2\x02\xd0\0",
    "unknown opcode": b"\x8b\0",
    "long ping": b"\x89\x7e\x01\0" + bytes(256),
    "empty frames": frame_header(0) * 1001,
    "pings": b"\x89\0" * 1001,
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_a_breach_of_websockets_ends_the_connection(tmp_path: Path, data: bytes) -> None:
    def script(session: Session) -> None:
        session.begin()
        session.send_raw(data)

    with Attack(tmp_path, script, "5", websocket=True) as attack:
        goodbye = attack.wait_over().has(DISCONNECT)
        assert [one.body[0] for one in goodbye] == [PROTOCOL_ERROR]
        assert attack.source.gauges()["mqtt_protocol_errors_total"] == 1


def test_packets_may_be_spread_over_frames_with_pings_between(tmp_path: Path) -> None:
    def script(session: Session) -> None:
        session.begin()
        for byte in publish(True, b"t/1", b"x" * 300, mid=7):
            session.send_raw(frame_header(1) + bytes([byte]) + b"\x89\x02hi" + frame_header(0))
        session.serve()

    with Attack(tmp_path, script, "5", websocket=True) as attack:
        attack.came(PUBACK)
        assert attack.journal.payloads() == [b"x" * 300]


ANSWERS: Final = {
    "byte by byte": (b"HTTP/1.1 101 Switching Protocols\r\n", b"x", "no answer within 1 s"),
    "without end": (b"HTTP/1.1 101 Switching Protocols\r\nX: ", b"x" * 65_536, "more than 16384 bytes"),
    "cut short": (b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept\r\n", b"", "cannot be read"),
}


@pytest.mark.parametrize(("begin", "more", "said"), ANSWERS.values(), ids=ANSWERS)
def test_the_answer_to_a_websockets_request_has_bounds(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, more: bytes, said: str
) -> None:
    monkeypatch.setattr("connector.sources.mqtt.handshake.CONNECT_SECONDS", 1.0)
    ended = threading.Event()

    def script(session: Session) -> None:
        session.send(begin)
        while not ended.wait(0.1):
            session.send(more)

    with HostileBroker(script, reads=False) as broker:
        url = f"ws://127.0.0.1:{broker.port}"
        tap = MqttTap(MqttSection.model_validate({"type": "mqtt", "url": url, "topics": ["t"]}))
        tap.start()
        assert said in wait_until(lambda: refusal(tap), 10, "the refusal")
        ended.set()
        tap.close()


# -- time ------------------------------------------------------------------------------------------


def trickle(data: bytes, before: Script) -> Script:
    """This, a byte each tenth of a second, and then for ever."""

    def script(session: Session) -> None:
        before(session)
        for byte in data:
            session.send(bytes([byte]))
            if session.closed.wait(0.1):
                return
        while not session.closed.wait(0.1):
            session.send(b"x")

    return script


def nothing(_session: Session) -> None:
    """Not even CONNACK."""


SILENCES: Final[dict[str, tuple[Script, str]]] = {
    "no CONNACK": (nothing, "did not answer CONNECT"),
    "CONNACK byte by byte": (trickle(b"\x20\xff\x7f", nothing), "did not answer CONNECT"),
    "no SUBACK": (lambda session: session.accept(), "did not answer SUBSCRIBE"),
    "SUBACK byte by byte": (trickle(b"\x90\xff\x7f", lambda session: session.accept()), "did not answer SUBSCRIBE"),
    "no PINGRESP": (honest_then(b""), "Keep alive timeout"),
    "no PINGRESP, and no keepalive": (
        lambda session: (session.accept(properties=b"\x13\0\0"), session.grant()), "Keep alive timeout",
    ),
    "PUBLISH byte by byte": (trickle(b"\x30\xff\xff\xff\x7f\0\3t/1", Session.begin), "so slowly"),
}  # fmt: skip


@pytest.mark.parametrize(("script", "said"), SILENCES.values(), ids=SILENCES)
def test_a_broker_that_is_silent_or_slow_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: Script, said: str
) -> None:
    monkeypatch.setattr("connector.sources.mqtt.handshake._HANDSHAKE_SECONDS", 2.0)
    with Attack(tmp_path, script, "5") as attack:
        attack.wait_over()
    assert said in capsys.readouterr().out


def test_a_broker_that_closes_at_once_is_asked_ever_less_often(tmp_path: Path) -> None:
    """Neither CONNACK nor SUBACK shortens the pause again."""
    pauses: defaultdict[int, float] = defaultdict(float)
    """Number of the connection → the seconds after it."""

    def script(session: Session) -> None:
        if session.index % 2:
            session.begin()
        else:
            session.accept()

    with HostileBroker(script) as broker:
        section = MqttSection.model_validate(
            {"type": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "topics": ["t"], "client_id": "c"}
        )
        source = MqttSource(
            section,
            SourceFile.open(tmp_path / "mqtt.sqlite"),
            CollectingJournal(),
            chance=lambda: 1.0,
            clock=lambda: 0.0,
        )

        class Waits(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                assert timeout is not None
                pauses[source._connections] += timeout
                return self.is_set()

        source._draining = Waits()
        source.start(ScriptedHandover())
        wait_until(lambda: len(pauses) >= 9, 20, "more than eight pauses")
        source.close(10)
    assert [pauses[number] for number in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert min(pauses[number] for number in (5, 6, 7, 8)) >= 8.0


def test_descriptors_above_1023_are_served(tmp_path: Path) -> None:
    """`select` would take them for a lost connection, for ever."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while True:
            descriptor = os.open(os.devnull, os.O_RDONLY)
            held.callback(os.close, descriptor)
            if descriptor > 1100:
                break
        with Attack(tmp_path, honest_then(packet(0xC0)), "5") as attack:
            attack.wait_over()


# -- memory ----------------------------------------------------------------------------------------

CHILD: Final = """
import resource, sys, threading, time
from pathlib import Path
from connector.ledger.source_file import SourceFile
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import open_source
from tests.scripted import ScriptedHandover

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

url, protocol, folder, seconds = sys.argv[1:]
section = {"type": "mqtt", "url": url, "topics": ["t/#"], "client_id": "c", "protocol": protocol, "keepalive": "5s",
           "journal": {"storage": "disk", "max_bytes": "1GiB"}}
source = open_source(MqttSection.model_validate(section), SourceFile.open(Path(folder) / "m.sqlite"), 4 * 1024 * 1024)
before = peak()
source.start(ScriptedHandover())
until = time.monotonic() + float(seconds)
while time.monotonic() < until and not source.gauges()["mqtt_protocol_errors_total"]:
    time.sleep(0.05)
source.close(10)
print(peak() - before, int(source.gauges()["mqtt_received_total"]))
"""


def served(broker: HostileBroker, folder: Path, protocol: str, seconds: float, scheme: str = "mqtt") -> tuple[int, int]:
    """MiB by which a process of the connector grew at its peak, and how many messages it received, while it was served
    by this broker for some seconds or until it had refused a connection."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, f"{scheme}://127.0.0.1:{broker.port}", protocol, str(folder), str(seconds)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown, received = done.stdout.split()[-2:]
    return int(grown), int(received)


def flood(make: Callable[[int], bytes], times: int) -> Script:
    """Packets without end, and nothing is read."""

    def script(session: Session) -> None:
        session.v5 = True
        session.begin()
        for start in range(0, times, 1000):
            session.send(b"".join(map(make, range(start, start + 1000))))
        session.wait_closed()

    return script


EMPTY: Final = b"\x26\0\0\0\0"
"""A user property without name and value."""


FLOODS: Final[dict[str, Script]] = {
    "a million messages of QoS 2": flood(
        lambda i: publish(True, b"t/1", b"x" * 1000, qos=2, mid=i % 65_535 + 1), 10**6
    ),
    "PUBREL": flood(lambda i: with_mid(0x62, i % 65_535 + 1), 10**6),
    "PINGREQ": flood(lambda _: packet(0xC0), 10**6),
    "PINGRESP": flood(lambda _: packet(0xD0), 10**6),
    "QoS 1 with the same packet id": flood(lambda _: publish(True, b"t/1", mid=1, dup=True), 10**6),
    "empty user properties": lambda session: (
        session.begin(), session.send(publish(True, b"t/1", qos=0, properties=EMPTY * 838_860) * 12), session.serve(),
    ),
    "a message of 256 MB": lambda session: (
        session.begin(), session.send(b"\x30" + number(268_435_455) + text(b"t/1")),
        session.flood(b"x" * 65_536, 4095), session.serve(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("script", FLOODS.values(), ids=FLOODS)
def test_floods_need_no_memory(tmp_path: Path, script: Script) -> None:
    with HostileBroker(script) as broker:
        assert served(broker, tmp_path, "5", 6)[0] < 64


def test_a_message_full_of_properties_costs_what_its_bytes_cost(tmp_path: Path) -> None:
    """paho's own reading would take minutes for the first of them."""

    def script(session: Session) -> None:
        session.begin()
        for mid in range(1, 13):
            session.send(publish(True, b"t/1", b"1" * 4_000_000, mid=mid, properties=EMPTY * 50_000))
            session.wait_for(PUBACK, mid)
        session.send(packet(0xC0))
        session.wait_closed()

    with HostileBroker(script) as broker:
        grown, received = served(broker, tmp_path, "5", 60)
    assert received == 12
    assert grown < 100


def test_a_broker_that_never_reads_gets_no_queue_of_ours(tmp_path: Path) -> None:
    """65,535 messages wait for acknowledgements that the broker does not take."""

    def script(session: Session) -> None:
        session.send(connack(False) + suback(False, 1, [1]))
        for start in range(1, 65_535, 1000):
            session.send(b"".join(publish(False, b"t/1", mid=start + i) for i in range(1000) if start + i < 65_536))
        session.flood(publish(False, b"t/1", mid=1, dup=True), 10**6)
        session.closed.wait(30)

    with HostileBroker(script, reads=False) as broker:
        assert served(broker, tmp_path, "3.1.1", 8)[0] < 64


BINARY, PING = 2, 9


def one_frame(length: int, opcode: int = 2) -> Script:
    """A frame of a websocket that says it has this length, and has."""

    def script(session: Session) -> None:
        session.begin()
        session.send_raw(frame_header(length, opcode))
        filler = publish(True, b"t/1", b"x" * 60_000, qos=0)
        for _ in range(length // len(filler)):
            session.send_raw(filler)
        session.wait_closed()

    return script


@pytest.mark.parametrize("opcode", [BINARY, PING], ids=["binary", "ping"])
def test_a_frame_of_a_websocket_is_handed_on_as_it_comes(tmp_path: Path, opcode: int) -> None:
    with HostileBroker(one_frame(200 * MIB, opcode), websocket=True) as broker:
        grown, received = served(broker, tmp_path, "5", 8, "ws")
    assert grown < 64
    assert received == 0 if opcode == PING else received > 300
