"""The MQTT session: kept over restarts, safe from stale acknowledgements, honest about what the broker refuses."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import trustme

from connector.ledger.source_file import SourceFile
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import MqttSource
from connector.sources.source import SourceFailedError
from tests.brokers import Mosquitto, password_line
from tests.held_journal import HeldJournal
from tests.ports import free_port
from tests.publisher import Publisher
from tests.scripted import ScriptedHandover
from tests.secrets_used import MQTT_PASSWORD, WRONG
from tests.waiting import wait_until


class Sources:
    """Makes sources and ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[MqttSource] = []
        self._files = 0

    def make(
        self, broker: Mosquitto | ScriptedBroker, journal: HeldJournal, file: str = "", **settings: Any
    ) -> MqttSource:
        self._files += 1
        section = MqttSection.model_validate(
            {"type": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "topics": ["t/#"], "client_id": "c"} | settings
        )
        source = MqttSource(section, SourceFile.open(self._folder / (file or f"{self._files}.sqlite")), journal)
        self._made.append(source)
        source.start(ScriptedHandover())
        return source

    def close(self) -> None:
        for source in self._made:
            source.close(5)


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[Sources]:
    made = Sources(tmp_path)
    yield made
    made.close()


def wait_ready(source: MqttSource) -> None:
    wait_until(lambda: not source.problems(), 10, lambda: f"ready: {source.problems()}")


def test_an_acknowledgement_of_an_earlier_connection_confirms_nothing(sources: Sources) -> None:
    """The broker comes back without its sessions while our acknowledgements are outstanding."""
    journal = HeldJournal()
    with Mosquitto() as broker:
        source = sources.make(broker, journal)
        wait_ready(source)
        with Publisher(broker.port) as publisher:
            for i in range(3):
                publisher.raw("t/old", f"old {i}")
            wait_until(lambda: len(journal.payloads()) == 3, 10, "the old messages")
            old = list(journal.batches)
            journal.batches.clear()
            broker.kill()  # no persistence: sessions and packet ids are gone
            broker.start()
            wait_until(lambda: source.gauges()["mqtt_connections_total"] >= 2, 10, "another connection")
            wait_ready(source)
            for i in range(3):
                publisher.raw("t/new", f"new {i}")
            wait_until(lambda: len(journal.payloads()) == 3, 20, "the new messages, with the same packet ids")
        for batch in old:
            batch.durable()  # these would confirm the new messages
        assert source.gauges()["mqtt_stale_acks_total"] == 3
        assert source.gauges()["mqtt_lost_sessions_total"] == 1
        source.close(5)
        again = HeldJournal()
        wait_ready(sources.make(broker, again))
        wait_until(lambda: again.payloads() == [b"new 0", b"new 1", b"new 2"], 10, "all three delivered again")


