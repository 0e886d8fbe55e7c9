"""A drafted configuration → YAML with comments, for a person to continue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from connector.terminal.text import shown
from connector.try_out.address import PASSWORDS
from connector.try_out.draft import WITH_LINE_TIMES, Draft, DraftRule

SCHEMA: Final = "clarify-connector.schema.json"
"""The file of the JSON Schema, beside the configuration, for the language server of an editor."""
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./\-]*")
_WORDS_OF_YAML: Final = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
_WIDTH: Final = 118
_EXAMPLE: Final = 110
_IDS: Final = 3
_FIELDS: Final = 12
_MANY_SIGNALS: Final = 1000
_UNITS: Final = {
    "temp": "°C", "press": "bar", "humid": '"%"', "energy": "kWh", "power": "W", "volt": "V", "current": "A",
    "rpm": "1/min", "speed": "m/s", "flow": "m³/h", "level": '"%"', "freq": "Hz",
}  # fmt: skip


def config_text(draft: Draft, heard: str, preview: str) -> str:
    """Returns the text of the file. `heard` names the input of the draft; `preview` is the command to run next."""
    return "\n".join([*_head(draft, heard, preview), *_source(draft), *_mapping(draft), *_foot()]) + "\n"


def _head(draft: Draft, heard: str, preview: str) -> Iterator[str]:
    observed = draft.observed
    yield f"# yaml-language-server: $schema={SCHEMA}"
    yield from _comment(
        f"An editor with YAML support then completes and checks this file: clarify-connector schema > {SCHEMA}"
    )
    yield from _comment(
        f"Made by `clarify-connector init` from {heard}: {observed.messages} messages on {len(observed.topics)} "
        f"topics, which would make {draft.signals} signals or more. This file is a start: read the file, rename "
        "signals without a good name, and leave out signals that nobody needs. Then see the effect:"
    )
    yield f"#     {preview}"
    if draft.signals >= _MANY_SIGNALS:
        yield from _comment(
            f"CAREFUL: {draft.signals} signals are many, and Clarify bills signals. Leave out topics (skip: true) and "
            "values (values: {NAME: {skip: true}}, or other_values: filter) before you run the connector."
        )
    if observed.unread:
        yield from _comment(
            f"{observed.unread} {'lines' if observed.unread > 1 else 'line'} of the capture could not be read, such as "
            f"{observed.unread_such_as}"
        )
    if observed.other_topics:
        yield from _comment(f"{observed.other_topics} messages came on further topics, which were not looked at.")
    yield ""
    yield "clarify:"
    yield "  credentials: clarify-credentials.json # of an integration, from Clarify's admin panel"
    yield ""


def _source(draft: Draft) -> Iterator[str]:
    yield "sources:"
    if draft.source_is_guess:
        yield from _comment(
            "Only a capture is known, so this source is a guess: MQTT or Kafka, and the topics. Write your source.",
            "  ",
        )
    for number, (name, value) in enumerate(draft.source.items()):
        comment = ""
        if name == "url" and str(value).startswith(("mqtt://", "ws://")):
            comment = " # clear text: use mqtts:// or wss:// where the broker has TLS"
        elif name == "security" and value == "plaintext":
            comment = " # clear text: remove this where the brokers speak TLS"
        elif name == "group_id":
            comment = " # for this connector alone; the group remembers which records are in Clarify"
        elif name == "topics":
            comment = " # subscribe only to topics that you need"
        yield f"  {'- ' if number == 0 else '  '}{name}: {_flow(_escaped(value))}{comment}"
    yield ""


def _mapping(draft: Draft) -> Iterator[str]:
    yield "mapping:"
    yield "  # The first rule that takes a topic counts. An input ID that no rule makes is TOPIC:PATH.IN.PAYLOAD."
    if not draft.rules:
        yield "  rules: []"
    else:
        yield "  rules:"
        for rule in draft.rules:
            yield from _rule(rule)
    yield ""
    yield from _without_rule(draft.without_rule)
    yield "  # A message that no rule takes becomes a dead letter, so that nobody overlooks a new topic."
    yield "  unmatched: dead_letter"
    yield ""


def _rule(rule: DraftRule) -> Iterator[str]:
    indent = "    "
    yield ""
    yield from _heading(rule, indent)
    yield from _payload(rule, indent)
    if rule.signals:
        more = f", … ({len(rule.signals)} in all)" if len(rule.signals) > _IDS else ""
        yield from _comment(f"Signals: {', '.join(rule.signals[:_IDS])}{more}", indent)
        yield from _comment(f"Time: {_time(rule)}", indent)
    for note in rule.notes:
        yield from _comment(note[0].upper() + note[1:], indent)
    yield from _settings(rule, indent)
    if rule.signals and "preset" not in rule.settings:
        yield from _suggestions(rule, indent + "  ")


def _without_rule(rules: list[DraftRule]) -> Iterator[str]:
    """Yields the groups that no rule takes, as comments: the reason, and a rule to begin with."""
    if not rules:
        return
    yield from _comment(
        "NOT MAPPED YET: no rule takes the topics below. Each message on such a topic becomes a dead letter, until a "
        "rule maps or skips the topic.",
        "  ",
    )
    for rule in rules:
        yield "  #"
        yield from _heading(rule, "  ")
        yield from _payload(rule, "  ")
        for note in rule.notes:
            yield from _comment(note[0].upper() + note[1:], "  ")
        yield from (f"  #   {line}" for line in _settings(rule, ""))
    yield ""


def _settings(rule: DraftRule, indent: str) -> Iterator[str]:
    for number, (name, value) in enumerate(rule.settings.items()):
        yield f"{indent}{'- ' if number == 0 else '  '}{name}: {_flow(_escaped(value))}"


def _heading(rule: DraftRule, indent: str) -> Iterator[str]:
    group = rule.group
    topics = f"{len(group.topics)} topics such as {group.topics[0].topic}" if len(group.topics) > 1 else "one topic"
    messages = "1 message" if group.messages == 1 else f"{group.messages} messages"
    yield from _comment(f"{messages} on {topics}: {_kind(rule)}", indent)


def _kind(rule: DraftRule) -> str:
    format_, compression = rule.group.kind
    if rule.vendor is not None and rule.vendor.name.startswith("Sparkplug"):
        return rule.vendor.name
    names = {
        "json": "JSON",
        "number": "a number",
        "state": "a word for a state",
        "csv": "CSV",
        "ndjson": "lines of JSON",
    }
    name = names.get(format_, format_.replace("_", " "))
    return name if compression == "none" else f"{name}, compressed ({compression})"


def _payload(rule: DraftRule, indent: str) -> Iterator[str]:
    for seen in rule.group.topics:
        for record in seen.records:
            try:
                text = (record.payload or b"").decode()
            except UnicodeDecodeError:
                continue
            if text.strip():
                yield f"{indent}#   {_printable(text, _EXAMPLE)}"
                return


def _time(rule: DraftRule) -> str:
    found = rule.time
    if "preset" in rule.settings:
        return "the time that the preset takes"
    if rule.settings.get("format") in WITH_LINE_TIMES:
        return "the time of each line"
    if found is None:
        return "none in the payload, so the time of arrival counts (Kafka: the time of the record)"
    how = "found by the name" if found.known else "recognised by the values"
    return f"{found.path}, {found.unit} ({_printable(found.example, 40)}), {how}"


def _suggestions(rule: DraftRule, indent: str) -> Iterator[str]:
    """Yields settings to add next, as comments: a person only has to remove the `#`."""
    if rule.settings.get("format") in ("prometheus", "graphite"):
        yield f"{indent}# name: {_flow('{payload.series}')}"
        yield f"{indent}# values: {{ value: {{ unit: … }} }}"
        return
    names = [level.name for level in rule.group.levels if not level.looks_like_an_id]
    levels = " ".join("{" + name + "}" for name in names)
    fields = _numbers(rule)
    bare = not fields
    yield f"{indent}# name: {_flow((levels + ' {field}').strip() if not bare else levels or '{topic}')}"
    if len(names) < len(rule.group.levels):
        kept = re.sub(r"[/.]?\{\w+\}", "", rule.group.pattern).strip("/.") or "values"
        yield f"{indent}# input: {_flow(kept if bare else kept + ':{path}')}"
        yield f"{indent}# shared_inputs: true"
    if names:
        labels = ", ".join(f"{name}: {_flow('{' + name + '}')}" for name in names)
        yield f"{indent}# labels: {{ {labels} }}"
    if bare:
        yield f"{indent}# unit: {_unit(rule.group.topics[0].topic)}"
        return
    more = ", …" if len(fields) > _FIELDS else ""
    yield f"{indent}# values: # seen: {_printable(', '.join(fields[:_FIELDS]), 90)}{more}"
    first = fields[0].partition(" ")[0]
    yield f"{indent}#   {_flow(first)}: {{ unit: {_unit(first)} }}"


def _unit(name: str) -> str:
    """Returns the probable unit of a field; the unit is only written as a comment."""
    small = name.lower()
    return next((unit for part, unit in _UNITS.items() if part in small), '"…"')


def _numbers(rule: DraftRule) -> list[str]:
    """Returns the fields with numbers in the first sample document, each as path and value."""
    found: dict[str, None] = {}
    for seen in rule.group.topics[:1]:
        for document in seen.documents[:1]:
            _collect(document, "", found)
    time = rule.time.path if rule.time else None
    return [entry for entry in found if entry.partition(" ")[0] != time]


def _collect(node: object, path: str, found: dict[str, None]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            _collect(value, f"{path}.{key}" if path else str(key), found)
    elif isinstance(node, bool | int | float) and path and " " not in path:
        found[f"{path} {json.dumps(node)}"] = None


def _foot() -> Iterable[str]:
    return ["state_dir: clarify-connector-state # journal, ledger and dead letters: put this folder on a volume"]


def _comment(text: str, indent: str = "") -> Iterator[str]:
    """Yields the lines of a comment."""
    line = indent + "#"
    for word in _printable(text, 2000).split(" "):
        if len(line) + 1 + len(word) > _WIDTH and line.strip() != "#":
            yield line
            line = indent + "#"
        line += " " + word
    yield line


def _printable(text: str, most: int) -> str:
    line = shown(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def _escaped(value: object) -> object:
    """Returns the value with `$` escaped: only the names of passwords are references to the environment."""
    if isinstance(value, list):
        return [_escaped(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _escaped(entry) for key, entry in value.items()}
    if not isinstance(value, str) or value in PASSWORDS:
        return value
    return value.replace("$$", "$$$$").replace("${", "$${")


def _flow(value: object) -> str:
    """Returns the value on one line of YAML."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_flow(key)}: {_flow(entry)}" for key, entry in value.items()) + " }"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(char: str) -> str:
    """Returns the character as written between double quotes of YAML."""
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08x}"
