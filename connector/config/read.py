"""Reads a configuration file: YAML, `${ENV}` and `${file:PATH}`, and errors that name line, field and remedy."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from connector import ConnectorError
from connector.config.observe import ObserveSection
from connector.config.places import ConfigProblem, Path_, Places, dotted, line_of, without_own_keys
from connector.formats.text.bounded_yaml import BoundedYamlError, read_yaml
from connector.settings import Catalogue, Referenced, UnreadableError, anchored, at_home
from connector.terminal.text import shown

if TYPE_CHECKING:  # `load_observe` must not wait for the other sections and their libraries
    from connector.config.model import Config
    from connector.mapping.presets import Presets

_REFERENCE: Final = re.compile(r"\$\$|\$\{([^}]*)\}")
_UNION_MEMBER: Final = re.compile(r"\[key\]|literal\[.*\]|constrained-\w+")
"""Parts that pydantic adds to a place, and that the file does not have."""
_FIELD: Final = re.compile(r"([^\s:]+): ")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\{[^}]*\}")
_QUANTITY: Final = re.compile(r"[+-]?[\d.,_ ]{1,12}[A-Za-z%]{0,4}")
"""A number, with or without a unit. A number is no secret, and a person corrects a shown number more easily."""
_LEAST_HIDDEN: Final = 4
"""Least characters of a text that is hidden everywhere. A shorter text, often part of a word, is hidden in quotes."""
_MAX_SECRET_BYTES: Final = 64 * 1024

_ELSEWHERE: Final = ("clarify", "sources", "state_dir", "observe", "dead_letters")
"""Sections about the access to systems; the result of the mapping does not depend on these sections."""
_UNSET: Final = "unset"
"""Replaces the value of an environment variable or a secret file that is not needed."""


class ConfigError(ConnectorError):
    """The configuration cannot be used. The text of the error is for the person who wrote the file."""

    def __init__(self, file: Path, problems: list[ConfigProblem]) -> None:
        self.problems = problems
        self.lines = []
        """Return one line for each problem; no name in the file can add a line."""
        for problem in problems:
            named = problem.file or file
            where = f"{named}:{problem.line}" if problem.line else str(named)
            self.lines.append(
                shown(
                    f"{where}: {problem.field}: {problem.message}" if problem.field else f"{where}: {problem.message}"
                )
            )
        super().__init__("\n".join(self.lines))


def load_config(file: Path, environment: Mapping[str, str] | None = None, *, without_secrets: bool = False) -> Config:
    """Read, check and return a configuration file. Raises `ConfigError`.

    Relative paths in the file start at the folder of the file. With `without_secrets`, a variable or a file of a secret
    may be missing in a section about the access to systems, to try a mapping on a machine without the secrets.
    """
    from connector.config.model import Config  # noqa: PLC0415 - all sections and their libraries
    from connector.mapping.presets import PresetError  # noqa: PLC0415 - as above

    places = _read_whole(file)
    problems: list[ConfigProblem] = []
    folder = folder_of(file)
    expansion = Expansion(places, folder, os.environ if environment is None else environment, problems)
    plain = expansion.of(without_own_keys(places.document))
    missing = [problem for problem in problems if without_secrets and problem.field.startswith(_ELSEWHERE)]
    if len(missing) < len(problems):
        raise ConfigError(file, problems)
    try:
        config: Config = anchored(Config.model_validate(plain, context={"presets": _presets(plain, folder)}), folder)
    except PresetError as error:
        at = ("mapping", error.field)
        raise ConfigError(file, [*missing, places.problem(at, str(error))]) from None
    except ValidationError as error:
        raise ConfigError(file, missing + problems_of(error, places, expansion.filled)) from None
    return config


class ConfigFiles:
    """The files that a configuration consists of, to notice their changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[int, ...] = ()
        """What tells the version of the file apart whose patterns are known."""
        self._patterns: list[str] = []

    def __call__(self) -> list[Path]:
        """Return the file and all files that it includes now. A file that cannot be read includes what it did before.

        The file is read only if it has changed.
        """
        with suppress(OSError, BoundedYamlError):
            found = self._file.stat()
            version = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            if version != self._read:
                self._read = version
                document = read_yaml(self._file)
                self._patterns = _patterns(document) if isinstance(document, CommentedMap) else []
        return [self._file, *(path for pattern in self._patterns for path in _matching(self._file, pattern))]


