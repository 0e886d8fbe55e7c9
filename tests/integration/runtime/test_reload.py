"""Another configuration beside a running connector: nothing is lost, and what did not change is not touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.reloading import FAST, JSON, Reloaded, connects, rules, source
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

sandbox = sandbox_fixture(rate_limiter="off")


@pytest.fixture(scope="module")
def mosquitto() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


def test_a_changed_mapping_counts_from_the_next_record_on_and_the_session_stays(
    mosquitto: Mosquitto, sandbox: SandboxServer, tmp_path: Path
) -> None:
    with ConnectorProcess(
        tmp_path, sandbox.credentials_path, source(mosquitto, "map", '"map/#"'), FAST + rules("one"), observe=JSON
    ).start() as connector, Publisher(mosquitto.port, seed=11) as publisher:  # fmt: skip
        plant = Reloaded(connector, sandbox)
        for count, (before, after) in enumerate((("one", "two"), ("two", "three"), ("three", "two")), 1):
            for n in range(300):
                publisher.publish(f"map/{n % 20}")
            plant.change((f'"{before}/', f'"{after}/'))
            for n in range(300):
                publisher.publish(f"map/{n % 20}")
            assert plant.wait("reloaded", count)["mapping"] == "changed"
        publisher.publish("map/0")
        plant.arrived(publisher, ["one", "two", "three"])
        renamed = plant.wait("signal_renamed", 1)
        assert (renamed["count"] >= 20, len(renamed["examples"])) == (True, 3)
        assert "was input 'one/map/" in renamed["examples"][0]

        for bad, said in (
            (('"#"', '"a/#/b"'), f"{connector.config}:"),
            (("state_dir: state", "state_dir: other"), "state_dir: a running connector cannot change this"),
        ):
            refused = len(plant.lines("reload_refused"))
            plant.change(bad, ('"two/', '"bad/'))
            assert said in plant.wait("reload_refused", refused + 1)["mistakes"][0]
            notice = plant.notices()["reload_refused"]
            assert said in notice["text"]
            assert "the configuration in use stays" in notice["text"]
            publisher.publish("map/1")
            plant.arrived(publisher, ["one", "two", "three"])
            plant.change((bad[1], bad[0]), ('"bad/', '"two/'), asked=False)
        plant.hang_up()
        assert plant.wait("reloaded", 4)["mapping"] == "unchanged"
        assert "reload_refused" not in plant.notices()
        assert mosquitto.log().count("as map-client (") == 1, "the session was never left"
        assert connector.stop() == 0
        assert connector.ledger()[1]["balanced"]


def test_sources_come_change_and_go_as_the_file_says_and_no_other_one_is_touched(
    mosquitto: Mosquitto, sandbox: SandboxServer, tmp_path: Path
) -> None:
    with ConnectorProcess(
        tmp_path,
        sandbox.credentials_path,
        "".join(source(mosquitto, name, f'"{name}/#"') for name in ("stays", "goes", "changes")),
        FAST + rules("all") + "reload: watch\n",
        observe=JSON,
    ).start() as connector, Publisher(mosquitto.port, seed=12) as publisher:  # fmt: skip
        plant = Reloaded(connector, sandbox)

        def publish(*names: str) -> None:
            for n in range(200):
                for name in names:
                    publisher.publish(f"{name}/{n % 10}")

        publish("stays", "goes", "changes")
        publisher.wait_acknowledged()
        plant.change(
            (source(mosquitto, "goes", '"goes/#"'), source(mosquitto, "comes", '"comes/#"')),
            ('"changes/#"', '"changes/#", "more/#"'),
            asked=False,
        )
        publish("stays", "changes")
        said = plant.wait("reloaded", 1)
        changes = {name: said[f"sources_{name}"] for name in ("added", "removed", "changed", "unchanged")}
        assert changes == {"added": ["comes"], "removed": ["goes"], "changed": ["changes"], "unchanged": 1}
        assert said["settings"] == ["sources.goes", "sources.changes.topics", "sources.comes"]
        assert said["why"] == "the file has changed"
        assert plant.wait("source_removed", 1)["messages_left"] == 0
        wait_until(lambda: mosquitto.has("comes-client") and connector.readiness()[0] == 200, 60, connector.log)
        publish("stays", "changes", "more", "comes")
        plant.arrived(publisher, ["all"])
        assert [connects(mosquitto, f"{name}-client") for name in ("stays", "goes", "changes", "comes")] == [1, 1, 2, 1]
        assert not mosquitto.has("goes-client")
        metrics = connector.metrics()
        assert 'clarify_connector_mqtt_connected{source="comes"}' in metrics
        assert 'clarify_connector_mqtt_connected{source="goes"}' not in metrics

        sandbox.stop()  # what a removed source cannot send stays in its file, and comes when the source is back
        publisher.publish("comes/0")
        publisher.publish("stays/0")
        publisher.wait_acknowledged()
        wait_until(lambda: len(connector.circuits()) > 0, 60, connector.log)
        there = source(mosquitto, "comes", '"comes/#"')
        plant.change((there, ""), ("max_delay: 100ms", "max_delay: 100ms\n  flush_timeout: 0s"), asked=False)
        (said,) = plant.wait("reload_refused", 1)["mistakes"]
        assert "delivery.flush_timeout: a running connector cannot change this" in said
        plant.change(("\n  flush_timeout: 0s", ""), ('"stays/#"', '"stays/#", "again/#"'), asked=False)
        assert plant.wait("source_removed", 2)["messages_left"] == 1
        plant.change(("sources:\n", f"sources:\n{there}"), asked=False)
        plant.wait("source_added", 2)
        sandbox.start()
        plant.arrived(publisher, ["all"])
        assert connector.stop() == 0
        assert connector.ledger()[1]["balanced"]