def test_messages_wait_at_the_broker_while_we_are_away(sources: Sources) -> None:
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        first = HeldJournal()
        source = sources.make(broker, first)
        wait_ready(source)
        assert source.gauges()["mqtt_session_present"] == 0
        publisher.raw("t/1", "before")
        wait_until(lambda: first.payloads() == [b"before"], 10, "the message")
        first.batches[0].durable()
        wait_until(lambda: source.gauges()["mqtt_received_total"] == 1, 5, "counted")
        source.close(5)
        publisher.raw("t/1", "while away")
        publisher.wait_acknowledged()
        second = HeldJournal()
        source = sources.make(broker, second)
        wait_until(lambda: second.payloads() == [b"while away"], 10, "only what came while we were away")
        assert source.gauges()["mqtt_session_present"] == 1


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_acknowledgements_go_out_and_in_order(sources: Sources, protocol: str) -> None:
    journal = HeldJournal()
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        source = sources.make(broker, journal, protocol=protocol, receive_maximum=10)
        wait_ready(source)
        for i in range(500):
            publisher.raw("t/n", str(i))
        wait_until(lambda: journal.confirm() >= 500, 20, "all 500, acknowledged as they come", every=0.005)
        assert journal.payloads() == [str(i).encode() for i in range(500)]
        source.close(5)
        again = HeldJournal()
        source = sources.make(broker, again, protocol=protocol)
        wait_ready(source)
        publisher.raw("t/n", "last")
        wait_until(again.payloads, 10, "the last message")
        assert again.payloads() == [b"last"], "everything else was acknowledged"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_we_publish_does_not_disturb_the_acknowledgements(sources: Sources, protocol: str) -> None:
    journal, told = HeldJournal(), HeldJournal()
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        source = sources.make(broker, journal, protocol=protocol, receive_maximum=10)
        wait_ready(source)
        wait_ready(sources.make(broker, told, topics=["told/#"], client_id="told", qos=0))
        for i in range(300):
            publisher.raw("t/n", str(i))
            if i % 10 == 0:
                assert source.publish("told/n", str(i).encode())
        wait_until(lambda: journal.confirm() >= 300, 20, "all 300, acknowledged as they come", every=0.005)
        wait_until(lambda: len(told.payloads()) == 30, 10, "what we published")
        assert told.payloads() == [str(i).encode() for i in range(0, 300, 10)]
        source.close(5)
        assert not source.publish("told/n", b"not connected")
        again = HeldJournal()
        wait_ready(sources.make(broker, again, protocol=protocol))
        publisher.raw("t/n", "last")
        wait_until(again.payloads, 10, "the last message")
        assert again.payloads() == [b"last"], "everything else was acknowledged"


def test_a_full_journal_stops_reading_without_losing_the_connection(sources: Sources) -> None:
    journal = HeldJournal()
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        source = sources.make(broker, journal, keepalive="5s", receive_maximum=50)
        wait_ready(source)
        journal.room = False
        for i in range(400):
            publisher.raw("t/n", str(i) * 100)
        publisher.wait_acknowledged()
        still = threading.Event()
        wait_until(lambda: len(journal.payloads()) <= 60, 1, "only what was read before the journal was full")
        still.wait(12)  # longer than the broker's 1.5 times keepalive: the very thing under test
        assert len(journal.payloads()) <= 60
        assert "exceeded timeout" not in broker.log(), broker.log()
        assert source.gauges()["mqtt_connections_total"] == 1
        journal.room = True
        wait_until(lambda: journal.confirm() >= 400, 20, "all 400")
        assert len(journal.payloads()) == 400
        assert source.gauges()["mqtt_connections_total"] == 1


def test_a_second_client_with_our_id_is_reported_and_not_fought(sources: Sources) -> None:
    with Mosquitto() as broker:
        one = sources.make(broker, HeldJournal(), client_id="same")
        wait_ready(one)
        two = sources.make(broker, HeldJournal(), client_id="same")

        def blames_the_id(source: MqttSource) -> bool:
            return any("client ID 'same'" in p and "a client_id of its own" in p for p in source.problems())

        wait_until(lambda: blames_the_id(one) or blames_the_id(two), 60, "one of them holds back and says why")
        other = two if blames_the_id(one) else one
        wait_ready(other)
        connections = other.gauges()["mqtt_connections_total"]
        undisturbed = threading.Event()
        undisturbed.wait(3)
        assert other.gauges()["mqtt_connections_total"] == connections, "the other one has peace"


