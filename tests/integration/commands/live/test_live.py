"""`tap` and `top` at a running connector: what they show is what flows, and nothing is disturbed by them."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from click.testing import Result

from connector.commands.cli import main
from connector.commands.live import top
from tests.brokers import Mosquitto, need_mosquitto
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secret_search import SearchedCommands
from tests.waiting import wait_until

sandbox = sandbox_fixture("module", requests_per_second=20)
MAPPING = """
mapping:
  rules:
    - {topic: "plant/{m}", input: "{m}/{field}"}
    - {topic: no/thing, skip: true}
  unmatched: dead_letter
delivery: {max_delay: 200ms}
"""


def publish(port: int, stop: threading.Event) -> None:
    """A little of everything, some hundred messages a second, until the end."""
    with Publisher(port) as publisher:
        for n in itertools.count():
            publisher.raw(f"plant/m{n % 3}", json.dumps({"ts": time.time(), "v": n, "note": "x"}))
            if n % 5 == 0:
                publisher.raw("plant/bad", b"{oops\x1b[2J")
                publisher.raw("no/thing", b"1")
                publisher.raw("else/where", b"1")
            if stop.wait(0.01):
                return


@pytest.fixture(scope="module")
def connector(sandbox: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectorProcess]:
    need_mosquitto()
    stop = threading.Event()
    with Mosquitto() as broker:
        source = f'  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{broker.port}", client_id: c, topics: ["#"]}}'
        folder = tmp_path_factory.mktemp("live")
        with ConnectorProcess(folder, sandbox.credentials_path, source, MAPPING).start() as running:
            thread = threading.Thread(target=publish, args=(broker.port, stop))
            thread.start()
            try:
                yield running
            finally:
                stop.set()
                thread.join()


def command(name: str, connector: ConnectorProcess, *options: str, status: int = 0) -> Result:
    result = SearchedCommands().invoke(main, [name, str(connector.config), *options])
    assert result.exit_code == status, result.output
    return result


def test_messages_are_shown_with_what_they_become(connector: ConnectorProcess, sandbox: SandboxServer) -> None:
    shown = command("tap", connector, "--for", "60s", "--limit", "60").stdout
    assert re.search(r"plant: plant/m1  \[.* at \d+, .*Z\]\n    {.*}\n  → m1/v  .*Z  \d+\n  · 1 value left", shown), (
        shown
    )
    assert "    {oops\\x1b[2J\n  ✗ invalid_json: not JSON" in shown
    assert "  ✗ no_rule: no rule of the mapping takes topic 'else/where'\n    No rule matches the topic. Add" in shown
    assert re.search(r"plant: no/thing  .*\n    1\n  · left out: a rule says skip", shown)

    lines = command("tap", connector, "--input-id", "m2/*", "--limit", "3", "--json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["topic"] for one in found] == ["plant/m2"] * 3
    samples = [(one["samples"][0]["input"], one["samples"][0]["value"]) for one in found]
    values = [value for _, value in samples]
    wait_until(lambda: set(values) <= {value for _, value in sandbox.samples("m2/v")}, 30, "what was shown arrives")
    assert values == sorted(values)
    nothing = command("tap", connector, "--topic", "never/#", "--for", "10ms", status=1)
    assert "no such message came; is the filter right?" in nothing.stderr
    assert "level 1: '#' may stand only at the end" in command("tap", connector, "--topic", "#/x", status=1).stderr
    assert "tap_failed" not in connector.log()


def test_the_state_is_shown_as_text_as_json_and_on_a_screen(
    connector: ConnectorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "_FOR_RATES_SECONDS", 1.5)  # the metrics are kept for a second
    main_end, other_end = pty.openpty()
    command_line = [sys.executable, "-m", "connector", "top", str(connector.config)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    screen = subprocess.Popen(command_line, stdin=other_end, stdout=other_end, stderr=other_end, env=environment)
    text = command("top", connector, "--once").stdout
    assert re.search(r"^127.0.0.1:\d+: ready\nin [\d.,]+ msg/s, [\d.,]+ samples/s; out ", text), text
    assert re.search(r"^messages +\d+ +\d+ +\d+ +\d+ +\d+ +\d+$", text, re.MULTILINE)
    assert re.search(r"^plant +[\d.,]+ +[\d,]+ ", text, re.MULTILINE)
    assert re.search(r"^Clarify +[\d.]+ .* samples/s fit$", text, re.MULTILINE), text
    assert re.search(r"^  \d+ × invalid_json: The payload is not JSON", text, re.MULTILINE)  # noqa: RUF001
    assert "• plant: no rule of the mapping takes topic 'else/where'" in text
    assert "    → write a rule for this topic" in text

    found = json.loads(command("top", connector, "--json").stdout)
    assert (found["ready"], found["problems"]) == (True, [])
    assert found["rates"]["messages_in"] > 1, found
    (source,) = found["sources"]
    assert (source["name"], source["messages_per_second"] > 1) == ("plant", True)
    (integration,) = found["integrations"]
    assert integration["samples_per_second"] > 1, found
    assert integration["sustainable"] is True
    assert {one["reason"] for one in found["dead_letters"]} == {"invalid_json", "no_rule"}

    os.close(other_end)
    drawn = b""
    asked = False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and screen.poll() is None:
        if select.select([main_end], [], [], 0.1)[0]:
            with suppress(OSError):  # the command has ended
                drawn += os.read(main_end, 65536)
        if b"DEAD LETTERS" in drawn and not asked:
            asked = os.write(main_end, b"q") == 1
    assert screen.wait(60) == 0
    os.close(main_end)
    for word in (
        b"clarify-connector top",
        b"ready",
        b"LEDGER",
        b"SOURCES",
        b"INTEGRATIONS",
        b"DEAD LETTERS",
        b"q: end",
    ):
        assert word in drawn, drawn