def _read_whole(file: Path) -> Places:
    """Return the document of a configuration with all that it includes. Raises `ConfigError`."""
    places = Places(_read(file))
    read = {file.resolve()}
    for number, pattern in enumerate(_patterns(places.document)):
        found = [path for path in _matching(file, pattern) if path.resolve() not in read]
        if not found:
            at = ("include",) if isinstance(places.document["include"], str) else ("include", number)
            problem = places.problem(
                at, "no file has this name; a * stands for any text, and the path starts at this file"
            )
            raise ConfigError(file, [problem])
        for path in found:
            read.add(path.resolve())
            if wrong := places.include(path, _read(path, "an included file has mapping.rules, sources, or both")):
                raise ConfigError(path, [wrong])
    return places


def _patterns(document: CommentedMap) -> list[str]:
    """Return the patterns of `include`; whatever else stands there is reported when the configuration is checked."""
    said = document.get("include")
    return [one for one in (said if isinstance(said, CommentedSeq) else [said]) if isinstance(one, str)]


def _matching(file: Path, pattern: str) -> list[Path]:
    """Return the files that a pattern names, in the order of their names."""
    found = map(Path, glob.glob(str(folder_of(file) / at_home(pattern))))  # noqa: PTH207 - for absolute patterns, too
    return sorted((path for path in found if path.is_file()), key=lambda path: (path.name, path))


def folder_of(file: Path) -> Path:
    """Return the folder where the relative paths of a configuration file start: that of the file, behind links.

    In a ConfigMap of Kubernetes (`connector.yaml` → `..data/connector.yaml`, `..data` → `..2026_05_01`), the folder of
    the links is returned. The folder behind them is deleted at the next change, and has the same files until then.
    """
    folder = file.resolve().parent
    in_config_map = folder.name.startswith("..") and (folder.parent / "..data").exists()
    return folder.parent if in_config_map else folder


def load_observe(file: Path) -> ObserveSection:
    """Read, check and return only the section `observe` of a configuration file. Raises `ConfigError`.

    The other sections are neither loaded nor checked: a health check has no time, and the connector that runs has
    another version of them, if somebody is changing the file.
    """
    document = _read(file)
    folder = folder_of(file)
    problems: list[ConfigProblem] = []
    plain = Expansion(Places(document), folder, os.environ, problems).of(document.get("observe", {}), ("observe",))
    if problems:
        raise ConfigError(file, problems)
    try:
        section: ObserveSection = anchored(ObserveSection.model_validate(plain), folder)
    except ValidationError:
        return load_config(file).observe  # which says what is wrong
    return section


def load_state_dir(file: Path) -> Path:
    """Return only `state_dir` of a configuration file, whatever else the file says. Raises `ConfigError`."""
    document = _read(file)
    folder = folder_of(file)
    problems: list[ConfigProblem] = []
    said = Expansion(Places(document), folder, os.environ, problems).of(document.get("state_dir", ""), ("state_dir",))
    if problems:
        raise ConfigError(file, problems)
    if not said or not isinstance(said, str):
        from connector.config.model import Config  # noqa: PLC0415 - all sections and their libraries

        said = str(Config.model_fields["state_dir"].default)
    return folder / at_home(said)


def catalogues() -> dict[str, tuple[str, Catalogue[Any]]]:
    """First part of a place in the file → (noun for the choice by `type` at the place, catalogue of the choices)."""
    from connector.dead_letters.catalogue import STORES  # noqa: PLC0415 - all sections and their libraries
    from connector.formats.catalogue import FORMATS  # noqa: PLC0415 - as above
    from connector.sources.catalogue import SOURCES  # noqa: PLC0415 - as above

    return {"sources": ("source", SOURCES), "dead_letters": ("store", STORES), "mapping": ("format", FORMATS)}