def test_filters_that_are_not_configured_any_more_are_unsubscribed(sources: Sources) -> None:
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        source = sources.make(broker, HeldJournal(), file="kept.sqlite", topics=["t/#", "old/#"])
        wait_ready(source)
        source.close(5)
        journal = HeldJournal()
        wait_ready(sources.make(broker, journal, file="kept.sqlite", topics=["t/#"]))
        publisher.raw("old/x", "old")
        publisher.raw("t/x", "new")
        wait_until(lambda: journal.payloads() == [b"new"], 10, "only the new filter's message")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_each_session_has_its_own_filters(sources: Sources, capsys: pytest.CaptureFixture[str], protocol: str) -> None:
    """Another client_id or another broker is another session, and back again: no filter of the other one is in force.

    Before MQTT 5, the connector was ready without the filters, and nothing came. And the first connection of the other
    session looked like a session that the broker had forgotten.
    """
    both, journal = ["x/#", "y/#"], HeldJournal()
    with Mosquitto() as one, Mosquitto() as two, Publisher(one.port) as publisher:
        for broker, client_id, topics in (
            (one, "a", ["x/#", "old/#"]),
            (one, "b", both),
            (two, "a", both),
            (one, "a", both),
        ):
            made = {"client_id": client_id, "topics": topics, "protocol": protocol}
            source = sources.make(broker, journal, file="kept.sqlite", **made)
            wait_ready(source)
            assert source.gauges()["mqtt_lost_sessions_total"] == 0, (broker.port, client_id)
            if made != {"client_id": "a", "topics": both, "protocol": protocol} or broker is two:
                source.close(5)
        assert source.gauges()["mqtt_session_present"] == 1
        for topic in ("old/1", "x/1", "y/1"):
            publisher.raw(topic, topic)
        wait_until(lambda: len(journal.payloads()) >= 2, 10, "the messages")
        wait_until(lambda: sorted(journal.payloads()) == [b"x/1", b"y/1"], 10, lambda: f"{journal.payloads()}")
    said = capsys.readouterr().out
    assert "mqtt_session_lost" not in said
    assert said.count("mqtt_session_changed") == 3
    assert f"'a' at 127.0.0.1:{one.port}" in said


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_another_qos_is_requested_of_a_kept_session(sources: Sources, protocol: str) -> None:
    """Before MQTT 5, the subscription of QoS 0 stayed, and messages that came while we were away were lost."""
    journal = HeldJournal()
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        for qos in (0, 1):
            source = sources.make(broker, journal, file="kept.sqlite", protocol=protocol, qos=qos)
            wait_ready(source)
            source.close(5)
        publisher.raw("t/x", "while away")
        publisher.wait_acknowledged()
        wait_ready(sources.make(broker, journal, file="kept.sqlite", protocol=protocol))
        wait_until(lambda: journal.payloads() == [b"while away"], 10, "the message")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_retained_messages_come_once_and_not_at_every_connect(sources: Sources, protocol: str) -> None:
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        publisher.raw("t/r", "retained", retain=True)
        publisher.wait_acknowledged()
        first = HeldJournal()
        source = sources.make(broker, first, file="kept.sqlite", protocol=protocol)
        wait_until(lambda: first.payloads() == [b"retained"], 10, "the retained message")
        assert first.batches[0].records[0].retained
        first.batches[0].durable()
        source.close(5)
        second = HeldJournal()
        wait_ready(sources.make(broker, second, file="kept.sqlite", protocol=protocol))
        publisher.raw("t/x", "live")
        wait_until(lambda: b"live" in second.payloads(), 10, "the live message")
        assert second.payloads() == [b"live"]


def test_two_members_share_a_subscription(sources: Sources) -> None:
    one, two = HeldJournal(), HeldJournal()
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        for name, journal in (("one", one), ("two", two)):
            wait_ready(sources.make(broker, journal, client_id=name, topics=["$share/g/t/#"]))
        for i in range(100):
            publisher.raw("t/n", str(i))
        wait_until(lambda: len(one.payloads()) + len(two.payloads()) == 100, 10, "all 100, shared")
        assert sorted(int(p) for p in one.payloads() + two.payloads()) == list(range(100))
        assert one.payloads()
        assert two.payloads()


def test_the_content_type_and_the_user_properties_become_headers(sources: Sources) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    journal = HeldJournal()
    with Mosquitto() as broker:
        wait_ready(sources.make(broker, journal))
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("unit", "bar"), ("content-type", "text/plain")]
        properties.ContentType = "application/json"
        client.publish("t/x", "1", qos=1, properties=properties).wait_for_publish(5)
        client.disconnect()
        client.loop_stop()
        wait_until(journal.batches.copy, 10, "the message")
        assert journal.batches[0].records[0].headers == (
            ("content-type", "application/json"),  # the property of MQTT 5; the last one of a name counts
            ("unit", "bar"),
            ("content-type", "text/plain"),
        )


