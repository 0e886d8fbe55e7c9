"""Node.js with the packages of tests/js: what other people's JavaScript does with ours."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.brokers import REQUIRE_REAL

JS = Path(__file__).parent / "js"


def need_node() -> tuple[str, Path]:
    """Node and a folder with the scripts and packages in it; a skip without Node, a failure where it is required."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        if REQUIRE_REAL:
            pytest.fail("REQUIRE_REAL=1, but there is no node with npm on this machine")
        pytest.skip("needs Node.js 18 or newer with npm (Debian: apt-get install nodejs npm)")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clarify-connector"
    sources = sorted(path for path in JS.iterdir() if path.suffix in (".json", ".mjs"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]
    folder = caches / f"js-{digest}"
    caches.mkdir(parents=True, exist_ok=True)
    with (caches / "js.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it done
        if not folder.exists():
            _install(npm, sources, folder)
    return node, folder


def _install(npm: str, sources: list[Path], folder: Path) -> None:
    """Let npm install what the lock file says; it appears all at once or not at all."""
    half = folder.parent / "js-installing"
    if half.exists():
        shutil.rmtree(half)  # of one that was killed
    half.mkdir()
    for source in sources:
        shutil.copy(source, half)
    arguments = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(arguments, cwd=half, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0:
        reason = f"npm could not install what tests/js/package-lock.json says: {done.stderr[-1000:]}"
        if REQUIRE_REAL:
            pytest.fail(f"REQUIRE_REAL=1, but {reason}")
        pytest.skip(reason)
    half.rename(folder)
