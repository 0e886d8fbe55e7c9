"""Presets: what a product or a standard sends, as rules in YAML; one small file each, and nothing else in it.

A preset's file has `rules`, in the words of a configuration; `base`, what stands before their topics unless the user
says something else; and `about`, a line for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

_FOLDER: Final = Path(__file__).parent
PRESETS: Final = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


class PresetError(ValueError):
    """The preset cannot be used like this; the text says what to change, `field` where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@cache
def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def about(name: str) -> str:
    """What the preset is for."""
    return str(_read(name)["about"])


def expand(name: str, written: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules that a rule with this preset stands for; what it says itself comes on top. Raises `PresetError`."""
    preset = _read(name)
    own = {key: value for key, value in written.items() if key not in ("preset", "base", "topic")}
    # a rule that leaves messages out is not about their values
    rules = [dict(rule) if rule.get("skip") else _merged(rule, own) for rule in preset["rules"]]
    topic, base = written.get("topic"), written.get("base")
    if topic is not None:
        if len(rules) > 1:
            raise PresetError(
                "topic", f"preset {name} has topics of its own; instead of topic say base, what stands before them"
            )
        if base is not None:
            raise PresetError("base", "topic and base exclude each other; keep one")
        rules[0]["topic"] = topic
    elif any("topic" not in rule for rule in rules):
        raise PresetError("preset", f"preset {name} is for any topic: say which, with topic")
    else:
        base = preset.get("base", "") if base is None else base
        for rule in rules:
            rule["topic"] = f"{base}/{rule['topic']}" if base else rule["topic"]
    return rules


def _merged(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged, everything else is replaced."""
    merged = dict(preset)
    for key, value in own.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged
