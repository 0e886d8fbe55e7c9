"""The command `demo`: its options, and what it says where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from connector.commands.cli import main
from connector.demo.brokers import start_broker
from connector.demo.children import DemoError
from tests.secret_search import SearchedCommands

WITHOUT = """
import sys
sys.modules[{name!r}] = None
from connector.commands.cli import main
main(["demo", "--for", "1s", "--json", *{arguments!r}], prog_name="clarify-connector")
"""


def demo(*arguments: str) -> tuple[int, str]:
    result = SearchedCommands().invoke(main, ["demo", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("text", ["20", "0s", "fast", "-5s", "5 minutes"])
def test_bad_durations_are_refused(text: str) -> None:
    code, output = demo(f"--for={text}")
    assert code == 2
    assert "Invalid value for '--for'" in output


@pytest.mark.parametrize("arguments", [("--machines", "0"), ("--rate", "0"), ("--broker", "kafka")])
def test_bad_options_are_refused(arguments: tuple[str, str]) -> None:
    code, output = demo(*arguments)
    assert code == 2
    assert arguments[0] in output


def test_a_folder_that_is_used_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    code, output = demo("--keep", str(tmp_path))
    assert code == 2
    assert "is not empty; name a new folder" in output.replace("\n", " ")


@pytest.mark.parametrize("name", ["rich", "uvicorn", "starlette"])
def test_without_the_extra_packages_it_says_how_to_install_them(name: str) -> None:
    done = run_without(name)
    assert done.returncode == 1
    expected = f"the package {name} is missing: in a checkout of the connector, run pip install '.[demo]'"
    assert expected in done.stderr


def test_without_the_embedded_broker_it_says_how_to_install_it(tmp_path: Path) -> None:
    done = run_without("amqtt", "--broker", "embedded", "--keep", str(tmp_path / "new"))
    assert done.returncode == 1
    assert "in a checkout of the connector, run pip install '.[demo]'" in done.stderr


def test_without_the_extra_packages_the_other_commands_work() -> None:
    code = "import sys; sys.modules.update(rich=None, uvicorn=None, starlette=None, amqtt=None); "
    code += "from connector.commands.cli import main; main(['schema'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0


def test_a_broker_that_cannot_start_is_reported_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho 'no licence to broker' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def wait_for(condition: object, seconds: float, what: str) -> None:
        assert callable(condition)
        while not condition():
            continue

    with pytest.raises(DemoError, match=r"has ended by itself .*no licence to broker"):
        start_broker("mosquitto", tmp_path, wait_for)


def run_without(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(name=name, arguments=arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
