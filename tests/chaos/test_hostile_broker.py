"""A hostile broker takes the place of an honest one: nothing that the honest one acknowledged is lost, and nothing that
the hostile one sent against the protocol becomes data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from benchmarks.hostile_publisher import peak_bytes
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.hostile.mqtt_broker import DISCONNECT, HostileBroker, Session, connack, number, packet, publish, with_mid
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

MIB: Final = 1024 * 1024
INVENTED: Final = b'{"value": 666}'


def forbidden(session: Session) -> bytes:
    """A message that must not become data, whatever else is wrong."""
    return publish(session.v5, b"plant/invented", INVENTED, qos=2)


def qos_2(session: Session) -> None:
    session.begin()
    session.flood(forbidden(session), 1_000_000)


def nonsense(session: Session) -> None:
    session.wait_for(1)
    session.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def twice(session: Session) -> None:
    session.begin()
    session.send(connack(session.v5) + publish(session.v5, b"plant/invented", INVENTED))


def too_large(session: Session) -> None:
    session.begin()
    session.send(b"\xe0" + number(268_435_455))
    session.flood(b"x" * 65_536, 4_096)


def answers_to_nothing(session: Session) -> None:
    session.begin()
    session.flood(with_mid(0x40, 1) + packet(0xD0), 1_000_000)


def topics_that_are_not_ours(session: Session) -> None:
    session.begin()
    for mid in range(1, 101):
        session.send(publish(session.v5, b"evil/%d" % mid, INVENTED, mid=mid))
    session.wait_for(4, 100)
    session.send(forbidden(session))


ATTACKS: Final = (qos_2, nonsense, twice, too_large, answers_to_nothing, topics_that_are_not_ours)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_an_honest_broker_after_a_hostile_one(tmp_path: Path, protocol: str) -> None:
    def script(session: Session) -> None:
        ATTACKS[session.index % len(ATTACKS)](session)
        session.wait_closed()

    with SandboxServer() as sandbox, Mosquitto(persistence=True) as honest:
        source = (
            f'  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{honest.port}", topics: ["plant/#"], '
            f'client_id: chaos, protocol: "{protocol}"}}'
        )
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source)
        with connector.start():
            with Publisher(honest.port) as publisher:
                for i in range(200):
                    publisher.publish(f"plant/{i % 10}")
                publisher.wait_acknowledged()
                assert connector.stop() == 0
                for i in range(300):  # the session at the honest broker has these
                    publisher.publish(f"plant/{i % 10}")
                publisher.wait_acknowledged()
            honest.stop()
            with HostileBroker(script, port=honest.port) as hostile:
                connector.start(ready=False)
                wait_until(lambda: len(hostile.sessions) > len(ATTACKS), 150, "each attack", every=0.2)
                assert peak_bytes(connector.pid) < 200 * MIB
                assert connector.running()
                goodbyes = [one.body[:1] for session in hostile.sessions for one in session.has(DISCONNECT)]
                assert (b"\x82" in goodbyes and b"\x95" in goodbyes) == (protocol == "5")
                assert len(re.findall(r"(?m)^\S", connector.log())) < 60, "lines"
            honest.start()
            wait_until(lambda: sandbox.count_samples() >= 500, 120, connector.log, every=0.5)
            wait_until(lambda: connector.readiness()[0] == 200, 60, "all is well")
            metrics = connector.metrics()
            assert connector.stop() == 0
        stored = {
            (input_id, time_us): value for input_id in sandbox.signals() for time_us, value in sandbox.samples(input_id)
        }
        assert stored == publisher.sent
        status, ledger = connector.ledger()
        assert status == 0, ledger["sources"]["plant"]["problems"]
        messages = ledger["messages"]
        assert messages["received"] == messages["inserted"] + messages["dead_lettered"]
        assert messages["dead_lettered"] >= 100
        assert sum(v for name, v in metrics.items() if "mqtt_protocol_errors_total" in name) >= len(ATTACKS)
