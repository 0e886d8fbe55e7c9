"""What the start needed for a moment goes back to the system."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from connector.runtime.connector import give_memory_back


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries give memory back in their own ways")
def test_freed_memory_below_memory_in_use_is_given_back() -> None:
    pieces = [bytes(2000) for _ in range(20_000)]
    in_use = pieces[-1]
    del pieces
    before = resident()
    give_memory_back()
    assert before - resident() > 20, "MB of 40"
    assert len(in_use) == 2000


def resident() -> float:
    """MB of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
