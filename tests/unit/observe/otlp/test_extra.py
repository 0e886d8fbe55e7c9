"""Telemetry is an extra: where somebody asks for it, a missing library and unwise settings are named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector.commands.cli import main
from tests.credentials import credentials
from tests.in_process import left_as_it_was
from tests.secrets_used import SETTING


def configuration(folder: Path, observe: str) -> Path:
    (folder / "credentials.json").write_text(json.dumps(credentials()))
    file = folder / "connector.yaml"
    file.write_text(
        f"clarify: {{credentials: credentials.json}}\nsources: [{{type: mqtt, url: h, topics: [x]}}]\n{observe}"
    )
    return file


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
