"""A first mapping for what was observed: a rule for each group of topics, and what people should know of it.

What a rule may say differs between versions, so the names of formats and presets are asked of the configuration
itself; what this version does not have is said in a comment instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connector.config.model import Config
from connector.mapping.rules.section import RuleSection
from connector.sources.catalogue import SOURCES
from connector.try_out.grouping import TopicGroup, group_topics
from connector.try_out.mapping import TriedMapping
from connector.try_out.observed import Observed
from connector.try_out.time_fields import TimeField, find_time
from connector.try_out.vendors import Vendor, preset_for, vendor_of

_FORMATS: Final = {"ndjson": "ndjson", "csv": "csv", "influx": "influx", "messagepack": "messagepack", "cbor": "cbor"}
"""What was recognised → its name in `format:`; JSON and numbers need none."""
_ANY_SOURCE: Final = {"type": "mqtt", "url": "mqtts://broker.example.com", "topics": ["#"]}
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+")


@dataclass(slots=True, eq=False)
class DraftRule:
    """One rule to be written, with what was seen."""

    group: TopicGroup
    vendor: Vendor | None
    time: TimeField | None
    settings: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    """Input IDs that the sample messages gave."""


@dataclass(slots=True)
class Draft:
    """A whole configuration to be written."""

    source: dict[str, object]
    rules: list[DraftRule]
    observed: Observed
    without_rule: list[DraftRule] = field(default_factory=list)
    """What cannot be mapped without a person's help: why, and what to set, stand in the notes. No rule takes it."""
    source_is_guess: bool = False
    """Whether nobody named the source."""

    @property
    def signals(self) -> int:
        """How many signals the samples gave."""
        return len({name for rule in self.rules for name in rule.signals})

    def plain(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return _whole(self.source, [rule.settings for rule in self.rules])


def draft(observed: Observed, source: dict[str, object]) -> Draft:
    """A configuration for what came, with its rules tried on the samples."""
    separator = SOURCES.kinds[str(source["type"])].topic_separator
    knows = _known()
    rules = _one_each([_rule(group, knows) for group in group_topics(observed.topics.values(), separator)])
    drafted = Draft(source, rules, observed)
    tried = _try(drafted)
    while unreadable := [rule for rule in drafted.rules if _is_unreadable(rule, tried[id(rule)])]:
        # what it stood before may take its topics now
        drafted.rules = [rule for rule in drafted.rules if rule not in unreadable]
        for rule in unreadable:
            _leave_out(rule, tried[id(rule)].reason)
        drafted.without_rule += unreadable
        tried = _try(drafted)
    _conclude(drafted, tried)
    for rule in drafted.rules:
        _warn(rule)
    return drafted


def _is_unreadable(rule: DraftRule, tried: _Tried) -> bool:
    return (
        not tried.inputs
        and not rule.settings.keys() & {"preset", "format"}
        and (tried.took > 0 or not any(seen.records for seen in rule.group.topics))
    )


def _known() -> dict[str, list[str]]:
    """Setting of a rule → the names that it may have, where this version has the setting."""
    schema = RuleSection.model_json_schema()
    return {
        name: sorted(_words(schema["properties"][name], schema))
        for name in ("format", "compression", "preset")
        if name in RuleSection.model_fields
    }


def _words(node: Any, schema: Mapping[str, Any], depth: int = 0) -> set[str]:
    """All constants that may stand at this place of a JSON Schema, also as the `type` of a section."""
    found: set[str] = set()
    if depth > 6 or not isinstance(node, dict):
        return found
    found |= {word for word in (*node.get("enum", ()), node.get("const")) if isinstance(word, str)}
    found |= set(node.get("discriminator", {}).get("mapping", {}))
    for part in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        found |= _words(part, schema, depth + 1)
    if "$ref" in node:
        found |= _words(schema["$defs"][node["$ref"].rpartition("/")[2]], schema, depth + 1)
    return found


def _rule(group: TopicGroup, knows: Mapping[str, Collection[str]]) -> DraftRule:
    vendor = vendor_of(group.topics)
    rule = DraftRule(group, vendor, None, {"topic": group.pattern})
    if vendor is not None:
        preset = preset_for(vendor, knows.get("preset", ()))
        decoder = preset_for(vendor, knows.get("format", ()))
        if preset is not None or decoder is not None:
            setting: dict[str, object] = {"preset": preset} if preset is not None else {"format": decoder}
            if (settings := _taking(setting, vendor.whole or group.pattern, group)) is not None:
                rule.settings = settings
                what = next(iter(setting))
                rule.notes.append(f"{vendor.name} publishes like this; the {what} knows its fields and times")
                return rule
        rule.notes.append(f"{vendor.name} publishes like this")
    _decoding(rule, knows)
    if "format" not in rule.settings or rule.settings["format"] != "influx":
        _timing(rule)
    if any(len(seen.keys) > 1 for seen in group.topics):
        rule.settings["key"] = "#"
        keys = sorted({key for seen in group.topics for key in seen.keys})
        rule.notes.append(
            f"its records have {len(keys)} keys, such as {_text(keys[0])}; each key is a device of its own"
        )
    return rule


def _taking(setting: dict[str, object], pattern: str, group: TopicGroup) -> dict[str, object] | None:
    """A rule with this setting that takes all topics of the group: with the topics that a preset brings, else with
    this pattern. None where there is none: a preset with topics of its own knows only those with values."""
    for settings in (dict(setting), {"topic": pattern, **setting}):
        try:
            compiled = Config.model_validate(_whole(_ANY_SOURCE, [settings])).rules()
        except ValueError:
            continue
        if all(any(rule.pattern.match(seen.topic) is not None for rule in compiled) for seen in group.topics):
            return settings
    return None


def _whole(source: Mapping[str, object], rules: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """A configuration as plain values."""
    return {
        "clarify": {"credentials": "clarify-credentials.json"},
        "sources": [source],
        "mapping": {"rules": rules, "unmatched": "dead_letter"},
    }


def _one_each(rules: list[DraftRule]) -> list[DraftRule]:
    """Groups whose rules came out the same are one."""
    found: dict[str, DraftRule] = {}
    for rule in rules:
        known = found.setdefault(repr(rule.settings), rule)
        if known is not rule:
            known.group = TopicGroup(known.group.pattern, (), (*known.group.topics, *rule.group.topics))
    return list(found.values())


def _decoding(rule: DraftRule, knows: Mapping[str, Collection[str]]) -> None:
    format_, compression = rule.group.kind
    if compression != "none":
        if compression in knows.get("compression", ()):
            rule.settings["compression"] = compression
        else:
            rule.notes.append(f"its payloads are compressed ({compression}), which this version does not unpack")
    name = _FORMATS.get(format_)
    if name is None:
        return
    if name not in knows.get("format", ()):
        rule.notes.append(f"its payloads are {name}, which this version does not read")
        return
    first = next(seen for seen in rule.group.topics[0].sniffed if seen.format == format_)
    if name != "csv" or (first.delimiter == "," and first.header):
        rule.settings["format"] = name
        return
    cells = [cell for row in first.documents if isinstance(row, dict) for cell in row.values()]
    settings: dict[str, object] = {"type": name, "delimiter": "tab" if first.delimiter == "\t" else first.delimiter}
    if not first.header and isinstance(first.documents[0], dict):
        settings["columns"] = list(first.documents[0])
        rule.notes.append("its columns have no names; give them some")
    if first.delimiter != "," and any(_DECIMAL_COMMA.fullmatch(str(cell)) for cell in cells):
        settings["decimal"] = ","
    rule.settings["format"] = settings


def _timing(rule: DraftRule) -> None:
    record = rule.group.topics[0].records[0] if rule.group.topics[0].records else None
    if record is None:
        return
    documents = [document for seen in rule.group.topics[:20] for document in seen.documents]
    found = find_time(documents, record.received_us or record.time_us)
    rule.time = found
    if found is None:
        return
    if not found.known:
        rule.settings["time"] = found.path


def _try(drafted: Draft) -> dict[int, _Tried]:
    """Map the samples with the drafted rules, to see what comes of them; by the rules' `id`."""
    config = Config.model_validate(drafted.plain())
    mapping = TriedMapping(Path("draft"), config, [0] * len(drafted.rules), {})
    source = config.sources[0].name
    tried = [_Tried() for _ in drafted.rules]
    for own, rule in enumerate(drafted.rules):
        for record in (record for seen in rule.group.topics for record in seen.records):
            mapped = mapping.map(source, record)
            taken = next((took for took, _ in mapping.shares(source, record, mapped) if took is not None), None)
            number = taken.number - 1 if taken else own
            tried[number].took += 1
            if number != own:
                tried[own].elsewhere[id(drafted.rules[number])] = None
            tried[number].inputs.update(dict.fromkeys(input_id for input_id, _, _ in mapped.samples))
            if mapped.rejects:
                tried[number].reason = tried[number].reason or mapped.rejects[0].message
    return {id(rule): found for rule, found in zip(drafted.rules, tried, strict=True)}


def _conclude(drafted: Draft, tried: Mapping[int, _Tried]) -> None:
    """What the trial says of each rule. One that takes nothing, because those before it take it all, is dropped."""
    drafted.rules = [
        rule for rule in drafted.rules if tried[id(rule)].took or not any(seen.records for seen in rule.group.topics)
    ]
    numbers = {id(rule): number for number, rule in enumerate(drafted.rules, 1)}
    for rule in drafted.rules:
        found = tried[id(rule)]
        rule.signals = list(found.inputs)
        if found.elsewhere:
            listed = ", ".join(map(str, sorted(numbers[other] for other in found.elsewhere)))
            rule.notes.append(f"some topics of this kind are taken by rule {listed}, which stands before it")
        if found.reason is not None:
            rule.notes.append(f"{'some' if found.inputs else 'all'} of it is rejected: {found.reason}")


@dataclass(slots=True)
class _Tried:
    """What one drafted rule did with the samples."""

    took: int = 0
    inputs: dict[str, None] = field(default_factory=dict)
    reason: str | None = None
    elsewhere: dict[int, None] = field(default_factory=dict)
    """Other rules that took samples of its topics, by their `id`."""


def _leave_out(rule: DraftRule, reason: str | None) -> None:
    """Say why nothing comes of it, and what a person may set; the settings become the beginning of such a rule."""
    format_, _ = rule.group.kind
    topic = {name: value for name, value in rule.settings.items() if name in ("topic", "key", "compression")}
    texts = [str(document).strip() for seen in rule.group.topics for document in seen.documents]
    if format_ == "state":
        states = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        rule.settings = {**topic, "format": "text", "states": states}
        why, remedy = "states as text, no numbers", "say which number each state has, in states"
    elif format_ == "number_with_unit":
        comma = {"decimal_comma": True} if any(_DECIMAL_COMMA.match(text) for text in texts) else {}
        rule.settings = {**topic, "format": "text", "strip_unit": True, **comma}
        why, remedy = "numbers with something behind them in the text", "take strip_unit, if that is a unit"
    elif format_ == "binary":
        rule.settings = {**topic, "format": {"type": "binary", "fields": [{"name": "value", "type": "f32"}]}}
        why, remedy = "bytes whose layout is not known", "say in format what they are (docs/formats.md)"
    elif format_ == "text":
        rule.settings = {**topic, "format": "text"}
        why, remedy = "text, no numbers", "say what it is: states, where it is one of a few words, or another format"
    elif format_ == "empty":
        rule.settings = topic
        why, remedy = "nothing in it, or too much to look at", "look at a message of it"
    else:
        rule.settings = topic
        why = "no numbers or booleans came of it"
        remedy = "say in values which of its texts have numbers (states, strip_unit), or where in it they are (path)"
    if reason is not None and format_ not in ("state", "number_with_unit", "binary", "empty"):
        why += f" ({reason})"
    rule.notes.append(f"why: {why}")
    rule.notes.append(f"to do: {remedy}; or skip: true, if nobody needs it")


def _warn(rule: DraftRule) -> None:
    for level in rule.group.levels:
        if level.looks_like_an_id:
            rule.notes.append(
                f"CAREFUL: {{{level.name}}} looks like an ID that is new with each message ({level.values[0]!r}). Each "
                "value makes signals of its own, and signals are billed: take it out of input, and set shared_inputs: "
                "true"
            )
        elif level.many:
            rule.notes.append(
                f"{{{level.name}}} has {len(level.values)} values so far; each makes signals of its own, and signals "
                "are billed"
            )


def _text(value: bytes) -> str:
    return repr(value.decode("utf-8", "backslashreplace")[:40])
