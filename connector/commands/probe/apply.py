"""Writes the settings that follow from a report into a configuration; comments stay."""

from __future__ import annotations

import difflib
import io
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.util import load_yaml_guess_indent

from connector import ConnectorError
from connector.config.read import load_config
from connector.settings import seconds

_WIDTH: Final = 4096
"""Columns: long lines stay as they are."""
_FIRST_FIELD: Final = re.compile(r"^\w+:[^\n]*\n(?:\s*#[^\n]*\n|\s*\n)*( +)\w", re.MULTILINE)
_LONGER: Final = frozenset(("clarify.timeout",))
"""Settings that are too small if they are wrong; all others are too large."""


class ApplyError(ConnectorError):
    """The settings cannot be written into this configuration."""


def needed(config: Path, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings that the configuration does not fulfil yet. Raises ConfigError and ApplyError."""
    loaded = load_config(config, without_secrets=True)
    found = {}
    for name, wanted in settings.items():
        current: object = loaded
        for part in name.split("."):
            current = getattr(current, part, None)
        if not isinstance(current, int | float):
            raise ApplyError(f"{config} has no single {name}: set {name} to {wanted} where it belongs")
        number = _number(wanted)
        if number > current if name in _LONGER else number < current:
            found[name] = wanted
    return found


def changed(config: Path, settings: Mapping[str, object]) -> tuple[str, str]:
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
    for name, value in settings.items():
        section, _, field = name.partition(".")
        loaded.setdefault(section, CommentedMap())[field] = value
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
