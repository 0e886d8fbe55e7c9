"""What Maven fetches for the tests: once, into ~/.cache/clarify-connector."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path


def fetched(pom: Path, name: str, goal: str) -> Path | None:
    """The folder with what this goal of the dependency plugin brings, fetched if need be; None where that takes a Maven
    and there is none."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clarify-connector"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    folder = caches / f"{name}-{digest}"
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        return None
    caches.mkdir(parents=True, exist_ok=True)
    with (caches / f"{pom.parent.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it done
        if not folder.exists():
            _fetch(maven, pom, goal, folder)
    return folder


def _fetch(maven: str, pom: Path, goal: str, folder: Path) -> None:
    """Let Maven do it, which takes it several minutes at worst; the files appear all at once or not at all."""
    half = folder.parent / f"fetching-{pom.parent.name}"
    if half.exists():
        shutil.rmtree(half)  # of one that was killed
    command = [maven, "--batch-mode", "--no-transfer-progress", "--quiet", "--file", str(pom)]
    command += [f"dependency:{goal}", "-DincludeScope=runtime", f"-DoutputDirectory={half}"]
    command += [f"-DmarkersDirectory={half / 'markers'}"]  # not in the sources
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"Maven could not fetch {folder.name}: {done.stdout[-3000:]}{done.stderr[-1000:]}")
    half.rename(folder)


def compiled(java: str, jars: Path, source: Path) -> Path:
    """The folder with the classes of a Java file, which Eclipse's compiler among `jars` makes, once."""
    folder = jars / f"classes-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"
    with (jars.parent / f"{source.parent.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            half = jars / "compiling"
            path = os.pathsep.join(map(str, jars.glob("*.jar")))
            command = [java, "-cp", path, "org.eclipse.jdt.internal.compiler.batch.Main", "-17", "-cp", path]
            done = subprocess.run(
                [*command, "-d", str(half), str(source)], capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(f"{source} could not be compiled: {done.stdout[-3000:]}{done.stderr[-3000:]}")
            half.rename(folder)
    return folder
