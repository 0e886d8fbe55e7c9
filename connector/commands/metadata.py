"""The command `metadata`: shows the state of each signal's metadata and item, with the reason of a failure."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

import click

from connector.commands.integration import INTEGRATION, integration_in
from connector.config.read import load_config
from connector.metadata.book import MetadataKind, MetadataLine, MetadataStatus, drop, read_lines, read_troubles, retry
from connector.metadata.reconciler import FailureKind
from connector.runtime.client import load_credentials
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
@INTEGRATION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def metadata(
    config: Path,
    patterns: Sequence[str],
    statuses: MetadataStatus | None,
    is_retry: bool,
    is_drop: bool,
    integration: str | None,
    as_json: bool,
) -> None:
    """Show the state of each signal's metadata and item.

    The state is saved, waiting or failed. The item is the published signal. PATTERN is an input ID, and may contain *.
    A running connector follows --retry within seconds.
    """
    loaded = load_config(config)
    folder = loaded.state_dir
    integration_in(loaded, integration)
    if is_retry and is_drop:
        raise click.UsageError("use --retry or --drop, not both")
    files = state_files(folder)
    if not files:
        raise click.ClickException(f"{folder} has no state yet: the connector has not run with this state_dir")
    names = {}
    try:
        if loaded.clarify.integrations:
            shown = {name: one for one, name in loaded.clarify.names.items()}
            names = {one.integration: shown[name] for name, one in load_credentials(loaded).items()}
        selection = _Selection(patterns, names, integration)
        if is_retry or is_drop:
            _again(files, selection, is_retry=is_retry)
        else:
            _show(files, selection, [statuses] if statuses else list(MetadataStatus), as_json=as_json)
    except sqlite3.Error as error:
        raise click.ClickException(f"the state in {folder} cannot be used: {error}") from None


class _Selection(NamedTuple):
    """The lines to show or to change."""

    patterns: Sequence[str]
    names: Mapping[str, str]
    """ID of an integration in Clarify → its name in the configuration; empty if there is one integration."""
    only: str | None
    """The name of the only integration; None for all."""

    def takes(self, line: MetadataLine) -> bool:
        """Whether the line is selected."""
        if self.only is not None and self.names and self.names.get(line.integration) != self.only:
            return False
        return not self.patterns or any(fnmatchcase(line.input_id, pattern) for pattern in self.patterns)

    def where(self, line: MetadataLine) -> str | None:
        """Returns the name of the integration of the line, if there are several; its ID if no name is known."""
        return self.names.get(line.integration, line.integration) if self.names else None


def _lines(file: Path, selection: _Selection, statuses: Sequence[MetadataStatus]) -> Iterator[MetadataLine]:
    return filter(selection.takes, read_lines(file, statuses))


def _again(files: Sequence[Path], selection: _Selection, *, is_retry: bool) -> None:
    changed = invalid = 0
    for file in files:
        failed = list(_lines(file, selection, [MetadataStatus.FAILED]))
        invalid += sum(line.failure is FailureKind.INVALID for line in failed)
        if failed:
            changed += retry(file, failed, time.time()) if is_retry else drop(file, failed)
    if invalid and is_retry:
        say(f"{invalid} break a documented rule; change the mapping", err=True)
    if not changed:
        meant = " or ".join(selection.patterns) or "anything"
        raise click.ClickException(f"nothing that {'Clarify rejected' if is_retry else 'failed'} is like {meant}")
    say(f"{changed} {'are tried again' if is_retry else 'are forgotten'}")


def _show(files: Sequence[Path], selection: _Selection, statuses: Sequence[MetadataStatus], *, as_json: bool) -> None:
    troubles = {kind: told for file in files for kind, told in read_troubles(file).items()}
    found = (line for file in files for line in _lines(file, selection, statuses))
    if as_json:
        said = {str(kind): {"since": _time(at), "reason": why} for kind, (at, why) in troubles.items()}
        say_json({"trouble": said, "signals": [_as_json(line, selection.where(line)) for line in found]})
        return
    counted: Counter[tuple[MetadataKind, MetadataStatus]] = Counter()
    for line in found:
        counted[line.kind, line.status] += 1
        say(_as_text(line, selection.where(line)))
    for kind, (at, why) in troubles.items():
        say(f"{_KINDS[kind]}: nothing is saved since {_time(at)}: {why}")
    said_counts = [f"{_KINDS[kind]}: {n} {status}" for (kind, status), n in sorted(counted.items())]
    say(", ".join(said_counts) or "no signal matches")


def _as_text(line: MetadataLine, where: str | None) -> str:
    parts = [f"{line.status:7}  {_KINDS[line.kind]:8}  {line.input_id}"]
    if where is not None:
        parts.append(f"in {where}")
    if line.since is not None:
        parts.append(f"since {_time(line.since)}")
    if line.status is MetadataStatus.FAILED:
        after = f"next try {_time(line.next_try)}" if line.next_try is not None else "not tried again as it is"
        parts.append(f"{line.failure}, {line.tries} {'try' if line.tries == 1 else 'tries'}, {after}: {line.reason}")
    if line.note:
        parts.append(line.note)
    return "  ".join(parts)


def _as_json(line: MetadataLine, where: str | None) -> dict[str, object]:
    return {
        "input": line.input_id,
        "kind": str(line.kind),
        "status": str(line.status),
        "integration": line.integration,
        **({} if where is None else {"name": where}),
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
