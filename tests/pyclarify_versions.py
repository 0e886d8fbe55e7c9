"""PyClarify in the versions that tests compare ours with: the newest, which is installed, and the one of the guide."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.brokers import REQUIRE_REAL

NEWEST: Final = "0.7.0"
OF_THE_GUIDE: Final = "0.6.7"
_HASH: Final = "9a89f2af6395f9042bc789a8f9b50f9dd1007de3cd676b0c18777c6a7fd8fda3"


def import_path(version: str) -> list[str]:
    """What must stand first in PYTHONPATH for this version. A skip with the reason if it cannot be fetched; a failure
    where the real is required."""
    if version == NEWEST:
        return []
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clarify-connector"
    folder = caches / f"pyclarify-{version}"
    caches.mkdir(parents=True, exist_ok=True)
    with (caches / "pyclarify.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it done
        if not folder.exists():
            _fetch(version, folder)
    return [str(folder)]


def _fetch(version: str, folder: Path) -> None:
    half = folder.with_suffix(".fetching")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    requirement = half / "requirements.txt"
    requirement.write_text(f"pyclarify=={version} --hash=sha256:{_HASH}\n")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--target", str(half), "--requirement", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        reason = f"PyClarify {version} could not be fetched: {done.stderr[-1000:]}"
        if REQUIRE_REAL:
            pytest.fail(reason)
        pytest.skip(reason)
    half.rename(folder)
