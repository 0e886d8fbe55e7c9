"""What a person copies after a comparison: the rules that differ, and tests of what the changed mapping makes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from connector import ConnectorError
from connector.config.places import entry_at
from connector.config.read import rule_places
from connector.formats.format import SchemaUnavailableError
from connector.mapping.time.times import format_time
from connector.records import Mapped
from connector.sources.file.lines import capture_line, captured_record
from connector.try_out.cases import Case, Placed
from connector.try_out.differences import Differences, Example, RejectChange, SampleChange
from connector.try_out.judge import run_case
from connector.try_out.mapping import RuleAt, TriedMapping

MOST_TESTS: Final = 5
_ALIKE: Final = 2
"""The number of tests, at most, of messages that the same rules take."""
_TRIED: Final = 20
"""The number of messages that are tried, at most, to get tests."""


def changed_rules(now: TriedMapping, other: TriedMapping) -> list[tuple[RuleAt, str]]:
    """Returns the rules of `other` that do not stand in the configuration of `now`, each with its text in the file.

    There are none if both name the same file: then a person has typed what differs.
    """
    if now.file == other.file:
        return []
    known = {_squeezed(text) for _, text in _rules(now)}
    return [(rule, text) for rule, text in _rules(other) if _squeezed(text) not in known]


def tests_of(other: TriedMapping, differences: Differences) -> list[str]:
    """Returns tests of messages with differences, as YAML for `tests:`, with the outcome by the mapping `other`.

    There is a test for each group of differences, up to `MOST_TESTS`, the greatest group first. Every test passes with
    the configuration of `other`. A message that only counts together with earlier messages gives no test.
    """
    changes: list[SampleChange | RejectChange] = [*differences.samples.values(), *differences.rejects.values()]
    groups = sorted(changes, key=lambda change: -change.count)
    found: dict[bytes, str] = {}
    by_rules: Counter[frozenset[int]] = Counter()
    for example in _examples(group.example for group in groups):
        line = capture_line(other.source_for(example.taken.source), example.taken.record)
        tested = None if line in found else _test(other, example, line)
        if tested is None or by_rules[tested.rules] >= _ALIKE:
            continue
        by_rules[tested.rules] += 1
        found[line] = tested.text
        if len(found) == MOST_TESTS:
            break
    return list(found.values())


def _examples(examples: Iterable[Example | None]) -> Sequence[Example]:
    """The examples, one for each topic first."""
    known = [one for one in examples if one is not None]
    first: dict[str, Example] = {}
    for one in known:
        first.setdefault(one.taken.record.topic, one)
    chosen = set(map(id, first.values()))
    return [*first.values(), *(one for one in known if id(one) not in chosen)][:_TRIED]


class _Tested(NamedTuple):
    text: str
    """The test as YAML."""
    rules: frozenset[int]
    """The rules that took the message."""


def _test(other: TriedMapping, example: Example, line: bytes) -> _Tested | None:
    """The test of a message; None if the message alone has another outcome than after the messages before it."""
    taken = example.taken
    exact: dict[str, Any] = orjson.loads(line)
    if exact["time_kind"] == "arrival":
        del exact["time_kind"]
    if len(other.config.sources) == 1:
        del exact["source"]
    alone = _new(other)
    name = f"{taken.record.topic}, {taken.line}"
    try:
        expected = _expected(alone.map(alone.source_for(taken.source), taken.record))
        if expected != _expected(example.after):
            return None
        for message in (_readable(exact), exact):
            captured = captured_record(dict(message), time.time_ns() // 1000)
            case = Case.model_validate({"name": name, "message": message, **expected})
            result = run_case(_new(other), Placed(other.file, 1, case, [captured]))
            if result.passed:
                return _Tested(_yaml(name, message, expected), frozenset(result.rules))
    except (ConnectorError, SchemaUnavailableError, ValueError):
        return None
    return None


def _yaml(name: str, message: dict[str, Any], expected: dict[str, object]) -> str:
    lines = [f"  - name: {_json(name)}", f"    message: {_json(message)}"]
    for key, value in expected.items():
        if isinstance(value, list):
            lines += [f"    {key}:", *(f"      - {_json(one)}" for one in value)]
        else:
            lines.append(f"    {key}: {_json(value)}")
    return "\n".join(lines)


def _readable(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its payload as JSON, if the payload is JSON."""
    try:
        document = orjson.loads(message["payload_text"] or "")
    except (KeyError, orjson.JSONDecodeError):
        return message
    rest = {key: value for key, value in message.items() if key not in ("topic", "payload_text")}
    return {"topic": message["topic"], "payload": document, **rest}


def _new(mapping: TriedMapping) -> TriedMapping:
    """The same mapping, which has seen no message: as `test` has it."""
    return TriedMapping(mapping.file, mapping.config, [rule.line for rule in mapping.rules], {})


def _expected(mapped: Mapped) -> dict[str, object]:
    found: dict[str, object] = {}
    if mapped.samples:
        found["samples"] = [
            {"input": name, "time": format_time(time_us), "value": value} for name, time_us, value in mapped.samples
        ]
    if mapped.rejects:
        found["rejects"] = [
            {"reason": str(one.reason), **({"path": one.path} if one.path is not None else {})}
            for one in mapped.rejects
        ]
    return found or {"filtered": True}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _squeezed(text: str) -> str:
    """The text without its comments and its blanks at the sides of lines."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def _rules(mapping: TriedMapping) -> list[tuple[RuleAt, str]]:
    lines: dict[Path, list[str]] = {}
    found = []
    for rule, (file, line) in zip(mapping.rules, rule_places(mapping.file), strict=True):
        if file not in lines:
            lines[file] = file.read_text(encoding="utf-8").splitlines()
        found.append((rule, entry_at(lines[file][line - 1 :])))
    return found
