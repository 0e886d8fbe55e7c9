"""Green means carrying: what a person should look at stands in /readyz and in the log; the connector stays ready."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

MAPPING = """
mapping:
  unmatched: filter
  rules:
    - {topic: plant/flat}
    - {topic: plant/strict, values: {v: {}}, other_values: filter}
    - {topic: plant/nobody}
"""


def readiness(connector: ConnectorProcess) -> dict[str, Any]:
    answer = httpx.get(f"http://127.0.0.1:{connector.observe_port}/readyz", timeout=15, trust_env=False, verify=False)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_notices_name_what_a_person_should_look_at(tmp_path: Path, sandbox: SandboxServer) -> None:
    with Mosquitto(persistence=True) as broker:
        source = (
            f'  - {{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", client_id: c, topics: ["plant/#", silent], '
            "expect_every: 2s}"
        )
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, MAPPING)
        with connector.start(), Publisher(broker.port) as publisher:
            for n in range(12):
                publisher.raw("plant/flat", f'{{"device": "p{n % 3}", "ts": 1790000000, "pressure": {n}}}'.encode())
            publisher.raw("plant/strict", b'{"v": 1')
            publisher.raw("plant/strict", b'{"v": null}')
            publisher.raw("plant/strict", b'{"v": 2}\0')
            publisher.raw("plant/strict", b'{"v": 3}\0')
            publisher.raw("plant/other", b'{"v": 1}')

            def said(*words: str) -> bool:
                notices = readiness(connector)["notices"]
                return all(any(word in notice["text"] for notice in notices) for word in words)

            wanted = (
                "messages of topic 'plant/flat' are about several things",
                "input 'plant/flat:pressure' has two values",
                "no rule of the mapping takes topic 'plant/other'",
                "the first dead letter for the reason invalid_json: topic 'plant/strict'",
                "no message came for 'silent'",
                'a message on topic "plant/strict", the first of its kind, has NULs at its end',
                "rule 3 (plant/nobody) has not taken any message",
            )
            wait_until(lambda: said(*wanted), 60, "all notices", every=0.5)
            metrics = httpx.get(
                f"http://127.0.0.1:{connector.observe_port}/metrics", trust_env=False, verify=False
            ).text
            assert 'clarify_connector_filtered_messages_total{reason="null"} 1.0' in metrics
            assert 'clarify_connector_filtered_messages_total{reason="no_rule"} 1.0' in metrics
            assert 'clarify_connector_overwritten_values_total{topic="plant/flat"} 11.0' in metrics
            assert 'clarify_connector_notices{kind="shared_topic"} 1.0' in metrics
            assert 'clarify_connector_tolerated_messages_total{kind="nul",source="mqtt"} 2.0' in metrics
            ready = readiness(connector)
            assert (ready["ready"], ready["filtered_by"]) == (True, {"null": 1, "no_rule": 1})
            letters = {one["subject"]: one for one in ready["notices"] if one["kind"] == "first_dead_letter"}
            assert set(letters["invalid_json"]) == {"kind", "source", "subject", "text", "remedy", "first", "count"}
            (overwritten,) = [one for one in ready["notices"] if one["kind"] == "value_overwritten"]
            assert (overwritten["source"], overwritten["count"]) == ("mqtt", 11)
            log = connector.log()
            for word in (
                "shared_topic",
                "value_overwritten",
                "topic_without_rule",
                "first_dead_letter",
                "payload_tolerated",
            ):
                assert log.count(word) == 1, word
            assert connector.stop() == 0
        status, ledger = connector.ledger()
    assert status == 0
    (overwritten,) = ledger["overwritten"]
    assert (overwritten["input"], overwritten["topic"]) == ("plant/flat:pressure", "plant/flat")
    assert overwritten["values"] == 11


def test_the_account_of_overwritten_values_survives_a_restart(tmp_path: Path, sandbox: SandboxServer) -> None:
    with Mosquitto(persistence=True) as broker:
        source = f'  - {{type: mqtt, url: "mqtt://127.0.0.1:{broker.port}", client_id: c, topics: ["plant/#"]}}'
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, MAPPING)
        for run in (1, 2):
            with connector.start(), Publisher(broker.port) as publisher:
                before = sandbox.stats()["requests"].get("integration.insert", 0)
                for value in (1, 2, 2, 3):  # the second 2 replaces nothing
                    publisher.raw("plant/flat", f'{{"ts": {1790000000 + run}, "pressure": {value}}}'.encode())
                wait_until(
                    lambda before=before: sandbox.stats()["requests"].get("integration.insert", 0) > before,  # type: ignore[misc]
                    60,
                    "it arrives",
                )
                assert connector.stop() == 0
            status, ledger = connector.ledger()
            assert status == 0
            (overwritten,) = ledger["overwritten"]
            assert (overwritten["input"], overwritten["values"]) == ("plant/flat:pressure", 2 * run)
            assert overwritten["first"] <= overwritten["last"]
