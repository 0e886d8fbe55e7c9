"""Paths on the command line."""

from __future__ import annotations

import os
from typing import Any

import click


class UserPath(click.Path):
    """The parameter type of a path. A `~` is the home folder: shells leave `--output=~/file` as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; a path that is not as it must be ends the command with a usage error."""
        expanded = os.path.expanduser(value)  # noqa: PTH111 - leaves an unknown ~name as it is
        return super().convert(expanded, param, ctx)
