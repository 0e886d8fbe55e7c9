"""Starting, stopping, killing and restarting the sandbox: what is kept, and how fast it goes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.sandbox_server import SandboxServer


def frame(key: str, count: int = 1) -> dict[str, object]:
    times = [f"2026-05-01T12:{n // 60:02}:{n % 60:02}Z" for n in range(count)]
    return {"times": times, "series": {key: list(range(count))}}


def test_an_answered_insert_survives_sigkill() -> None:
    with SandboxServer(rate_limiter="off") as sandbox:
        port, credentials = sandbox.port, sandbox.credentials()
        token = sandbox.authorization()
        for number in range(5):
            assert sandbox.insert(frame(f"k{number}", 100), authorization=token).status_code == 200
        sandbox.kill()
        assert sandbox.count_samples() == 500  # also while nobody runs
        sandbox.restart()
        assert (sandbox.port, sandbox.credentials()) == (port, credentials)
        assert sandbox.count_samples() == 500
        answer = sandbox.insert(frame("k0"), authorization=token)
        assert answer.json()["result"]["signalsByInput"]["k0"]["created"] is False


def test_a_kill_in_the_middle_keeps_whole_requests_only() -> None:
    with SandboxServer(rate_limiter="off", credentials_kind="basic-auth") as sandbox:
        answered = 0
        size = 3000
        header = sandbox.authorization()

        def keep_inserting() -> None:
            nonlocal answered
            while True:
                try:
                    answer = sandbox.insert(frame(f"k{answered}", size), authorization=header)
                except httpx.TransportError:
                    return
                assert answer.status_code == 200
                answered += 1

        writer = threading.Thread(target=keep_inserting)
        writer.start()
        deadline = time.monotonic() + 20
        while answered < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        sandbox.kill()
        writer.join(20)
        assert not writer.is_alive()
        stored = [len(sandbox.samples(key)) for key in sandbox.signals()]
        assert set(stored) == {size}
        assert answered <= len(stored) <= answered + 1


def test_sigterm_stops_quickly_with_open_connections_and_waiting_requests() -> None:
    sandbox = SandboxServer(rate_limiter="off", credentials_kind="basic-auth").start()
    try:
        headers = {"authorization": sandbox.authorization(), "content-type": "application/json"}
        call = {"jsonrpc": "2.0", "id": 1, "method": "integration.insert", "params": {}}
        with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, verify=False, timeout=30) as idle:
            assert idle.post("rpc", json=call).status_code == 200
            sandbox.faults([{"method": "insert", "kind": "timeout", "seconds": 600}])
            statuses: list[int] = []
            waiting = threading.Thread(
                target=lambda: statuses.append(sandbox.insert(frame("a"), **headers).status_code)
            )
            waiting.start()
            deadline = time.monotonic() + 10
            while sandbox.stats()["faults"].get("timeout") != 1:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert sandbox.stop() < 4
            waiting.join(10)
            assert statuses == [503]
        assert sandbox.log() == ""
    finally:
        sandbox.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order_and_without_noise(tmp_path: Path, stop: signal.Signals) -> None:
    credentials = tmp_path / "credentials.json"
    command = [sys.executable, "-m", "connector.sandbox", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--credentials-out", str(credentials)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        process.send_signal(stop)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (0, "", "")
    url = line.removeprefix("listening on ")
    assert url.startswith("http://127.0.0.1:")
    assert f'"apiUrl": "{url}"' in credentials.read_text()


def test_without_a_store_every_start_has_new_credentials(tmp_path: Path) -> None:
    seen = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        command = [sys.executable, "-m", "connector.sandbox", "--listen", "127.0.0.1:0", "--credentials-out", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.terminate()
            assert process.wait(10) == 0
        seen.append(path.read_text())
    assert seen[0] != seen[1]


def test_another_address_than_loopback_is_possible_and_warned_about(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "connector.sandbox", "--listen", "0.0.0.0:0", "--faults"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert line.startswith("listening on http://127.0.0.1:")
    assert "other machines can connect and order faults" in errors
    assert "no public URL" in errors
    assert "nobody can log in" in errors


def test_switches_can_change_with_a_restart() -> None:
    with SandboxServer(rate_limiter="off") as sandbox:
        params = {"integration": "short", "data": {"times": [], "series": {}}}
        assert "params" in sandbox.rpc("integration.insert", params).json()["error"]["data"]
        sandbox.restart(error_style="live")
        assert "pathErrors" in sandbox.rpc("integration.insert", params).json()["error"]["data"]


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = SandboxServer(store=tmp_path / "missing" / "store.sqlite")
    try:
        with pytest.raises(RuntimeError, match="cannot open the store"):
            server.start()
    finally:
        server.close()
