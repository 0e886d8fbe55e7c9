"""A trial: a changed mapping beside the mapping in use, over the same messages, in a process of its own.

A mapping that somebody has typed may cost any time and memory. So a trial runs in a process that ends after some
seconds, with little memory and a low priority, and that shares nothing with the running connector. `trial_process` is
this process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, Final, NamedTuple

import orjson

from connector.config.model import Config
from connector.config.places import entry_at
from connector.config.read import line_in, load_yaml, rule_places
from connector.mapping.rules.topics import parse_pattern
from connector.records import Record
from connector.sources.file.lines import capture_line

SECONDS: Final = 15.0
"""The longest time of a trial."""
NO_MEMORY: Final = 3
"""The exit status of a process without memory."""
_TOO_MUCH: Final = (
    "the trial took too long or too much memory, and was ended; try again if this machine is busy, else try a simpler "
    "mapping, or a topic with fewer messages"
)


class RuleText(NamedTuple):
    """A rule as it stands in its file."""

    number: int
    """Counted from 1."""
    file: str
    line: int
    text: str


class MappingTexts(NamedTuple):
    """The mapping as it stands in the configuration file."""

    rules: list[RuleText]
    """Without rules that do not stand on lines of their own."""
    whole: str | None
    """The section; None if included files have further rules."""


def mapping_texts(file: Path) -> MappingTexts:
    """Returns the mapping of a configuration file, to change it. Raises `ConfigError` and OSError."""
    lines = {file: file.read_text(encoding="utf-8").splitlines()}
    rules = []
    for number, (place, line) in enumerate(rule_places(file), 1):
        if place not in lines:
            lines[place] = place.read_text(encoding="utf-8").splitlines()
        text = dedent(entry_at(lines[place][line - 1 :]))
        if text.startswith("- "):
            rules.append(RuleText(number, place.name, line, text))
    if len(lines) > 1:
        return MappingTexts(rules, None)
    document = load_yaml(file, "a configuration has sections")
    if "mapping" not in document:
        return MappingTexts(rules, "mapping:\n  rules: []")
    return MappingTexts(rules, entry_at(lines[file][line_in(document, "mapping") - 1 :]))


def rule_taking(config: Config, topic: str) -> int | None:
    """Returns the number of the first rule whose pattern takes the topic, whatever else the rule asks for; or None."""
    for number, rule in enumerate(config.mapping.rules, 1):
        if rule.topic is not None and parse_pattern(rule.topic).match(topic) is not None:
            return number
    return None


def lines_of(messages: Iterable[tuple[str, Record]]) -> list[str]:
    """Returns messages, each with the name of its source, as lines of a capture."""
    return [capture_line(source, record).decode().rstrip("\n") for source, record in messages]


def run_trial(
    file: Path, digest: str, rule: int | None, text: str, lines: Sequence[str], seconds: float = SECONDS
) -> dict[str, Any]:
    """Returns the outcome of a trial as JSON data: `comparison`; or `problems` of the text; or `error`.

    The text replaces the rule `rule`, or the whole mapping (None). The trial is ended after `seconds`. `digest` is that
    of the mapping in use.
    """
    asked = orjson.dumps({"file": str(file), "digest": digest, "rule": rule, "text": text, "lines": lines})
    command = [sys.executable, "-P", "-m", "connector.try_out.trial_process"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, input=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": _TOO_MUCH}
    except OSError as error:
        return {"error": f"no process can be started for the trial: {error.strerror}"}
    if done.returncode != 0:
        ended = done.returncode < 0 or done.returncode == NO_MEMORY
        return {"error": _TOO_MUCH if ended else "the trial failed: a bug; please report it, with the mapping"}
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found
