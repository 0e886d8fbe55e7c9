"""A running sandbox for tests: the real server in a process of its own, with what a test wants to know about it.

    with SandboxServer(rate_limiter="off") as sandbox:
        client = Client(str(sandbox.credentials_path))
        sandbox.faults([{"method": "insert", "times": 1, "kind": "answer_lost"}])
        ...
        assert sandbox.samples("boiler/1/pressure") == [(1_777_615_200_000_000, 4.1)]

Keyword arguments are the switches of `SandboxSettings` (`connector/sandbox/settings.py`), the fault rules those
of `connector/sandbox/faults.py`.
"""

from __future__ import annotations

import base64
import json
import select
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import pytest

from connector.sandbox.address import ListenAddress
from connector.sandbox.store import SignalRow, Store
from tests.ports import free_port
from tests.secret_search import search_folder
from tests.secrets_used import fresh

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class SandboxServer:
    """One sandbox: start it with `with` or `start()`. It can be stopped, killed and restarted at will.

    store        the SQLite file; by default one in a directory that disappears with this object
    port         a fixed port; by default a free one, which restarts keep
    faults       offer fault rules and statistics
    credentials_kind, public_url   as on the command line
    **settings   switches, such as rate_limiter="off", token_seconds=5, error_style="live"
    """

    def __init__(
        self,
        *,
        store: Path | None = None,
        port: int | None = None,
        faults: bool = True,
        credentials_kind: str = "client-credentials",
        public_url: str | None = None,
        **settings: object,
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="sandbox-"))
        self.store_path = store or self._directory / "store.sqlite"
        self.credentials_path = self._directory / "credentials.json"
        self._log_path = self._directory / "stderr.txt"
        self._port = port or free_port()
        self._with_faults = faults
        self._credentials_kind = credentials_kind
        self._public_url = public_url
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None

    # Starting and stopping

    def start(self) -> Self:
        """Start the process and wait until it answers; raises RuntimeError with its output if it does not."""
        assert self._process is None, "the sandbox runs already"
        if self.store_path.parent.exists() and not self.store_path.exists():
            _with_marked_secrets(self.store_path)
        command = [sys.executable, "-m", "connector.sandbox"]
        command += ["--listen", f"127.0.0.1:{self._port}", "--store", str(self.store_path)]
        command += ["--credentials-out", str(self.credentials_path)]
        command += ["--credentials-kind", self._credentials_kind]
        command += ["--faults"] if self._with_faults else []
        command += ["--public-url", self._public_url] if self._public_url else []
        for name, value in self._settings.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        with self._log_path.open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self._first_line(self._process)
        if not line.startswith("listening on "):
            self.kill()
            raise RuntimeError(f"the sandbox did not start: {line}{self.log()}")
        self._port = ListenAddress.parse(line.split("//")[1].split("/")[0]).port
        return self

    def stop(self) -> float:
        """End it with SIGTERM and check that it went in order; returns how many seconds that took."""
        process, self._process = self._process, None
        if process is None:
            return 0.0
        begin = time.monotonic()
        process.terminate()
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self._close_pipe(process)
        if code != 0:
            raise RuntimeError(f"the sandbox ended with {code}: {self.log()}")
        return time.monotonic() - begin

    def kill(self) -> None:
        """End it with SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._close_pipe(process)

    def restart(self, **settings: object) -> Self:
        """Stop it if it runs, and start it on the same port and store; `settings` change switches."""
        self.stop()
        self._settings |= settings
        return self.start()

    def close(self) -> None:
        """Kill it if it still runs, and remove its directory."""
        self.kill()
        search_folder(self._directory)
        shutil.rmtree(self._directory)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.stop()
        finally:
            self.close()

    # What it is

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return self._port

    @property
    def pid(self) -> int:
        """The ID of its process."""
        assert self._process is not None, "the sandbox does not run"
        return self._process.pid

    @property
    def url(self) -> str:
        """The base URL of the API, with the trailing slash."""
        return f"http://127.0.0.1:{self._port}/v1/"

    @property
    def integration(self) -> str:
        """The ID of its integration."""
        return str(self.credentials()["integration"])

    def credentials(self) -> dict[str, Any]:
        """The content of the credentials file."""
        document: dict[str, Any] = json.loads(self.credentials_path.read_text())
        return document

    def log(self) -> str:
        """Everything it wrote to standard error so far."""
        return self._log_path.read_text()

    # What it was given; all of these also work while it is down

    def signals(self) -> dict[str, SignalRow]:
        """The stored signals by input."""
        with Store.open(self.store_path, read_only=True) as store:
            return store.signals()

    def samples(self, key: str) -> list[tuple[int, float]]:
        """The stored samples of an input, (time in µs, value), sorted by time."""
        with Store.open(self.store_path, read_only=True) as store:
            return store.samples(key)

    def count_samples(self) -> int:
        """The number of stored samples."""
        with Store.open(self.store_path, read_only=True) as store:
            return store.count_samples()

    # Talking to it without a client library

    def authorization(self) -> str:
        """The value of an Authorization header: Basic, or Bearer with a new token, as the credentials say."""
        credentials = self.credentials()["credentials"]
        user, secret = credentials["clientId"], credentials["clientSecret"]
        if credentials["type"] == "basic-auth":
            return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
        form = {"grant_type": "client_credentials", "client_id": user, "client_secret": secret}
        answer = httpx.post(
            f"{self.url}oauth/token", data=form, trust_env=False, verify=False, timeout=60
        ).raise_for_status()
        return f"Bearer {answer.json()['access_token']}"

    def rpc(self, method: str, params: object, *, request_id: object = 1, **headers: str) -> httpx.Response:
        """One call on a connection of its own; more headers as keywords, such as x_api_version="1.2"."""
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        return self.post(json.dumps(body).encode(), **headers)

    def insert(self, data: object, **headers: str) -> httpx.Response:
        """One call of integration.insert with this data frame."""
        return self.rpc("integration.insert", {"integration": self.integration, "data": data}, **headers)

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        """One request to the RPC endpoint with any body."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given.setdefault("authorization", self.authorization())
        given.setdefault("content-type", "application/json")
        return httpx.post(f"{self.url}rpc", content=body, headers=given, trust_env=False, verify=False, timeout=60)

    # Faults

    def faults(self, rules: Sequence[Mapping[str, object]]) -> None:
        """Order faults, after those that are still in force."""
        self._admin("POST", "faults", list(rules))

    def clear_faults(self) -> None:
        """Forget all fault rules."""
        self._admin("DELETE", "faults")

    def stats(self) -> dict[str, Any]:
        """The counters since the last start: see `connector/sandbox/stats.py`."""
        counters: dict[str, Any] = self._admin("GET", "stats").json()
        return counters

    def _admin(self, method: str, path: str, body: object = None) -> httpx.Response:
        url = f"http://127.0.0.1:{self._port}/sandbox/{path}"
        with httpx.Client(trust_env=False, verify=False, timeout=60) as client:
            answer = client.request(method, url, json=body)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer

    @staticmethod
    def _first_line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        return process.stdout.readline() if ready else "no output in time. "

    @staticmethod
    def _close_pipe(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        process.stdout.close()


def sandbox_fixture(
    scope: Literal["function", "module"] = "function", each: Sequence[Mapping[str, Any]] = (), **settings: Any
) -> Any:
    """A fixture with a sandbox that runs with these settings, named by the module that keeps it.

    `sandbox = sandbox_fixture(requests_per_second=100)` gives the tests of a module such a sandbox instead of the one
    of tests/integration/conftest.py. `each` has further settings: every test runs with each of them.
    """

    @pytest.fixture(scope=scope, params=each or None, ids=lambda more: "-".join(dict.fromkeys(map(str, more.values()))))
    def sandbox(request: pytest.FixtureRequest) -> Iterator[SandboxServer]:
        with SandboxServer(**settings, **getattr(request, "param", {})) as server:
            yield server

    return sandbox


def _with_marked_secrets(path: Path) -> None:
    """A store whose integration has secrets that are found wherever they should not be."""
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE integrations SET client_secret = ?, password = ?", (fresh("client-secret"), fresh("api-password"))
        )
        connection.commit()
