"""Files and standard input into the sandbox, with the connector as users run it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.connector_process import ConnectorProcess, run_command
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.waiting import wait_until

FAST = "delivery: {max_delay: 100ms, requests_per_second: 50, max_bytes: 16KiB}"
DESCRIBED = "\nmapping: {rules: [{topic: t, labels: {site: x}}]}"
START = 1_790_000_000


sandbox = sandbox_fixture(requests_per_second=100)


def values(sandbox: SandboxServer, key: str) -> dict[int, float]:
    return dict(sandbox.samples(key))


def lines(first: int, last: int) -> str:
    return "".join(json.dumps({"time": START + i, "v": i}) + "\n" for i in range(first, last))


def test_a_file_is_read_once_to_its_end_and_gone_on_with_when_it_grows(sandbox: SandboxServer, tmp_path: Path) -> None:
    data = tmp_path / "data.ndjson"
    data.write_text(lines(0, 5000) + "broken {\n" + "\n" + lines(5000, 6000))
    source = "  - {type: file, path: data.ndjson, topic: plant/1}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST)
    assert connector.start(ready=False).wait(240) == 0, connector.log()
    assert values(sandbox, "plant/1:v") == {(START + i) * 10**6: float(i) for i in range(6000)}
    status, ledger = connector.ledger()
    assert status == 0
    assert ledger["messages"] == {
        "received": 6002, "inserted": 6000, "dead_lettered": 1, "filtered": 1, "superseded": 0, "waiting": 0
    }  # fmt: skip
    with data.open("a") as file:
        file.write(lines(6000, 6100))
    assert connector.start(ready=False).wait(240) == 0, connector.log()
    assert connector.ledger()[1]["messages"]["received"] == 6102
    assert len(values(sandbox, "plant/1:v")) == 6100


def test_a_kill_in_the_middle_loses_nothing(sandbox: SandboxServer, tmp_path: Path) -> None:
    (tmp_path / "data.ndjson").write_text(lines(0, 30_000))
    source = "  - {type: file, path: data.ndjson, topic: t}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST.replace("50", "20"))
    connector.start()
    wait_until(lambda: len(values(sandbox, "t:v")) > 2000, 30, "some of it arrived")
    connector.kill()
    assert connector.start(ready=False).wait(240) == 0, connector.log()
    assert values(sandbox, "t:v") == {(START + i) * 10**6: float(i) for i in range(30_000)}
    assert connector.ledger()[0] == 0


def test_another_file_under_the_same_name_is_refused(sandbox: SandboxServer, tmp_path: Path) -> None:
    data = tmp_path / "data.ndjson"
    data.write_text(lines(0, 10))
    source = "  - {type: file, path: data.ndjson, topic: t}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST)
    assert connector.start(ready=False).wait(240) == 0
    data.write_text(lines(7, 10))
    assert connector.start(ready=False).wait(240) == 1
    assert "is not the file of which 10 lines were read before" in connector.log()
    data.write_text(lines(0, 4))
    assert connector.start(ready=False).wait(240) == 1
    assert "give the source another name" in connector.log()


def test_standard_input(sandbox: SandboxServer, tmp_path: Path) -> None:
    source = "  - {type: file, path: '-', records: record}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST)
    text = "".join(
        json.dumps({"topic": f"t/{i % 3}", "payload": {"v": i}, "time": START + i}) + "\n" for i in range(900)
    )
    done = run_command("run", connector.config, stdin=text + "no record\n")
    assert done.returncode == 0, done.stderr
    for n in range(3):
        assert values(sandbox, f"t/{n}:v") == {(START + i) * 10**6: float(i) for i in range(n, 900, 3)}
    ledger = connector.ledger()[1]
    assert ledger["messages"]["dead_lettered"] == 1
    assert ledger["balanced"]


def test_new_signals_are_held_until_they_are_approved(sandbox: SandboxServer, tmp_path: Path) -> None:
    data = tmp_path / "data.ndjson"
    data.write_text(json.dumps({"time": START, "a": 1, "b": 2}) + "\n")
    source = "  - {type: file, path: data.ndjson, topic: t}"
    connector = ConnectorProcess(
        tmp_path, sandbox.credentials_path, source, f"{FAST}\nsignals: {{on_new: hold}}{DESCRIBED}"
    )
    assert connector.start(ready=False).wait(60) == 0, connector.log()
    assert (sandbox.count_samples(), sandbox.signals()) == (0, {}), "metadata would make a signal, too"
    assert "new_signals_held" in connector.log()
    assert connector.ledger()[1]["samples"]["dead_lettered"] == 2
    listed = run_command("new-signals", connector.config)
    assert listed.stdout.split() == ["t:a", "t:b"]
    assert run_command("new-signals", connector.config, "--approve", "x*").returncode == 1
    assert run_command("new-signals", connector.config, "--approve", "*:a").stdout.split() == ["approved", "t:a"]
    with data.open("a") as file:
        file.write(json.dumps({"time": START + 1, "a": 3, "b": 4}) + "\n")
    assert connector.start(ready=False).wait(60) == 0, connector.log()
    assert values(sandbox, "t:a") == {(START + 1) * 10**6: 3.0}
    assert values(sandbox, "t:b") == {}
    assert {key: row.attributes["labels"] for key, row in sandbox.signals().items()} == {"t:a": {"site": ["x"]}}
    status, ledger = connector.ledger()
    assert status == 0
    assert ledger["samples"] == {
        "received": 4, "inserted": 1, "dead_lettered": 3, "filtered": 0, "superseded": 0, "waiting": 0
    }  # fmt: skip
    assert ledger["packing"][0]["requests"] == 1
