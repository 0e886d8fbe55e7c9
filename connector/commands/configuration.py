"""The configuration file that a command is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from connector.config.read import ConfigError, load_config

if TYPE_CHECKING:
    from connector.config.model import Config

CONFIG: Final = click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
"""The argument `CONFIG` of a command."""


def load(file: Path, *, without_secrets: bool = False) -> Config:
    """Read this file. Raises `ClickException`, which says where in the file the errors are."""
    try:
        return load_config(file, without_secrets=without_secrets)
    except ConfigError as error:
        raise click.ClickException("the configuration cannot be used\n" + str(error)) from None
