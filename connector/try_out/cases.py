"""Tests of a mapping, written by people in YAML: messages, and the expected outcome of each message."""

from __future__ import annotations

import base64
import difflib
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml.comments import CommentedMap

from connector.config.places import ConfigProblem
from connector.config.read import ConfigError, line_in, load_yaml
from connector.formats.catalogue import known_reasons
from connector.mapping.time.times import parse_time
from connector.records import Reason
from connector.settings import at_home
from connector.sources.file.lines import PAYLOADS, Captured, captured_record

_FILE: Final = "payload_file"
_WHAT: Final = "a file of tests has tests:, a list; config/mapping-tests.yaml is an example"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpectedSample(_Part):
    """An expected sample. Without `time`, a sample with any time matches."""

    input: str
    value: float
    time: str | float | None = None

    @property
    def time_us(self) -> int | None:
        """The expected time in µs since the epoch; None if any time matches."""
        return None if self.time is None else parse_time(self.time)

    @field_validator("time")
    @classmethod
    def _readable(cls, value: str | float | None) -> str | float | None:
        if value is not None:
            parse_time(value)
        return value


def _reason(text: str) -> Reason:
    known = known_reasons()
    if text not in known:
        near = difflib.get_close_matches(text, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise ValueError(f"{text!r} is no reason for a reject; {hint}")
    return Reason(text)


class ExpectedReject(_Part):
    """An expected reject. Without `path`, a reject with any path matches."""

    reason: Annotated[str, AfterValidator(_reason)]
    path: str | None = None
    message: str | None = None
    """A text that the message of the reject must contain."""


class ExpectedSignal(_Part):
    """The expected metadata of a signal. An attribute that is None is not compared."""

    name: str | None = None
    description: str | None = None
    unit: str | None = None
    type: str | None = None
    labels: dict[str, str | list[str]] | None = None
    enum_values: dict[str, str] | None = None

    @field_validator("enum_values", mode="before")
    @classmethod
    def _text_keys(cls, value: object) -> object:
        return {str(key): text for key, text in value.items()} if isinstance(value, dict) else value


class Step(_Part):
    """One message, and the expected outcome."""

    message: dict[str, Any]
    """The message in the form of a capture's line, or with `payload_file`."""
    samples: list[ExpectedSample] | None = None
    other_samples: bool = False
    """Whether samples that `samples` does not name are allowed."""
    rejects: list[ExpectedReject] | None = None
    filtered: bool | None = None
    """Whether the whole message should be left out on purpose; None if not compared."""
    filtered_values: int | None = None
    """The expected number of values left out on purpose; None if not compared."""

    @field_validator("rejects", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        """Accepts a word instead of a section: `rejects: [invalid_json]`."""
        if not isinstance(value, list):
            return value
        return [{"reason": entry} if isinstance(entry, str) else entry for entry in value]

    @model_validator(mode="after")
    def _says_something(self) -> Step:
        if self.samples is None and self.rejects is None and self.filtered is None:
            raise ValueError("name the expected outcome of the message: samples, rejects or filtered: true")
        if self.filtered and (self.samples or self.rejects):
            raise ValueError("filtered: true means that nothing comes of the message; remove samples and rejects")
        return self


class Case(_Part):
    """One test: one message, or several messages in order for one mapping (for formats that remember)."""

    name: str = Field(min_length=1)
    steps: list[Step] = Field(min_length=1)
    signals: dict[str, ExpectedSignal] = {}

    @model_validator(mode="before")
    @classmethod
    def _one_message(cls, value: object) -> object:
        """Accepts a test without `steps`: the fields of the test are the only step."""
        if not isinstance(value, dict) or "steps" in value:
            return value
        own = {"name", "signals"}
        step = {key: part for key, part in value.items() if key not in own}
        return {**{key: part for key, part in value.items() if key in own}, "steps": [step]}


class _File(_Part):
    config: str | None = None
    tests: list[Case] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Placed:
    """A test, and the place of the test in a file. `records` has the message of each step."""

    file: Path
    line: int
    case: Case
    records: list[Captured]


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of tests."""

    path: Path
    config: Path | None
    """The configuration that the file names for the tests; None if the file names no configuration."""
    cases: list[Placed]


def load_cases(path: Path) -> CaseFile:
    """Reads a file of tests. Raises `ConfigError`, which names line, field and remedy."""
    document = load_yaml(path, _WHAT)
    try:
        found = _File.model_validate(_plain(document))
    except ValidationError as error:
        raise ConfigError(path, [_problem(document, item) for item in error.errors()]) from None
    problems: list[ConfigProblem] = []
    cases = []
    now_us = time.time_ns() // 1000
    for number, case in enumerate(found.tests):
        records = []
        for index, step in enumerate(case.steps):
            try:
                records.append(_record(step.message, path.parent, now_us))
            except ValueError as error:
                at = ("tests", number, *(("steps", index) if "steps" in document["tests"][number] else ()), "message")
                problems.append(ConfigProblem(line_in(document, *at), f"{case.name!r}: message", str(error)))
        cases.append(Placed(path, line_in(document, "tests", number), case, records))
    if problems:
        raise ConfigError(path, problems)
    return CaseFile(path, path.parent / at_home(found.config) if found.config else None, cases)


def find_cases(config: Path) -> list[Path]:
    """Returns the files beside `config` whose names end in `-tests.yaml`, sorted by name.

    Files that name another configuration are left out. Raises `ConfigError` if a file cannot be read.
    """
    found = []
    for path in sorted(config.parent.glob("*-tests.yaml")):
        named = load_yaml(path, _WHAT).get("config")
        if named is None or (path.parent / at_home(str(named))).resolve() == config.resolve():
            found.append(path)
    return found


def _record(message: dict[str, Any], folder: Path, now_us: int) -> Captured:
    """Returns the record of a message; the payload may be the content of a file. Raises `ValueError`."""
    if _FILE not in message:
        return captured_record(message, now_us)
    if given := [name for name in PAYLOADS if name in message]:
        raise ValueError(f"either {_FILE} or {given[0]}")
    path = folder / at_home(str(message[_FILE]))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{_FILE}: {path} cannot be read: {error.strerror}") from None
    rest = {key: value for key, value in message.items() if key != _FILE}
    return captured_record({**rest, "payload_base64": base64.b64encode(content).decode()}, now_us)


def _plain(node: Any) -> Any:
    """Returns the same values in the types of JSON. A time that YAML has recognised becomes text again."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, date):  # a datetime is a date, too
        return node.isoformat().replace("+00:00", "Z")
    return next((kind(node) for kind in (bool, int, float, str) if isinstance(node, kind)), node)


def _problem(document: CommentedMap, item: Any) -> ConfigProblem:
    at = [part for part in item["loc"] if part not in ("float", "str")]
    shown = _as_written(document, at)
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = _known(at[:-1])
        near = difflib.get_close_matches(str(at[-1]), known, 1)
        message = "is not known here; " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}")
    elif item["type"] == "missing":
        message = "is required but missing"
    elif item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        message = "must be a section, that is names with a value each"
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in shown).removeprefix(".")
    return ConfigProblem(line_in(document, *shown), text, message)


def _as_written(document: CommentedMap, at: list[str | int]) -> list[str | int]:
    """Returns `at` as written in the file: without `steps` if the test has no `steps`."""
    if len(at) >= 4 and at[0] == "tests" and at[2] == "steps":
        try:
            written = "steps" in document["tests"][at[1]]
        except (KeyError, IndexError, TypeError):
            written = True
        if not written:
            return [*at[:2], *at[4:]]
    return at


def _known(at: list[str | int]) -> list[str]:
    kinds: dict[str, type[BaseModel]] = {
        "tests": Case, "steps": Step, "samples": ExpectedSample, "rejects": ExpectedReject, "signals": ExpectedSignal,
    }  # fmt: skip
    named = [part for part in at if isinstance(part, str) and part in kinds]
    kind = kinds[named[-1]] if named else _File
    names = list(kind.model_fields)
    return names + [name for name in Step.model_fields if name not in names] if kind is Case else names
