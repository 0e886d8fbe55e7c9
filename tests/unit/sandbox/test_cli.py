"""The command line: addresses, switches, and errors in one line."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from connector.sandbox.address import ListenAddress, check_public_url
from connector.sandbox.cli import sandbox
from connector.sandbox.faults import FAULT_RULES
from connector.sandbox.settings import SandboxSettings
from tests.secret_search import SearchedCommands

DOCS = Path(__file__).parents[3] / "docs" / "sandbox.md"


def run(*arguments: str) -> tuple[int, str]:
    result = SearchedCommands().invoke(sandbox, arguments)
    return result.exit_code, result.output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:8090", ListenAddress("127.0.0.1", 8090), "http://127.0.0.1:8090/v1/"),
        ("localhost:0", ListenAddress("localhost", 0), "http://localhost:0/v1/"),
        ("[::1]:80", ListenAddress("::1", 80), "http://[::1]:80/v1/"),
        ("0.0.0.0:65535", ListenAddress("0.0.0.0", 65535), "http://127.0.0.1:65535/v1/"),
        ("[::]:1", ListenAddress("::", 1), "http://[::1]:1/v1/"),
    ],
)
def test_addresses(text: str, address: ListenAddress, url: str) -> None:
    assert ListenAddress.parse(text) == address
    assert address.url == url


@pytest.mark.parametrize(
    "text",
    ["", "8090", ":8090", "localhost", "localhost:", "a:b", "a:-1", "a:65536", "::1:80", "a:٣"],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|brackets|the port must be"):
        ListenAddress.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.0.2.1", False), ("sandbox", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert ListenAddress(host, 1).is_loopback is loopback


def test_public_urls_end_with_a_slash() -> None:
    assert check_public_url("http://sandbox:8090/v1") == "http://sandbox:8090/v1/"
    assert check_public_url("https://sandbox/v1/") == "https://sandbox/v1/"


@pytest.mark.parametrize("url", ["", "sandbox:8090", "ftp://sandbox/", "http:///v1/", "http://a/?x=1"])
def test_bad_public_urls(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        check_public_url(url)


def test_the_documented_defaults() -> None:
    settings = SandboxSettings()
    assert settings.requests_per_second == 1
    assert settings.queue_seconds == 10
    assert settings.total_seconds == 15
    assert settings.max_body_bytes == 8 * 1024 * 1024
    assert settings.token_seconds == 3600


@pytest.mark.parametrize(
    "bad",
    [
        {"error_style": "loud"},
        {"requests_per_second": 0},
        {"queue_seconds": float("inf")},
        {"queue_seconds": 16},
        {"token_seconds": 0},
        {"colour": "red"},
    ],
)
def test_bad_settings(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SandboxSettings.model_validate(bad)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "8090"], "'8090' is not HOST:PORT, such as 127.0.0.1:8090"),
        (["--public-url", "sandbox"], "is not an http or https URL"),
        (["--error-style", "loud"], "'loud' is not one of 'documented', 'live'"),
        (["--token-seconds", "soon"], "'soon' is not a valid integer"),
        (["--token-seconds", "0"], "--token-seconds: Input should be greater than 0 (got 0)"),
        (["--requests-per-second", "nan"], "--requests-per-second: "),
        (["--queue-seconds", "20"], "queue-seconds must not be longer than total-seconds"),
        (["--oversize", "-32600", "--timeout-answer", "-32015", "--listen", "x"], "is not HOST:PORT"),
        (["--colour"], "No such option"),
    ],
)
def test_bad_options_are_explained_in_one_line(arguments: list[str], message: str) -> None:
    code, last_line = run(*arguments)
    assert code == 2
    assert message in last_line


def test_a_port_in_use_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, last_line = run("--listen", f"127.0.0.1:{port}")
    assert (code, last_line) == (1, f"Error: cannot listen on 127.0.0.1:{port}: Address already in use")


def test_files_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "file"
    code, last_line = run("--listen", "127.0.0.1:0", "--store", str(missing))
    assert code == 1
    assert last_line.startswith(f"Error: cannot open the store {missing}: ")
    code, last_line = run("--listen", "127.0.0.1:0", "--credentials-out", str(missing))
    assert code == 1
    assert last_line.startswith(f"Error: cannot write the credentials file {missing}: ")


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_the_command_says_what_to_install(package: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from connector.sandbox.cli import sandbox; sandbox(['--listen', '127.0.0.1:0'])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "is missing: in a checkout of the connector, run pip install '.[sandbox]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_option_has_a_help_text_and_states_its_default() -> None:
    for option in sandbox.params:
        text = getattr(option, "help", "") or ""
        assert len(text) > 10, option.name
        assert getattr(option, "show_default", None) or "[default: " in text, option.name


def test_the_documentation_names_every_switch_with_its_default_and_every_fault() -> None:
    text = DOCS.read_text()
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \|.*\| (.+?) \|$", text, flags=re.MULTILINE))
    for name, field in SandboxSettings.model_fields.items():
        assert rows[name.replace("_", "-")] == f"`{field.default}`"
    schema = FAULT_RULES.json_schema()
    for kind in schema["items"]["discriminator"]["mapping"]:
        assert re.search(rf"^\| `{kind}` \|", text, flags=re.MULTILINE), kind
