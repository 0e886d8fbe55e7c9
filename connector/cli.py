"""The command line: clarify-connector."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import structlog

from connector import __version__
from connector.observe.logs import configure_logs

if TYPE_CHECKING:
    from connector.app import Connector
    from connector.config import Config, SourceSection
    from connector.formats.schemas import RegisteredSchema

_log = structlog.get_logger(__name__)

_CONFIG = click.argument("config", type=click.Path(path_type=Path, dir_okay=False))


_ELSEWHERE: Final = {
    "data-frame": "connector.clarify_commands.data_frame:data_frame",
    "dead-letters": "connector.dead_letter_commands.cli:dead_letters",
    "demo": "connector.demo.cli:demo",
    "drain": "connector.drain_command:drain",
    "insert": "connector.clarify_commands.insert:insert",
    "init": "connector.try_out.init:init",
    "items": "connector.clarify_commands.resources:items",
    "journal": "connector.journal_commands:journal",
    "metadata": "connector.metadata_command:metadata",
    "preview": "connector.try_out.preview_command:preview",
    "publish": "connector.clarify_commands.resources:publish",
    "record": "connector.try_out.record:record",
    "sandbox": "connector.sandbox.cli:sandbox",
    "signals": "connector.clarify_commands.resources:signals",
    "test": "connector.try_out.run_tests:test",
}
"""Commands that are imported when they are named: `health` is asked every half minute and must be quick."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, name = _ELSEWHERE[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Carries MQTT and Kafka data into Clarify: every measurement, once, under the right name."""
    configure_logs("info", "text")  # until the command knows better: by default, tracebacks may show local variables


@main.command()
@_CONFIG
@click.option("--worker", type=int, hidden=True, help="Run this worker of a configuration with several.")
def run(config: Path, worker: int | None) -> None:
    """Run the connector until SIGTERM or Ctrl-C; it then sends what it has and exits with 0."""
    # a thread says so: whoever was interrupted may be logging, and hold the lock for it
    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=_say_no_reload, daemon=True).start())
    loaded = _load(config)
    if loaded.workers > 1 and worker is None:
        _run_workers(config, loaded)
    else:
        _run(config, loaded, worker)


def _say_no_reload() -> None:
    _log.warning(
        "reload_not_supported",
        signal="SIGHUP",
        effect="all goes on with the configuration of the start",
        remedy="restart to take a new configuration",
    )


def _run_workers(file: Path, loaded: Config) -> None:
    """Run a process for each worker, and speak for all of them."""
    from connector.observe.together import serve_together  # noqa: PLC0415 - only this command needs it
    from connector.workers import PORT_FILE, Supervisor, worker_folder  # noqa: PLC0415

    configure_logs(loaded.observe.log_level, loaded.observe.log_format)
    supervisor = Supervisor(loaded, file)
    ports = [worker_folder(loaded.state_dir, worker.number) / PORT_FILE for worker in supervisor.workers]
    try:
        pages = serve_together(loaded, ports)
    except OSError as error:
        raise click.ClickException(_cannot_listen(loaded, error)) from None

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop(signal.SIGTERM))
    _log.info("started", version=__version__, config=str(file), workers=loaded.workers)
    status = supervisor.run()
    if pages is not None:
        pages.close()
    _log.info("stopped", status=status)
    sys.exit(status)


def _cannot_listen(loaded: Config, error: OSError) -> str:
    return f"observe.listen {loaded.observe.listen} cannot be used ({error.strerror}); choose another port, or null"


def _run(config: Path, loaded: Config, worker: int | None) -> None:
    from connector.app import Connector, StartError, calm_collector  # noqa: PLC0415 - only this command needs all
    from connector.clarify import CredentialsError  # noqa: PLC0415
    from connector.observe.pages import serve  # noqa: PLC0415

    sources_in_all = len(loaded.sources)
    if worker is not None:
        from connector.workers import PORT_FILE, config_for_worker, stop_with_supervisor  # noqa: PLC0415

        loaded = config_for_worker(loaded, worker)
    os.umask(0o077)  # journal and dead letters hold what devices sent: for nobody else to read
    configure_logs(loaded.observe.log_level, loaded.observe.log_format, worker=worker)
    stop = threading.Event()
    signals_seen = 0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal signals_seen
        signals_seen += 1
        _log.info("stopping", signal=signal.Signals(number).name)
        stop.set()
        if signals_seen > 1:
            connector.pipeline.abort()

    try:
        connector = Connector(loaded, sources_in_all=sources_in_all)
    except (StartError, CredentialsError, OSError, sqlite3.Error, ValueError) as error:
        raise click.ClickException(str(error)) from None
    try:
        pages = serve(loaded, connector)
    except OSError as error:
        connector.close()
        raise click.ClickException(_cannot_listen(loaded, error)) from None
    if worker is not None:
        stop_with_supervisor(stop.set)
        if pages is not None:
            (loaded.state_dir / PORT_FILE).write_text(str(pages.port), encoding="ascii")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    calm_collector()
    _log.info("started", version=__version__, config=str(config), state_dir=str(loaded.state_dir))
    drained = _until_stopped(connector, loaded.state_dir, stop)
    if pages is not None:
        pages.close()
    _log.info("stopped", drained=drained)
    if connector.pipeline.failure:
        raise click.ClickException(connector.pipeline.failure)


