"""The command `backfill`: replays a range of the records of a Kafka topic."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click
import structlog

from connector.commands.configuration import CONFIG
from connector.config.read import load_config
from connector.observe.logs import configure_logs
from connector.runtime.backfill import Backfill, asked_range, choose_source
from connector.runtime.ledger import as_table, read_ledger
from connector.terminal.text import say, say_text

_log = structlog.get_logger(__name__)


@click.command()
@CONFIG
@click.option("--from", "from_", metavar="TIME", help="Begin with the first record at or after this time (RFC 3339).")
@click.option("--to", metavar="TIME", help="End before the first record at or after this time (RFC 3339).")
@click.option(
    "--offsets", multiple=True, metavar="TOPIC[N]=FIRST:END", help="Replay these offsets of one partition, without END."
)
@click.option("--source", help="The Kafka source to read. Required if the configuration has several.")
@click.option(
    "--share",
    type=click.FloatRange(0.01, 1.0),
    default=0.25,
    show_default=True,
    help="Share of delivery.requests_per_second that the backfill may use. Live traffic has the rest.",
)
def backfill(
    config: Path, from_: str | None, to: str | None, offsets: tuple[str, ...], source: str | None, share: float
) -> None:
    """Replay a range of Kafka records through the mapping.

    The command runs beside the live connector, and does not use the consumer group. After an interruption, the same
    command continues where the first run stopped. The exit status is 1 if records had expired or if the ledger does not
    balance.
    """
    loaded = load_config(config)
    configure_logs(loaded.observe.log_level, loaded.observe.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    job = Backfill(loaded, choose_source(loaded, source), asked_range(from_, to, offsets), share)
    reader = job.source
    say(f"{reader.total} offsets; {'continuing after' if reader.resumed else 'beginning with'} {reader.done} of them")
    for name, (first, end) in sorted(reader.ranges.items()):
        say(f"  {name}: " + (f"offsets {first} to {end - 1}" if first < end else "nothing"))
    pipeline = job.connector.pipeline
    job.connector.start()
    with click.progressbar(length=max(1, reader.total), show_pos=True, file=sys.stderr) as bar:
        while not stop.is_set() and not pipeline.stopped.wait(0.5):
            job.connector.supervision.look()
            bar.update(max(0, reader.done - bar.pos))
        finished = pipeline.stopped.is_set() and not stop.is_set()
        job.connector.stop()
        bar.update(max(0, (reader.total if finished and not pipeline.failure else reader.done) - bar.pos))
    account = read_ledger(job.config)
    say_text(as_table(account))
    if pipeline.failure:
        raise click.ClickException(pipeline.failure)
    if not finished:
        raise click.ClickException("interrupted; run the same command to continue")
    if reader.expired or not account.balanced:
        sys.exit(1)
