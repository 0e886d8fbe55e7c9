"""The command `sandbox`.

This module can be imported without starlette and uvicorn, which come with the extra `sandbox`. If they are missing, the
command says how they are installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from connector.sandbox.address import ListenAddress, check_public_url
from connector.sandbox.credentials import CredentialsKind
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.store import StoreError

_SERVER_PACKAGES = {"starlette", "uvicorn", "h11"}


def _switch(name: str, field: FieldInfo) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds the click option for one field of the settings."""
    kind: click.ParamType[Any]
    if get_origin(field.annotation) is Literal:
        kind = click.Choice(get_args(field.annotation))
    else:
        kind = click.INT if field.annotation is int else click.FLOAT
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=kind,
        default=field.default,
        show_default=True,
        help=(field.description or "").replace("`", ""),
    )


def _with_switches(command: Callable[..., None]) -> Callable[..., None]:
    for name, field in reversed(SandboxSettings.model_fields.items()):
        command = _switch(name, field)(command)
    return command


def _checked(
    check: Callable[[str], object],
) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A click callback that calls `check` and turns its ValueError into a usage error."""

    def callback(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            try:
                check(value)
            except ValueError as error:
                raise click.BadParameter(str(error)) from error
        return value

    return callback


class _UserPath(click.Path):
    """The parameter type of a path. A `~` is the home folder: shells leave `--store=~/file` as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        expanded = os.path.expanduser(value)  # noqa: PTH111 - leaves an unknown ~name as it is
        return super().convert(expanded, param, ctx)


def _take_over(context: click.Context, _parameter: click.Parameter, report: Path | None) -> None:
    """Make the switches that a report has settled the defaults of the options."""
    if report is None:
        return
    try:
        document = json.loads(report.read_bytes())
        switches = document["sandbox"]
        if not isinstance(switches, dict):
            raise TypeError  # noqa: TRY301 - the handler reports every wrong shape
        SandboxSettings.model_validate(switches)
    except OSError as error:
        raise click.BadParameter(f"{report} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise click.BadParameter(f"{report}: {'; '.join(map(_explain, error.errors()))}") from None
    except (ValueError, TypeError, KeyError):
        raise click.BadParameter(f"{report} is no report of clarify-connector probe") from None
    context.default_map = {**(context.default_map or {}), **switches}
    unsettled = [name for name in SandboxSettings.model_fields if name not in switches]
    if unsettled:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in unsettled)
        click.echo(f"{report} does not settle {names}: these keep their defaults", err=True)


@click.command()
@click.option(
    "--listen",
    default="127.0.0.1:8090",
    show_default=True,
    metavar="HOST:PORT",
    callback=_checked(ListenAddress.parse),
    help="Where to listen; port 0 takes a free one. Other machines can connect only if HOST says so.",
)
@click.option(
    "--store",
    type=_UserPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="SQLite file that keeps credentials, signals and samples.  [default: memory]",
)
@click.option(
    "--credentials-out",
    type=_UserPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a credentials file for clients.  [default: none]",
)
@click.option(
    "--credentials-kind",
    type=click.Choice(get_args(CredentialsKind)),
    default="client-credentials",
    show_default=True,
    help="Kind of credentials in that file: for OAuth 2.0, or for Basic authentication.",
)
@click.option(
    "--public-url",
    metavar="URL",
    callback=_checked(check_public_url),
    help="Write this as apiUrl, when clients reach the sandbox under another name.  [default: the listener]",
)
@click.option(
    "--tls-cert",
    type=_UserPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Serve https with this certificate and its chain, in PEM form; needs --tls-key.  [default: http]",
)
@click.option(
    "--tls-key",
    type=_UserPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The certificate's private key, in PEM form and not encrypted; needs --tls-cert.  [default: http]",
)
@click.option(
    "--faults",
    is_flag=True,
    help="Offer /sandbox/faults and /sandbox/stats, with which tests order faults.  [default: off]",
)
@click.option(
    "--like",
    type=_UserPath(dir_okay=False, path_type=Path),
    metavar="REPORT",
    callback=_take_over,
    is_eager=True,
    expose_value=False,
    help="Set the switches as this report of clarify-connector probe says; other options win.  [default: none]",
)
@_with_switches
def sandbox(
    listen: str,
    store: Path | None,
    credentials_out: Path | None,
    credentials_kind: CredentialsKind,
    public_url: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    faults: bool,
    **switches: object,
) -> None:
    """Run a local Clarify: all methods of its API, and a page that shows what arrived.

    The sandbox checks requests as the documentation says, keeps the documented limits, and stores accepted data.
    """
    if (tls_cert is None) != (tls_key is None):
        missing = "--tls-cert" if tls_cert is None else "--tls-key"
        raise click.UsageError(f"--tls-cert and --tls-key go together: {missing} is missing")
    try:
        settings = SandboxSettings.model_validate(switches)
    except ValidationError as error:
        raise click.UsageError("; ".join(map(_explain, error.errors()))) from None
    try:
        from connector.sandbox.server import run  # noqa: PLC0415 - only here are the extra packages needed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _SERVER_PACKAGES:
            raise
        raise click.ClickException(
            f"the package {error.name} is missing: in a checkout of the connector, run pip install '.[sandbox]'"
        ) from error
    try:
        run(
            listen,
            store,
            credentials_out,
            settings,
            faults,
            credentials_kind=credentials_kind,
            public_url=public_url,
            tls_files=None if tls_cert is None or tls_key is None else (tls_cert, tls_key),
        )
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error


def _explain(problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    option = "--" + "-".join(map(str, problem["loc"])).replace("_", "-")
    return f"{option}: {message} (got {problem['input']!r})"