def test_a_wrong_password_is_reported_with_the_remedy(sources: Sources, tmp_path: Path) -> None:
    with Mosquitto(settings=f"allow_anonymous false\npassword_file {_passwords(tmp_path)}") as broker:
        refused = sources.make(broker, HeldJournal(), username="u", password=WRONG)
        wait_until(lambda: any("not authorized" in p.lower() for p in refused.problems()), 10, "the refusal")
        assert any("check username" in p for p in refused.problems())
        assert WRONG not in repr(refused.problems())
        wait_ready(sources.make(broker, HeldJournal(), client_id="d", username="u", password=MQTT_PASSWORD))


def _passwords(folder: Path) -> Path:
    file = folder / "passwords"
    file.write_text(password_line("u", MQTT_PASSWORD))
    folder.chmod(0o755)
    file.chmod(0o644)
    return file


@dataclass(frozen=True)
class Certificates:
    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server, client = authority.issue_cert("localhost"), authority.issue_cert("client")
    found = Certificates(*(folder / name for name in ("ca", "server", "server_key", "client", "client_key")))
    authority.cert_pem.write_to_path(str(found.ca))
    server.cert_chain_pems[0].write_to_path(str(found.server))
    server.private_key_pem.write_to_path(str(found.server_key))
    client.cert_chain_pems[0].write_to_path(str(found.client))
    client.private_key_pem.write_to_path(str(found.client_key))
    return found


def test_mutual_tls(sources: Sources, certificates: Certificates) -> None:
    c = certificates
    settings = (
        f"listener {{port}} 127.0.0.1\ncafile {c.ca}\ncertfile {c.server}\nkeyfile {c.server_key}\n"
        "require_certificate true"
    )
    with Mosquitto(settings=settings) as broker:
        url = f"mqtts://localhost:{broker.port}"
        ours = {"ca_file": c.ca, "cert_file": c.client, "key_file": c.client_key}
        wait_ready(sources.make(broker, HeldJournal(), url=url, tls=ours))
        untrusted = sources.make(broker, HeldJournal(), client_id="d", url=url)
        wait_until(lambda: any("not trusted" in p for p in untrusted.problems()), 10, "the untrusted certificate")
        assert any("tls.ca_file" in p for p in untrusted.problems())
        wrong_name = sources.make(
            broker, HeldJournal(), client_id="e", url=f"mqtts://127.0.0.1:{broker.port}", tls=ours
        )
        wait_until(lambda: any("not trusted" in p for p in wrong_name.problems()), 10, "the wrong name")


@pytest.mark.parametrize("secure", [False, True])
def test_websockets(sources: Sources, certificates: Certificates, secure: bool) -> None:
    c = certificates
    # Mosquitto 2.0.11 does not start with a websockets listener alone.
    settings = f"listener {free_port()} 127.0.0.1\nlistener {{port}} 127.0.0.1\nprotocol websockets"
    if secure:
        settings += f"\ncertfile {c.server}\nkeyfile {c.server_key}"
    journal = HeldJournal()
    with Mosquitto(settings=settings) as broker:
        url = f"{'wss' if secure else 'ws'}://localhost:{broker.port}/mqtt"
        wait_ready(sources.make(broker, journal, url=url, tls={"ca_file": c.ca}))
        _publish_over_websocket(broker.port, c.ca if secure else None)
        wait_until(lambda: len(journal.payloads()) == 300, 20, "300 messages")
        assert journal.payloads() == [f"{i} {'x' * 200}".encode() for i in range(300)]


def _publish_over_websocket(port: int, ca: Path | None) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, transport="websockets")
    if ca:
        client.tls_set_context(ssl.create_default_context(cafile=str(ca)))
    client.connect("localhost", port)
    client.loop_start()
    infos = [client.publish("t/ws", f"{i} {'x' * 200}", qos=1) for i in range(300)]
    for info in infos:
        info.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


