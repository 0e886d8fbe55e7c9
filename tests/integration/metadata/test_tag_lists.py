"""A tag list as a spreadsheet program saves it names 5,000 signals of a connector, and is read when it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

TAGS = 5_000
PER_REQUEST = 500
MORE = """
mapping:
  rules:
    - topic: "{plc}/data"
      iterate: values
      item_name: id
      values: {v: {unit: by rule}}
      other_values: filter
      input: "{plc}/{item}"
      tags: {file: tags.csv, key: "{plc}/{item}"}
delivery: {max_delay: 100ms, flush_timeout: 1s, metadata_requests_per_second: 50, metadata_interval: 0s}
"""
MESSAGE = json.dumps({"values": [{"id": f"t{n}", "v": n} for n in range(TAGS)]})

sandbox = sandbox_fixture(requests_per_second=100)


def sheet(**names: str) -> str:
    rows = (f"p1/t{n};{names.get(f't{n}', f'Öltank {n}')};°C;0,5;Tønsberg" for n in range(TAGS))
    return "\r\n".join(["key;name;unit;scale;label:site", *rows, "p1/typo;;;;", ""])


def notices(running: ConnectorProcess) -> dict[str, str]:
    page = httpx.get(f"http://127.0.0.1:{running.observe_port}/readyz", timeout=15, trust_env=False, verify=False)
    assert page.status_code == 200
    return {notice["kind"]: notice["text"] for notice in page.json()["notices"]}


def saves(sandbox: SandboxServer) -> int:
    return int(sandbox.stats()["requests"].get("integration.saveSignals", 0))


def saved(running: ConnectorProcess, requests: int) -> None:
    wait_until(lambda: running.log().count("signals_saved") >= requests, 60, f"{requests} requests saved metadata")


def attributes(sandbox: SandboxServer, name: str) -> dict[str, Any]:
    return dict(sandbox.signals()[name].attributes)


def names(sandbox: SandboxServer) -> set[object]:
    return {row.attributes["name"] for row in sandbox.signals().values()}


def test_a_list_of_5000_tags_names_all_signals_and_a_changed_list_names_them_again(
    sandbox: SandboxServer, broker: Mosquitto, tmp_path: Path
) -> None:
    tags = tmp_path / "tags.csv"
    tags.write_bytes(sheet().encode("cp1252"))
    source = f"  - type: mqtt\n    url: mqtt://{broker.host}:{broker.port}\n    topics: ['p1/data', 'p2/data']\n"
    running = ConnectorProcess(tmp_path, sandbox.credentials_path, source, MORE)
    with running.start(), Publisher(broker.port) as publisher:
        publisher.raw("p1/data", MESSAGE)
        saved(running, TAGS // PER_REQUEST)
        assert names(sandbox) == {f"Öltank {n}" for n in range(TAGS)}
        assert saves(sandbox) == TAGS // PER_REQUEST
        wait_until(lambda: sandbox.count_samples() == TAGS, 60, "all samples arrive")
        found = attributes(sandbox, "p1/t7")
        assert (found["engUnit"], found["labels"]) == ("°C", {"site": ["Tønsberg"]})
        assert [value for _, value in sandbox.samples("p1/t7")] == [3.5]

        tags.write_bytes(sheet(t7="Kessel", t8="Pumpe").encode("utf-8-sig"))
        saved(running, TAGS // PER_REQUEST + 1)
        assert names(sandbox) >= {"Kessel", "Pumpe"}
        assert saves(sandbox) == TAGS // PER_REQUEST + 1

        draft = tmp_path / "draft.csv"
        draft.write_text(sheet(t7="never").replace("p1/t9;", "p1/t7;"))
        draft.replace(tags)
        publisher.raw("p2/data", '{"values": [{"id": "new", "v": 1}]}')
        wait_until(lambda: {"tag_list_refused", "tags_unknown"} <= notices(running).keys(), 60, "notices")
        said = notices(running)
        assert f"{tags}:11: column A (key): 'p1/t7' is on line 9, too" in said["tag_list_refused"]
        assert said["tags_unknown"].startswith("keys of the data that are not in tags.csv: 1, such as 'p2/new'")
        metrics = running.metrics()
        assert {name: metrics[f'clarify_connector_{name}{{file="{tags}"}}'] for name in ("tags", "tags_unused")} == {
            "tags": TAGS + 1,
            "tags_unused": 1,
        }
        assert names(sandbox) >= {"Kessel", "Pumpe", "p2/new"}
