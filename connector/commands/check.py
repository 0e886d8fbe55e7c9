"""The command `check`: checks a configuration and the files that the configuration names, without any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from connector.brokers.findings import Level
from connector.commands.configuration import CONFIG
from connector.commands.exposed import exposed_files
from connector.config.model import Config
from connector.config.read import catalogues, load_config
from connector.formats.schema.schemas import RegisteredSchema, SchemaId
from connector.mapping.rules.rules import Rule, everything
from connector.mapping.tags.source import lists_of
from connector.runtime.client import load_credentials
from connector.runtime.tag_lists import read_tag_file
from connector.settings import SettingsError
from connector.sources.section import SourceSection
from connector.sources.subscriptions import Subscription, overlap
from connector.terminal.text import say

_SHOWN: Final = 3


@click.command()
@CONFIG
@click.option("--network", is_flag=True, help="Also connect: names, ports, TLS and log-ins. `doctor` looks at more.")
def check(config: Path, network: bool) -> None:
    """Check a configuration file, without any network unless you say --network.

    The command also checks the files that the configuration names, such as the credentials. A mistake ends the command
    with an error that names the place and the remedy. A warning does not.
    """
    loaded = load_config(config)
    for path in exposed_files(config, loaded):
        say(f"warning: {path} holds a secret, and every user of this machine can read it: chmod 600 {path}")
    credentials = load_credentials(loaded)
    for name, registry in loaded.schema_registries.items():
        _check_files(f"schema registry {name}", registry.files)
        for warning in registry.warnings:
            say(f"warning: schema registry {name}: {warning}")
    for section in loaded.sources:
        _check_source(section)
    try:
        rules = loaded.rules(dict.fromkeys(loaded.schema_registries, _Unasked()))
    except SettingsError as error:
        raise SettingsError(f"mapping.rules: {error}") from None
    _check_tags(loaded, rules)
    for warning in _unreachable(loaded, rules) + _shared_signals(loaded, rules):
        say(f"warning: {warning}")
    _check_files("dead_letters", loaded.dead_letters.files)
    for warning in loaded.dead_letters.warnings:
        say(f"warning: dead_letters: {warning}")
    if loaded.observe.otlp is not None:
        loaded.observe.otlp.need_library()
    _check_files("observe", loaded.observe.files)
    for warning in loaded.observe.warnings:
        say(f"warning: observe: {warning}")
    for what, catalogue in catalogues().values():
        for name, why in catalogue.broken.items():
            say(f"warning: {what} {name!r}: {why}")
    if network:
        _check_network(loaded)
    say(
        f"{config}: ok: {', '.join(f'{s.name} ({s.address})' for s in loaded.sources)} → "
        f"{', '.join(f'{found.api_url}, integration {found.integration}' for found in credentials.values())}, "
        f"{len(loaded.mapping.rules) or 'no'} mapping rules"
    )


def _check_network(config: Config) -> None:
    from connector.commands.doctor.cli import asked_for  # noqa: PLC0415 - loads the libraries of all kinds
    from connector.commands.doctor.run import examine  # noqa: PLC0415 - as above

    rows = [row for row in examine(config, asked_for(config, short=True)) if row.finding.remedy]
    for about, found in rows:
        kind = "error" if found.level is Level.WRONG else "warning"
        say(f"{kind}: {about}: {found.text}; {found.remedy}")
    if wrong := sum(row.finding.level is Level.WRONG for row in rows):
        raise click.ClickException(f"{wrong} connections do not work")


def _check_source(section: SourceSection) -> None:
    _check_files(f"source {section.name}", section.files)
    for warning in section.warnings + section.check():
        say(f"warning: source {section.name}: {warning}")


def _check_tags(config: Config, rules: Sequence[Rule]) -> None:
    for used in lists_of([*rules, everything(config.mapping.built_in_tags())]):
        found = read_tag_file(used.file, used.notation)
        for warning in found.warnings:
            say(f"warning: {warning}")
        say(f"{used.file}: {len(found.tags)} tags ({found.form})")


def _unreachable(config: Config, rules: Sequence[Rule]) -> list[str]:
    """Return one text for each rule that no subscription can reach, and for each subscription that no rule matches."""
    subscriptions = [(section.name, one) for section in config.sources for one in section.subscriptions()]
    if not rules:
        return []
    found = []
    numbered = sorted({rule.number for rule in rules if rule.number is not None})
    if any(
        not section.subscriptions() for section in config.sources
    ):  # such as a file, which may have messages of any topic
        numbered = []
    for number in numbered:
        of_number = [rule for rule in rules if rule.number == number]
        if not any(_meet(rule, one) for rule in of_number for _, one in subscriptions):
            topics = ", ".join(rule.pattern.text for rule in of_number[:_SHOWN])
            found.append(f"rule {number + 1} ({topics}): no source subscribes to a matching topic")
    if config.mapping.unmatched != "map":
        what = "are left out" if config.mapping.unmatched == "filter" else "are dead letters"
        found += [
            f"source {name}: no rule matches a topic of {one.text!r}, so the messages {what} (mapping.unmatched)"
            for name, one in subscriptions
            if not any(_meet(rule, one) for rule in rules)
        ]
    return found


def _shared_signals(config: Config, rules: Sequence[Rule]) -> list[str]:
    """Return one text for each shared subscription whose signals are watched: other members get their messages, too."""
    return [
        f"source {section.name}: {one.text!r} shares its messages with other members, so a signal of a rule with "
        "expect_every may be silent here and not there; set expect_every well above the time between its messages, or "
        "let one connector subscribe without $share"
        for section in config.sources
        for one in section.subscriptions()
        if one.text.startswith("$share/") and any(rule.expect_every and _meet(rule, one) for rule in rules)
    ]


def _meet(rule: Rule, subscription: Subscription) -> bool:
    """Whether a topic can exist that the rule matches and the source subscribes to; True if nobody can tell."""
    pattern, levels = rule.pattern, subscription.levels
    if not set(pattern.levels) & {"+", "#"}:
        return subscription.matches(pattern.separator.join(pattern.levels))
    if levels is None:
        return True
    if not set(levels) & {"+", "#"}:
        return pattern.match("/".join(levels)) is not None
    return pattern.separator != "/" or overlap(pattern.levels, levels)


def _check_files(what: str, files: Mapping[str, Path | None]) -> None:
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise click.ClickException(f"{what}: {name}: there is no file {path}")


class _Unasked:
    """Stands for a schema registry while rules are compiled and nothing is decoded."""

    def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        raise NotImplementedError(schema_id)
