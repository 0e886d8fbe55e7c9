"""A short run of `make chaos`: three cycles with every kind of fault. For longer ones see CONTRIBUTING.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers import USED
from tests.chaos.harness.schedule import KINDS
from tests.chaos.harness.stage import needs

SEED = os.environ.get("CHAOS_SEED", "1")
CYCLES = 3


@pytest.mark.timeout(900)
def test_a_short_run_loses_nothing(tmp_path: Path) -> None:
    needs()
    command = [sys.executable, "-m", "tests.chaos.harness", "--cycles", str(CYCLES), "--seed", SEED, "--seconds", "9"]
    done = subprocess.run(
        [*command, "--json", "--folder", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    story = tmp_path / "run" / "timeline.log"
    told = f"{done.stderr[-3000:]}\n{story.read_text() if story.exists() else ''}"
    assert done.stdout, told
    result = json.loads(done.stdout)
    assert (done.returncode, result["problems"]) == (0, []), told
    USED["Mosquitto and Apache Kafka of make chaos"] = 1
    assert (result["lost"], result["invented"], result["balanced"]) == (0, 0, True), told
    everybody = result["inserted"] + result["dead_lettered"] + result["lost_and_reported"]
    assert result["published"] == everybody > 5_000
    assert result["kills"] >= 2 * CYCLES
    assert result["cuts"] >= 2 * CYCLES
    assert result["faults"].keys() | result["left_out"].keys() == set(KINDS)
