"""Looks at a configuration and the files that it names, without any network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from connector.clarify import Credentials
from connector.commands.configuration import CONFIG
from connector.config.read import CATALOGUES, load_config
from connector.formats.schema.schemas import RegisteredSchema
from connector.settings import SettingsError
from connector.sources.section import SourceSection


@click.command()
@CONFIG
def check(config: Path) -> None:
    """Check a configuration file and the credentials it names, without any network."""
    loaded = load_config(config)
    credentials = Credentials.load(loaded.clarify.credentials, allow_insecure=loaded.clarify.allow_insecure)
    for name, registry in loaded.schema_registries.items():
        _check_files(f"schema registry {name}", registry.files)
        for warning in registry.warnings:
            click.echo(f"warning: schema registry {name}: {warning}")
    for section in loaded.sources:
        _check_source(section)
    try:
        loaded.rules(dict.fromkeys(loaded.schema_registries, _Unasked()))
    except SettingsError as error:
        raise SettingsError(f"mapping.rules: {error}") from None
    _check_files("dead_letters", loaded.dead_letters.files)
    for warning in loaded.dead_letters.warnings:
        click.echo(f"warning: dead_letters: {warning}")
    for what, catalogue in CATALOGUES.values():
        for name, why in catalogue.broken.items():
            click.echo(f"warning: {what} {name!r}: {why}")
    click.echo(
        f"{config}: ok: {', '.join(f'{s.name} ({s.address})' for s in loaded.sources)} → {credentials.api_url}, "
        f"integration {credentials.integration}, {len(loaded.mapping.rules) or 'no'} mapping rules"
    )


def _check_source(section: SourceSection) -> None:
    _check_files(f"source {section.name}", section.files)
    for warning in section.warnings + section.check():
        click.echo(f"warning: source {section.name}: {warning}")


def _check_files(what: str, files: Mapping[str, Path | None]) -> None:
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise click.ClickException(f"{what}: {name}: there is no file {path}")


class _Unasked:
    """Stands for a schema registry where nothing is decoded."""

    def schema(self, schema_id: int) -> RegisteredSchema:
        raise NotImplementedError(schema_id)
