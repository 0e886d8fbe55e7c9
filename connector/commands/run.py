"""The command `run`: carries data until a signal or a drain, in one process, or in one process for each worker."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import structlog

from connector import __version__
from connector.commands.configuration import CONFIG
from connector.commands.exposed import exposed_files
from connector.commands.log_level import log_options, with_log
from connector.commands.without_rich import load_without_rich
from connector.config.read import ConfigFiles, load_config
from connector.observe.logs import configure_logs
from connector.state.files import open_private

if TYPE_CHECKING:
    from connector.config.model import Config
    from connector.config.otlp import OtlpSection
    from connector.observe.log_level import LogLevels
    from connector.observe.otlp.telemetry import Telemetry
    from connector.runtime.connector import Connector
    from connector.runtime.reload import Changes
    from connector.runtime.reloads import FileWatch, Reloads

_CLOSE_SECONDS: Final = 30.0
"""The longest wait for a reload when the connector stops."""

_log = structlog.get_logger(__name__)


@click.command()
@CONFIG
@click.option("--worker", type=int, hidden=True, help="Run this worker of a configuration with several.")
@log_options
def run(config: Path, worker: int | None, log_level: str | None, log_format: str | None) -> None:
    """Run the connector until SIGTERM or Ctrl-C.

    The connector then sends the data in memory, and ends with the exit status 0.
    """
    hangups = _Hangups()
    signal.signal(signal.SIGHUP, hangups)
    from connector.runtime.reloads import FileWatch  # noqa: PLC0415 - after the signal, which would end the process

    watch = FileWatch(ConfigFiles(config))  # before the file is read
    file = _File(config, lambda: with_log(load_config(config), log_level, log_format), watch, hangups)
    loaded = file.load()
    exposed = exposed_files(config, loaded)
    supervises = loaded.workers > 1 and worker is None
    with _telemetry(loaded, "supervisor" if supervises else str(worker or "")) as telemetry:
        if supervises:
            given = {"--log-level": log_level, "--log-format": log_format}
            options = [f"{name}={text}" for name, text in given.items() if text]
            _run_workers(file, loaded, exposed, options, telemetry)
        else:
            _run(file, loaded, worker, exposed if worker is None else [], telemetry)


class _Hangups:
    """Counts the signals that ask for a reload. The handler takes no lock, as it may interrupt any line."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: object) -> None:
        self.count += 1


@dataclass(frozen=True, slots=True)
class _File:
    """The configuration file, which may be read again."""

    path: Path
    load: Callable[[], Config]
    """Reads and checks the file; raises `ConfigError`."""
    watch: FileWatch
    hangups: _Hangups


def _telemetry(loaded: Config, part: str) -> AbstractContextManager[Telemetry | None]:
    """Send what `observe.otlp` asks for. Without this section, no library of OTLP is loaded."""
    section = loaded.observe.otlp
    if section is None:
        return nullcontext()
    section.need_library()
    load_without_rich("httpx")
    from connector.observe.otlp.telemetry import running  # noqa: PLC0415 - an extra

    return running(section, loaded.state_dir, part)


def _warn(exposed: Sequence[Path], section: OtlpSection | None) -> None:
    for path in exposed:
        _log.warning(
            "secret_readable_by_others",
            file=str(path),
            effect="every user of this machine can read the secret in the file",
            remedy="chmod 600",
        )
    for warning in () if section is None else section.warnings:
        _log.warning("telemetry_settings", warning=f"observe: {warning}")


def _run_workers(
    file: _File, loaded: Config, exposed: Sequence[Path], options: Sequence[str], telemetry: Telemetry | None
) -> None:
    """Run a process with `options` for each worker, and serve the pages of all workers together."""
    from connector.observe.log_level import LogLevels, log_level_files  # noqa: PLC0415
    from connector.observe.of_workers import serve_together  # noqa: PLC0415
    from connector.pipeline.notices import Notices  # noqa: PLC0415
    from connector.runtime.reloads import Reloads, WorkersReload, reload_files  # noqa: PLC0415
    from connector.runtime.requests import HandedOn  # noqa: PLC0415
    from connector.runtime.workers import PORT_FILE, Supervisor, worker_folder  # noqa: PLC0415

    also = None if telemetry is None else telemetry.log
    configure_logs(loaded.observe.log_level, loaded.observe.log_format, also=also)
    _warn(exposed, loaded.observe.otlp)
    folders = {number: worker_folder(loaded.state_dir, number) for number in range(1, loaded.workers + 1)}
    of_workers = HandedOn({number: log_level_files(folder, of_worker=True) for number, folder in folders.items()})
    levels = LogLevels(log_level_files(loaded.state_dir), loaded.observe.log_level, of_workers)
    reload = WorkersReload(loaded, {number: reload_files(folder, of_worker=True) for number, folder in folders.items()})
    notices = Notices()

    def use(changed: Config, stopping: Callable[[], bool]) -> Changes:
        changes = reload.use(changed, stopping)
        levels.use(changed.observe.log_level)
        return changes

    reloads = Reloads(
        file.path,
        file.watch,
        file.load,
        use,
        reload_files(loaded.state_dir),
        notices,
        watches=loaded.reload == "watch",
        signals=lambda: file.hangups.count,
    )

    def look() -> None:
        levels.look()
        reloads.look()

    supervisor = Supervisor(loaded, file.path, options=options, look=look)
    ports = [folder / PORT_FILE for folder in folders.values()]
    try:
        pages = serve_together(
            loaded, ports, lambda: reload.config, lambda: [notice.as_json() for notice in notices.shown()], file.path
        )
    except OSError as error:
        raise click.ClickException(_cannot_listen(loaded, error)) from None

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop(signal.SIGTERM))
    _log.info("started", version=__version__, config=str(file.path), workers=loaded.workers)
    status = supervisor.run()
    reloads.close(_CLOSE_SECONDS)
    if pages is not None:
        pages.close()
    _log.info("stopped", status=status)
    sys.exit(status)


