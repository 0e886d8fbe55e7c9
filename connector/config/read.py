"""Reads a configuration file: YAML, `${ENV}` and `${file:PATH}`, and errors that name line, field and remedy."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from connector import ConnectorError
from connector.config.bounded_yaml import BoundedYamlError, read_yaml
from connector.config.model import Config
from connector.dead_letters.catalogue import STORES
from connector.formats.catalogue import FORMATS
from connector.mapping.presets import PresetError, Presets
from connector.settings import Catalogue
from connector.sources.catalogue import SOURCES
from connector.sources.file.section import STDIN
from connector.terminal.text import shown

_REFERENCE: Final = re.compile(r"\$\$|\$\{([^}]*)\}")
_UNION_MEMBER: Final = re.compile(r"\[key\]|literal\[.*\]|constrained-\w+")
"""What pydantic puts into a place that the file does not have."""
_FIELD: Final = re.compile(r"([^\s:]+): ")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\{[^}]*\}")
_QUANTITY: Final = re.compile(r"[+-]?[\d.,_ ]{1,12}[A-Za-z%]{0,4}")
"""A number, and perhaps its unit: it tells nothing, and a wrong one is mended more easily where it is shown."""
_LEAST_HIDDEN: Final = 4
"""Characters: a shorter text is hidden only where it is quoted, as it may be a part of any word."""
_MAX_SECRET_BYTES: Final = 64 * 1024

_ELSEWHERE: Final = ("clarify", "sources", "state_dir", "observe", "dead_letters")
"""Sections that say where data comes from and goes to, not what becomes of it."""
_UNSET: Final = "unset"
"""Stands for what an environment variable or a secret file would say, where it is not needed."""

CATALOGUES: Final[dict[str, tuple[str, Catalogue[Any]]]] = {
    "sources": ("source", SOURCES),
    "dead_letters": ("store", STORES),
    "mapping": ("format", FORMATS),
}
"""First part of a place in the file → what is chosen there by its type, and all that may be chosen."""

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong with a configuration file."""

    line: int | None
    field: str
    message: str


class ConfigError(ConnectorError):
    """The configuration cannot be used. Its text is for the person who wrote the file."""

    def __init__(self, file: Path, problems: list[ConfigProblem]) -> None:
        self.problems = problems
        self.lines = []
        """One line for each problem, whatever the file has in its names."""
        for problem in problems:
            where = f"{file}:{problem.line}" if problem.line else str(file)
            self.lines.append(
                shown(
                    f"{where}: {problem.field}: {problem.message}" if problem.field else f"{where}: {problem.message}"
                )
            )
        super().__init__("\n".join(self.lines))


def load_config(file: Path, environment: Mapping[str, str] | None = None, *, without_secrets: bool = False) -> Config:
    """Read and check a configuration file; relative paths in it start at its folder. Raises `ConfigError`.

    With `without_secrets` a variable or a secret's file may be missing where it only says how something is reached:
    for trying the mapping on a machine that has none of them.
    """
    document = _read(file)
    problems: list[ConfigProblem] = []
    folder = file.resolve().parent
    expansion = _Expansion(document, folder, os.environ if environment is None else environment, problems)
    plain = expansion.of(document)
    missing = [problem for problem in problems if without_secrets and problem.field.startswith(_ELSEWHERE)]
    if len(missing) < len(problems):
        raise ConfigError(file, problems)
    try:
        config: Config = _anchored(Config.model_validate(plain, context={"presets": _presets(plain, folder)}), folder)
    except PresetError as error:
        at = ("mapping", error.field)
        raise ConfigError(file, [*missing, ConfigProblem(_line(document, at), _dotted(at), str(error))]) from None
    except ValidationError as error:
        found = [_problem(document, item, expansion.filled) for item in error.errors()]
        raise ConfigError(file, missing + _merged(found)) from None
    return config


def _presets(plain: Any, folder: Path) -> Presets:
    """The presets that the file can name. Raises `PresetError`."""
    mapping = plain.get("mapping")
    named = mapping.get("preset_folder") if isinstance(mapping, dict) else None
    return Presets(folder / named if isinstance(named, str) else None)


def secret_files(file: Path) -> list[Path]:
    """The files that a configuration names as `${file:PATH}`: they hold secrets. Raises `ConfigError`."""
    found = _REFERENCE.findall("\n".join(_strings(_read(file))))
    return [file.resolve().parent / name.removeprefix("file:") for name in found if name.startswith("file:")]


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, CommentedMap | CommentedSeq):
        for child in node.values() if isinstance(node, CommentedMap) else node:
            yield from _strings(child)
    elif isinstance(node, str):
        yield str(node)


def rule_lines(file: Path) -> list[int]:
    """The line on which each rule of the mapping begins. Raises `ConfigError`."""
    document = _read(file)
    mapping = document.get("mapping")
    rules = mapping.get("rules") if isinstance(mapping, CommentedMap) else None
    if not isinstance(rules, CommentedSeq):
        return []
    return [_line(document, ("mapping", "rules", number)) or 1 for number in range(len(rules))]


