"""Writes the settings that follow from a report into a configuration; comments stay."""

from __future__ import annotations

import difflib
import io
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.util import load_yaml_guess_indent

from connector import ConnectorError
from connector.commands.integration import one_integration_in
from connector.config.read import load_config
from connector.delivery.section import ClarifySection, IntegrationSection
from connector.settings import seconds

_WIDTH: Final = 4096
"""Columns: long lines stay as they are."""
_FIRST_FIELD: Final = re.compile(r"^\w+:[^\n]*\n(?:\s*#[^\n]*\n|\s*\n)*( +)\w", re.MULTILINE)
_LONGER: Final = frozenset(("clarify.timeout",))
"""Settings that are too small if they are wrong; all others are too large."""


class ApplyError(ConnectorError):
    """The settings cannot be written into this configuration."""


class Change(NamedTuple):
    """A setting that the configuration does not fulfil yet."""

    place: tuple[str, ...]
    """The names of the sections, and of the field."""
    value: object
    others: tuple[str, ...] = ()
    """The names of further integrations for which the setting counts."""

    @property
    def name(self) -> str:
        """The place as one text."""
        return ".".join(self.place)


def needed(config: Path, settings: Mapping[str, object], integration: str | None) -> list[Change]:
    """The settings of one integration that the configuration does not fulfil yet.

    `integration` is its name in the configuration; None if there is only one. Raises ConfigError, ApplyError, and
    `click.UsageError` for an unknown or missing name.
    """
    loaded = load_config(config, without_secrets=True)
    clarify, delivery = loaded.clarify, loaded.delivery
    name = one_integration_in(loaded, integration)
    of_integration = {"clarify": clarify.of(name), "delivery": delivery.of(clarify.integrations.get(name))}
    found = []
    for setting, wanted in settings.items():
        section, _, field = setting.partition(".")
        current = getattr(of_integration.get(section), field, None)
        if not isinstance(current, int | float):
            raise ApplyError(f"{config} has no single {setting}: set {setting} to {wanted} where it belongs")
        number = _number(wanted)
        if number > current if setting in _LONGER else number < current:
            found.append(_change(clarify, name, section, field, wanted))
    return found


def _change(clarify: ClarifySection, name: str, section: str, field: str, wanted: object) -> Change:
    """The change at its place: a further integration has rates and a time-out of its own."""
    if name and field in IntegrationSection.model_fields:
        return Change(("clarify", "integrations", name, field), wanted)
    others = [
        shown
        for shown, other in clarify.names.items()
        if other != name and getattr(clarify.integrations.get(shown), field, None) is None
    ]
    return Change((section, field), wanted, tuple(others))


def changed(config: Path, changes: Sequence[Change]) -> tuple[str, str]:
    """The text of the configuration, and the text with the settings. Raises ApplyError."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    try:
        before = config.read_text(encoding="utf-8")
        loaded = yaml.load(before)
        _, indent, offset = load_yaml_guess_indent(before)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ApplyError(f"{config} cannot be read: {error}") from None
    for change in changes:
        section = loaded
        for name in change.place[:-1]:
            key = next((key for key in section if str(key) == name), name)  # such as 1, which is no text for YAML
            section = section.setdefault(key, CommentedMap())
        section[change.place[-1]] = change.value
    yaml.indent(mapping=_mapping_indent(before), sequence=indent or 2, offset=offset or 0)
    out = io.StringIO()
    yaml.dump(loaded, out)
    return before, out.getvalue()


def difference(config: Path, before: str, after: str) -> str:
    """The difference between the two texts, as `diff -u` shows it."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(config), str(config), lineterm="")
    return "\n".join(lines)


def write(config: Path, text: str) -> None:
    """Replace the configuration if the new text is a valid one; a link stays a link. Raises ConfigError, OSError."""
    target = config.resolve()
    new = target.with_name(f".{target.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        load_config(new, without_secrets=True)
        new.chmod(stat.S_IMODE(target.stat().st_mode))
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def _number(wanted: object) -> float:
    """The number of a setting of a report: a number, bytes such as 4096B, or a duration such as 25s."""
    try:
        if isinstance(wanted, str):
            return float(wanted.removesuffix("B") if wanted.endswith("B") else str(seconds(wanted)))
        return float(str(wanted))
    except ValueError:
        raise ApplyError(f"the report has a setting that is no number: {wanted!r}") from None


def _mapping_indent(text: str) -> int:
    """The spaces before the first field of a section."""
    found = _FIRST_FIELD.search(text)
    return len(found[1]) if found else 2
