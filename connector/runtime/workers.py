"""`workers: N`: several processes with one configuration; each process is a connector and a member of the groups.

The supervisor starts the workers, restarts workers that died, forwards signals and serves the pages for all workers.
The supervisor holds the other end of each worker's standard input, and never writes to this pipe. If the pipe ends, the
supervisor is gone, and the worker stops. The first worker uses state_dir itself, so that a configuration keeps its
state when workers are added.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from connector.config.model import Config

_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 30.0
_STEADY_SECONDS: Final = 30.0
_EARLY_ENDS: Final = 3
"""Number of early ends in succession, of less than `_STEADY_SECONDS` each, after which a worker stays ended."""
_MARGIN_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.2
PORT_FILE: Final = "observe-port"
"""Name of a file in a worker's state folder, with the port of the worker's pages."""

_log = structlog.get_logger(__name__)


def worker_folder(state_dir: Path, worker: int) -> Path:
    """Returns the folder of a worker's state; `worker` is counted from 1."""
    return state_dir if worker == 1 else state_dir / f"worker-{worker}"


def config_for_worker(config: Config, worker: int) -> Config:
    """Returns the configuration of one worker; `worker` is counted from 1."""
    sources = [mine for section in config.sources if (mine := section.for_worker(worker)) is not None]
    delivery = config.delivery
    share = delivery.share if delivery.share == "auto" else delivery.share / config.workers
    saves = delivery.metadata_requests_per_second / config.workers  # the integration has this limit, as for inserts
    delivery = delivery.model_copy(update={"share": share, "metadata_requests_per_second": saves})
    clarify = config.clarify.scaled(saves=1 / config.workers)
    observe = config.observe
    if observe.listen is not None:
        observe = observe.model_copy(update={"listen": "127.0.0.1:0", "tls": None})
    return config.model_copy(
        update={
            "sources": sources,
            "clarify": clarify,
            "delivery": delivery,
            "state_dir": worker_folder(config.state_dir, worker),
            "observe": observe,
            "dead_letters": config.dead_letters.for_worker(worker),
        }
    )


def stop_with_supervisor(stop: Callable[[], None]) -> None:
    """Start a thread in a worker that calls `stop` when the supervisor is gone."""

    def follow() -> None:
        os.read(0, 1)  # returns only at the end of the input, because the supervisor never writes
        _log.info("supervisor_gone", effect="stopping")
        stop()

    threading.Thread(target=follow, name="supervisor", daemon=True).start()


class Worker:
    """One worker process, from the supervisor's side."""

    def __init__(self, number: int, command: list[str], port_file: Path | None = None) -> None:
        """`port_file` has the port of the worker's pages while the worker runs."""
        self.number = number
        self.ended: int | None = None
        """Exit status of a worker that is not started again; None for all other workers."""
        self.starts = 0
        """Number of starts."""
        self._command = command
        self._port_file = port_file
        self._signals = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._early_ends = 0
        self._delay = _FIRST_DELAY
        self._start_at = 0.0

    @property
    def running(self) -> bool:
        """Whether the worker's process runs."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Process ID of the worker; None while no process runs."""
        return None if self._process is None else self._process.pid

    def look(self, now: float, *, stopping: bool) -> None:
        """Start or restart the worker if that is due, and note the end of its process; `now` is in seconds."""
        if self._process is not None:
            status = self._process.poll()
            if status is not None:
                self._over(status, now, stopping=stopping)
        elif self.ended is None and stopping:
            self.ended = 0
        elif self.ended is None and now >= self._start_at:
            self._start(now)

    def _start(self, now: float) -> None:
        self._started = now
        self.starts += 1
        try:
            self._forget_port()
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command,
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in a terminal reaches only the supervisor, which forwards the signal
            )
        except OSError as error:
            _log.error("worker_not_started", worker=self.number, reason=str(error))
            self._over(127, now, stopping=False)

    def pass_on(self, numbers: Sequence[int]) -> None:
        """Forward every signal in `numbers` that this worker has not received yet.

        `numbers` has all signals since the start of the supervisor, the oldest first.
        """
        for number in numbers[self._signals :]:
            self.signal(number)
        self._signals = len(numbers)

    def signal(self, number: int) -> None:
        """Send a signal to the worker's process, if the process runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _forget_port(self) -> None:
        """Remove the file of the port, because another process may have the port by now."""
        if self._port_file is not None and self._port_file.is_file():
            self._port_file.unlink(missing_ok=True)

    def _over(self, status: int, now: float, *, stopping: bool) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
        if stopping and status == -signal.SIGTERM:  # the process was too young to handle the signal
            status = 0
        if stopping or status == 0:
            self.ended = status
            if not stopping:
                _log.warning("worker_ended", worker=self.number, effect="not started again; other workers go on")
            return
        steady = now - self._started >= _STEADY_SECONDS
        self._early_ends = 0 if steady else self._early_ends + 1
        self._delay = _FIRST_DELAY if steady else min(self._delay * 2, _LAST_DELAY)
        if self._early_ends >= _EARLY_ENDS:
            self.ended = status
            _log.error("worker_given_up", worker=self.number, status=status, remedy="see the worker's last lines above")
            return
        pause = self._delay * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter
        self._start_at = now + pause
        _log.error("worker_died", worker=self.number, status=status, next_start_in_seconds=round(pause, 1))


class Supervisor:
    """All workers of one configuration."""

    def __init__(
        self,
        config: Config,
        file: Path,
        command: Callable[[int], list[str]] | None = None,
        *,
        options: Sequence[str] = (),
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """`command` returns the command line of a worker; by default, that of this program, with `options`.

        `look` is called several times a second while the workers run.
        """
        self._config = config
        make = command or (
            lambda number: [sys.executable, "-m", "connector", "run", str(file), "--worker", str(number), *options]
        )
        self._look_also = look
        self.workers = [
            Worker(number, make(number), worker_folder(config.state_dir, number) / PORT_FILE)
            for number in range(1, config.workers + 1)
        ]
        self._signals: list[int] = []

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop all workers; a second call stops them at once.

        The method takes no lock, so a signal handler may call the method at any point of `run`.
        """
        self._signals.append(number)

    def run(self) -> int:
        """Run the workers until all have ended; returns 1 if a worker ended with a failure, else 0."""
        while not self._signals:
            self._look(stopping=False)
            self._look_also()
            if all(worker.ended is not None for worker in self.workers):
                break
            if any(worker.ended for worker in self.workers):  # a worker was given up: a restart of all is better
                break
            time.sleep(_LOOK_SECONDS)
        self._end()
        return next((1 for worker in self.workers if worker.ended), 0)

    def _look(self, *, stopping: bool) -> None:
        now = time.monotonic()
        for worker in self.workers:
            worker.look(now, stopping=stopping)

    def _end(self) -> None:
        if not self._signals:
            self.stop()
        _log.info("stopping", workers=len(self.workers))
        until = time.monotonic() + self._config.delivery.flush_timeout + _MARGIN_SECONDS
        while any(worker.running for worker in self.workers):
            for worker in self.workers:
                worker.pass_on(self._signals)
            self._look(stopping=True)
            if time.monotonic() > until:
                for worker in self.workers:
                    if worker.running:
                        _log.error("worker_killed", worker=worker.number, reason="the worker did not stop in time")
                        worker.signal(signal.SIGKILL)
                until = time.monotonic() + _MARGIN_SECONDS
            time.sleep(_LOOK_SECONDS / 4)
        self._look(stopping=True)
