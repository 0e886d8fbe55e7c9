"""Millions of hostile answers for the clients of Clarify and of schema registries: no crash, no hang, no growth.

    python -m benchmarks.hostile_answers [CASES [FIRST_SEED]]

The cases are shared by as many processes as there are cores. Each case has a seed. A case that fails, or that takes
more than two seconds, is printed with its seed. The last line has the growth of the resident memory of each process
after its first tenth of the cases. The exit status is 1 if a case failed or was slow.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import psutil
import structlog

from tests.hostile.answers import Trial

CASES: Final = 2_000_000
SLOW_SECONDS: Final = 2.0
PERIOD: Final = 5_000
"""Cases of one `Trial`: the registry's client keeps each schema that it has seen, on disk too."""


def attack(first: int, cases: int) -> tuple[Counter[str], int]:
    """The outcomes of the cases from seed `first`, and how much the memory of the process grew, in bytes."""
    logging.disable(logging.CRITICAL)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    outcomes: Counter[str] = Counter()
    before = 0
    for start in range(first, first + cases, PERIOD):
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(Path(folder))
            for seed in range(start, min(start + PERIOD, first + cases)):
                began = time.monotonic()
                try:
                    outcomes[trial.run(seed)] += 1
                except Exception:  # noqa: BLE001 - such a case is the find
                    outcomes["FAILED"] += 1
                    print(f"seed {seed}\n{traceback.format_exc()}", flush=True)
                if time.monotonic() - began > SLOW_SECONDS:
                    outcomes["SLOW"] += 1
                    print(f"seed {seed} took {time.monotonic() - began:.1f} s", flush=True)
            trial.close()
        if not before and start - first >= cases // 10:
            before = psutil.Process().memory_info().rss
    return outcomes, psutil.Process().memory_info().rss - before if before else 0


def main(cases: int = CASES, first: int = 0) -> int:
    """Run the cases, and print the outcomes. Returns the exit status."""
    workers = os.cpu_count() or 1
    share = -(-cases // workers)
    began = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(attack, range(first, first + cases, share), [share] * workers))
    outcomes = sum((part[0] for part in parts), Counter[str]())
    print(f"{share * workers} cases in {time.monotonic() - began:.0f} s: {dict(outcomes.most_common())}")
    print("growth of each process:", ", ".join(f"{part[1] / 2**20:.1f} MiB" for part in parts))
    return 1 if outcomes["FAILED"] or outcomes["SLOW"] else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