def _until_stopped(connector: Connector, folder: Path, stop: threading.Event) -> bool:
    """Carry data until a signal, a failure or a drain; whether nothing was left behind."""
    from connector.drain import DrainFiles, drain  # noqa: PLC0415

    files = DrainFiles(folder)
    files.clear()
    connector.start()
    while not stop.is_set() and not connector.pipeline.stopped.wait(0.5):
        # not a wait for `stop`: its lock would be held when the signal handler sets it
        if (request := files.asked()) is not None:
            return drain(connector, request, files.tell, stop.is_set)
    return connector.stop()


class _Unasked:
    """Stands for a schema registry where nothing is decoded."""

    def schema(self, schema_id: int) -> RegisteredSchema:
        raise NotImplementedError(schema_id)


@main.command()
@_CONFIG
def check(config: Path) -> None:
    """Check a configuration file and the credentials it names, without any network."""
    from connector.clarify import Credentials, CredentialsError  # noqa: PLC0415

    loaded = _load(config)
    try:
        credentials = Credentials.load(loaded.clarify.credentials, allow_insecure=loaded.clarify.allow_insecure)
    except CredentialsError as error:
        raise click.ClickException(str(error)) from None
    for name, registry in loaded.schema_registries.items():
        _check_files(f"schema registry {name}", registry.files)
        for warning in registry.warnings:
            click.echo(f"warning: schema registry {name}: {warning}")
    for section in loaded.sources:
        _check_source(section)
    try:
        loaded.rules(dict.fromkeys(loaded.schema_registries, _Unasked()))
    except ValueError as error:
        raise click.ClickException(f"mapping.rules: {error}") from None
    _check_files("dead_letters", loaded.dead_letters.files)
    for warning in loaded.dead_letters.warnings:
        click.echo(f"warning: dead_letters: {warning}")
    click.echo(
        f"{config}: ok: {', '.join(f'{s.name} ({s.address})' for s in loaded.sources)} → {credentials.api_url}, "
        f"integration {credentials.integration}, {len(loaded.mapping.rules) or 'no'} mapping rules"
    )


def _check_source(section: SourceSection) -> None:
    warnings = section.warnings
    _check_files(f"source {section.name}", section.files)
    if section.type == "kafka":
        from connector.sources.kafka_settings import check_settings  # noqa: PLC0415 - librdkafka is loaded for it

        try:
            warnings += check_settings(section)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
    for warning in warnings:
        click.echo(f"warning: source {section.name}: {warning}")


def _check_files(what: str, files: Mapping[str, Path | None]) -> None:
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise click.ClickException(f"{what}: {name}: there is no file {path}")


@main.command()
@click.option("--markdown", is_flag=True, help="The reference for people instead of the JSON Schema.")
def schema(markdown: bool) -> None:
    """Print the JSON Schema of the configuration, for editors and for checking."""
    from connector.config_reference import json_schema, reference  # noqa: PLC0415

    click.echo(reference() if markdown else json_schema(), nl=False)


@main.command()
@click.argument(
    "configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option(
    "--all-members",
    is_flag=True,
    help="The configurations are those of all members of a consumer group: a gap between what they settled is a loss.",
)
def ledger(configs: tuple[Path, ...], as_json: bool, all_members: bool) -> None:
    """Print what came in and what became of it; exits with 1 if it does not balance.

    Several configurations, such as those of all replicas, are added up.
    """
    from connector.ledger import as_table, read_ledger  # noqa: PLC0415

    try:
        found = read_ledger(*map(_load, configs), all_members=all_members)
    except sqlite3.Error as error:
        raise click.ClickException(f"the ledger cannot be read: {error}") from None
    click.echo(json.dumps(found.as_json()) if as_json else as_table(found))
    if not found.balanced:
        sys.exit(1)