class ScriptedBroker:
    """Speaks just enough MQTT 5 to say what the Mosquitto of Debian 12 never says. `answers`: packet type → bytes."""

    def __init__(self, answers: dict[int, list[bytes]]) -> None:
        self.received: list[bytes] = []

        class Session(socketserver.BaseRequestHandler):
            def handle(handler) -> None:  # noqa: N805 - `self` is the broker
                while packet := handler.request.recv(4096):
                    self.received.append(packet)
                    for answer in answers.get(packet[0] >> 4, []):
                        handler.request.sendall(answer.replace(b"MID", packet[2:4]))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def asked_for(self, topic: str) -> bool:
        """Whether a SUBSCRIBE named this filter."""
        return any(packet[0] >> 4 == SUBSCRIBE and topic.encode() in packet for packet in self.received)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


CONNECT, SUBSCRIBE, UNSUBSCRIBE = 1, 8, 10
CONNACK = bytes.fromhex("2003000000")


def test_a_take_over_that_the_broker_names_stops_the_source(sources: Sources) -> None:
    with ScriptedBroker({CONNECT: [CONNACK, bytes.fromhex("e0018e")]}) as broker:
        source = sources.make(broker, HeldJournal(), client_id="same")
        wait_until(lambda: any("3 take-overs" in p for p in source.problems()), 20, "it gives up")
        with pytest.raises(SourceFailedError, match="client ID 'same'"):
            source.poll(0)
        assert source.gauges()["mqtt_connections_total"] == 3


def test_a_refused_subscription_is_reported(sources: Sources) -> None:
    granted_and_not_authorised = bytes.fromhex("9005") + b"MID" + bytes.fromhex("000187")
    with ScriptedBroker({CONNECT: [CONNACK], SUBSCRIBE: [granted_and_not_authorised]}) as broker:
        source = sources.make(broker, HeldJournal(), topics=["t/#", "forbidden"])
        wait_until(lambda: any("did not grant" in p for p in source.problems()), 10, "the refusal")
        assert "'forbidden' (Not authorized; give this user the right" in source.problems()[0]
        assert "t/#" not in source.problems()[0]


NO_WILDCARDS, NO_SHARED, QOS_0_ONLY = b"\x28\0", b"\x2a\0", b"\x24\0"


@pytest.mark.parametrize(
    ("missing", "refused", "why"),
    [
        (NO_SHARED, "$share/g/t/1", "offers no shared subscriptions"),
        (NO_WILDCARDS, "t/#", "offers no wildcards"),
        (NO_WILDCARDS, "t/+/x", "offers no wildcards"),
        (NO_SHARED + NO_WILDCARDS, "$share/g/t/#", "offers no shared subscriptions"),
    ],
)
def test_what_a_broker_says_it_does_not_have_is_not_asked_for(
    sources: Sources, capsys: pytest.CaptureFixture[str], missing: bytes, refused: str, why: str
) -> None:
    """A broker may grant such a filter all the same, and then nothing comes."""
    connack = b"\x20" + bytes([3 + len(missing), 0, 0, len(missing)]) + missing
    one_granted = bytes.fromhex("9004") + b"MID" + b"\0\1"
    with ScriptedBroker({CONNECT: [connack], SUBSCRIBE: [one_granted]}) as broker:
        source = sources.make(broker, HeldJournal(), topics=[refused, "plain"])
        wait_until(lambda: any("did not grant" in p for p in source.problems()), 10, "the refusal")
        assert f"{refused!r} (the broker {why}" in source.problems()[0]
        assert "'plain'" not in source.problems()[0]
        alone = sources.make(broker, HeldJournal(), topics=[refused], client_id="alone")
        wait_until(lambda: any("did not grant" in p for p in alone.problems()), 10, "the refusal of all")
        wait_ready(sources.make(broker, HeldJournal(), topics=["plain"], client_id="plain"))
    assert broker.asked_for("plain")
    assert not broker.asked_for(refused)
    assert "mqtt_subscription_refused" in capsys.readouterr().out