def _presets(plain: Any, folder: Path) -> Presets:
    """Return the presets that the file can name. Raises `PresetError`."""
    from connector.mapping.presets import Presets  # noqa: PLC0415 - all sections and their libraries

    mapping = plain.get("mapping")
    named = mapping.get("preset_folder") if isinstance(mapping, dict) else None
    return Presets(folder / at_home(named) if isinstance(named, str) else None)


def secret_files(file: Path) -> list[Path]:
    """Return the files that a configuration names as `${file:PATH}`, which hold secrets. Raises `ConfigError`."""
    found = _REFERENCE.findall("\n".join(_strings(_read_whole(file).document)))
    return [folder_of(file) / at_home(name.removeprefix("file:")) for name in found if name.startswith("file:")]


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, CommentedMap | CommentedSeq):
        for child in node.values() if isinstance(node, CommentedMap) else node:
            yield from _strings(child)
    elif isinstance(node, str):
        yield str(node)


def rule_lines(file: Path) -> list[int]:
    """Return the line on which each rule of the mapping begins. Raises `ConfigError`."""
    return [line for _, line in rule_places(file)]


def rule_places(file: Path) -> list[tuple[Path, int]]:
    """Return (file, line) of the begin of each rule of the mapping; the file may be included. Raises `ConfigError`."""
    places = _read_whole(file)
    mapping = places.document.get("mapping")
    rules = mapping.get("rules") if isinstance(mapping, CommentedMap) else None
    if not isinstance(rules, CommentedSeq):
        return []
    found = [places.problem(("mapping", "rules", number), "") for number in range(len(rules))]
    return [(one.file or file, one.line or 1) for one in found]


def load_yaml(file: Path, what: str) -> CommentedMap:
    """Return the document of a file beside the configuration; `what` describes a valid file. Raises `ConfigError`."""
    return _read(file, what)


def line_in(document: CommentedMap, *at: str | int) -> int:
    """Return the line on which the part of a document at this place begins."""
    return line_of(document, at) or 1


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


