"""The command `log-level`: changes the level of the running connector's log; and the options of the log of `run`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import click

from connector.commands.configuration import CONFIG
from connector.config.observe import LogFormat, LogLevel
from connector.config.read import load_config
from connector.observe.log_level import LogLevelAnswer, LogLevelRequest, log_level_files
from connector.runtime.workers import worker_folder
from connector.settings import seconds
from connector.terminal.text import say

if TYPE_CHECKING:
    from connector.config.model import Config

_LOOK_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 15.0
_LEVELS: Final = click.Choice(get_args(LogLevel))
_FORMATS: Final = click.Choice(get_args(LogFormat))

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def log_options(command: _Command) -> _Command:
    """Give a command the options `--log-level` and `--log-format`, for `with_log`."""
    for name, kind, what in (("format", _FORMATS, "Format"), ("level", _LEVELS, "Least level")):
        command = click.option(
            f"--log-{name}",
            type=kind,
            envvar=f"CLARIFY_CONNECTOR_LOG_{name.upper()}",
            show_envvar=True,
            help=f"{what} of the log, instead of observe.log_{name}.",
        )(command)
    return command


def with_log(config: Config, level: str | None, form: str | None) -> Config:
    """Return the configuration with the level and the format of the options; None leaves what the file says."""
    given = {name: value for name, value in (("log_level", level), ("log_format", form)) if value is not None}
    return config.model_copy(update={"observe": config.observe.model_copy(update=given)})


@click.command("log-level")
@CONFIG
@click.argument("level", type=_LEVELS)
@click.option(
    "--for", "lasting", type=_Duration(), metavar="DURATION", help="Return to the usual level after 10m, 1h …"
)
def log_level(config: Path, level: str, lasting: float | None) -> None:
    """Change the level of the running connector's log.

    The level lasts until the connector ends, or for the time of --for. The usual level is that of the start: of
    `run --log-level`, or of observe.log_level.
    """
    loaded = load_config(config, without_secrets=True)
    folder = loaded.state_dir
    workers = range(1, loaded.workers + 1)
    if not any(log_level_files(worker_folder(folder, worker)).running() for worker in workers):
        raise click.ClickException(f"no connector runs with state_dir {folder}")
    files = log_level_files(folder)
    try:
        files.ask(LogLevelRequest(level, lasting))
    except OSError as error:
        raise click.ClickException(
            f"the request cannot be written to {folder} ({error.strerror}); run the command as the connector's user"
        ) from None
    answer = _answer(files.told)
    for worker in answer.silent:
        say(f"note: worker {worker} did not answer; when it starts again, it begins with the usual level", err=True)
    back = "" if lasting is None else f" for {lasting:g} s, then {answer.usual}"
    say(f"the level of the log is {level}{back}")


def _answer(told: Callable[[], LogLevelAnswer | None]) -> LogLevelAnswer:
    until = time.monotonic() + _PATIENCE_SECONDS
    while (answer := told()) is None:
        if time.monotonic() > until:
            raise click.ClickException(
                f"the connector did not answer within {_PATIENCE_SECONDS:g} s; if it is just starting or stopping, run "
                "the command again; else see its log"
            )
        time.sleep(_LOOK_SECONDS)
    return answer
