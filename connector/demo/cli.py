"""The command `demo`.

This module can be imported without the packages that come with the extra `demo`. If they are missing, the command says
how they are installed.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, get_args

import click
from pydantic import TypeAdapter, ValidationError

from connector.demo.brokers import BrokerChoice, SourceChoice
from connector.demo.children import DemoError
from connector.terminal.paths import UserPath
from connector.terminal.text import say, say_json, say_text

_EXTRA_PACKAGES: Final = ("rich", "starlette", "uvicorn")
"""The last two packages are for the process of the sandbox: the command checks them before it starts anything."""


class _Duration(click.ParamType[float]):
    """A duration such as `20s` or `2m`, as in the configuration; its value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from connector.settings import Seconds  # noqa: PLC0415 - other commands do not need this slow import

        try:
            seconds = TypeAdapter(Seconds).validate_python(value)
        except ValidationError as error:
            self.fail(error.errors()[0]["msg"].removeprefix("Value error, "), param, ctx)
        if seconds <= 0:
            self.fail("must be more than nothing", param, ctx)
        return seconds


@click.command()
@click.option("--for", "seconds", type=_Duration(), metavar="DURATION", help="Stop by itself after 20s, 2m, …")
@click.option("--json", "as_json", is_flag=True, help="The last line of standard output is the account as JSON.")
@click.option(
    "--machines", type=click.IntRange(1, 10_000), default=36, show_default=True, help="How many machines the plant has."
)
@click.option(
    "--rate",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="Messages a second of each machine; some kinds send more.",
)
@click.option(
    "--source",
    type=click.Choice(get_args(SourceChoice)),
    default="mqtt",
    show_default=True,
    help="MQTT, or Kafka: librdkafka's embedded broker, which keeps a few MiB in memory and nothing else.",
)
@click.option(
    "--broker",
    type=click.Choice(get_args(BrokerChoice)),
    default="auto",
    show_default=True,
    help="For MQTT: Mosquitto, or the embedded broker (amqtt); auto takes Mosquitto if it is installed.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same plant.")
@click.option(
    "--keep",
    type=UserPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep configuration, journal, ledger, logs and the sandbox's store in this new folder.",
)
def demo(
    seconds: float | None,
    as_json: bool,
    machines: int,
    rate: float,
    source: SourceChoice,
    broker: BrokerChoice,
    seed: int,
    keep: Path | None,
) -> None:
    """Show everything on this computer: a broker, a plant of machines, the connector, and a local Clarify.

    Ctrl-C stops the plant, sends all waiting samples and prints the account. The exit status is 0 only if the ledger
    balances, nothing waits, and everything that the broker took from the plant has arrived.
    """
    for package in _EXTRA_PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise click.ClickException(
                f"the package {package} is missing: in a checkout of the connector, run pip install '.[demo]'"
            )
    say("starting a broker, a local Clarify, the connector and a plant …", err=True)
    from connector.demo.run import Options, StoppedError, StopSignals, run_demo  # noqa: PLC0415 - needs rich
    from connector.demo.screens import choose_screen  # noqa: PLC0415 - as above

    with StopSignals() as signals, _folder(keep) as folder:
        options = Options(machines, rate, seconds, source, broker, seed, folder, keep is not None)
        try:
            result = run_demo(options, choose_screen(), signals)
        except DemoError as error:
            raise click.ClickException(str(error)) from error
        except StoppedError:
            raise click.ClickException("stopped before it had begun") from None
    say_text(result.as_text(), err=as_json)
    if keep is not None:
        say(f"Everything is kept in {folder}.", err=as_json)
    if as_json:
        say_json(result.as_json())
    if result.problems():
        sys.exit(1)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder for all files of the demo; it is removed at the end, unless the user named it."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="clarify-demo-") as folder:
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        used = any(keep.iterdir())
    except OSError as error:
        raise click.BadParameter(f"{keep} cannot be used: {error.strerror}", param_hint="--keep") from None
    if used:
        raise click.BadParameter(f"{keep} is not empty; name a new folder", param_hint="--keep")
    yield keep.absolute()
