"""A drain hands over: what others share goes to them, what is ours is sent, sessions end where they should."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess, drain, run_command
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until


def session_kept(port: int, client_id: str, protocol: str = "5") -> bool:
    """Whether the broker has a session of this name. Asking takes it over, so ask last."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    v5 = protocol == "5"
    answers: list[bool] = []
    answered = threading.Event()
    more = {} if v5 else {"clean_session": False}
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        **more,
    )
    client.on_connect = lambda _c, _u, flags, *_: (answers.append(flags.session_present), answered.set())
    client.connect("127.0.0.1", port, **({"clean_start": False} if v5 else {}))
    client.loop_start()
    assert answered.wait(60)
    client.disconnect()
    client.loop_stop()
    return answers[0]


def member(folder: Path, sandbox: SandboxServer, broker: Mosquitto, name: str, more: str = "") -> ConnectorProcess:
    (folder / name).mkdir()
    topics = '["$share/g/plant/#"]' if "topics" not in more else ""
    source = f'{{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", client_id: {name}'
    source += f", topics: {topics}" if topics else ""
    return ConnectorProcess(folder / name, sandbox.credentials_path, f"  - {source}{more}}}")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_member_of_a_shared_subscription_leaves_nothing_behind(
    tmp_path: Path, sandbox: SandboxServer, protocol: str
) -> None:
    more = f', protocol: "{protocol}", receive_maximum: 10'
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        one, two = (member(tmp_path, sandbox, broker, name, more) for name in ("one", "two"))
        with one.start(), two.start():
            publishing = threading.Event()

            def publish() -> None:
                i = 0
                while not publishing.wait(0.001):
                    publisher.publish(f"plant/{i % 7}")
                    i += 1

            thread = threading.Thread(target=publish)
            thread.start()
            try:
                wait_until(lambda: sandbox.count_samples() > 100, 60, "both are at work")
                status, said = drain(one)
                assert status == 0, said + one.log()
                assert "all messages are handed over" in said
                assert "note: mqtt: no broker says whether another member reads '$share/g/plant/#'" in said
                assert ("does not say whether it has shared subscriptions" in said) == (protocol == "3.1.1")
            finally:
                publishing.set()
                thread.join()
            publisher.wait_acknowledged()
            wait_until(lambda: sandbox.count_samples() == len(publisher.sent), 60, "the other one has the rest")
            status, ledger = one.ledger()
            assert (status, ledger["messages"]["waiting"]) == (0, 0)
            assert ledger["messages"]["inserted"] > 0
            assert "mqtt_session_lost" not in one.log()
            assert not session_kept(broker.port, "one", protocol), "the broker keeps nothing for it"
            assert two.stop() == 0


def test_a_session_that_nobody_shares_is_kept_unless_told_otherwise(tmp_path: Path, sandbox: SandboxServer) -> None:
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        connector = member(tmp_path, sandbox, broker, "alone", ', topics: ["plant/#"]')
        with connector.start():
            publisher.publish("plant/before")
            wait_until(lambda: sandbox.count_samples() == 1, 60, "the first")
            assert drain(connector)[0] == 0
            publisher.publish("plant/meanwhile")
            publisher.wait_acknowledged()
            connector.start()
            wait_until(lambda: sandbox.count_samples() == 2, 60, "what came meanwhile")
            assert drain(connector, "--end-session")[0] == 0
            assert not session_kept(broker.port, "alone")


def test_a_drain_that_takes_too_long_keeps_the_rest(tmp_path: Path, sandbox: SandboxServer) -> None:
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        connector = member(tmp_path, sandbox, broker, "one")
        with connector.start():
            sandbox.kill()
            for i in range(50):
                publisher.publish(f"plant/{i}")
            publisher.wait_acknowledged()
            wait_until(lambda: connector.metrics()["clarify_connector_messages_received_total"] == 50, 60, "in")
            wait_until(
                lambda: 'clarify_connector_time_to_loss_seconds{cause="journal",source="mqtt"}' in connector.metrics(),
                60,
                "the forecast",
            )
            status, said = drain(connector, "--within", "2")
            assert status == 1
            assert "50 messages are not handed over, and wait for the next start" in said
            status, ledger = connector.ledger()
            assert (status, ledger["messages"]["waiting"]) == (0, 50)
            sandbox.start()
            connector.start()
            wait_until(lambda: sandbox.count_samples() == 50, 60, "after the next start")
            assert connector.stop() == 0


def test_without_a_running_connector_a_drain_says_so(tmp_path: Path, sandbox: SandboxServer) -> None:
    connector = ConnectorProcess(
        tmp_path, sandbox.credentials_path, '  - {type: mqtt, url: "mqtt://127.0.0.1:1", topics: ["t"]}'
    )
    done = run_command("drain", connector.config)
    assert done.returncode == 1
    assert "no connector runs with state_dir" in done.stderr