@main.command()
@_CONFIG
@click.option("--from", "from_", metavar="TIME", help="From the first record at or after this time (RFC 3339).")
@click.option("--to", metavar="TIME", help="To before the first record at or after this time.")
@click.option(
    "--offsets", multiple=True, metavar="TOPIC[N]=FIRST:END", help="Offsets of one partition instead; END is left out."
)
@click.option("--source", help="The Kafka source, where there are several.")
@click.option(
    "--share",
    type=click.FloatRange(0.01, 1.0),
    default=0.25,
    show_default=True,
    help="Part of delivery.requests_per_second that it may use; the rest is left to live traffic.",
)
def backfill(
    config: Path, from_: str | None, to: str | None, offsets: tuple[str, ...], source: str | None, share: float
) -> None:
    """Replay a range of Kafka's records through the mapping, without touching the consumer group.

    Runs beside the live connector. Interrupted, the same command goes on where it stopped.
    """
    from connector.backfill import Backfill, BackfillError, choose_source, wanted  # noqa: PLC0415
    from connector.clarify import CredentialsError  # noqa: PLC0415
    from connector.ledger import as_table, read_ledger  # noqa: PLC0415

    loaded = _load(config)
    os.umask(0o077)
    configure_logs(loaded.observe.log_level, loaded.observe.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        job = Backfill(loaded, choose_source(loaded, source), wanted(from_, to, offsets), share)
    except (BackfillError, CredentialsError, OSError, sqlite3.Error, ValueError) as error:
        raise click.ClickException(str(error)) from None
    reader = job.source
    click.echo(f"{reader.total} offsets; {'going on after' if job.resumed else 'beginning with'} {reader.done} of them")
    for name, (first, end) in sorted(job.ranges.items()):
        click.echo(f"  {name}: " + (f"offsets {first} to {end - 1}" if first < end else "nothing"))
    pipeline = job.connector.pipeline
    job.connector.start()
    with click.progressbar(length=max(1, reader.total), show_pos=True, file=sys.stderr) as bar:
        while not stop.is_set() and not pipeline.stopped.wait(0.5):
            bar.update(max(0, reader.done - bar.pos))
        finished = pipeline.stopped.is_set() and not stop.is_set()
        job.connector.stop()
        bar.update(max(0, (reader.total if finished and not pipeline.failure else reader.done) - bar.pos))
    account = read_ledger(job.config)
    click.echo(as_table(account))
    if pipeline.failure:
        raise click.ClickException(pipeline.failure)
    if not finished:
        raise click.ClickException("interrupted; the same command goes on where it stopped")
    if reader.expired or not account.balanced:
        sys.exit(1)


@main.command("new-signals")
@_CONFIG
@click.option("--approve", "patterns", multiple=True, metavar="PATTERN", help="Let these in: an input ID, or with *.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of lines.")
def new_signals(config: Path, patterns: tuple[str, ...], as_json: bool) -> None:
    """List the new signals that are held (signals.on_new, signals.max), or approve some of them.

    A running connector lets approved signals in within seconds; their samples so far are dead letters, to be replayed.
    """
    from fnmatch import fnmatchcase  # noqa: PLC0415 - only this command needs it

    from connector.app import state_files  # noqa: PLC0415
    from connector.state import approve, read_held  # noqa: PLC0415

    folder = _load(config).state_dir
    try:
        held = {file: read_held(file) for file in state_files(folder)}
        if not patterns:
            inputs = sorted({input_id for found in held.values() for input_id in found})
            click.echo(json.dumps(inputs) if as_json else "\n".join(inputs) or "No signal is held.")
            return
        wanted = {
            file: [input_id for input_id in found if any(fnmatchcase(input_id, pattern) for pattern in patterns)]
            for file, found in held.items()
        }
        for file, inputs in wanted.items():
            approve(file, inputs)
    except sqlite3.Error as error:
        raise click.ClickException(f"the state in {folder} cannot be used: {error}") from None
    approved = sorted({input_id for inputs in wanted.values() for input_id in inputs})
    if not approved:
        raise click.ClickException(f"no held signal is like {' or '.join(patterns)}; without --approve they are listed")
    click.echo(json.dumps(approved) if as_json else "\n".join(f"approved {input_id}" for input_id in approved))


@main.command()
@_CONFIG
@click.option("--ready", is_flag=True, help="Fail also while something is in the way, such as a broker that is away.")
def health(config: Path, ready: bool) -> None:
    """Ask the running connector with this configuration how it is; exits with 1 if only a restart can help."""
    from connector.observe.probe import ask  # noqa: PLC0415

    listen = _load(config).observe.listen
    if listen is None:
        raise click.ClickException("observe.listen is null, so there is nobody to ask; give it an address")
    found = ask(listen)
    click.echo(found.text)
    if not (found.ready if ready else found.alive):
        sys.exit(1)


def _load(file: Path) -> Config:
    from connector.config_file import ConfigError, load_config  # noqa: PLC0415

    try:
        return load_config(file)
    except ConfigError as error:
        raise click.ClickException("the configuration cannot be used\n" + str(error)) from None