def load_yaml(file: Path, what: str) -> CommentedMap:
    """The document of a file beside the configuration; `what` says to people what it has. Raises `ConfigError`."""
    return _read(file, what)


def line_in(document: CommentedMap, *at: str | int) -> int:
    """The line on which this part of a document begins."""
    return _line(document, at) or 1


def _read(
    file: Path, what: str = "a configuration has sections such as clarify: and sources:; see config/ for examples"
) -> CommentedMap:
    try:
        document = read_yaml(file)
    except FileNotFoundError:
        raise ConfigError(file, [ConfigProblem(None, "", "there is no such file")]) from None
    except OSError as error:
        raise ConfigError(file, [ConfigProblem(None, "", f"cannot be read: {error.strerror or error}")]) from None
    except BoundedYamlError as error:
        raise ConfigError(file, [ConfigProblem(error.line, "", str(error))]) from None
    if not isinstance(document, CommentedMap):
        raise ConfigError(file, [ConfigProblem(1, "", what)])
    return document


class _Expansion:
    """Turns the document into plain values with every `${…}` filled in; what cannot be is noted in `problems`."""

    def __init__(
        self, document: CommentedMap, folder: Path, environment: Mapping[str, str], problems: list[ConfigProblem]
    ) -> None:
        self._document = document
        self._folder = folder
        self._environment = environment
        self._problems = problems
        self.filled: set[str] = set()
        """What came from the environment and from files, and the texts that it became a part of."""

    def of(self, node: Any, at: Path_ = ()) -> Any:
        """The node at this place of the document as plain values."""
        if isinstance(node, CommentedMap):
            return {str(key): self.of(value, (*at, str(key))) for key, value in node.items()}
        if isinstance(node, CommentedSeq):
            return [self.of(value, (*at, i)) for i, value in enumerate(node)]
        if not isinstance(node, str):
            return node

        def filled(found: re.Match[str]) -> str:
            if found[0] == "$$":
                return "$"
            try:
                value = self._referenced(found[1])
            except _ReferenceError as error:
                self._problems.append(ConfigProblem(_line(self._document, at), _dotted(at), str(error)))
                return _UNSET
            values.append(value)
            return value

        values: list[str] = []
        text = _REFERENCE.sub(filled, str(node))
        if values:
            self.filled.update(values, [text])
        return text

    def _referenced(self, reference: str) -> str:
        if reference.startswith("file:"):
            return _content(self._folder / reference[5:])
        name, separator, default = reference.partition(":-")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # The text is not repeated: it may be a part of a secret.
            raise _ReferenceError(
                "a ${…} is not understood; use ${NAME}, ${NAME:-default} or ${file:PATH}, and $$ for a dollar sign"
            )
        if self._environment.get(name):
            return self._environment[name]
        if separator:
            return default
        raise _ReferenceError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")


class _ReferenceError(Exception):
    """A `${…}` that cannot be filled in."""


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
        if len(content) > _MAX_SECRET_BYTES:
            raise _ReferenceError(f"{path} is larger than {_MAX_SECRET_BYTES} bytes; is it the right file?")
        return content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise _ReferenceError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _ReferenceError(f"{path} is not UTF-8 text") from None


