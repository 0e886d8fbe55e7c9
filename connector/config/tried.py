"""A mapping that a person has written to try it, in the place of the mapping of a configuration.

The text comes from a browser. So it may name nothing that the configuration does not name already: no file, and nothing
of the environment. The presets are those of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from connector.config.model import Config
from connector.config.places import OWN_KEYS, ConfigProblem, Path_, Places, without_own_keys
from connector.config.read import ConfigError, Expansion, files_in, problems_of
from connector.formats.text.bounded_yaml import BoundedYamlError, parse_yaml
from connector.mapping.presets import Presets
from connector.settings import anchored

_TEXT: Final = Path("text")
_OTHER: Final = "only the section mapping can be tried here; remove this"


def with_mapping(config: Config, text: str, rule: int | None, folder: Path) -> Config:
    """Return the configuration with the text in the place of its rule `rule` (from 1), or of its mapping (None).

    The text of a rule may be an item of a list, as in a file. `folder` is where relative paths begin. No file is read.
    Raises `ConfigError`, whose lines are those of the text.
    """
    try:
        places, plain = _read(config, parse_yaml(text), rule)
    except BoundedYamlError as error:
        raise ConfigError(_TEXT, [ConfigProblem(error.line, "", str(error))]) from None
    presets = Presets(config.mapping.preset_folder)
    sections = {name: getattr(config, name) for name in Config.model_fields}
    try:
        found = Config.model_validate({**sections, "mapping": plain}, context={"presets": presets})
    except ValidationError as error:
        raise ConfigError(_TEXT, problems_of(error, places, set())) from None
    changed: Config = anchored(found, folder)
    if further := files_in(changed.mapping) - files_in(config.mapping):
        names = ", ".join(sorted(path.name for path in further))
        message = f"{names}: a trial reads only the files that the running configuration names; use `preview --compare`"
        raise ConfigError(_TEXT, [ConfigProblem(None, "", message)])
    return changed


def _read(config: Config, found: Any, rule: int | None) -> tuple[Places, Any]:
    """Return the places of the text, and the mapping as plain values. Raises `ConfigError`."""
    if isinstance(found, CommentedMap) and "mapping" in found:
        document, rule = found, None
        if other := [str(key) for key in found if key != "mapping" and not str(key).startswith(OWN_KEYS)]:
            raise ConfigError(_TEXT, [Places(found).problem((min(other),), _OTHER)])
    elif rule is None:
        document = _mapping_of(found)
    else:
        document = _rule_of(found, rule)
    places = Places(document)
    if problems := [
        places.problem(at, "a text with ${…} cannot be tried here: write the value in its place")
        for at, said in _texts(document)
        if "${" in said
    ]:
        raise ConfigError(_TEXT, problems)
    plain = Expansion(places, Path(), {}, problems).of(without_own_keys(document))["mapping"]
    if rule is not None:
        own = {name: getattr(config.mapping, name) for name in config.mapping.model_fields_set}
        rules = config.mapping.rules
        plain = {**own, "rules": [*rules[: rule - 1], plain["rules"][rule - 1], *rules[rule:]]}
    return places, plain


def _mapping_of(found: Any) -> CommentedMap:
    if not isinstance(found, CommentedMap):
        raise ConfigError(_TEXT, [ConfigProblem(1, "", "write the section `mapping:`, with its `rules:`")])
    document = CommentedMap()
    document["mapping"] = found
    return document


def _rule_of(found: Any, rule: int) -> CommentedMap:
    """Return a document in which the rule of the text stands at its place."""
    item = found[0] if isinstance(found, CommentedSeq) and len(found) == 1 else found
    if not isinstance(item, CommentedMap):
        raise ConfigError(_TEXT, [ConfigProblem(1, "", "write one rule, which begins with `topic:`; or `mapping:`")])
    rules = CommentedSeq([None] * (rule - 1) + [item])
    document, mapping = CommentedMap(), CommentedMap()
    document["mapping"], mapping["rules"] = mapping, rules
    return document


def _texts(node: Any, at: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            yield (*at, str(key)), str(key)
            yield from _texts(value, (*at, str(key)))
    elif isinstance(node, CommentedSeq):
        for number, value in enumerate(node):
            yield from _texts(value, (*at, number))
    elif isinstance(node, str):
        yield at, str(node)
