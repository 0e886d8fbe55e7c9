"""Telegraf and the null Clarify, built by the Go toolchain: once, into ~/.cache/clarify-connector."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

TELEGRAF: Final = "1.37.2"
_TAGS: Final = "custom,inputs.mqtt_consumer,inputs.kafka_consumer,outputs.clarify,parsers.json,parsers.json_v2"
_NULL_CLARIFY: Final = Path(__file__).parent / "null_clarify.go"
_SECONDS: Final = 7200


def telegraf() -> Path:
    """The program, with the plugins that are measured only. Raises SystemExit where it cannot be built."""
    package = f"github.com/influxdata/telegraf/cmd/telegraf@v{TELEGRAF}"
    digest = hashlib.sha256(_TAGS.encode()).hexdigest()[:8]
    return _built(f"telegraf-{TELEGRAF}-{digest}", ["install", "-tags", _TAGS, package])


def null_clarify() -> Path:
    """The program. Raises SystemExit where it cannot be built."""
    digest = hashlib.sha256(_NULL_CLARIFY.read_bytes()).hexdigest()[:8]
    return _built(f"null-clarify-{digest}", ["build", "-o", "{folder}/null-clarify", str(_NULL_CLARIFY)])


def _built(name: str, command: list[str]) -> Path:
    """The program in the folder `name` of the cache: it appears there when it is complete."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clarify-connector"
    folder = caches / name
    if not folder.exists():
        go = shutil.which("go")
        if go is None:
            raise SystemExit("make peers needs the Go toolchain, for Telegraf and the null Clarify: https://go.dev/dl")
        caches.mkdir(parents=True, exist_ok=True)
        with (caches / "peers.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it done
            if not folder.exists():
                _build(go, command, folder)
    return next(folder.iterdir())


def _build(go: str, command: list[str], folder: Path) -> None:
    print(f"Building {folder.name}: once, in some minutes.", file=sys.stderr, flush=True)
    half = folder.with_name(f"building-{folder.name}")
    shutil.rmtree(half, ignore_errors=True)  # of one that was killed
    half.mkdir()
    verb, *rest = (part.replace("{folder}", str(half)) for part in command)
    done = subprocess.run(
        [go, verb, "-trimpath", "-ldflags", "-s -w", *rest],
        cwd=half,
        env={**os.environ, "GOBIN": str(half)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"Go could not build {folder.name}: {done.stderr[-2000:]}")
    half.rename(folder)
