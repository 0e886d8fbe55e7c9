"""Prometheus' own tool, `promtool test rules`: it loads rules and series, and says what a query finds.

The series of a test are pages of metrics, one after the other: each page stands for some minutes.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.brokers import REQUIRE_REAL, USED

TARGET: Final = {"instance": "connector:9464", "job": "clarify-connector"}
"""What Prometheus adds to each series of a scrape."""

SCRAPE_MINUTES: Final = 2
Key: TypeAlias = tuple[str, frozenset[tuple[str, str]]]
"""(name, labels)"""
Series: TypeAlias = dict[Key, float]
Page: TypeAlias = str | tuple[str, str] | None
"""A page of metrics; two pages, of which the first becomes the second evenly; or None, a scrape that fails."""


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
        [need_promtool(), *map(str, arguments)],
        env={**os.environ, "GOGC": "400"},  # less collecting of garbage: a third less time
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    USED["Prometheus' promtool"] = USED.get("Prometheus' promtool", 0) + 1
    assert done.returncode == 0, done.stdout + done.stderr


@cache
def series(page: str) -> Series:
    """The series of a page of metrics, without the target."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def history(pages: Sequence[tuple[int, Page]], queries: str) -> list[dict[str, str]]:
    """The series that these queries name, with a scrape every two minutes; `pages` has the minutes of each page."""
    named = set(re.findall(r"\w+", queries))
    read = []
    for minutes, page in pages:
        begin, end = page if isinstance(page, tuple) else (page, page)
        read.append((minutes, *({} if one is None else series(one) for one in (begin, end))))
    found = [
        {
            "series": text(name, labels),
            "values": " ".join(
                values(minutes, begin.get((name, labels)), end.get((name, labels))) for minutes, begin, end in read
            ),
        }
        for name, labels in dict.fromkeys(key for _, begin, _ in read for key in begin)
        if name in named
    ]
    up = " ".join(values(minutes, *[float(page is not None)] * 2) for minutes, page in pages)
    return [*found, {"series": text("up", frozenset()), "values": up}]


def text(name: str, labels: frozenset[tuple[str, str]]) -> str:
    """A series of the target as a query names it."""
    every = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted({**TARGET, **dict(labels)}.items()))
    return f"{name}{{{every}}}"


def values(minutes: int, begin: float | None, end: float | None) -> str:
    """The values of so many minutes, from `begin` to `end`; None is no value."""
    scrapes = minutes // SCRAPE_MINUTES
    if begin is None or end is None:
        return f"_x{scrapes}"
    if math.isinf(begin):  # promtool reads `Infx9` as a name
        return " ".join(["Inf" if begin > 0 else "-Inf"] * scrapes)
    return f"{begin}{(end - begin) / scrapes:+}x{scrapes - 1}"


def run_tests(rules: Path, folder: Path, tests: Sequence[dict[str, Any]]) -> None:
    """Run these tests with these rules; each test has `input_series` and further keys of promtool's."""
    file = folder / "test-rules.json"
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(rules)],
                "evaluation_interval": f"{SCRAPE_MINUTES}m",
                "tests": [{"interval": f"{SCRAPE_MINUTES}m", **one} for one in tests],
            }
        )
    )
    promtool("test", "rules", file)
