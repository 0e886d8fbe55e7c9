"""The command `health`: asks a running connector for its health."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from connector.commands.configuration import CONFIG
from connector.config.address import OpenPages, open_pages
from connector.observe.probe import ask

if TYPE_CHECKING:
    from connector.config.observe import ObserveSection


def pages_in(config: Path) -> ObserveSection | OpenPages:
    """Return where the pages of this configuration are. Raises `ConfigError`, and `click.ClickException` without."""
    section: ObserveSection | OpenPages | None = open_pages(config)
    if section is None:
        from connector.config.read import load_observe  # noqa: PLC0415 - the library of the sections

        section = load_observe(config)
    if section.listen is None:
        raise click.ClickException("observe.listen is null, so no page can be asked; set observe.listen to an address")
    return section


@click.command()
@CONFIG
@click.option(
    "--ready", is_flag=True, help="Also fail while data cannot flow, for example because a broker does not answer."
)
def health(config: Path, ready: bool) -> None:
    """Ask the running connector of CONFIG for its health.

    The exit status is 1 if only a restart can help.
    """
    found = ask(pages_in(config))
    click.echo(found.text)
    if not (found.ready if ready else found.alive):
        sys.exit(1)
