"""The connector as users run it: `clarify-connector run CONFIG` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from tests.ports import free_port
from tests.waiting import wait_until


def run_command(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """`clarify-connector ARGUMENTS` in a process of its own, run to its end."""
    command = [sys.executable, "-m", "connector", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=240, check=False)


def drain(connector: ConnectorProcess, *more: str) -> tuple[int, str]:
    """(exit status, output) of `clarify-connector drain`, after which the connector has ended with 0."""
    done = run_command("drain", connector.config, *more)
    assert connector.wait(60) == 0, connector.log()
    assert "Traceback" not in done.stderr + connector.log()
    return done.returncode, done.stdout + done.stderr


class ConnectorProcess:
    """One connector; it can be killed and started again on the same state."""

    def __init__(
        self,
        folder: Path,
        credentials: Path,
        sources: str,
        more: str = "",
        *,
        timeout: str = "20s",
        observe: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`sources` is the YAML of the list of sources; `more` is further YAML for the top level. `timeout` is how long
        it waits for Clarify, `observe` further YAML for that section, `env` what is in its environment beside ours."""
        self.folder = folder
        self.observe_port = free_port()
        self.config = folder / "connector.yaml"
        self.config.write_text(
            f"clarify:\n  credentials: {credentials}\n  timeout: {timeout}\nsources:\n{sources}\nstate_dir: state\n"
            f"observe:\n  listen: 127.0.0.1:{self.observe_port}\n"
            f"{observe}{more}\n"
        )
        self.log_path = folder / "connector.log"
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> Self:
        """Start, and wait until /readyz says so."""
        assert self._process is None
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "connector", "run", str(self.config)], stdout=log, stderr=log, env=self._env
            )
        if ready:
            wait_until(self._is_ready, 60, lambda: f"ready; its log:\n{self.log()}")
        return self

    @property
    def pid(self) -> int:
        """Its process ID."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self._keep_pages()
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(signal.SIGTERM)
        return process.wait(120)

    def wait(self, seconds: float) -> int:
        """Its exit status, when it ends by itself."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self._process = None
        return status

    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def readiness(self) -> tuple[int, list[str]]:
        """(status, problems) of /readyz; status 0 if it does not answer."""
        try:
            answer = httpx.get(
                f"http://127.0.0.1:{self.observe_port}/readyz", timeout=15, trust_env=False, verify=False
            )
        except httpx.TransportError:
            return 0, []
        return answer.status_code, answer.json()["problems"]

    def circuits(self) -> dict[str, Any]:
        """What /readyz says of the circuits that are not well."""
        answer = httpx.get(f"http://127.0.0.1:{self.observe_port}/readyz", timeout=15, trust_env=False, verify=False)
        found: dict[str, Any] = answer.json()["circuits"]
        return found

    def _is_ready(self) -> bool:
        assert self.running(), f"it ended by itself; its log:\n{self.log()}"
        return self.readiness()[0] == 200

    def metrics(self) -> dict[str, float]:
        """Metric with labels → value."""
        text = httpx.get(
            f"http://127.0.0.1:{self.observe_port}/metrics", timeout=30, trust_env=False, verify=False
        ).text
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def ledger(self) -> tuple[int, dict[str, Any]]:
        """(exit status, what it says) of `clarify-connector ledger`."""
        done = run_command("ledger", self.config, "--json")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _keep_pages(self) -> None:
        """For the search for secrets: what it serves now, where it answers."""
        with (
            (self.folder / "pages.txt").open("ab") as file,
            httpx.Client(trust_env=False, verify=False, timeout=5) as client,
        ):
            for page in (
                "healthz",
                "readyz",
                "metrics",
                "ledger",
                "silent",
                "status.json",
                "signals.json?silent=1",
                "dead-letters.json",
            ):
                try:
                    file.write(client.get(f"http://127.0.0.1:{self.observe_port}/{page}").content)
                except httpx.TransportError:
                    return  # stopped, ended, or slow: another test has the page

    def log(self) -> str:
        """What it logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
