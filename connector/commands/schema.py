"""The command `schema`: prints the JSON Schema or the reference of the configuration."""

from __future__ import annotations

import click

from connector.config.reference import json_schema, reference
from connector.terminal.text import say_text


@click.command()
@click.option("--markdown", is_flag=True, help="Print the reference for people instead of the JSON Schema.")
def schema(markdown: bool) -> None:
    """Print the JSON Schema of the configuration.

    Editors and validators can use the schema.
    """
    say_text(reference() if markdown else json_schema(), end="")