def test_a_subscription_that_was_refused_does_not_hold_up_a_drain(sources: Sources) -> None:
    connack = b"\x20\x05\0\0\x02" + NO_SHARED
    with ScriptedBroker({CONNECT: [connack], UNSUBSCRIBE: [b"\xb0\x04MID\0\x11"]}) as broker:
        source = sources.make(broker, HeldJournal(), topics=["$share/g/t/1"])
        wait_until(lambda: any("did not grant" in p for p in source.problems()), 10, "the refusal")
        source.leave(end_session=False)
        wait_until(lambda: source.leaving() is None, 10, "nothing is left there")


def test_a_broker_without_qos_1_is_reported_whatever_it_grants(sources: Sources) -> None:
    connack = b"\x20" + bytes([3 + len(QOS_0_ONLY), 0, 0, len(QOS_0_ONLY)]) + QOS_0_ONLY
    with ScriptedBroker({CONNECT: [connack], SUBSCRIBE: [bytes.fromhex("9004") + b"MID" + b"\0\1"]}) as broker:
        source = sources.make(broker, HeldJournal())
        wait_until(lambda: any("granted only QoS 0" in p for p in source.problems()), 10, "the refusal")
        wait_ready(sources.make(broker, HeldJournal(), client_id="d", qos=0))


def test_leaving_a_shared_subscription_is_no_lost_session(sources: Sources, capsys: pytest.CaptureFixture[str]) -> None:
    with Mosquitto() as broker:
        source = sources.make(broker, HeldJournal(), file="kept.sqlite", topics=["$share/g/t/#", "own/#"])
        wait_ready(source)
        source.leave(end_session=False)
        wait_until(lambda: source.leaving() is None, 10, "it has left")
        assert source.gauges()["mqtt_lost_sessions_total"] == 0
        source.close(5)
        again = sources.make(broker, HeldJournal(), file="kept.sqlite", topics=["$share/g/t/#", "own/#"])
        wait_ready(again)
        again.leave(end_session=True)
        wait_until(lambda: again.leaving() is None, 10, "it has left all")
        again.close(5)
        anew = sources.make(broker, HeldJournal(), file="kept.sqlite", topics=["$share/g/t/#", "own/#"])
        wait_ready(anew)
        assert [s.gauges()["mqtt_lost_sessions_total"] for s in (source, again, anew)] == [0, 0, 0]
    said = capsys.readouterr().out
    assert "mqtt_session_lost" not in said
    assert said.count("mqtt_connected") == 3, "what is said of a connection is said once"


def test_a_session_that_the_broker_keeps_for_less_is_reported(
    sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    connack = bytes.fromhex("200800000511") + (60).to_bytes(4, "big")
    with ScriptedBroker({CONNECT: [connack], SUBSCRIBE: [bytes.fromhex("9004") + b"MID" + b"\0\1"]}) as broker:
        wait_ready(sources.make(broker, HeldJournal()))
    assert "mqtt_session_expiry_reduced" in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_shared_subscription_that_the_broker_forgot_is_made_again(sources: Sources, protocol: str) -> None:
    """A Mosquitto that starts again has kept the session, and not its shared subscriptions."""
    journal = HeldJournal()
    with Mosquitto(persistence=True) as broker:
        source = sources.make(broker, journal, protocol=protocol, topics=["$share/g/t/#", "plain"])
        wait_ready(source)
        broker.stop()
        broker.start()
        wait_until(lambda: source.gauges()["mqtt_connections_total"] >= 2, 10, "another connection")
        wait_ready(source)
        assert source.gauges()["mqtt_session_present"] == 1
        with Publisher(broker.port) as publisher:
            publisher.raw("t/1", "shared")
            publisher.raw("plain", "own")
            wait_until(lambda: sorted(journal.payloads()) == [b"own", b"shared"], 10, lambda: f"{journal.payloads()}")
