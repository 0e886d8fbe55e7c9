"""Prometheus' own tool, `promtool test rules`: it loads rules and series, and says what a query finds.

The series of a test are pages of metrics, one after the other: each page stands for some minutes.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.brokers import REQUIRE_REAL, USED

TARGET: Final = {"instance": "connector:9464", "job": "clarify-connector"}
"""What Prometheus adds to each series of a scrape."""

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""(name, labels) → value."""


def need_promtool() -> str:
    """The program, or a skip with the reason; a failure where real components are required."""
    program = shutil.which("promtool")
    if program is None:
        if REQUIRE_REAL:
            pytest.fail("REQUIRE_REAL=1, but there is no promtool on this machine")
        pytest.skip("needs promtool on this machine (Debian: apt-get install prometheus)")
    return program


def promtool(*arguments: object) -> None:
    """Run it; it must find nothing wrong."""
    done = subprocess.run(
        [need_promtool(), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    USED["Prometheus' promtool"] = USED.get("Prometheus' promtool", 0) + 1
    assert done.returncode == 0, done.stdout + done.stderr


def series(page: str) -> Series:
    """The series of a page of metrics, without the target."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def history(pages: Sequence[tuple[int, str | None]]) -> list[dict[str, str]]:
    """The series of a test with one scrape a minute.

    `pages` has the minutes for which a page stays as it is; None is a scrape that fails.
    """
    read = [(minutes, {} if page is None else series(page)) for minutes, page in pages]
    found = [
        {
            "series": text(name, labels),
            "values": " ".join(values(minutes, page.get((name, labels))) for minutes, page in read),
        }
        for name, labels in dict.fromkeys(key for _, page in read for key in page)
    ]
    up = " ".join(values(minutes, 0.0 if page is None else 1.0) for minutes, page in pages)
    return [*found, {"series": text("up", frozenset()), "values": up}]


def text(name: str, labels: frozenset[tuple[str, str]]) -> str:
    """A series of the target as a query names it."""
    every = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted({**TARGET, **dict(labels)}.items()))
    return f"{name}{{{every}}}"


def values(minutes: int, value: float | None) -> str:
    """One value for so many minutes; None is no value."""
    if value is None:
        return f"_x{minutes}"
    if math.isinf(value):  # promtool reads `Infx9` as a name
        return " ".join(["Inf" if value > 0 else "-Inf"] * minutes)
    return f"{value}x{minutes - 1}"


def run_tests(rules: Path, folder: Path, tests: Sequence[dict[str, Any]]) -> None:
    """Run these tests with these rules; each test has `input_series` and further keys of promtool's."""
    file = folder / "test-rules.json"
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(rules)],
                "evaluation_interval": "1m",
                "tests": [{"interval": "1m", **one} for one in tests],
            }
        )
    )
    promtool("test", "rules", file)
