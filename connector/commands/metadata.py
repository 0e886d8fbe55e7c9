"""The command `metadata`: shows the state of each signal's metadata and item, with the reason of a failure."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import click

from connector.config.read import load_config
from connector.metadata.book import MetadataKind, MetadataLine, MetadataStatus, drop, read_lines, read_troubles, retry
from connector.metadata.reconciler import FailureKind
from connector.runtime.state_dir import state_files
from connector.terminal.paths import UserPath
from connector.terminal.text import say, say_json

_KINDS: Final = {MetadataKind.SIGNAL: "metadata", MetadataKind.ITEM: "item"}


@click.command()
@click.argument("config", type=UserPath(path_type=Path, dir_okay=False))
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--failed", "statuses", flag_value=MetadataStatus.FAILED, help="Show only failed metadata.")
@click.option("--waiting", "statuses", flag_value=MetadataStatus.WAITING, help="Show only waiting metadata.")
@click.option("--saved", "statuses", flag_value=MetadataStatus.SAVED, help="Show only metadata that Clarify has saved.")
@click.option("--retry", "is_retry", is_flag=True, help="Try metadata that Clarify rejected again now.")
@click.option(
    "--drop", "is_drop", is_flag=True, help="Forget failed metadata, until the mapping produces the metadata again."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def metadata(
    config: Path, patterns: Sequence[str], statuses: MetadataStatus | None, is_retry: bool, is_drop: bool, as_json: bool
) -> None:
    """Show the state of each signal's metadata and item.

    The state is saved, waiting or failed. The item is the published signal. PATTERN is an input ID, and may contain *.
    A running connector follows --retry within seconds.
    """
    folder = load_config(config).state_dir
    if is_retry and is_drop:
        raise click.UsageError("use --retry or --drop, not both")
    files = state_files(folder)
    if not files:
        raise click.ClickException(f"{folder} has no state yet: the connector has not run with this state_dir")
    try:
        if is_retry or is_drop:
            _again(files, patterns, is_retry=is_retry)
        else:
            _show(files, patterns, [statuses] if statuses else list(MetadataStatus), as_json=as_json)
    except sqlite3.Error as error:
        raise click.ClickException(f"the state in {folder} cannot be used: {error}") from None


def _lines(file: Path, patterns: Sequence[str], statuses: Sequence[MetadataStatus]) -> Iterator[MetadataLine]:
    for line in read_lines(file, statuses):
        if not patterns or any(fnmatchcase(line.input_id, pattern) for pattern in patterns):
            yield line


def _again(files: Sequence[Path], patterns: Sequence[str], *, is_retry: bool) -> None:
    changed = invalid = 0
    for file in files:
        failed = list(_lines(file, patterns, [MetadataStatus.FAILED]))
        invalid += sum(line.failure is FailureKind.INVALID for line in failed)
        if failed:
            changed += retry(file, failed, time.time()) if is_retry else drop(file, failed)
    if invalid and is_retry:
        say(f"{invalid} break a documented rule; change the mapping", err=True)
    if not changed:
        meant = " or ".join(patterns) or "anything"
        raise click.ClickException(f"nothing that {'Clarify rejected' if is_retry else 'failed'} is like {meant}")
    say(f"{changed} {'are tried again' if is_retry else 'are forgotten'}")


def _show(files: Sequence[Path], patterns: Sequence[str], statuses: Sequence[MetadataStatus], *, as_json: bool) -> None:
    troubles = {kind: told for file in files for kind, told in read_troubles(file).items()}
    found = (line for file in files for line in _lines(file, patterns, statuses))
    if as_json:
        said = {str(kind): {"since": _time(at), "reason": why} for kind, (at, why) in troubles.items()}
        say_json({"trouble": said, "signals": [_as_json(line) for line in found]})
        return
    counted: Counter[tuple[MetadataKind, MetadataStatus]] = Counter()
    for line in found:
        counted[line.kind, line.status] += 1
        say(_as_text(line))
    for kind, (at, why) in troubles.items():
        say(f"{_KINDS[kind]}: nothing is saved since {_time(at)}: {why}")
    said_counts = [f"{_KINDS[kind]}: {n} {status}" for (kind, status), n in sorted(counted.items())]
    say(", ".join(said_counts) or "no signal matches")


def _as_text(line: MetadataLine) -> str:
    parts = [f"{line.status:7}  {_KINDS[line.kind]:8}  {line.input_id}"]
    if line.since is not None:
        parts.append(f"since {_time(line.since)}")
    if line.status is MetadataStatus.FAILED:
        after = f"next try {_time(line.next_try)}" if line.next_try is not None else "not tried again as it is"
        parts.append(f"{line.failure}, {line.tries} {'try' if line.tries == 1 else 'tries'}, {after}: {line.reason}")
    if line.note:
        parts.append(line.note)
    return "  ".join(parts)


def _as_json(line: MetadataLine) -> dict[str, object]:
    return {
        "input": line.input_id,
        "kind": str(line.kind),
        "status": str(line.status),
        "integration": line.integration,
        "digest": line.digest,
        "since": None if line.since is None else _time(line.since),
        "failure": str(line.failure) or None,
        "reason": line.reason or None,
        "tries": line.tries,
        "next_try": None if line.next_try is None else _time(line.next_try),
        "note": line.note or None,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