class Expansion:
    """Turns the document into plain values with every `${…}` replaced; notes failures in `problems`."""

    def __init__(
        self, places: Places, folder: Path, environment: Mapping[str, str], problems: list[ConfigProblem]
    ) -> None:
        self._places = places
        self._folder = folder
        self._environment = environment
        self._problems = problems
        self.filled: set[str] = set()
        """Values of the environment and of files, and the texts that contain such a value."""

    def of(self, node: Any, at: Path_ = ()) -> Any:
        """Return the node at this place of the document as plain values."""
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
            except UnreadableError as error:
                self._problems.append(self._places.problem(at, str(error)))
                return _UNSET
            values.append(value)
            return value

        values: list[str] = []
        text = _REFERENCE.sub(filled, str(node))
        if not values:
            return text
        self.filled.update(values, [text])
        written = str(node)
        return Referenced.of(text, dotted(at), lambda: _REFERENCE.sub(self._again, written), written)

    def _again(self, found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        value = self._referenced(found[1])
        if not value and found[1].startswith("file:"):  # the file may be in the middle of a change
            raise UnreadableError(f"{self._folder / at_home(found[1][5:])} is empty")
        return value

    def _referenced(self, reference: str) -> str:
        if reference.startswith("file:"):
            return _content(self._folder / at_home(reference[5:]))
        name, separator, default = reference.partition(":-")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # The message does not quote the text, which may be a part of a secret.
            raise UnreadableError(
                "a ${…} is not understood; use ${NAME}, ${NAME:-default} or ${file:PATH}, and $$ for a dollar sign"
            )
        if self._environment.get(name):
            return self._environment[name]
        if separator:
            return default
        raise UnreadableError(
            f"the environment variable {name} is not set; set the variable, or write ${{{name}:-default}}"
        )


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
        if len(content) > _MAX_SECRET_BYTES:
            raise UnreadableError(f"{path} is larger than {_MAX_SECRET_BYTES} bytes; is it the right file?")
        return content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableError(f"{path} is not UTF-8 text") from None


def problems_of(error: ValidationError, places: Places, filled: set[str]) -> list[ConfigProblem]:
    """Return what pydantic found, with the places in the file; `filled` are texts that are not shown."""
    return _merged([_problem(places, item, filled) for item in error.errors()])


def files_in(value: object) -> set[Path]:
    """Return all paths in a section, however deep."""
    if isinstance(value, Path):
        return {value}
    if isinstance(value, BaseModel):
        value = dict(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return {path for part in parts for path in files_in(part)}


def _merged(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    """Return the problems with one problem for each place: pydantic reports a mistake once for each type of a union."""
    merged: dict[tuple[Path | None, int | None, str], ConfigProblem] = {}
    for problem in problems:
        at = (problem.file, problem.line, problem.field)
        known = merged.get(at)
        merged[at] = replace(known, message=f"{known.message}; or: {problem.message}") if known else problem
    return list(merged.values())


def _problem(places: Places, item: Any, filled: set[str]) -> ConfigProblem:
    """Return the problem that pydantic found, with the place in the file, and without any value that may be a secret.

    A secret may be in any field: by mistake, or behind a mistyped name. So a text is shown only if the text is a
    number, with or without a unit. The texts of the mapping, and topics, are patterns and names. A person needs the
    text to correct a pattern, so a pattern is shown, except a pattern from the environment or from a file.
    """
    full: Path_ = tuple(part for part in item["loc"] if not _UNION_MEMBER.fullmatch(str(part)))
    at = _without_kind(full)
    kind = item["type"]
    message = item["msg"].removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        at = (*at, "type")
        what, catalogue = catalogues()[str(at[0])]
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
        at, message = _deeper(places.document, at, message)
    elif kind.startswith(("greater_than", "less_than")):
        message += _unit(places.document, at)
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        message = "must be a section: settings, each with a name and a value"
    if kind == "value_error":  # other texts are pydantic's, which quote no value
        message = _without_values(message, item["input"], filled, is_pattern=at[:1] == ("mapping",) or "topics" in at)
    return places.problem(at, message)


def _unit(document: CommentedMap, at: Path_) -> str:
    """Return the unit of a bound, after a space: pydantic gives the bound of a duration or size without its unit."""
    node: Any = document
    for part in at:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return ""
    units = {"B": " bytes"} | dict.fromkeys("smhd", " s")
    return units.get(node.strip()[-1:], "") if isinstance(node, str) else ""


def _without_values(message: str, value: object, filled: set[str], *, is_pattern: bool) -> str:
    """Return the text of a validator without the values that the text quotes."""
    hidden = {text for text in filled if not _QUANTITY.fullmatch(text)}
    if isinstance(value, str):
        if value in hidden:  # a validator may quote a part of the value
            message = _QUOTED.sub("…", message)
        if not is_pattern and not _QUANTITY.fullmatch(value):
            hidden.add(value)
    for text in sorted(hidden, key=len, reverse=True):
        message = message.removeprefix(f"{text!r}: ").replace(repr(text), "this value")
        if len(text) >= _LEAST_HIDDEN:
            message = message.replace(text, "…")
    return message


def _deeper(document: CommentedMap, at: Path_, message: str) -> tuple[Path_, str]:
    """Return the place and the message of a section's check, whose message may begin with the field and a colon."""
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
    """Return the place without the `type` of a section: pydantic adds the type to the place, the file does not."""
    return tuple(part for part, _, is_kind in _steps(at) if not is_kind)


@cache
def _schema() -> dict[str, Any]:
    from connector.config.model import Config  # noqa: PLC0415 - all sections and their libraries

    return Config.model_json_schema()


def _known_fields(at: Path_) -> list[str]:
    schema = _schema()
    node = schema
    for _, node, _ in _steps(at):  # noqa: B007 - the last one counts
        pass
    return list(_resolved(node, schema).get("properties", {}))


def _steps(at: Path_) -> Iterator[tuple[str | int, dict[str, Any], bool]]:
    """Yield, down the JSON Schema, each part of a place, the node there, and whether the part is a section's kind."""
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
    node = next(sections, node)  # the section, in a choice of section and null, or of section and word
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node
