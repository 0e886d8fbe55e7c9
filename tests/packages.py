"""Packages of other people: one that is installed from its source as they would, and made-up ones that are broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SPOOL = Path(__file__).parent / "plugins" / "spool"
"""A package that adds a source, a format and a store."""


def installed(package: Path, folder: Path) -> Path:
    """Build and install a package into this folder, without any network; returns the folder, for PYTHONPATH."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    done = subprocess.run(
        [*command, "--target", str(folder), str(package)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def made_up(folder: Path, name: str, code: str, **kinds: str) -> None:
    """A package as pip would leave it: one module with this code; `kinds` are lines of its groups of entry points, such
    as sources="spool = made_up:Section"."""
    (folder / f"{name}.py").write_text(code)
    information = folder / f"{name}-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2\n")
    groups = (f"[clarify_connector.{group}]\n{line}\n" for group, line in kinds.items())
    (information / "entry_points.txt").write_text("".join(groups))
