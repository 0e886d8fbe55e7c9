"""A program under test, and the null Clarify that it sends to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.programs import null_clarify

_TICK: Final = os.sysconf("SC_CLK_TCK")
INTEGRATION: Final = "c8keagasahsp3cpvma20"


class Program:
    """A process, with what it and its children have used so far."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Start it; `log` gets its output."""
        self.log = log
        self.began = time.perf_counter()
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def cpu(self) -> float:
        """User and system time in seconds, its children included."""
        return sum(time.clock_gettime(_clock(pid)) + _ended_children(pid) for pid in self._pids())

    def memory(self) -> float:
        """MB resident now, its children included."""
        return sum(_status(pid, "VmRSS") for pid in self._pids())

    def peak(self) -> float:
        """The most MB that were resident, its children included."""
        return sum(_status(pid, "VmHWM") for pid in self._pids())

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """SIGTERM; SIGKILL after 20 s."""
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def lines(self) -> int:
        """How many lines it has said."""
        return self.log.read_bytes().count(b"\n")

    def said(self) -> str:
        """Its last line."""
        return self.log.read_text(errors="replace").rstrip().rpartition("\n")[2]

    def _pids(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, task.read_text().split())
        return found


def _clock(pid: int) -> int:
    """The clock of the CPU time of a process, as in clock_getcpuclockid(3): in /proc it has steps of 10 ms."""
    return ~pid << 3 | 2


def _ended_children(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[13:15])) / _TICK


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


class NullClarify:
    """The Clarify that answers at once and counts. Its credentials are in `credentials`."""

    def __init__(self, folder: Path) -> None:
        program = null_clarify()
        with (folder / "null-clarify.log").open("ab") as log:
            self._process = subprocess.Popen([str(program)], stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        self.credentials = folder / "credentials.json"
        secret = {"type": "client-credentials", "clientId": "null", "clientSecret": "null"}
        content = {"apiUrl": f"http://{self.address}/v1/", "integration": INTEGRATION, "credentials": secret}
        self.credentials.write_text(json.dumps(content))

    def stats(self) -> dict[str, Any]:
        """What came since the last `reset`."""
        found: dict[str, Any] = json.loads(self._get("stats"))
        return found

    def reset(self) -> None:
        """Begin to count anew."""
        self._get("reset")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate()

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}/{path}", timeout=60) as answer:
            body: bytes = answer.read()
        return body
