"""Looks at the machine: space, rights and speed of the disk, the memory limit of the container. Leaves no file."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from statistics import median
from typing import Final

from connector.brokers.findings import Finding, advice, ok, wrong
from connector.config.model import Config

ROOT = Path("/")
"""Where /proc and /sys are."""
_MB: Final = 1024 * 1024
_LEAST_FREE: Final = 64 * _MB
_TINY: Final = 16 * _MB
"""Below `_LEAST_FREE`, small bounds may do with less; a journal has a reserve of 4 MiB."""
_LEAST_FILES: Final = 100
_SYNCS: Final = 5
_SLOW_SYNC: Final = 0.1
_BASE: Final = 64 * _MB
"""The memory of a connector at rest, in bytes (docs/performance.md)."""
_SAMPLE: Final = 30
"""Bytes of a sample that waits (delivery.max_waiting_samples)."""
_UNBOUNDED: Final = 1 << 60
_FLEETING: Final = {
    "tmpfs": "in memory: all that waits is lost at a restart of the machine or container",
    "ramfs": "in memory: all that waits is lost at a restart of the machine or container",
    "overlay": "in the container's own layer: all that waits is lost with the container",
}
_DISTANT: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")


def look_at_disk(config: Config) -> Generator[Finding, None, None]:
    """Look at `state_dir`; the speed is measured with a file that has no name."""
    folder = config.state_dir
    existing = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if not existing.is_dir():
        yield wrong("rights", f"{existing} is a file, and state_dir {folder} needs a folder", "name another state_dir")
        return
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        remedy = f"give user {os.geteuid()} the right to write in {existing}, or remount the volume for writing"
        yield wrong("rights", f"state_dir {folder} cannot be written by this user", remedy)
        return
    yield from _files(folder)
    yield from _space(config, existing)
    yield from _kind(folder, existing)
    yield from _speed(existing)


def _files(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        yield ok("rights", f"state_dir {folder} does not exist yet, and can be made")
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.is_dir():
            yield wrong("rights", f"{path} is a symbolic link, and such are not followed", "put the file itself there")
        elif path.is_file() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            yield wrong("rights", f"{path} cannot be written by this user", f"chown {os.geteuid()} {path}")
    if folder.stat().st_mode & 0o002:
        yield advice("rights", f"every user of this machine can write in {folder}", f"chmod 700 {folder}")
    yield ok("rights", f"state_dir {folder} can be written")


def _space(config: Config, folder: Path) -> Iterator[Finding]:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    wanted = bounds(config)
    if free < min(_LEAST_FREE, max(wanted, _TINY)):
        yield wrong(
            "space", f"{free // _MB} MiB are free at {folder}", "make room, or put state_dir on a larger volume"
        )
    elif found.f_files and found.f_favail < _LEAST_FILES:
        yield wrong("space", f"no more files can be made at {folder} (inodes)", "remove files, or use another volume")
    elif free < wanted:
        yield advice(
            "space",
            f"{free // _MB} MiB are free at {folder}, and journals and dead letters may take {wanted // _MB} MiB",
            "make room, or lower journal.max_bytes and dead_letters.max_bytes",
        )
    else:
        yield ok("space", f"{free // _MB} MiB are free; journals and dead letters take at most {wanted // _MB} MiB")


def bounds(config: Config) -> int:
    """The most bytes that journals and dead letters take on the disk, by their settings."""
    sections = [getattr(section, "journal", None) for section in config.sources]
    journals = sum(one.max_bytes for one in sections if one is not None and one.storage == "disk")
    letters = config.dead_letters
    files = getattr(letters, "max_file_bytes", 0) * getattr(letters, "max_files", 0)
    return int(journals + getattr(letters, "max_bytes", 0) + files)


def _kind(folder: Path, existing: Path) -> Iterator[Finding]:
    kind = file_system(existing.resolve(), ROOT)
    if why := _FLEETING.get(kind):
        yield advice("volume", f"state_dir {folder} is {why}", "put state_dir on a volume")
    elif kind in _DISTANT:
        yield advice("volume", f"state_dir {folder} is on {kind}", "put state_dir on a disk of this machine")


def file_system(path: Path, root: Path) -> str:
    """The kind of the file system of `path`, such as `ext4`; empty where the system does not say."""
    try:
        lines = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) > 4 and path.is_relative_to(point := fields[4].replace("\\040", " ")) and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind


def _speed(folder: Path) -> Iterator[Finding]:
    times = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(_SYNCS):
                file.write(b"\0" * 4096)
                file.flush()
                began = time.perf_counter()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - began)
    except OSError as error:
        yield wrong("speed", f"nothing can be written in {folder}: {error.strerror}", "see to the disk and its space")
        return
    text = f"writing to {folder} takes {median(times) * 1000:.1f} ms (fsync)"
    if median(times) > _SLOW_SYNC:
        yield advice("speed", text, "a journal on disk takes one for each batch: use a faster disk")
    else:
        yield ok("speed", text)


def look_at_memory(config: Config) -> Generator[Finding, None, None]:
    """Look at the memory limit of the container, against the bounds of the configuration."""
    limit = memory_limit(ROOT)
    if limit is None:
        yield ok("limit", "there is no memory limit")
        return
    fetched = sum(getattr(section, "prefetch", 0) for section in config.sources)
    least = (_BASE + fetched) * config.workers
    each = (config.delivery.of(config.clarify.integrations.get(name)) for name in config.clarify.names)
    most = least + sum(one.max_waiting_samples for one in each) * _SAMPLE * config.workers
    text = f"the container has {limit // _MB} MiB, and the connector may take {most // _MB} MiB by its bounds"
    if limit < least:
        yield wrong("limit", text, f"raise the limit to {most // _MB} MiB, or lower workers and prefetch")
    elif limit < most:
        yield advice("limit", text, "raise the limit, or lower delivery.max_waiting_samples")
    else:
        yield ok("limit", text)


def memory_limit(root: Path) -> int | None:
    """The memory limit of this process in bytes, by cgroup v2 or v1; None without a limit.

    In a container, the own group is the root. On a machine, a group above may have the limit.
    """
    groups = _groups(root)
    found = []
    for base, name in (
        (root / "sys/fs/cgroup", "memory.max"),
        (root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ):
        group = base / groups.get("" if name == "memory.max" else "memory", "").lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base):
                found += _number(folder / name)
    return min(found, default=None)


def _groups(root: Path) -> dict[str, str]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    parts = [line.split(":", 2) for line in lines]
    return {name: path for _, names, path in (one for one in parts if len(one) == 3) for name in names.split(",")}


def _number(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdecimal() and int(text) < _UNBOUNDED else []
