"""Asks a running connector how it is."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from connector.commands.configuration import CONFIG
from connector.config.read import load_config
from connector.observe.probe import ask


@click.command()
@CONFIG
@click.option("--ready", is_flag=True, help="Fail also while something is in the way, such as a broker that is away.")
def health(config: Path, ready: bool) -> None:
    """Ask the running connector with this configuration how it is; exits with 1 if only a restart can help."""
    section = load_config(config).observe
    if section.listen is None:
        raise click.ClickException("observe.listen is null, so there is nobody to ask; give it an address")
    found = ask(section)
    click.echo(found.text)
    if not (found.ready if ready else found.alive):
        sys.exit(1)
