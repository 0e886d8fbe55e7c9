"""The argument CONFIG, the path of a configuration file, for all commands."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from connector.terminal.paths import UserPath

CONFIG: Final = click.argument("config", type=UserPath(path_type=Path, dir_okay=False))
"""The argument `CONFIG` of a command."""
