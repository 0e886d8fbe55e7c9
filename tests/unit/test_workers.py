"""Several processes of one configuration, with small programs in place of the connector."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.config import Config
from connector.observe.together import merged_metrics
from connector.workers import Supervisor, config_for_worker
from tests.waiting import wait_until

SOURCES = """
[{"type": "kafka", "bootstrap_servers": "k:9092", "topics": ["t"], "group_id": "g", "instance_id": "host"},
 {"type": "mqtt", "url": "mqtts://b", "topics": ["#"]}]
"""


def config(workers: int = 2, **more: object) -> Config:
    import json

    given = {"clarify": {"credentials": "c.json"}, "sources": json.loads(SOURCES), "workers": workers, "state_dir": "s"}
    return Config.model_validate(given | more)


def test_each_worker_has_a_state_and_a_name_of_its_own() -> None:
    first, second = config_for_worker(config(), 1), config_for_worker(config(), 2)
    assert [source.type for source in first.sources] == ["kafka", "mqtt"]
    assert [source.type for source in second.sources] == ["kafka"]
    assert (first.state_dir, second.state_dir) == (Path("s"), Path("s/worker-2"))
    assert [found.sources[0].instance_id for found in (first, second)] == ["host-1", "host-2"]  # type: ignore[union-attr]
    assert second.observe.listen == "127.0.0.1:0"


def test_workers_without_kafka_are_refused() -> None:
    with pytest.raises(ValueError, match="more than one needs a Kafka source"):
        config(sources=[{"type": "mqtt", "url": "mqtts://b", "topics": ["#"]}])


class Running:
    """A supervisor in a thread, with workers that run this Python code."""

    def __init__(self, code: str, workers: int = 2) -> None:
        self.supervisor = Supervisor(config(workers), Path("c"), lambda n: [sys.executable, "-c", code, str(n)])
        self.status: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.supervisor.run()

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.supervisor.workers if worker.pid]

    def end(self) -> int | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.status


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(*args: object) -> Running:
        made.append(Running(*args))  # type: ignore[arg-type]
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
    assert running.end() == 1, "SIGTERM ends these with a signal"


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
        "import sys, pathlib; from connector.workers import Worker; import time;"
        f"w = Worker(1, [sys.executable, '-c', {worker!r}]); w.look(0.0, False);"
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
    merged = merged_metrics({1: text.format(1, 2), 2: text.format(3, 4)}).decode()
    assert 'a_total{worker="1",x="y"} 1.0' in merged
    assert 'a_total{worker="2",x="y"} 3.0' in merged
    assert merged.count("# TYPE b gauge") == 1
