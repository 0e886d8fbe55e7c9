"""`clarify-connector drain` asks every worker, also one that comes back meanwhile, and claims nothing of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from connector.commands.drain import drain
from connector.runtime.drain import DrainProgress, drain_files
from connector.runtime.state_dir import lock_state_dir
from connector.runtime.workers import worker_folder
from tests.waiting import wait_until


class Drained:
    """A worker that has its folder, hands over all as soon as it is asked, and ends."""

    def __init__(self, folder: Path, then: Callable[[], object] = lambda: None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = drain_files(folder)
        self._then = then
        self._lock = lock_state_dir(folder)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            wait_until(self.files.asked, 60, "it is asked", every=0.01)
            self._then()
            self.files.tell(DrainProgress("stopped", 0, done=True, drained=True))
        finally:
            self._lock.close()

    def join(self) -> None:
        self._thread.join(60)


Work = Callable[..., None]


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    """Lets a worker run, and do something when it is asked."""
    with ExitStack() as ends:

        def start(number: int, then: Callable[[], object] = lambda: None) -> None:
            ends.callback(Drained(worker_folder(tmp_path / "state", number), then).join)

        yield start


@pytest.fixture
def run(tmp_path: Path) -> Callable[[], Result]:
    config = tmp_path / "connector.yaml"
    config.write_text(
        "clarify: {credentials: c.json}\nsources: [{type: kafka, bootstrap_servers: 'b:1', topics: [t], group_id: g, "
        "security: plaintext}]\nstate_dir: state\nworkers: 2\n"
    )
    return lambda: CliRunner().invoke(drain, [str(config), "--within", "20"])


def test_all_workers_are_asked(work: Work, run: Callable[[], Result]) -> None:
    work(1)
    work(2)
    result = run()
    assert result.exit_code == 0, result.output
    assert "all messages are handed over" in result.output


def test_one_that_comes_back_meanwhile_is_asked_too(work: Work, run: Callable[[], Result]) -> None:
    work(1, then=lambda: work(2))
    result = run()
    assert result.exit_code == 0, result.output
    assert "all messages are handed over" in result.output


def test_of_one_that_did_not_run_nothing_is_claimed(work: Work, run: Callable[[], Result]) -> None:
    work(1)
    result = run()
    assert result.exit_code == 1
    assert "worker 2 did not run and was not drained" in result.output
    assert "all messages are handed over" not in result.output
