"""Each MQTT broker goes through everything, with each version of MQTT that it has and with both journals: messages in
numbers, a cut, a black hole, Clarify away, kill -9 of the connector, restart and kill -9 of the broker, a shared
subscription, a drain; beside them log-in and rights refused, take-over, retained messages.

Nothing is lost, nothing is said to be lost, and everything is inserted once. What a broker does otherwise is a
`Deviation`, and docs/brokers/README.md has the evidence; a test also fails if a broker does not deviate any more.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from connector.ledger.source_file import SourceFile
from connector.sources.journal.journal import Batch
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import MqttSource
from tests.chaos.harness.proxy import FaultProxy, Loop
from tests.connector_process import ConnectorProcess, drain
from tests.held_journal import HeldJournal
from tests.mqtt_brokers import (
    READER,
    Aedes,
    Artemis,
    HiveMQ,
    MachinesMosquitto,
    NewerMosquitto,
    RabbitMQ,
    ServerProcess,
)
from tests.ports import free_port
from tests.publisher import EPOCH, Publisher
from tests.sandbox_server import SandboxServer
from tests.scripted import ScriptedHandover
from tests.secrets_used import MQTT_PASSWORD, WRONG
from tests.waiting import wait_until

MESSAGES: Final = 5_000
OUTAGE_SECONDS: Final = float(os.environ.get("OUTAGE_SECONDS", "5"))
"""How long Clarify is away, at least. 5 s mean the same as 30 s: calls fail, the circuit opens, the journals on disk go
on acknowledging, and those in memory acknowledge nothing until the broker sends no more."""
BOTH_CONNECTED_SECONDS: Final = 3.0
"""Two sources with one client ID that are connected so long are not taken over: in a fight, one of them is away."""
SHARED: Final = "shared"

Broker = ServerProcess | MachinesMosquitto


class Deviation(StrEnum):
    """What a broker does otherwise, as docs/brokers/README.md calls it."""

    NO_MQTT_5 = "has no MQTT 5"
    FORGETS_SESSIONS = "keeps sessions in memory only"
    FORGETS_SHARED = "forgets shared subscriptions at a restart"
    SAVES_LATER = "acknowledges messages before it saves them"
    SHARES_NOTHING = "grants a shared subscription, and delivers nothing"
    GRANTS_WITHOUT_RIGHTS = "grants a filter that the client may not read, and delivers nothing"
    ENDS_WITHOUT_RIGHTS = "ends the connection instead of refusing a filter"
    SILENT_TAKE_OVER = "ends a connection that is taken over without a reason (MQTT 5)"
    KEEPS_BOTH = "keeps two connections with one client ID, now and then"


DEVIATIONS: Final[dict[type[Broker], frozenset[Deviation]]] = {
    MachinesMosquitto: frozenset(
        {
            Deviation.FORGETS_SHARED,
            Deviation.SAVES_LATER,
            Deviation.GRANTS_WITHOUT_RIGHTS,
            Deviation.SILENT_TAKE_OVER,
        }
    ),
    NewerMosquitto: frozenset({Deviation.FORGETS_SHARED, Deviation.SAVES_LATER, Deviation.GRANTS_WITHOUT_RIGHTS}),
    HiveMQ: frozenset(),
    Artemis: frozenset({Deviation.KEEPS_BOTH}),
    Aedes: frozenset({Deviation.NO_MQTT_5, Deviation.FORGETS_SESSIONS, Deviation.SHARES_NOTHING}),
    RabbitMQ: frozenset({Deviation.NO_MQTT_5, Deviation.SHARES_NOTHING, Deviation.ENDS_WITHOUT_RIGHTS}),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", DEVIATIONS, ids=lambda kind: kind.name)
def test_a_broker_goes_through_everything(kind: type[Broker], tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = kind()
        stack.callback(broker.close)
        broker.start()
        loop = Loop()
        stack.callback(loop.close)
        way = FaultProxy(loop, free_port(), broker.port).start()
        sandbox = stack.enter_context(SandboxServer(rate_limiter="off"))
        story = Story(broker, DEVIATIONS[kind], way, sandbox, tmp_path)
        with story.beginning():
            for tell in (
                story.connections_are_cut,
                story.the_broker_is_in_a_black_hole_and_clarify_away,
                story.the_broker_restarts,
                story.the_broker_is_killed,
                story.the_connector_drains,
                story.nothing_is_lost,
            ):
                began = time.monotonic()
                tell()
                print(f"{tell.__name__}: {time.monotonic() - began:.1f} s")


def test_the_table_in_the_docs_has_these_deviations() -> None:
    text = (Path(__file__).parents[2] / "docs" / "brokers" / "README.md").read_text().partition("## What brokers do")[2]
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in text.splitlines() if row.startswith("| ")][1:]
    assert {what: set(brokers.split(", ")) for what, brokers in rows} == {
        deviation.value: {kind.name for kind, found in DEVIATIONS.items() if deviation in found}
        for deviation in Deviation
    }


class Confirming(HeldJournal):
    """A journal in which everything is durable at once."""

    def append(self, batch: Batch) -> None:
        super().append(batch)
        batch.durable()


class Story:
    """One connector at one broker: a source for each version of MQTT and each journal, and one in a group, of which
    another member is in this process."""

    def __init__(
        self, broker: Broker, deviations: frozenset[Deviation], way: FaultProxy, sandbox: SandboxServer, folder: Path
    ) -> None:
        self._broker = broker
        self._deviations = deviations
        self._way = way
        self._sandbox = sandbox
        self._folder = folder
        self.protocols = ["3.1.1"] if Deviation.NO_MQTT_5 in deviations else ["5", "3.1.1"]
        sources = {
            f"{journal}-{protocol.replace('.', '')}": (protocol, journal, "")
            for protocol in self.protocols
            for journal in ("disk", "memory")
        }
        self.streams = list(sources)
        if Deviation.SHARES_NOTHING not in deviations:
            self.streams.append(SHARED)
            sources["member"] = (self.protocols[0], "disk", SHARED)
        self._sources = len(sources)
        lines = [
            f"  - {{type: mqtt, name: {name}, url: 'mqtt://127.0.0.1:{way.port}', protocol: '{protocol}', "
            f"client_id: {name}, username: {READER}, password: {MQTT_PASSWORD}, journal: {journal}, keepalive: 5s, "
            "receive_maximum: 100, "
            f"topics: ['{f'$share/g/{shared}' if shared else name}/#']}}"
            for name, (protocol, journal, shared) in sources.items()
        ]
        self._connector = ConnectorProcess(folder, sandbox.credentials_path, "\n".join(lines), timeout="5s")
        self.publisher = Publisher(broker.port)
        self._teller = Publisher(broker.port, seed=2)
        self._telling = threading.Lock()
        self._lost_sessions = 0
        self._beside = Confirming()
        """What another member of the group received."""

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """All that takes part is there."""
        with ExitStack() as stack:
            if SHARED in self.streams:
                topics = [f"$share/g/{SHARED}/#"]
                member = self._source(self._beside, topics=topics, protocol=self.protocols[-1])
                wait_ready(stack.enter_context(member))
            stack.enter_context(self._connector).start()
            stack.enter_context(self.publisher)
            stack.enter_context(self._teller)
            yield

    # -- what happens ---------------------------------------------------------------------------------

    def connections_are_cut(self) -> None:
        self._publish(MESSAGES // 5)
        with self._publishing(MESSAGES // 10):
            self._way.cut()
            self._wait_connected(0)
            self._way.mend()
            self._wait_connected(self._sources)

    def the_broker_is_in_a_black_hole_and_clarify_away(self) -> None:
        """Messages without an acknowledgement are in the journals in memory when the connection is lost, and when the
        connector is killed."""
        began = time.monotonic()
        self._sandbox.kill()
        with ThreadPoolExecutor() as pool:
            asides = [pool.submit(check, protocol) for check in self._asides() for protocol in self.protocols]
            self._publish(MESSAGES // 10)
            self._way.swallow()
            self._publish(MESSAGES // 10)
            # A source that waits for Clarify, and reads no more, does not see the black hole until it reads again.
            self._wait_connected(0, most=len(self.protocols))
            self._way.mend()
            self._wait_connected(self._sources)
            self._connector.kill()
            self._publish(MESSAGES // 10)
            self._connector.start(ready=False)
            for aside in asides:
                aside.result()
        wait_until(lambda: time.monotonic() - began > OUTAGE_SECONDS, OUTAGE_SECONDS, "Clarify was away for long")
        self._sandbox.start()
        self._wait_connected(self._sources)

    def the_broker_restarts(self) -> None:
        if SHARED not in self.streams:
            self._goes(self._broker.stop)
            return
        settings: dict[str, Any] = {"client_id": "restarts", "clean_session": False}
        client, _ = self._client(**settings)
        client.subscribe([("$share/g/aside/restart", 1), ("aside/after", 1)])
        wait_until(client.user_data_get, 30, "granted")
        self._end(client)
        self._goes(self._broker.stop)
        client, came = self._client(**settings)
        self._tell("aside/restart", "aside/after")
        wait_until(lambda: "aside/after" in came, 30, "the message of the subscription that is not shared")
        assert ("aside/restart" in came) == (Deviation.FORGETS_SHARED not in self._deviations)
        self._end(client)

    def the_broker_is_killed(self) -> None:
        if not isinstance(self._broker, MachinesMosquitto):
            self._goes(self._broker.kill)
            return
        assert Deviation.SAVES_LATER in self._deviations
        self.publisher.wait_acknowledged()
        quiet = time.time()
        saved = self._broker.database
        wait_until(lambda: saved.exists() and saved.stat().st_mtime > quiet + 1, 30, "Mosquitto saved its sessions")
        self._goes(self._broker.kill, messages=0)

    def _goes(self, end: Callable[[], None], messages: int = MESSAGES // 10) -> None:
        """The broker ends and comes back, while messages are published."""
        if Deviation.FORGETS_SESSIONS in self._deviations:
            self._wait_stored()
            self._lost_sessions += self._sources
            messages = 0
        forgets = Deviation.FORGETS_SHARED in self._deviations
        with self._publishing(messages, [name for name in self.streams if not forgets or name != SHARED]):
            end()
            self._wait_connected(0)
            self._broker.start()
            self._wait_connected(self._sources)
        self._publish(MESSAGES // 5 - messages)

    def the_connector_drains(self) -> None:
        """The other member of the group receives what the connector leaves."""
        self._wait_stored()  # what waits at the broker for a session of our own is not for a drain
        with self._publishing(MESSAGES // 10 if SHARED in self.streams else 0, [SHARED]):
            assert drain(self._connector)[0] == 0, self._connector.log()
        self._wait_stored()

    def nothing_is_lost(self) -> None:
        stored = self._stored()
        assert len(self.publisher.sent) >= MESSAGES
        assert stored | _values(self._beside) == self.publisher.sent
        assert self._connector.log().count("mqtt_session_lost") == self._lost_sessions
        status, ledger = self._connector.ledger()
        messages = ledger["messages"]
        assert (status, ledger["balanced"], messages["waiting"]) == (0, True, 0), ledger
        assert messages["received"] == messages["inserted"] + messages["superseded"] >= len(stored), messages

    # -- beside the connector -------------------------------------------------------------------------

    def _asides(self) -> Iterator[Callable[[str], None]]:
        yield self._log_in_is_refused
        yield self._rights_are_refused
        yield self._a_take_over_is_said
        yield self._retained_messages_come_once
        if Deviation.SHARES_NOTHING in self._deviations:
            yield self._a_shared_subscription_delivers_nothing
        if Deviation.NO_MQTT_5 in self._deviations:
            yield self._mqtt_5_is_refused

    def _log_in_is_refused(self, protocol: str) -> None:
        journal = HeldJournal()
        settings: dict[str, Any] = {"username": READER, "topics": ["aside/log-in"], "protocol": protocol}
        with self._source(journal, password=WRONG, **settings) as source:
            said = wait_until(lambda: _said(source, "check username"), 30, lambda: f"refused: {source.problems()}")
            assert WRONG not in said
        with self._source(journal, password=MQTT_PASSWORD, **settings) as source:
            wait_ready(source)

    def _rights_are_refused(self, protocol: str) -> None:
        topics = ["secret/#", f"aside/rights/{protocol}"]
        journal = HeldJournal()
        with self._source(journal, topics=topics, protocol=protocol) as source:
            if Deviation.GRANTS_WITHOUT_RIGHTS in self._deviations:
                wait_ready(source)
                self._tell("secret/1", topics[1])
                wait_until(journal.payloads, 30, "the other message")
                assert len(journal.payloads()) == 1
            else:
                said = wait_until(lambda: _said(source, "did not grant"), 30, lambda: f"refused: {source.problems()}")
                assert "'secret/#'" in said
                assert topics[1] not in said
                ended = source.gauges()["mqtt_connections_total"] > 1
                assert ended == (Deviation.ENDS_WITHOUT_RIGHTS in self._deviations)

    def _a_take_over_is_said(self, protocol: str) -> None:
        known = protocol == "5" and Deviation.SILENT_TAKE_OVER not in self._deviations
        expected = "3 take-overs" if known else "perhaps another client"
        settings: dict[str, Any] = {"topics": ["aside/same"], "protocol": protocol}
        for attempt in range(10):
            settings["client_id"] = f"same-{protocol}-{attempt}"
            with self._source(HeldJournal(), **settings) as one, self._source(HeldJournal(), **settings) as other:
                both_since = time.monotonic()

                def decided(one: MqttSource = one, other: MqttSource = other) -> str:
                    nonlocal both_since
                    if one.problems() or other.problems():
                        both_since = time.monotonic()
                    if time.monotonic() - both_since > BOTH_CONNECTED_SECONDS:
                        return "both stay connected"
                    return _said(one, expected) or _said(other, expected)

                if expected in wait_until(decided, 90, lambda: f"{expected}: {one.problems()}, {other.problems()}"):
                    return
            assert Deviation.KEEPS_BOTH in self._deviations
        pytest.fail("each time, the broker kept both connections")

    def _retained_messages_come_once(self, protocol: str) -> None:
        topic = f"aside/retained/{protocol}"
        self._tell(topic, payload="retained", retain=True)
        settings: dict[str, Any] = {"topics": [topic], "client_id": f"retained-{protocol}", "protocol": protocol}
        first, again = HeldJournal(), HeldJournal()
        with self._source(first, file=topic, **settings) as source:
            wait_until(first.confirm, 30, "the retained message")
            assert [record.retained for batch in first.batches for record in batch.records] == [True]
            self._tell(topic, payload="later")  # a broker may miss an acknowledgement just before DISCONNECT
            wait_until(lambda: first.confirm() == 2, 30, "the later message")
        with self._source(again, file=topic, **settings) as source:
            wait_ready(source)
            self._tell(topic, payload="a new one")
            wait_until(lambda: again.confirm() and b"a new one" in again.payloads(), 30, "the new message")
            assert b"retained" not in again.payloads()

    def _a_shared_subscription_delivers_nothing(self, protocol: str) -> None:
        client, came = self._client(client_id="shared")
        client.subscribe([("$share/g/aside/all", 1), ("aside/all", 1), ("aside/end", 1)])
        wait_until(lambda: client.user_data_get() == [1, 1, 1], 30, "all are granted")
        self._tell("aside/all", "aside/all", "aside/end")
        wait_until(lambda: "aside/end" in came, 30, "the messages of the subscriptions that are not shared")
        assert came == ["aside/all", "aside/all", "aside/end"], "the shared subscription received messages, too"
        self._end(client)

    def _mqtt_5_is_refused(self, protocol: str) -> None:
        with self._source(HeldJournal(), topics=["aside/5"], protocol="5") as source:
            wait_until(lambda: source.gauges()["mqtt_connections_total"] > 1, 30, "tried again")
            assert source.problems()

    # -- means ----------------------------------------------------------------------------------------

    def _client(self, **settings: Any) -> tuple[Client, list[str]]:
        """A client that is not ours (MQTT 3.1.1), and the topics of its messages. Its user data are the QoS granted."""
        client = Client(CallbackAPIVersion.VERSION2, userdata=[], **settings)
        client.username_pw_set(READER, MQTT_PASSWORD)
        came: list[str] = []
        client.on_subscribe = lambda _client, granted, _mid, reasons, _: granted.extend(one.value for one in reasons)
        client.on_message = lambda _client, _userdata, message: came.append(message.topic)
        client.connect("127.0.0.1", self._broker.port)
        client.loop_start()
        wait_until(client.is_connected, 30, "connected")
        return client, came

    @staticmethod
    def _end(client: Client) -> None:
        client.disconnect()
        client.loop_stop()

    @contextmanager
    def _source(self, journal: HeldJournal, *, file: str = "", **settings: Any) -> Iterator[MqttSource]:
        """A source in this process, at the broker without a proxy, that tries again without long pauses."""
        name = (file or f"aside-{free_port()}").replace("/", "-")
        defaults = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{self._broker.port}", "client_id": name}
        defaults |= {"username": READER, "password": MQTT_PASSWORD}
        section = MqttSection.model_validate(defaults | settings)
        source_file = SourceFile.open(self._folder / f"{name}.sqlite")
        source = MqttSource(section, source_file, journal, chance=lambda: 0.0)
        source.start(ScriptedHandover())
        try:
            yield source
        finally:
            source.close(10)
            source_file.close()

    def _tell(self, *topics: str, payload: str = "1", retain: bool = False) -> None:
        """Publish beside the data, and wait for the acknowledgements."""
        with self._telling:
            for topic in topics:
                self._teller.raw(topic, payload, retain=retain)
            self._teller.wait_acknowledged()

    def _publish(self, messages: int) -> None:
        with self._publishing(messages):
            pass

    @contextmanager
    def _publishing(self, messages: int, streams: list[str] | None = None) -> Iterator[None]:
        """Publish in the background, for about a second; at the end, the broker has acknowledged everything."""
        names = streams or self.streams
        # What a journal in memory takes waits for Clarify, one window of the broker after the other: fewer of those.
        names = [name for name in names for _ in range(1 if name.startswith("memory") else 4)]

        def publish() -> None:
            for i in range(messages):
                self.publisher.publish(f"{names[i % len(names)]}/machine{i % 7}")
                if i % 50 == 49:
                    time.sleep(50 / messages)

        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        self.publisher.wait_acknowledged(90)

    def _wait_connected(self, sources: int, most: int | None = None) -> None:
        """Wait until so many sources are connected, or from `sources` to `most`."""

        def connected() -> float:
            try:
                found = self._connector.metrics().items()
            except httpx.TransportError:
                return -1  # it is starting
            return sum(value for name, value in found if name.startswith("clarify_connector_mqtt_connected"))

        wait_until(
            lambda: sources <= connected() <= (most or sources),
            90,
            lambda: f"{sources} connected, not {connected():g}: {self._connector.log()[-3000:]}",
            every=0.2,
        )

    def _wait_stored(self) -> None:
        """Wait until everything is in Clarify, or at the other member of the group."""

        def missing() -> Counter[str]:
            found = self.publisher.sent.keys() - self._stored().keys() - _values(self._beside).keys()
            return Counter(input_id.partition("/")[0] for input_id, _ in found)

        def all_there() -> bool:
            beside = sum(len(batch.records) for batch in list(self._beside.batches))
            return self._sandbox.count_samples() + beside >= len(self.publisher.sent) and not missing()

        wait_until(all_there, 90, lambda: f"{missing()} are missing: {self._connector.log()[-3000:]}", every=0.2)

    def _stored(self) -> dict[tuple[str, int], float]:
        return {
            (input_id, time_us): value
            for input_id in self._sandbox.signals()
            for time_us, value in self._sandbox.samples(input_id)
        }


def wait_ready(source: MqttSource) -> None:
    wait_until(lambda: not source.problems(), 60, lambda: f"ready: {source.problems()}")


def _said(source: MqttSource, words: str) -> str:
    """The problem with these words; empty if there is none."""
    return next((problem for problem in source.problems() if words in problem), "")


def _values(journal: HeldJournal) -> dict[tuple[str, int], float]:
    """The measurements among the messages of a journal."""
    found = {}
    for batch in list(journal.batches):
        for record in batch.records:
            message = json.loads(record.payload or b"")
            moment = datetime.fromisoformat(message["ts"]) - EPOCH
            found[f"{record.topic}:value", moment // timedelta(microseconds=1)] = message["value"]
    return found
