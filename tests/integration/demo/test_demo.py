"""The demo as users run it: it balances, it ends when it should, and it leaves nothing behind."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.brokers import mosquitto_pub_program, need_mosquitto
from tests.connector_process import run_command
from tests.waiting import wait_until

MARK = "CLARIFY_DEMO_TEST"


class DemoProcess:
    """A demo in a process of its own; its processes are found again by a mark in their environment."""

    def __init__(self, folder: Path, *arguments: str, terminal: int | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._errors = folder / "stderr.txt"
        environment = {**os.environ, MARK: self.mark, "TMPDIR": str(self.temporary), "TERM": "xterm-256color"}
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "connector", "demo", *arguments],
                stdout=subprocess.PIPE if terminal is None else terminal,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )

    def errors(self) -> str:
        return self._errors.read_text(errors="replace")

    def finish(self, seconds: float = 120) -> tuple[int, str]:
        """(exit status, standard output)."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, (output or b"").decode()

    def wait_receiving(self) -> None:
        """Wait until messages come in."""
        wait_until(
            lambda: re.search(r"received [1-9]", self.errors()) or self.process.poll() is not None,
            40,
            "messages come in",
        )
        assert self.process.poll() is None, self.errors()

    def processes(self) -> list[psutil.Process]:
        """All processes of this demo that run now."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def assert_nothing_left(self) -> None:
        """No process and no file."""
        wait_until(lambda: not self.processes(), 15, lambda: f"no process is left of {self.processes()}")
        assert list(self.temporary.iterdir()) == []

    def __enter__(self) -> DemoProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait()


def assert_good(account: dict[str, Any]) -> None:
    """What every demo promises, and what this plant makes certain."""
    assert account["balanced"] is True
    assert account["waiting"] == 0
    assert account["problems"] == []
    assert 0 < account["published"] <= account["received"]
    for counts in (account, account["samples"]):
        outcomes = ("inserted", "dead_lettered", "filtered", "superseded", "waiting")
        assert counts["received"] == sum(counts[name] for name in outcomes)
        assert counts["inserted"] > 0
    assert account["samples"]["waiting"] == 0
    assert 0 < account["sandbox_samples"] <= account["samples"]["inserted"]
    assert account["requests"] > 0
    assert account["seconds"] > 0


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_it_stops_by_itself_and_everything_is_accounted_for(broker: str, tmp_path: Path) -> None:
    if broker == "mosquitto":
        need_mosquitto()
    with DemoProcess(tmp_path, "--for", "5s", "--json", "--broker", broker) as demo:
        status, output = demo.finish()
        assert status == 0, output + demo.errors()
        account = json.loads(output.splitlines()[-1])
        assert_good(account)
        assert account["broker"].startswith("mosquitto" if broker == "mosquitto" else "amqtt")
        assert account["published"] > 100
        assert account["signals"] > 100
        assert account["dead_lettered"] >= 5
        assert account["filtered"] >= 1
        assert account["samples"]["superseded"] >= 1
        assert account["broker"] in demo.errors()
        demo.assert_nothing_left()


def test_it_shows_kafka_with_nothing_installed(tmp_path: Path) -> None:
    with DemoProcess(tmp_path, "--for", "8s", "--json", "--source", "kafka") as demo:
        status, output = demo.finish()
        assert status == 0, output + demo.errors()
        account = json.loads(output.splitlines()[-1])
        assert_good(account)
        assert "volatile" in account["broker"]
        assert account["broker"] in demo.errors()
        assert account["published"] > 100
        assert account["signals"] > 100
        assert account["dead_lettered"] >= 5
        demo.assert_nothing_left()


def test_on_a_terminal_it_shows_itself_and_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    need_mosquitto()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    kept = tmp_path / "kept"
    with DemoProcess(tmp_path, "--json", "--keep", str(kept), "--machines", "5", terminal=theirs) as demo:
        os.close(theirs)
        screen = Screen(ours)
        screen.read_until("FRAMES [1-9]", 40)
        assert "LEDGER ✓" in screen.text
        publisher = mosquitto_pub_program()
        if publisher is not None:
            port = re.search(r"mosquitto_pub -h 127\.0\.0\.1 -p (\d+)", screen.text)
            assert port is not None
            subprocess.run([publisher, "-h", "127.0.0.1", "-p", port[1], "-t", "my/topic", "-m", "21.5"], check=True)
            screen.read_until(r"my/topic +21\.5", 20)
        demo.process.send_signal(signal.SIGINT)
        screen.read_until(r'"sandbox_samples"', 40)
        screen.read_to_end()
        assert demo.finish()[0] == 0, demo.errors()
        found = re.search(r'\{"received".*\}', screen.text)
        assert found is not None
        assert screen.text.endswith(found[0])
        assert_good(json.loads(found[0]))
        assert "draining" in screen.text
        demo.assert_nothing_left()
    ledger = run_command("ledger", kept / "connector.yaml")
    assert ledger.returncode == 0
    assert "The ledger balances." in ledger.stdout


def test_no_process_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    with DemoProcess(tmp_path) as demo:
        demo.wait_receiving()
        assert len(demo.processes()) == 7  # the demo, and three children with their leashes
        demo.process.kill()
        demo.process.wait()
        wait_until(lambda: not demo.processes(), 20, "no process is left")


def test_a_broker_that_dies_ends_the_demo_with_an_error_and_an_account(tmp_path: Path) -> None:
    with DemoProcess(tmp_path, "--json", "--broker", "embedded") as demo:
        demo.wait_receiving()
        (broker,) = [
            process
            for process in demo.processes()
            if "connector.demo.embedded_broker" in process.cmdline()
            and "connector.demo.end_with_parent" not in process.cmdline()
        ]
        broker.kill()
        status, output = demo.finish()
        assert status == 1
        account = json.loads(output.splitlines()[-1])
        assert any("the broker" in problem and "ended by itself" in problem for problem in account["problems"])
        assert "PROBLEM: the broker" in demo.errors()
        demo.assert_nothing_left()


class Screen:
    """What a program writes to its terminal, without the control sequences."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._bytes = b""
        self._ended = False

    @property
    def text(self) -> str:
        """Everything so far."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._bytes.decode(errors="replace")).replace("\r\n", "\n").strip()

    def read_until(self, pattern: str, seconds: float) -> None:
        """Read until the pattern stands somewhere."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"{pattern!r} not within {seconds:g} s:\n{self.text[-3000:]}"
            assert not self._ended, f"{pattern!r} never came:\n{self.text[-3000:]}"
            self._read()

    def read_to_end(self) -> None:
        """Read until the program has closed the terminal."""
        while not self._ended:
            self._read()
        os.close(self._terminal)

    def _read(self) -> None:
        readable, _, _ = select.select([self._terminal], [], [], 0.5)
        if readable:
            try:
                read = os.read(self._terminal, 65_536)
            except OSError:  # how Linux says that nobody has the other end any more
                read = b""
            self._bytes += read
            self._ended = not read
