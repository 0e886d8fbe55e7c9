"""Whatever serves listens on this computer alone, unless its user says otherwise: seen in the processes' sockets."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

Sockets = set[tuple[str, int]]


def listening(process: psutil.Process) -> Sockets:
    """(address, port) on which it and its children accept connections now."""
    found: Sockets = set()
    for each in (process, *process.children(recursive=True)):
        try:
            connections = each.net_connections("inet")
        except psutil.Error:
            continue  # it has just ended
        for one in connections:
            if one.status == psutil.CONN_LISTEN or (one.type.name == "SOCK_DGRAM" and not one.raddr):
                found.add((one.laddr.ip, one.laddr.port))
    return found


def sockets_of(command: list[str], folder: Path, enough: Callable[[Sockets], bool]) -> Sockets:
    """All on which this command listened, until `enough` says so; its default port may be in use by another test."""

    def run() -> Sockets | None:
        with (folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "connector", *command], cwd=folder, stdout=output, stderr=output
            )
        seen: Sockets = set()

        def look() -> bool:
            seen.update(listening(psutil.Process(process.pid)))
            return enough(seen) or process.poll() is not None

        try:
            wait_until(look, 60, lambda: f"{command} listens; so far: {seen}; {said()}", every=0.02)
            return seen if enough(seen) else None
        except psutil.NoSuchProcess:
            return None
        finally:
            process.terminate()
            process.wait(60)

    def said() -> str:
        return (folder / "output.txt").read_text(errors="replace")

    return wait_until(run, 120, said, every=1.0)


def is_local(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def test_the_connector(tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        sources = {
            1: "{type: mqtt, url: 'mqtt://127.0.0.1:9', topics: ['#']}",
            2: "{type: kafka, bootstrap_servers: ['127.0.0.1:9'], topics: [x], group_id: g, security: plaintext}",
        }
        for workers, source in sources.items():
            folder = tmp_path / str(workers)
            folder.mkdir()
            config = folder / "connector.yaml"
            config.write_text(
                f"clarify: {{credentials: {sandbox.credentials_path}}}\nworkers: {workers}\nsources: [{source}]\n"
            )
            # with several workers each serves to the first process, which serves them all together
            found = sockets_of(
                ["run", str(config)], folder, lambda seen, n=workers: len(seen) >= (1 if n == 1 else n + 1)
            )
            assert 9464 in {port for _, port in found}
            assert {address for address, _ in found if not is_local(address)} == set()


def test_the_sandbox(tmp_path: Path) -> None:
    found = sockets_of(["sandbox"], tmp_path, bool)
    assert 8090 in {port for _, port in found}
    assert {address for address, _ in found if not is_local(address)} == set()


@pytest.mark.parametrize("source", ["mqtt", "kafka"])
def test_the_demo(tmp_path: Path, source: str) -> None:
    found = sockets_of(
        ["demo", "--for", "30s", "--json", "--source", source],
        tmp_path,
        lambda seen: len({port for _, port in seen}) >= 3,  # a broker, the sandbox and the connector's pages
    )
    assert {address for address, _ in found if not is_local(address)} == set()


def test_a_listener_for_everybody_would_be_seen() -> None:
    program = "import socket; s = socket.create_server(('0.0.0.0', 0)); print('up', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert [is_local(address) for address, _ in listening(psutil.Process(process.pid))] == [False]
    finally:
        process.communicate(b"\n", timeout=60)
