"""The options for reaching Clarify, and the texts of errors, for all commands that call Clarify directly."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import ValidationError

from connector.clarify import ArgumentError, ClarifyError, Client, Credentials
from connector.clarify.validation import broken_rules
from connector.commands.integration import INTEGRATION, main_integration_in
from connector.terminal.paths import UserPath

if TYPE_CHECKING:
    from connector.delivery.section import ClarifySection

_VARIABLE = "CLARIFY_CREDENTIALS"

F = TypeVar("F", bound=Callable[..., Any])


def reaches_clarify(command: F) -> F:
    """Add the options for reaching Clarify to a command.

    The command gets a `client`. An error that a person can mend becomes one line on the terminal. Every other error is
    a bug, and passes through.
    """

    @wraps(command)
    def run(
        credentials: str | None,
        config_file: Path | None,
        integration: str | None,
        ca_file: Path | None,
        api_version: str,
        allow_insecure: bool,
        **more: object,
    ) -> object:
        with clarify_client(
            credentials,
            ca_file,
            api_version,
            allow_insecure=allow_insecure,
            config_file=config_file,
            integration=integration,
        ) as client:
            return command(client=client, **more)

    decorated: Any = connection_options(run)
    result: F = decorated
    return result


@contextmanager
def clarify_client(
    credentials: str | None,
    ca_file: Path | None,
    api_version: str,
    *,
    allow_insecure: bool,
    config_file: Path | None = None,
    integration: str | None = None,
) -> Iterator[Client]:
    """Yield the client that the options describe; errors are those of `one_line_errors`."""
    if integration is not None and config_file is None:
        raise click.UsageError("--integration is a name in a configuration: add --config CONFIG")
    with one_line_errors():
        if config_file is not None:
            section = _section(config_file, integration)
            credentials, ca_file = str(section.credentials), ca_file or section.ca_file
            allow_insecure = allow_insecure or section.allow_insecure
        credentials = credentials or os.environ.get(_VARIABLE)
        if credentials is None:
            raise click.UsageError(
                f"name the credentials file: --credentials FILE, or {_VARIABLE} in the environment; or name a "
                "configuration: --config CONFIG"
            )
        loaded = Credentials.load(credentials, allow_insecure=allow_insecure)
        with Client(loaded, api_version, verify=ca_file) as client:
            yield client


def connection_options(command: F) -> F:
    """Add the options for reaching Clarify: the command gets the arguments of `clarify_client`."""
    decorated: Any = command
    for option in (
        click.option(
            "--allow-insecure",
            is_flag=True,
            help="Accept credentials with an http:// address of another machine. Nothing is encrypted then.",
        ),
        click.option("--api-version", default="1.1", show_default=True, help="Version of the Clarify API."),
        click.option(
            "--ca-file", type=UserPath(path_type=Path, exists=True), help="PEM file of the certificates to trust."
        ),
        INTEGRATION,
        click.option(
            "--config",
            "config_file",
            metavar="CONFIG",
            type=UserPath(path_type=Path, dir_okay=False),
            help="Reach Clarify as this configuration of a connector does, instead of --credentials.",
        ),
        click.option(
            "--credentials",
            metavar="FILE",
            help=f"Credentials file of an integration, or the text of the file.  [default: ${_VARIABLE}]",
        ),
    ):
        decorated = option(decorated)
    result: F = decorated
    return result


def _section(config_file: Path, integration: str | None) -> ClarifySection:
    """Returns the connection to an integration of a configuration; None is that of `clarify` itself."""
    from connector.config.read import load_config  # noqa: PLC0415 - most calls need no configuration

    config = load_config(config_file, without_secrets=True)
    return config.clarify.of(main_integration_in(config, integration))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error that a person can mend into one line on the terminal."""
    try:
        yield
    except BrokenPipeError:  # the reader has closed the pipe of the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the file'}: {error.strerror or error}") from None
    except ValidationError as error:
        raise click.ClickException(broken_rules(error)) from None
    except (ArgumentError, ClarifyError, ImportError) as error:
        raise click.ClickException(str(error)) from None
