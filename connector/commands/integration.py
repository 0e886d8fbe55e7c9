"""The option `--integration NAME` of commands, for configurations with several integrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from connector.terminal.text import say

if TYPE_CHECKING:
    from connector.config.model import Config

INTEGRATION: Final = click.option(
    "--integration", metavar="NAME", help="Only this integration, by its name in the configuration."
)
"""The option `--integration` of a command."""


def integration_in(config: Config, name: str | None) -> str | None:
    """Returns the name that input IDs of the integration have before them; None without a name.

    The name is empty for the integration of `clarify` itself. Raises `click.UsageError` for an unknown name.
    """
    if name is None:
        return None
    known = config.clarify.names
    if name not in known:
        raise click.UsageError(f"--integration {name}: the configuration has {', '.join(known)}")
    return known[name]


def main_integration_in(config: Config, name: str | None) -> str:
    """Returns the same; without a name, that of `clarify` itself, and says so if there are several."""
    if name is None and config.clarify.integrations:
        others = ", ".join(config.clarify.integrations)
        say(f"This is the integration {config.clarify.name}; --integration NAME takes another: {others}", err=True)
    return integration_in(config, name) or ""


def one_integration_in(config: Config, name: str | None) -> str:
    """Returns the same; without a name, that of the only integration.

    Raises `click.UsageError` for an unknown name, and for no name where there are several.
    """
    if name is None and config.clarify.integrations:
        raise click.UsageError(
            f"the configuration has several integrations: say which one with --integration NAME, one of "
            f"{', '.join(config.clarify.names)}"
        )
    return integration_in(config, name) or ""
