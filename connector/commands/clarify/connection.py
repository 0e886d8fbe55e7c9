"""The options for reaching Clarify, and the texts of errors, for all commands that call Clarify directly."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from connector.clarify import ArgumentError, ClarifyError, Client, Credentials
from connector.clarify.validation import broken_rules
from connector.terminal.paths import UserPath

_VARIABLE = "CLARIFY_CREDENTIALS"

F = TypeVar("F", bound=Callable[..., Any])


def reaches_clarify(command: F) -> F:
    """Add the options for reaching Clarify to a command.

    The command gets a `client`. An error that a person can mend becomes one line on the terminal. Every other error is
    a bug, and passes through.
    """

    @wraps(command)
    def run(
        credentials: str | None, ca_file: Path | None, api_version: str, allow_insecure: bool, **more: object
    ) -> object:
        with clarify_client(credentials, ca_file, api_version, allow_insecure=allow_insecure) as client:
            return command(client=client, **more)

    decorated: Any = connection_options(run)
    result: F = decorated
    return result


@contextmanager
def clarify_client(
    credentials: str | None, ca_file: Path | None, api_version: str, *, allow_insecure: bool
) -> Iterator[Client]:
    """Yield the client that the options describe; errors are those of `one_line_errors`."""
    if credentials is None:
        raise click.UsageError(f"name the credentials file: --credentials FILE, or {_VARIABLE} in the environment")
    with one_line_errors():
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
        click.option(
            "--credentials",
            metavar="FILE",
            default=lambda: os.environ.get(_VARIABLE),
            help=f"Credentials file of an integration, or the text of the file.  [default: ${_VARIABLE}]",
        ),
    ):
        decorated = option(decorated)
    result: F = decorated
    return result


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
