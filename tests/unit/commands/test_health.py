"""The command `health`, which a container runs every 30 s; test_container_files.py, among others, has the answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from connector.config.read import ConfigError, load_observe

LOADED = """
import sys
from connector.commands.cli import main
try:
    main(["health", sys.argv[1]])
except SystemExit as end:
    heavy = {"structlog", "httpx", "connector.config.model", "connector.settings", "pydantic", "importlib.metadata"}
    print(end.code, sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("observe", "loaded"),
    [
        ("{listen: '127.0.0.1:9', log_level: debug}", []),
        (
            "{listen: '127.0.0.1:9', token: '0123456789abcdef'}",
            ["connector.settings", "importlib.metadata", "pydantic"],
        ),
    ],
)
def test_a_check_loads_neither_the_log_nor_the_other_sections(tmp_path: Path, observe: str, loaded: list[str]) -> None:
    """They take three quarters of the time of a command; and pages that are open need no library of sections."""
    config = tmp_path / "connector.yaml"
    config.write_text(f"observe: {observe}\n")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(config)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == f"1 {loaded}", done.stderr
    assert "is the connector running?" in done.stdout


def test_a_mistake_in_another_section_does_not_make_a_running_connector_sick(tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text("sources: ${NOT_SET}\nobserve:\n  tls: {cert_file: a.pem, key_file: b.pem}\n")
    section = load_observe(config)
    assert section.tls is not None
    assert section.tls.cert_file == tmp_path / "a.pem"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("observe: {lisen: '127.0.0.1:1'}", "connector.yaml:1: observe.lisen: there is no such setting; did you mean"),
        ("observe: {listen: '${NOT_SET}'}", "connector.yaml:1: observe.listen: the environment variable NOT_SET"),
        ("observe: 5", "connector.yaml:1: observe: must be a section"),
    ],
)
def test_a_mistake_in_the_section_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(f"{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_observe(config)
    assert said in str(caught.value)
