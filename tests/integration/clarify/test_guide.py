"""PyClarify's guide, with its own client and with ours: the answers agree field by field."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.guide import numbered, run
from tests.pyclarify_versions import NEWEST, OF_THE_GUIDE, import_path
from tests.sandbox_server import SandboxServer

ROOT = Path(__file__).parents[3]


@cache
def ours() -> dict[str, Any]:
    """The answers of our client."""
    with SandboxServer(rate_limiter="off") as sandbox:
        return numbered(run("connector.clarify", str(sandbox.credentials_path), rates=None))


def theirs(version: str) -> dict[str, Any]:
    """The answers of PyClarify, in a process of its own."""
    path = [*import_path(version), str(ROOT)]
    with SandboxServer(rate_limiter="off") as sandbox:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.guide", "pyclarify", str(sandbox.credentials_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("version", [OF_THE_GUIDE, NEWEST])
def test_the_answers_agree(version: str) -> None:
    mine, other = ours(), theirs(version)
    assert mine.keys() >= other.keys()
    assert len(other) > 25
    for step, answer in other.items():
        assert mine[step] == answer, step


def test_the_answers_are_right() -> None:
    answers = ours()
    assert answers["save by arrays"]["result"]["signalsByInput"]["bedroom/temperature"]["created"] is True
    assert answers["save once more"]["result"]["signalsByInput"]["weather"]["updated"] is False
    assert answers["counted"]["result"]["meta"]["total"] == 4
    chosen = {
        step: [signal["attributes"]["input"] for signal in answers[step]["result"]["data"]]
        for step in ("by regex", "and", "or", "mixed", "plain query")
    }
    assert chosen == {
        "by regex": ["bedroom/temperature"],
        "and": ["bedroom/temperature"],
        "or": ["bedroom/temperature", "weather"],
        "mixed": ["bedroom/temperature"],
        "plain query": ["pressure", "bedroom/temperature"],
    }
    assert {i["attributes"]["name"] for i in answers["signals with items"]["result"]["included"]["items"]} == {
        "Bedroom", "Pressure", "Weather",
    }  # fmt: skip
    data = answers["data with items"]["result"]
    (bedroom,) = data["included"]["items"]
    assert data["data"]["series"] == {bedroom["id"]: [20.5, 21.0]}
    assert answers["evaluate"]["result"]["data"]["series"]["f"] == [20.5 * 1.8 + 32, 21.0 * 1.8 + 32]
    assert answers["unknown field"] == {"error": {"code": -32602, "message": "Invalid params"}}
    assert [signal["attributes"]["input"] for signal in answers["filter of dicts"]["result"]["data"]] == ["total"]
    assert answers["all data"] == answers["data"]
