"""The command `journal`: shows and checks the journals of a configuration, and acknowledges losses."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from connector.config.model import Config
from connector.config.read import load_config
from connector.ledger.verify import (
    Findings,
    JournalStats,
    acknowledge,
    read_stats,
    read_totals,
    verify,
    waiting_messages,
)
from connector.runtime.state_dir import WORKER_FOLDERS
from connector.terminal.paths import UserPath
from connector.terminal.text import say, say_json, shown

_CONFIG = click.argument("config", type=UserPath(path_type=Path, dir_okay=False))
_RATE_SECONDS: Final = 2.0
_MIB: Final = 1024 * 1024


@click.group()
def journal() -> None:
    """Show or check the journals of MQTT messages.

    The commands work also while the connector runs.
    """


@journal.command("verify")
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def verify_command(config: Path, as_json: bool) -> None:
    """Check each journal for damage and loss.

    The command checks the checksums, the positions, the account, and the pages of the file.
    The exit status is 1 if a check fails, or if a loss is not acknowledged.
    """
    found: dict[str, Findings] = {}
    for path in _journals(config):
        with _bar(path) as progress:
            found[str(path)] = verify(path, progress)
    if as_json:
        say_json({path: asdict(findings) for path, findings in found.items()})
    else:
        for name, findings in found.items():
            say(f"{name}: {findings.messages} messages in {findings.rows} rows read")
            for problem in findings.problems:
                say(f"  PROBLEM: {problem}")
            acknowledged = [loss for loss in findings.losses if loss.acknowledged]
            for loss in acknowledged:
                say(f"  known loss {loss.id}: {loss} (acknowledged {loss.acknowledged})")
            if not findings.problems:
                say("  every checksum is right, no position is missing, the account balances")
    if any(findings.problems for findings in found.values()):
        sys.exit(1)


@journal.command("stats")
@_CONFIG
@click.option(
    "--topics", default=10, show_default=True, help="Number of topics to list, the topics with most messages first."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def stats_command(config: Path, topics: int, as_json: bool) -> None:
    """Print the numbers of waiting messages.

    The numbers are messages, bytes, the age of the oldest message, the largest topics, free pages, and rates.
    """
    found: dict[str, dict[str, object]] = {}
    for path in _journals(config):
        try:
            before, began = read_totals(path), time.monotonic()
            with _bar(path) as progress:
                stats = read_stats(path, progress)
            time.sleep(max(0.0, began + _RATE_SECONDS - time.monotonic()))
            after, seconds = read_totals(path), time.monotonic() - began
        except sqlite3.Error as error:
            raise click.ClickException(
                f"{path} cannot be read: {error}; see clarify-connector journal verify"
            ) from None
        rates = ((after.received - before.received) / seconds, (after.settled - before.settled) / seconds)
        if as_json:
            content = asdict(stats) | {"topics": dict(stats.topics.most_common(topics))}
            found[str(path)] = content | {"inflow_per_second": rates[0], "settled_per_second": rates[1]}
        else:
            for line in _lines(path, stats, rates, topics):
                say(line)
    if as_json:
        say_json(found)


@journal.command("acknowledge")
@_CONFIG
@click.option(
    "--loss", "ids", multiple=True, type=int, metavar="N", help="Only the loss with this number of `journal verify`."
)
@click.option("--note", default="", help="Text to keep with the loss, such as the cause.")
def acknowledge_command(config: Path, ids: tuple[int, ...], note: str) -> None:
    """Acknowledge losses.

    An acknowledged loss stays in the ledger, but is no problem any more. The connector can run meanwhile.
    """
    done = 0
    for path in _journals(config):
        try:
            for loss in acknowledge(path, list(ids) or None, note):
                done += 1
                say(f"{path}: acknowledged loss {loss.id}: {loss}")
        except sqlite3.Error as error:
            raise click.ClickException(f"{path} cannot be changed: {error}") from None
    if not done:
        raise click.ClickException("there is no such loss" if ids else "there is no loss to acknowledge")


def _journals(file: Path) -> Iterator[Path]:
    config = _loaded(file)
    found = [
        folder / f"{section.name}.sqlite"
        for folder in (config.state_dir, *sorted(config.state_dir.glob(WORKER_FOLDERS)))
        for section in config.sources
    ]
    there = [path for path in found if path.exists()]
    if not there:
        raise click.ClickException(f"there is no journal in {config.state_dir} yet")
    yield from there


def _loaded(file: Path) -> Config:
    return load_config(file)


@contextmanager
def _bar(path: Path) -> Iterator[Callable[[int], None]]:
    """Yield a callback that shows progress as a bar on the standard error, if the standard error is a terminal."""
    try:
        length = waiting_messages(path)
    except (sqlite3.Error, UnicodeDecodeError, TypeError, ValueError):
        length = 0  # the file is damaged: the check reports the details
    with click.progressbar(length=max(1, length), label=shown(path.name), file=sys.stderr) as bar:
        yield bar.update


def _lines(path: Path, stats: JournalStats, rates: tuple[float, float], topics: int) -> list[str]:
    held, file, free, wal = (n / _MIB for n in (stats.bytes, stats.file_bytes, stats.free_bytes, stats.wal_bytes))
    lines = [
        f"{path}: {stats.messages} messages wait, {held:,.1f} MiB of topics and payloads, in {stats.rows} rows",
        f"  the file has {file:,.1f} MiB, {free:,.1f} MiB free; the write-ahead log has {wal:,.1f} MiB",
        f"  total: {stats.next_position - 1} came in, {stats.settled_messages} are settled, {stats.lost_messages} lost",
        f"  now: {rates[0]:,.0f} a second come in, {rates[1]:,.0f} a second are settled",
    ]
    if stats.oldest_us is not None:
        age = max(0.0, time.time() - stats.oldest_us / 1e6)
        when = datetime.fromtimestamp(stats.oldest_us / 1e6, UTC).isoformat(timespec="seconds")
        lines.append(f"  the oldest came {when}, {age:,.0f} s ago")
    if rates[1] > rates[0] and stats.messages:
        lines.append(f"  at this rate the journal is empty in {stats.messages / (rates[1] - rates[0]):,.0f} s")
    shown = stats.topics.most_common(topics)
    lines += [f"  {n:>12}  {topic}" for topic, n in shown]
    if len(stats.topics) > len(shown):
        lines.append(f"  and {len(stats.topics) - len(shown)} more topics")
    return lines
