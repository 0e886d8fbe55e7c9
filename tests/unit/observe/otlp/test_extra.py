"""Telemetry is an extra: it costs nothing where nobody asks for it, and says what is missing where somebody does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector.commands.cli import main
from tests.credentials import credentials
from tests.in_process import left_as_it_was
from tests.secrets_used import SETTING

OFF = """
import sys
from pathlib import Path
from connector.commands.run import run, _telemetry
from connector.config.read import load_config
from connector.observe.metrics import metrics_page
from connector.runtime.connector import Connector
config = load_config(Path(sys.argv[1]))
with _telemetry(config, "") as telemetry:
    connector = Connector(config)
    assert b"clarify_connector_ready" in metrics_page(connector)
    connector.close()
found = [name for name in sys.modules if name.startswith(("opentelemetry", "connector.observe.otlp"))]
assert telemetry is None and not found, found
"""


def configuration(folder: Path, observe: str) -> Path:
    (folder / "credentials.json").write_text(json.dumps(credentials()))
    file = folder / "connector.yaml"
    file.write_text(
        f"clarify: {{credentials: credentials.json}}\nsources: [{{type: mqtt, url: h, topics: [x]}}]\n{observe}"
    )
    return file


def test_without_the_section_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    file = configuration(tmp_path, "")
    done = subprocess.run(
        [sys.executable, "-c", OFF, str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_library_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.proto", None)
    file = configuration(tmp_path, "observe: {otlp: {endpoint: 'http://127.0.0.1:1'}}\n")
    for command in ("check", "run"):
        with left_as_it_was():
            done = CliRunner().invoke(main, [command, str(file)])
        assert done.exit_code != 0
        assert "observe.otlp needs the package opentelemetry-proto" in done.output
        assert "pip install '.[otlp]'" in done.output


def test_check_warns_of_what_works_and_is_not_wise(tmp_path: Path) -> None:
    settings = f"endpoint: 'http://c.example:4317', headers: {{k: '{SETTING}'}}"
    done = CliRunner().invoke(main, ["check", str(configuration(tmp_path, f"observe: {{otlp: {{{settings}}}}}\n"))])
    assert done.exit_code == 0, done.output
    assert "warning: observe: otlp.headers over http can be read on the way" in done.output
    assert "warning: observe: otlp.endpoint: 4317 is the port of OTLP over gRPC" in done.output
    assert SETTING not in done.output
