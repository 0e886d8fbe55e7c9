"""Several processes of one configuration, with small programs in place of the connector."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.config.model import Config
from connector.config.observe import ObserveSection
from connector.observe import of_workers
from connector.observe.http import ObserveServer, json_page
from connector.observe.of_workers import merged_metrics, serve_together
from connector.observe.probe import ask
from connector.runtime.workers import Supervisor, Worker, config_for_worker
from tests.secrets_used import fresh
from tests.waiting import wait_until

SOURCES = """
[{"type": "kafka", "bootstrap_servers": "k:9092", "topics": ["t"], "group_id": "g", "instance_id": "host"},
 {"type": "mqtt", "url": "mqtts://b", "topics": ["#"]}]
"""


def config(workers: int = 2, **more: object) -> Config:
    given = {"clarify": {"credentials": "c.json"}, "sources": json.loads(SOURCES), "workers": workers, "state_dir": "s"}
    return Config.model_validate(given | more)


def test_each_worker_has_a_state_and_a_name_of_its_own() -> None:
    first, second = config_for_worker(config(), 1), config_for_worker(config(), 2)
    assert [source.type for source in first.sources] == ["kafka", "mqtt"]
    assert [source.type for source in second.sources] == ["kafka"]
    assert (first.state_dir, second.state_dir) == (Path("s"), Path("s/worker-2"))
    assert [found.sources[0].instance_id for found in (first, second)] == ["host-1", "host-2"]  # type: ignore[union-attr]
    assert second.observe.listen == "127.0.0.1:0"


def test_limits_of_the_integration_are_divided_among_the_workers() -> None:
    auto, fixed = config(4), config(4, delivery={"share": 0.5, "metadata_requests_per_second": 1})
    assert config_for_worker(auto, 2).delivery.share == "auto"
    delivery = config_for_worker(fixed, 2).delivery
    assert (delivery.share, delivery.metadata_requests_per_second) == (0.125, 0.25)
    assert fixed.delivery.share == 0.5, "the given configuration stays as it is"


def test_workers_without_kafka_are_refused() -> None:
    with pytest.raises(ValueError, match="several workers need a Kafka source"):
        config(sources=[{"type": "mqtt", "url": "mqtts://b", "topics": ["#"]}])


class Running:
    """A supervisor in a thread, with workers that run this Python code."""

    def __init__(self, code: str, workers: int = 2, **more: object) -> None:
        self.supervisor = Supervisor(config(workers, **more), Path("c"), lambda n: [sys.executable, "-c", code, str(n)])
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.supervisor.run()

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.supervisor.workers if worker.pid]

    def end(self) -> int | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.status


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(code: str, workers: int = 2, **more: object) -> Running:
        made.append(Running(code, workers, **more))
        return made[-1]

    yield make
    for found in made:
        found.supervisor.stop(signal.SIGKILL)


WAITS = "import os; os.read(0, 1)"


def test_one_that_dies_is_started_again_and_all_end_together(run: Callable[..., Running]) -> None:
    running = run(WAITS)
    wait_until(lambda: len(running.pids()) == 2, 10, "both run")
    first = running.pids()[0]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(running.pids()) == 2 and first not in running.pids(), 10, "started again")
    running.supervisor.stop()
    assert running.end() == 0
    assert running.pids() == []


def test_a_stop_reaches_those_that_are_being_started(run: Callable[..., Running]) -> None:
    """The signal may come at any point: also between the start of one process and the next."""
    running = run(WAITS, 3)
    running.supervisor.stop()
    assert running.end() == 0
    assert running.pids() == []


def test_a_second_stop_reaches_all_and_their_status_counts(run: Callable[..., Running], tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys\n"
        "seen = []\n"
        "def stop(*_):\n"
        f"    seen.append(1); pathlib.Path({str(tmp_path)!r}, f'{{len(seen)}}-{{sys.argv[1]}}').touch()\n"
        "    if len(seen) == 2: os._exit(5)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"pathlib.Path({str(tmp_path)!r}, f'0-{{sys.argv[1]}}').touch()\n"
        "while True: signal.pause()"
    )
    running = run(code)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 10, "both run")
    running.supervisor.stop()
    wait_until(lambda: len(list(tmp_path.glob("1-*"))) == 2, 10, "both had the first")
    running.supervisor.stop()
    assert running.end() == 1
    assert len(list(tmp_path.glob("2-*"))) == 2


def test_one_that_does_not_stop_is_killed(
    run: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.runtime.workers._MARGIN_SECONDS", 0.5)
    mark = tmp_path / "deaf"
    code = (
        "import pathlib, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(mark)!r} + __import__('sys').argv[1]).touch()\n"
        "while True: signal.pause()"
    )
    running = run(code, delivery={"flush_timeout": "0s"})
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 10, "both run")
    running.supervisor.stop()
    assert running.end() == 1
    assert running.pids() == []


def test_a_program_that_cannot_be_started_is_tried_again_and_then_given_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    worker = Worker(1, ["/no/such/program"])
    now = 0.0
    while worker.ended is None:
        worker.look(now, stopping=False)
        now += 10.0
        assert now < 200
    assert worker.ended == 127
    assert worker.starts == 3
    assert "No such file" in capsys.readouterr().out


def test_a_steady_worker_is_started_again_however_often_it_dies() -> None:
    worker = Worker(1, [sys.executable, "-c", "import os; os.read(0, 1)"])
    now = 0.0
    for starts in range(1, 7):
        worker.look(now, stopping=False)
        assert worker.starts == starts
        worker.signal(signal.SIGKILL)
        now += 100.0
        wait_until(lambda: worker.look(now, stopping=False) or not worker.running, 10, "it died")  # noqa: B023
        now += 2.0
    assert worker.ended is None


def test_the_port_of_one_that_died_is_forgotten(tmp_path: Path) -> None:
    port_file = tmp_path / "observe-port"
    port_file.write_text("9464")
    worker = Worker(1, [sys.executable, "-c", "pass"], port_file)
    worker.look(0.0, stopping=False)
    assert not port_file.exists(), "it may be somebody else's by now"
    wait_until(lambda: worker.look(0.0, stopping=False) or not worker.running, 10, "it ended")


def test_those_that_end_by_themselves_are_done(run: Callable[..., Running]) -> None:
    assert run("pass", 3).end() == 0


def test_one_that_never_starts_ends_all(run: Callable[..., Running]) -> None:
    running = run("import sys, os; sys.exit(3) if sys.argv[1] == '2' else os.read(0, 1)")
    assert running.end() == 1
    assert running.pids() == []


def test_workers_notice_when_their_supervisor_is_gone(tmp_path: Path) -> None:
    """Killed, it can tell nobody: what they hold is the end of its pipe."""
    mark = tmp_path / "gone"
    worker = f"import os, pathlib; os.read(0, 1); pathlib.Path({str(mark)!r}).touch()"
    code = (
        "import sys, pathlib; from connector.runtime.workers import Worker; import time;"
        f"w = Worker(1, [sys.executable, '-c', {worker!r}]); w.look(0.0, stopping=False);"
        "print(w.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert int(parent.stdout.readline())
    assert not mark.exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(mark.exists, 10, "the worker ended")


def test_metrics_of_all_say_whose_they_are() -> None:
    text = '# HELP a_total Things\n# TYPE a_total counter\na_total{{x="y"}} {}\n# HELP b Other\n# TYPE b gauge\nb {}\n'
    merged = merged_metrics({1: text.format(1, 2), 2: text.format(3, 4), 3: None}).decode()
    assert 'a_total{worker="1",x="y"} 1.0' in merged
    assert 'a_total{worker="2",x="y"} 3.0' in merged
    assert merged.count("# TYPE b gauge") == 1
    assert 'clarify_connector_worker_up{worker="2"} 1.0' in merged
    assert 'clarify_connector_worker_up{worker="3"} 0.0' in merged
    histogram = (
        '# HELP c Delays\n# TYPE c histogram\nc_bucket{le="1.0"} 1\nc_bucket{le="+Inf"} 2\nc_count 2\nc_sum 3.5\n'
    )
    merged = merged_metrics({1: histogram, 2: histogram}).decode()
    assert merged.count("# TYPE c histogram") == 1
    assert 'c_bucket{le="+Inf",worker="2"} 2.0' in merged
    assert 'c_sum{worker="1"} 3.5' in merged


def page(server: ObserveServer, path: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=60, trust_env=False, verify=False)
    return answer.status_code, answer.json()


def serving_twice(one: ObserveServer, folder: Path) -> tuple[ObserveServer, list[Path]]:
    """The pages of two workers, whose own pages are both those of `one`; and the files with their ports."""
    one.start()
    files = [folder / "1", folder / "2"]
    for file in files:
        file.write_text(str(one.port))
    together = serve_together(config(observe={"listen": "127.0.0.1:0"}), files)
    assert together is not None
    return together, files


def test_all_are_ready_when_each_is(tmp_path: Path) -> None:
    problems: list[str] = []
    circuits: dict[str, Any] = {}
    said_by_one = {
        "problems": problems,
        "notices": [{"kind": "look"}],
        "filtered_by": {"null": 2},
        "circuits": circuits,
    }
    one = ObserveServer(
        "127.0.0.1:0",
        {"/readyz": lambda: json_page(503 if problems else 200, said_by_one)},
    )
    together, files = serving_twice(one, tmp_path)
    try:
        notices = [{"worker": 1, "kind": "look"}, {"worker": 2, "kind": "look"}]
        expected = {
            "ready": True,
            "problems": [],
            "notices": notices,
            "filtered_by": {"null": 4},
            "circuits": {},
        }
        assert page(together, "/readyz") == (200, expected)
        problems.append("no broker")
        circuits["all"] = {"state": "open"}
        status, said = page(together, "/readyz")
        assert (status, said["problems"]) == (503, ["worker 1: no broker", "worker 2: no broker"])
        assert said["circuits"] == {"worker 1: all": {"state": "open"}, "worker 2: all": {"state": "open"}}
        problems.clear()
        files[1].unlink()
        status, said = page(together, "/readyz")
        assert (status, said["problems"]) == (503, ["worker 2: does not answer"])
        assert page(together, "/healthz")[0] == 200, "it is started again: the others must not be stopped for it"
    finally:
        together.close()
        one.close()


def test_a_worker_that_needs_a_restart_or_is_silent_makes_healthz_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure: list[str] = []
    one = ObserveServer("127.0.0.1:0", {"/healthz": lambda: json_page(200, {"failure": "".join(failure) or None})})
    together, files = serving_twice(one, tmp_path)
    try:
        assert page(together, "/healthz") == (200, {"alive": True, "failure": None})
        failure.append("the thread sender has not moved for 130 s")
        status, said = page(together, "/healthz")
        assert (status, said["alive"]) == (503, False)
        assert said["failure"] == f"worker 1: {failure[0]}; worker 2: {failure[0]}"
        failure.clear()
        files[1].unlink()
        assert page(together, "/healthz")[0] == 200, "it may be starting"
        monkeypatch.setattr(of_workers, "_SILENT_SECONDS", 0.0)
        status, said = page(together, "/healthz")
        assert (status, said["failure"]) == (503, "worker 2 has not answered for 0 s")
        files[1].write_text(str(one.port))
        assert page(together, "/healthz")[0] == 200
    finally:
        together.close()
        one.close()


def test_workers_want_the_token_too_and_no_tls(tmp_path: Path) -> None:
    """Any user of this machine can reach a worker's port."""
    token = fresh("workers-pages")
    tls = {"cert_file": str(tmp_path / "c"), "key_file": str(tmp_path / "k")}
    section = config(observe={"listen": "0.0.0.0:9464", "token": token, "tls": tls})
    ours = config_for_worker(section, 2).observe
    assert (ours.listen, ours.tls) == ("127.0.0.1:0", None)
    one = ObserveServer(ours, {"/readyz": lambda: json_page(200, {"problems": []})})
    one.start()
    (tmp_path / "1").write_text(str(one.port))
    together = serve_together(config(observe={"listen": "127.0.0.1:0", "token": token}), [tmp_path / "1"])
    assert together is not None
    try:
        assert httpx.get(f"http://127.0.0.1:{one.port}/readyz", trust_env=False, verify=False).status_code == 401
        found = ask(ObserveSection.model_validate({"listen": f"127.0.0.1:{together.port}", "token": token}))
        assert (found.alive, found.ready) == (True, True), found
    finally:
        together.close()
        one.close()


def test_one_that_hangs_does_not_hold_up_the_health_check(tmp_path: Path) -> None:
    """`clarify-connector health` gives up after 3 s, and a container without an answer is stopped."""
    files = []
    with contextlib.ExitStack() as opened:
        for worker in (1, 2, 3):
            silent = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            files.append(tmp_path / str(worker))
            files[-1].write_text(str(silent.getsockname()[1]))
        together = serve_together(config(3, observe={"listen": "127.0.0.1:0"}), files)
        assert together is not None
        opened.callback(together.close)
        found = ask(ObserveSection(listen=f"127.0.0.1:{together.port}"))
    assert found.alive
    assert not found.ready
    assert "worker 3: does not answer" in found.text


def test_no_pages_where_none_are_wanted(tmp_path: Path) -> None:
    assert serve_together(config(observe={"listen": None}), [tmp_path / "1"]) is None