def _merged(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    """Where a value may be one thing or another, pydantic says what is wrong with it as each of them."""
    merged: dict[tuple[int | None, str], ConfigProblem] = {}
    for problem in problems:
        at = (problem.line, problem.field)
        known = merged.get(at)
        merged[at] = replace(known, message=f"{known.message}; or: {problem.message}") if known else problem
    return list(merged.values())


def _problem(document: CommentedMap, item: Any, filled: set[str]) -> ConfigProblem:
    """What pydantic found, with its place in the file, and without any value that may be a secret.

    A secret may stand in any field: by mistake, or behind a name that is mistyped. So a text is shown only if it is a
    number, with or without a unit. The texts of the mapping, and topics, are patterns and names: they are shown, as
    they cannot be mended otherwise, unless they came from the environment or from a file.
    """
    full: Path_ = tuple(part for part in item["loc"] if not _UNION_MEMBER.fullmatch(str(part)))
    at = _without_kind(full)
    kind = item["type"]
    message = item["msg"].removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        at = (*at, "type")
        what, catalogue = CATALOGUES[str(at[0])]
        tag, kinds = item["ctx"]["tag"], ", ".join(catalogue.kinds)
        near = difflib.get_close_matches(tag, catalogue.kinds, 1)
        message = (
            f"there is no such kind of {what}; " + (f"did you mean {near[0]}? " if near else "") + f"known: {kinds}"
        )
        if tag in catalogue.broken:
            message = f"{what} {tag!r}: {catalogue.broken[tag]}"
    elif kind == "union_tag_not_found":
        at = (*at, "type")
        message = "is required but missing"
    elif kind == "literal_error" and isinstance(item["input"], str):
        near = difflib.get_close_matches(item["input"], re.findall(r"'([^']*)'", str(item["ctx"]["expected"])), 1)
        message += f"; did you mean {near[0]}?" if near else ""
    elif kind == "extra_forbidden":
        known = _known_fields(full[:-1])
        near = difflib.get_close_matches(str(at[-1]), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
        message = f"there is no such setting; {hint}"
    elif kind == "missing":
        message = "is required but missing"
    elif kind == "value_error" and at[:1] in ((), ("mapping",)):
        at, message = _deeper(document, at, message)
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        message = "must be a section, that is settings with a name and a value each"
    if kind == "value_error":  # pydantic's own texts quote no value
        message = _without_values(message, item["input"], filled, is_pattern=at[:1] == ("mapping",) or "topics" in at)
    return ConfigProblem(_line(document, at), _dotted(at), message)


def _without_values(message: str, value: object, filled: set[str], *, is_pattern: bool) -> str:
    """The text of a validator without the values that it quotes."""
    hidden = {text for text in filled if not _QUANTITY.fullmatch(text)}
    if isinstance(value, str):
        if value in hidden:  # a validator may quote a part of it
            message = _QUOTED.sub("…", message)
        if not is_pattern and not _QUANTITY.fullmatch(value):
            hidden.add(value)
    for text in sorted(hidden, key=len, reverse=True):
        message = message.removeprefix(f"{text!r}: ").replace(repr(text), "this value")
        if len(text) >= _LEAST_HIDDEN:
            message = message.replace(text, "…")
    return message


def _deeper(document: CommentedMap, at: Path_, message: str) -> tuple[Path_, str]:
    """A section's own check names the field that it means, before a colon: where the file has it, that is the place."""
    node: Any = document
    for part in at:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return at, message
    found = _FIELD.match(message)
    left = re.sub(r"\[(\d+)\]", r".\1", found[1]) if found else ""
    rest = message[found.end() :] if found else ""
    while left:
        keys = node if isinstance(node, CommentedMap) else range(len(node)) if isinstance(node, CommentedSeq) else ()
        key = max((key for key in keys if _begins(left, str(key))), key=lambda key: len(str(key)), default=None)
        if key is None:
            break
        at, node, left = (*at, key), node[key], left[len(str(key)) + 1 :]
        message = f"{left}: {rest}" if left else rest
    return at, message


def _begins(text: str, key: str) -> bool:
    return text == key or text.startswith(key + ".")


def _without_kind(at: Path_) -> Path_:
    """Where sections are told apart by their `type`, pydantic names it in the place; the file does not."""
    return tuple(part for part, _, is_kind in _steps(at) if not is_kind)


@cache
def _schema() -> dict[str, Any]:
    return Config.model_json_schema()


def _known_fields(at: Path_) -> list[str]:
    schema = _schema()
    node = schema
    for _, node, _ in _steps(at):  # noqa: B007 - the last one counts
        pass
    return list(_resolved(node, schema).get("properties", {}))


def _steps(at: Path_) -> Iterator[tuple[str | int, dict[str, Any], bool]]:
    """Down the JSON Schema: each part of a place, what is there, and whether the part is only a section's kind."""
    schema = _schema()
    node: dict[str, Any] = schema
    for part in at:
        node = _resolved(node, schema)
        kinds = node.get("discriminator", {}).get("mapping", {})
        is_kind = part in kinds
        if is_kind:
            node = {"$ref": kinds[part]}
        elif isinstance(part, int):
            node = node.get("items", {})
        elif part in node.get("properties", {}):
            node = node["properties"][part]
        else:
            extra = node.get("additionalProperties", {})
            node = extra if isinstance(extra, dict) else {}
        yield part, node, is_kind


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    sections = (option for option in node.get("anyOf", []) if "$ref" in option or "discriminator" in option)
    node = next(sections, node)  # a section, or null or a word
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _line(document: CommentedMap, at: Path_) -> int | None:
    """The line of the deepest part of the path that the file has."""
    node: Any = document
    line: int | None = None
    for part in at:
        try:
            if isinstance(node, CommentedMap):
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int):
                line = node.lc.item(part)[0] + 1
            node = node[part]
        except (KeyError, IndexError, TypeError):
            break
    return line


def _dotted(at: Path_) -> str:
    text = ""
    for part in at:
        name = f'"{part}"' if "." in str(part) else str(part)
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else name
    return text


def _anchored(section: Any, folder: Path) -> Any:
    """The section with its relative paths starting at `folder`."""
    changes: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path) and value != STDIN:
            changes[name] = folder / value
        elif isinstance(value, BaseModel):
            changes[name] = _anchored(value, folder)
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            changes[name] = [_anchored(item, folder) for item in value]
        elif isinstance(value, dict) and any(isinstance(item, BaseModel) for item in value.values()):
            changes[name] = {key: _anchored(item, folder) for key, item in value.items()}
    return section.model_copy(update=changes)