def _cannot_listen(loaded: Config, error: OSError) -> str:
    return f"observe.listen {loaded.observe.listen} cannot be used ({error.strerror}); choose another port, or null"


def _run(file: _File, loaded: Config, worker: int | None, exposed: Sequence[Path], telemetry: Telemetry | None) -> None:
    load_without_rich("httpx")
    from connector.observe.log_level import LogLevels, log_level_files  # noqa: PLC0415
    from connector.observe.pages import serve  # noqa: PLC0415
    from connector.runtime.connector import Connector, calm_collector  # noqa: PLC0415 - only this command needs all

    sources_in_all = len(loaded.sources)
    if worker is not None:
        from connector.runtime.workers import PORT_FILE, config_for_worker, stop_with_supervisor  # noqa: PLC0415

        loaded = config_for_worker(loaded, worker)
    also = None if telemetry is None else telemetry.log
    configure_logs(loaded.observe.log_level, loaded.observe.log_format, worker=worker, also=also)
    _warn(exposed, loaded.observe.otlp if worker is None else None)
    stop = threading.Event()
    signals_seen = 0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal signals_seen
        signals_seen += 1
        _log.info("stopping", signal=signal.Signals(number).name)
        stop.set()
        if signals_seen > 1:
            connector.pipeline.abort()

    connector = Connector(loaded, sources_in_all=sources_in_all, tracer=None if telemetry is None else telemetry.tracer)
    more = () if telemetry is None else (telemetry,)
    try:
        pages = serve(loaded, connector, *more, file=file.path)
    except OSError as error:
        connector.close()
        raise click.ClickException(_cannot_listen(loaded, error)) from None
    if worker is not None:
        stop_with_supervisor(stop.set)
        if pages is not None:
            descriptor = open_private(loaded.state_dir / PORT_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with os.fdopen(descriptor, "w", encoding="ascii") as port_file:
                port_file.write(str(pages.port))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    if telemetry is not None:
        from connector.observe.metrics import families  # noqa: PLC0415 - the library of Prometheus

        telemetry.measure(partial(families, connector, telemetry))
        connector.before_close = telemetry.take_last_metrics
        connector.supervision.also(telemetry.thread)
    calm_collector()
    _log.info("started", version=__version__, config=str(file.path), state_dir=str(loaded.state_dir))
    levels = LogLevels(log_level_files(loaded.state_dir, of_worker=worker is not None), loaded.observe.log_level)

    reloads = _reloads_of(file, loaded, connector, levels, worker)
    drained = _until_stopped(connector, loaded.state_dir, stop, levels, reloads)
    if pages is not None:
        pages.close()
    _log.info("stopped", drained=drained)
    if connector.pipeline.failure:
        raise click.ClickException(connector.pipeline.failure)


def _reloads_of(file: _File, loaded: Config, connector: Connector, levels: LogLevels, worker: int | None) -> Reloads:
    """Return the reloads of a connector, or of a worker; `loaded` is the configuration of the start."""
    from connector.runtime.reload import apply  # noqa: PLC0415
    from connector.runtime.reloads import Reloads, reload_files  # noqa: PLC0415
    from connector.runtime.workers import config_for_worker  # noqa: PLC0415

    def use(changed: Config, stopping: Callable[[], bool]) -> Changes:
        changes = apply(connector, changed if worker is None else config_for_worker(changed, worker), stopping)
        connector.sources_in_all = len(changed.sources)
        levels.use(changed.observe.log_level)
        return changes

    return Reloads(
        file.path,
        file.watch,
        file.load,
        use,
        reload_files(loaded.state_dir, of_worker=worker is not None),
        connector.present,
        watches=loaded.reload == "watch" if worker is None else None,
        signals=lambda: file.hangups.count,
    )


def _until_stopped(
    connector: Connector, folder: Path, stop: threading.Event, levels: LogLevels, reloads: Reloads
) -> bool:
    """Carry data until a signal, a failure or a drain; return whether no message was left behind."""
    from connector.runtime.connector import give_memory_back  # noqa: PLC0415
    from connector.runtime.drain import drain, drain_files  # noqa: PLC0415

    files = drain_files(folder)
    files.clear()
    connector.start()
    give_memory_back()
    while not stop.is_set() and not connector.pipeline.stopped.wait(0.5):
        # not a wait for `stop`: the wait would hold the event's lock when the signal handler sets the event
        connector.supervision.look()
        levels.look()
        reloads.look()
        connector.reloading = reloads.thread
        connector.remembering.tell_renamed()
        if (request := files.asked()) is not None:
            reloads.close(_CLOSE_SECONDS)
            return drain(connector, request, files.tell, stop.is_set)
    reloads.close(_CLOSE_SECONDS)
    return connector.stop()
