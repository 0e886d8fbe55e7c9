"""How the harness and a publisher's process talk: a JSON array a line, orders in and answers out."""

from __future__ import annotations

import json
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.waiting import PATIENCE

_ANSWER_SECONDS: Final = 4 * PATIENCE


class Orders:
    """The publisher's side. When the harness is gone, the order is to quit."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, timeout: float) -> list[Any] | None:
        """The next order, if one comes in time."""
        try:
            return self._orders.get(timeout=timeout)
        except queue.Empty:
            return None

    def answer(self, *words: object) -> None:
        """Say that it is done."""
        print(json.dumps(words), flush=True)

    def _read(self) -> None:
        for line in sys.stdin:
            self._orders.put(json.loads(line))
        self._orders.put(["quit"])


class PublisherProcess:
    """The harness's side."""

    def __init__(self, module: str, log: Path, arguments: Sequence[object]) -> None:
        command = [sys.executable, "-m", f"tests.chaos.harness.{module}", *map(str, arguments)]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
            )
        self._log = log

    def order(self, *words: object) -> list[Any]:
        """Give an order and wait until it is done; its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise AssertionError(f"a publisher has ended ({error}); see {self._log}") from None
        ready, _, _ = select.select([self._process.stdout], [], [], _ANSWER_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"a publisher did not do {words} within {_ANSWER_SECONDS:g} s; see {self._log}"
        answer: list[Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
