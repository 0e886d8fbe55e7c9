"""`probe` over HTTP: a report of a real sandbox, a sandbox like it, and Ctrl-C."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from connector.commands.cli import main
from connector.commands.probe import session
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secret_search import SearchedCommands
from tests.waiting import wait_until

ODD = {
    "null_values": "erase", "gzip": "accept", "error_style": "live", "oversize": "reset", "max_body_bytes": 4_000_000,
}  # fmt: skip
SEVERAL = """\
clarify:
  credentials: credentials.json
  integrations:
    plant-b: {credentials: b.json}
sources: [{type: mqtt, url: "mqtts://b", topics: ["#"]}]
"""
sandbox = sandbox_fixture("module", requests_per_second=100, **ODD)


def test_a_report_over_http_and_a_sandbox_like_it(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report.json"
    monkeypatch.setattr(session, "_MARGIN", 0.01)  # this sandbox takes a hundred times as much
    config = tmp_path / "connector.yaml"
    config.write_text(SEVERAL)
    arguments = ["probe", str(sandbox.credentials_path), "--yes", "--output", str(report), "--prefix", "p/"]
    refused = SearchedCommands().invoke(main, [*arguments, "--apply", str(config)])
    assert (refused.exit_code, "one of default, plant-b" in refused.output) == (2, True)
    assert sandbox.stats()["requests"] == {}
    done = SearchedCommands().invoke(main, [*arguments, "--apply", str(config), "--integration", "plant-b"])
    assert done.exit_code == 0, done.output
    assert config.read_text() == SEVERAL + "delivery:\n  max_bytes: 4000000B\n"
    assert "delivery.max_bytes also counts for the integrations default" in done.output
    made = json.loads(report.read_text())
    assert made["complete"]
    assert ODD.items() <= made["sandbox"].items()
    assert report.stat().st_mode & 0o077 == 0
    signals = sandbox.signals()
    assert set(signals) <= set(made["inputs"])
    assert all(key.startswith("p/") and key in done.output for key in signals)
    with SandboxServer(like=report, gzip="refuse") as like:
        frame = {"times": ["2026-05-01T06:00:00Z"] * 2, "series": {"x": [1]}}
        assert "pathErrors" in like.insert(frame).json()["error"]["data"]
        assert like.post(gzip.compress(b"{}"), content_encoding="gzip").status_code == 415
        assert "--total-seconds" in like.log()


def test_ctrl_c_leaves_a_partial_report(sandbox: SandboxServer, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    inserts = sandbox.stats()["requests"].get("integration.insert", 0)
    command = [sys.executable, "-m", "connector", "probe", str(sandbox.credentials_path), "--yes"]
    with subprocess.Popen([*command, "--output", str(report)], stdout=subprocess.PIPE, text=True) as process:
        wait_until(
            lambda: sandbox.stats()["requests"].get("integration.insert", 0) >= inserts + 1, 60, "no inserts arrived"
        )
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    made = json.loads(report.read_text())
    assert made["complete"] is False
    assert [one["question"] for one in made["findings"] if one["settled"]] == ["token"]
    assert "INTERRUPTED" in output
    assert "/overwrite" in output
