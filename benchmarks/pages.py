"""What visitors of the pages cost, as one JSON object: `python -m benchmarks.pages [SECONDS]`.

One process serves, and another one floods it as fast as it is let in. The figures are CPU seconds of the one that
serves, and of making /ledger with 100,000 topics and 200,000 messages that wait. docs/pages.md has them.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import structlog

from connector.config.read import load_config
from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.observe import http
from connector.observe.http import ObserveServer, json_page
from connector.observe.ledger_page import TOPICS
from connector.records import Record
from connector.runtime.ledger import read_kept

_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_TOPICS = 100_000
_CONFIG = "clarify: {credentials: c.json}\nsources: [{type: mqtt, url: h, topics: [x]}]\nstate_dir: state\n"


def main(seconds: float) -> None:
    """Flood with requests, then with connections that say nothing; then make the ledger."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    http._BURST = 1  # only what lasts is measured
    said: dict[str, float] = {}
    for name, sent in (("request", _REQUEST), ("silent_connection", b"")):
        share, a_second = _flooded(sent, seconds)
        said[f"{name}s_a_second"] = round(a_second, 1)
        said[f"{name}s_share_of_a_core"] = round(share, 3)
    said["ledger_cpu_seconds"] = round(_ledger(), 2)
    print(json.dumps(said, indent=1))


def _flooded(sent: bytes, seconds: float) -> tuple[float, float]:
    """The server's share of a core in a flood, and how many visits it let in in a second."""
    server = ObserveServer("127.0.0.1:0", {"/healthz": lambda: json_page(200, {"alive": True, "failure": None})})
    server.start()
    visits = multiprocessing.Value("q")
    flood = multiprocessing.get_context("fork").Process(target=_flood, args=(server.port, sent, visits), daemon=True)
    flood.start()
    time.sleep(2)  # until the system's queue is full
    began, cpu, before = time.monotonic(), time.process_time(), visits.value
    time.sleep(seconds)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    a_second = (visits.value - before) / (time.monotonic() - began)
    flood.kill()
    flood.join()
    server.close()
    return share, a_second


def _flood(port: int, sent: bytes, visits: object) -> None:
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            if sent:
                connection.sendall(sent)
                while connection.recv(4096):
                    pass
            visits.value += 1  # type: ignore[attr-defined]


def _ledger() -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "state").mkdir()
        (folder / "c.yaml").write_text(_CONFIG, encoding="utf-8")
        file = SourceFile.open(folder / "state" / "mqtt.sqlite")
        tallies = {f"plant/{n}": Tally(Counts(1, 1), Counts(5, 5)) for n in range(_TOPICS)}
        for first in range(0, 3 * _TOPICS, 1000):
            file.journal.write([[Record(f"plant/{n}", b'{"v": 1}', n) for n in range(first, first + 1000)]], [])
        file.journal.write([], [Commit("mqtt", "p", _TOPICS, tallies)])
        file.close()
        config = load_config(folder / "c.yaml", {})
        began = time.process_time()
        ledger = read_kept(config, TOPICS)
        json_page(200, ledger.as_json())
        assert ledger.total.messages.waiting == 2 * _TOPICS
        return time.process_time() - began


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
