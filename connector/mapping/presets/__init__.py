"""Presets: rules in YAML for the messages of a product or a standard; one small file each.

The file of a preset has `rules`, as in a configuration; `base`, the default start of their topics; and `about`, a line
for people. Beside the built-in presets, the user may have a folder of presets.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from connector import ConnectorError
from connector.formats.text.bounded_yaml import BoundedYamlError, read_yaml

_FOLDER: Final = Path(__file__).parent
BUILT_IN: Final = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


class PresetError(ConnectorError, ValueError):
    """The preset cannot be used like this; the text has the remedy, and `field` names the setting to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Presets:
    """The presets that a configuration can name: the built-in presets, and the presets of its folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises `PresetError` if the folder does not exist, or has a file with the name of a built-in preset."""
        self._files = {name: _FOLDER / f"{name}.yaml" for name in BUILT_IN}
        own = {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        if folder is not None and not folder.is_dir():
            raise PresetError("preset_folder", f"there is no folder {folder}")
        if taken := own.keys() & self._files.keys():
            file = own[min(taken)]
            raise PresetError("preset_folder", f"{file}: there is a built-in preset of this name; rename the file")
        self._own = own
        self._files |= own

    def about(self, name: str) -> str:
        """Returns the line about the preset, for people; empty if its file has none. Raises `PresetError`."""
        return str(self._read(name).get("about", ""))

    def folder(self, name: str) -> Path:
        """Returns the folder of the preset's file, where its relative paths begin. Raises `PresetError`."""
        return self._file(name).parent

    def digest(self) -> str:
        """Returns a digest of the files in the folder of the user; empty without a folder."""
        texts = [(name, path.read_bytes()) for name, path in self._own.items()]
        return hashlib.sha256(repr(texts).encode()).hexdigest() if texts else ""

    def expand(self, name: str, written: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the rules of a preset, for a rule that names it; the rule's own settings are merged into them.

        Raises `PresetError`.
        """
        preset = self._read(name)
        own = {key: value for key, value in written.items() if key not in ("preset", "base", "topic")}
        # a rule that skips messages needs no settings for values
        # nor does one whose messages describe signals
        rules = [
            dict(rule) if rule.get("skip") or "describes" in rule else _merged(rule, own) for rule in preset["rules"]
        ]
        topic, base = written.get("topic"), written.get("base")
        if topic is not None:
            if len(rules) > 1 and any("topic" in rule for rule in rules):
                raise PresetError(
                    "topic", f"preset {name} has its own topics; instead of topic, set base: the start of these topics"
                )
            if base is not None:
                raise PresetError("base", "topic and base exclude each other; keep one")
            for rule in rules:
                rule["topic"] = topic
        elif any("topic" not in rule for rule in rules):
            raise PresetError("preset", f"preset {name} is for any topic: name the topic, with topic")
        else:
            base = preset.get("base", "") if base is None else base
            if any("describes" in rule for rule in rules):
                base = _with_names(base)
            start = f"{base}/" if base else ""
            for rule in rules:
                rule["topic"] = start + rule["topic"]
                if "described_as" in rule:
                    rule["described_as"] = rule["described_as"].replace("{base}/", start)
                if "describes" in rule:
                    signal = rule["describes"]["signal"].replace("{base}/", start)
                    rule["describes"] = {**rule["describes"], "signal": signal}
        return rules

    def _read(self, name: str) -> dict[str, Any]:
        file = self._file(name)
        return _built_in(file) if name in BUILT_IN else _load(file)

    def _file(self, name: str) -> Path:
        file = self._files.get(name)
        if file is None:
            near = difflib.get_close_matches(name, self._files, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._files)}"
            raise PresetError("preset", f"there is no preset {name!r}; {hint}")
        return file


@cache
def _built_in(file: Path) -> dict[str, Any]:
    return _load(file)


def _load(file: Path) -> dict[str, Any]:
    try:
        found = read_yaml(file)
    except OSError as error:
        raise PresetError("preset", f"{file} cannot be read: {error.strerror}") from None
    except BoundedYamlError as error:
        line = "" if error.line is None else f", line {error.line}"
        raise PresetError("preset", f"{file}{line}: {error}") from None
    rules = found.get("rules") if isinstance(found, dict) else None
    if not (isinstance(rules, list) and rules and all(isinstance(rule, dict) for rule in rules)):
        raise PresetError("preset", f"{file}: a preset has rules:, a list of rules in the words of a configuration")
    if unknown := found.keys() - {"about", "base", "rules"}:
        raise PresetError("preset", f"{file}: {min(unknown)}: there is no such setting; known: about, base, rules")
    return dict(found)


def _with_names(base: str) -> str:
    """Returns the base with a name for each wildcard: what a message describes has the same base as the message."""
    number = itertools.count(1)
    levels = [{"+": "{base_%d}", "**": "{base_%d...}"}.get(level, level) for level in base.split("/")]
    return "/".join(level % next(number) if "%d" in level else level for level in levels)


def _merged(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of both: sections are merged, and every other setting of `own` replaces the preset's."""
    merged = dict(preset)
    for key, value in own.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged
