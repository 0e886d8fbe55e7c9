"""A first mapping for observed messages: a rule for each group of topics, with notes for people.

The formats and presets of rules differ between versions. So this module asks the configuration for the names. A note
tells of each format that this version does not have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from connector.config.model import Config
from connector.mapping.documents.decode_hints import said
from connector.mapping.observations import Observation
from connector.mapping.rules.paths import MISSING, parse_path
from connector.mapping.rules.section import RuleSection
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.time.times import looks_like_moment
from connector.sources.catalogue import SOURCES
from connector.try_out.grouping import TopicGroup, group_topics
from connector.try_out.mapping import TriedMapping
from connector.try_out.observed import Observed
from connector.try_out.shapes import (
    bare_states,
    elements_at,
    factors_of,
    fraction_beside,
    items_rule,
    keys_of_times,
    numbers_of,
    states_of,
    time_in_two_fields,
    zone_field,
)
from connector.try_out.time_fields import TimeField, find_time
from connector.try_out.vendors import Vendor, preset_for, vendor_of
from connector.try_out.written_times import written_time

_FORMATS: Final = frozenset(
    {"ndjson", "xml", "csv", "influx", "prometheus", "graphite", "key_value", "messagepack", "cbor"}
)
"""The recognised formats that `format:` names. JSON and numbers need no `format:`."""
WITH_LINE_TIMES: Final = ("influx", "prometheus", "graphite")
"""The formats whose documents have the times of their lines."""
_ANY_SOURCE: Final = {"type": "mqtt", "url": "mqtts://broker.example.com", "topics": ["#"]}
_TEXTS: Final = ("number_with_unit", "decimal_comma")
_SAID: Final = (
    "quality_not_read", "time_not_read", "items_named_by_guess", "items_by_place", "local_time", "time_in_key",
)  # fmt: skip
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+")
_METER_TIME: Final = re.compile(r"\d{12}[SW]", re.ASCII)


@dataclass(slots=True, eq=False)
class DraftRule:
    """One rule to be written, and the observations behind the rule."""

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
    """Rules that need a person's help, and so take nothing yet. The notes have the reason and the settings to add."""
    source_is_guess: bool = False
    """Whether `source` is a guess, since nobody named the source."""

    @property
    def signals(self) -> int:
        """The number of signals that the samples gave."""
        return len({name for rule in self.rules for name in rule.signals})

    def plain(self) -> dict[str, Any]:
        """Returns the configuration as plain values: dicts, lists, texts and numbers."""
        return _whole(self.source, [rule.settings for rule in self.rules])


def draft(observed: Observed, source: dict[str, object]) -> Draft:
    """Returns a configuration for the observed messages; each rule was tried on the samples."""
    separator = SOURCES.kinds[str(source["type"])].topic_separator
    knows = _known()
    rules = _one_each([_rule(group, knows) for group in group_topics(observed.topics.values(), separator)])
    drafted = Draft(source, rules, observed)
    tried = _try(drafted)
    if _tell_apart(drafted, tried):
        tried = _try(drafted)
    while unreadable := [rule for rule in drafted.rules if _is_unreadable(rule, tried[id(rule)])]:
        # without the unreadable rules, later rules may take the topics
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
        and not (tried.took and tried.took == tried.nothing_by_design)
        and not rule.settings.keys() & {"preset", "format"}
        and (tried.took > 0 or not any(seen.records for seen in rule.group.topics))
    )


@cache
def _known() -> Mapping[str, Sequence[str]]:
    """Returns setting of a rule → the names that the setting allows; only for settings of this version."""
    schema = RuleSection.model_json_schema()
    return {
        name: sorted(_words(schema["properties"][name], schema))
        for name in ("format", "compression", "preset")
        if name in RuleSection.model_fields
    }


def _words(node: Any, schema: Mapping[str, Any], depth: int = 0) -> set[str]:
    """Returns all constants that `node` of a JSON Schema allows, also as the `type` of a section."""
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
                rule.notes.append(f"{vendor.name} publishes like this; the {what} knows the fields and times")
                return rule
        rule.notes.append(f"{vendor.name} publishes like this")
    _decoding(rule, knows)
    decodes = _decoding_fields(rule)
    if decodes or group.kind[0] in ("json", "ndjson", "messagepack", "cbor", "key_value"):
        _shaping(rule)
    if not decodes and group.kind[0] in ("state", "text", "json"):
        _stating(rule)
    if "time" not in rule.settings and group.kind[0] not in WITH_LINE_TIMES:
        _timing(rule)
    if any(len(seen.keys) > 1 for seen in group.topics):
        rule.settings["key"] = "#"
        keys = sorted({key for seen in group.topics for key in seen.keys})
        rule.notes.append(
            f"the records have {len(keys)} keys, such as {_text(keys[0])}; each key is taken for a separate device"
        )
    return rule


def _taking(setting: dict[str, object], pattern: str, group: TopicGroup) -> dict[str, object] | None:
    """Returns a rule with this setting that takes all topics of the group; None if there is no such rule.

    The topics of a preset are tried first, then `pattern`. A preset with topics of its own may not take all topics,
    since such a preset knows only topics with values.
    """
    for settings in (dict(setting), {"topic": pattern, **setting}):
        try:
            compiled = Config.model_validate(_whole(_ANY_SOURCE, [settings])).rules()
        except ValueError:
            continue
        if all(any(rule.pattern.match(seen.topic) is not None for rule in compiled) for seen in group.topics):
            return settings
    return None


def _whole(source: Mapping[str, object], rules: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Returns a whole configuration as plain values."""
    return {
        "clarify": {"credentials": "clarify-credentials.json"},
        "sources": [source],
        "mapping": {"rules": rules, "unmatched": "dead_letter"},
    }


def _one_each(rules: list[DraftRule]) -> list[DraftRule]:
    """Returns the rules with groups merged: groups with the same settings become one rule."""
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
            rule.notes.append(f"the payloads are compressed ({compression}); this version cannot unpack such payloads")
    name = format_
    if format_ in _TEXTS:
        _decoding_text(rule, format_)
        return
    if name not in _FORMATS:
        return
    if name not in knows.get("format", ()):
        rule.notes.append(f"the payloads are {name}; this version cannot read this format")
        return
    first = next(seen for seen in rule.group.topics[0].sniffed if seen.format == format_)
    if name == "csv":
        _column_times(rule, first.documents)
    if name == "key_value":
        rule.settings["format"] = {"type": name, "separator": first.delimiter, "assign": first.assign}
        return
    if name != "csv" or (first.delimiter == "," and first.header):
        rule.settings["format"] = name
        return
    cells = [cell for row in first.documents if isinstance(row, dict) for cell in row.values()]
    settings: dict[str, object] = {"type": name, "delimiter": "tab" if first.delimiter == "\t" else first.delimiter}
    if not first.header and isinstance(first.documents[0], dict):
        settings["columns"] = list(first.documents[0])
        rule.notes.append("the columns have no names; replace the names in columns")
    if first.delimiter != "," and any(_DECIMAL_COMMA.fullmatch(str(cell)) for cell in cells):
        settings["decimal"] = ","
    rule.settings["format"] = settings


def _decoding_fields(rule: DraftRule) -> bool:
    """Sets the options of JSON, and the steps for payloads in texts. Returns whether there are such steps."""
    sniffed = [one for seen in rule.group.topics for one in seen.sniffed]
    options = dict(option for one in sniffed for option in one.options)
    if options and rule.group.kind[0] == "json":
        rule.settings["format"] = {"type": "json", **options}
        if "lenient" in options:
            rule.notes.append("the payloads are not quite JSON; lenient: true reads them")
        if "encoding" in options:
            rule.notes.append(
                f"CAREFUL: the encoding {options['encoding']} is a guess, since nothing in the payload tells it; look "
                "at the texts, such as units"
            )
    steps = list(dict.fromkeys(step for one in sniffed for step in one.decode))
    if not steps:
        return False
    if rule.group.kind[0] == "text":
        rule.settings["format"] = "text"
    settings = [step.setting for step in steps]
    rule.settings["decode"] = settings[0] if len(settings) == 1 else settings
    rule.notes.append(f"{said(steps)}; decode reads it")
    return True


def _decoding_text(rule: DraftRule, format_: str) -> None:
    """Sets the format for numbers in text: with units, or with decimal commas."""
    texts = [str(document).strip() for seen in rule.group.topics for document in seen.documents]
    if format_ == "decimal_comma":
        rule.settings["format"] = {"type": "text", "decimal": ","}
        rule.notes.append("taken for one number with a decimal comma; if each text is two numbers, write format: csv")
    else:
        comma = {"decimal_comma": True} if any(_DECIMAL_COMMA.match(text) for text in texts) else {}
        rule.settings |= {"format": "text", "strip_unit": True, **comma}
        rule.notes.append("numbers with a unit in the text; a text that is no unit becomes a dead letter")


def _column_times(rule: DraftRule, rows: Sequence[object]) -> None:
    """Sets `time` to the CSV column with the time of the row, if a column has times in a pattern without a zone."""
    record = rule.group.topics[0].records[0]
    arrival_us = record.received_us or record.time_us
    found_rows = [row for row in rows if isinstance(row, dict)]
    columns = list(found_rows[0]) if found_rows else []
    places = [("field", column, [row.get(column) for row in found_rows]) for column in columns]
    places += [
        (
            "template",
            f"{{payload.{day}}} {{payload.{clock}}}",
            [f"{row.get(day)} {row.get(clock)}" for row in found_rows],
        )
        for day, clock in pairwise(columns)
        if day.isidentifier() and clock.isidentifier()
    ]
    for where, column, cells in places:
        found = written_time(cells, arrival_us)
        if found is not None:
            rule.settings["time"] = {where: column, "format": found.format, "zone": found.zone}
            how = "a guess: the file names no zone" if found.guessed else "found from the time of arrival"
            rule.notes.append(f"the time of a row stands in {column}; the zone {found.zone} is {how}")
            if found.ambiguous:
                rule.notes.append(f"CAREFUL: day and month of {column} may be the other way round")
            return


def _stating(rule: DraftRule) -> None:
    """Sets `states`, if every payload is a single word for a state."""
    states = bare_states([document for seen in rule.group.topics for document in seen.documents])
    if states is not None:
        rule.settings |= {"states": states} if rule.group.kind[0] == "json" else {"format": "text", "states": states}
        rule.notes.append("words for states: the numbers are a suggestion; numbers in Clarify stay for ever")


def _shaping(rule: DraftRule) -> None:
    """Sets the rule for lists of named items, for rows with times, and for words for states."""
    documents = [document for seen in rule.group.topics[:20] for document in seen.documents]
    items = items_rule(documents)
    if items is not None:
        rule.settings |= items
        if "values" not in items and (states := states_of(elements_at(documents, str(items["iterate"])))):
            rule.settings["values"] = {path: {"states": words} for path, words in states.items()}
            rule.notes.append(f"words for states in {', '.join(states)}: the numbers are a suggestion")
        rule.notes.append(
            f"the values stand in the items of the list {items['iterate']}"
            + (f", named by {items['item_name']}" if "item_name" in items else "")
        )
    elif (states := states_of(documents)) and not any(isinstance(document, list) for document in documents):
        rule.settings["values"] = {path: {"states": words} for path, words in states.items()}
        rule.notes.append(
            f"words for states in {', '.join(states)}: the numbers are a suggestion; numbers in Clarify stay for ever"
        )
    if items is None and (numbers := numbers_of(documents)) and not any(isinstance(one, list) for one in documents):
        named = rule.settings.setdefault("values", {})
        assert isinstance(named, dict)  # noqa: S101 - set above, if at all
        named.update(numbers)
        rule.notes.append(f"numbers in the text of {', '.join(numbers)}")
        if limited := [path for path, settings in numbers.items() if "limit" in settings]:
            rule.notes.append(f"limits such as <0.05 in {', '.join(limited)} are stored as values; or limit: signal")
    if items is None and (scale := factors_of(documents)) is not None:
        rule.settings["scale"] = scale
        rule.notes.append("the fields NAME_SF have the power of ten of the values, as in SunSpec")
    joined = time_in_two_fields(documents)
    if joined is not None:
        rule.settings["time"] = joined
    elif (path := keys_of_times(documents)) is not None:
        rule.settings |= {"iterate": path, "input": "{topic}", "time": {"template": "{item}"}}
        rule.notes.append("the keys are the times of the values, so they are no part of the input ID")


def _timing(rule: DraftRule) -> None:
    record = rule.group.topics[0].records[0] if rule.group.topics[0].records else None
    if record is None:
        return
    documents = [document for seen in rule.group.topics[:20] for document in seen.documents]
    found = find_time(documents, record.received_us or record.time_us)
    rule.time = found
    if found is None:
        _time_in_topic(rule)
        return
    if not found.known:
        rule.settings["time"] = found.path
    if found.unit == "epoch in seconds" and (fraction := fraction_beside(documents, found.path)) is not None:
        rule.settings["time"] = {"field": found.path, "plus": {"path": fraction[0], "unit": fraction[1]}}
        rule.notes.append(f"the time is in two fields, {found.path} and {fraction[0]}")
        return
    path = parse_path(found.path)
    texts = [text for document in documents if (text := path.find(document)) is not MISSING]
    written = written_time(texts, record.received_us or record.time_us)
    if texts and all(isinstance(text, str) and _METER_TIME.fullmatch(text) for text in texts):
        rule.settings["time"] = {"field": found.path, "zone": "Europe/Amsterdam"}
        rule.notes.append("the times end with S or W for summer and winter, as smart meters write; check the zone")
    elif written is not None and (key := zone_field(documents)) is not None:
        rule.settings["time"] = {"field": found.path, "zone": f"{{payload.{key}}}"}
        rule.notes.append(f"local times, with their zone in {key}")
    elif written is not None and written.zone != "UTC" and not written.guessed:
        rule.settings["time"] = {"field": found.path, "format": written.format, "zone": written.zone}
        rule.notes.append(f"local times; the zone {written.zone} is found from the time of arrival")


def _time_in_topic(rule: DraftRule) -> None:
    """Sets the rule for topics with a level that is the time."""
    pattern = rule.group.pattern
    for level in rule.group.levels:
        if all(map(looks_like_moment, level.values)) and not re.search(r"[+#*.]", pattern):
            kept = re.sub(rf"/?\{{{level.name}\}}", "", pattern).strip("/")
            bare = rule.group.kind[0] in ("number", "state", "text")
            rule.settings["input"] = kept if bare else kept + ":{path}"
            rule.settings |= {"time": {"template": f"{{{level.name}}}"}, "shared_inputs": True}
            rule.notes.append(f"{{{level.name}}} is the time of the values, so it is no part of the input ID")
            return


def _tell_apart(drafted: Draft, tried: Mapping[int, _Tried]) -> bool:
    """Adds the fields that distinguish devices to the input ID. Returns whether any rule has changed."""
    changed = False
    for rule in drafted.rules:
        shared = tried[id(rule)].shared
        if shared is None or "preset" in rule.settings or "input" in rule.settings:
            continue
        fields = "/".join("{payload." + place + "}" for place in shared.fields)
        item = "/{item}" if "item_name" in rule.settings else ""
        rule.settings["input"] = f"{{topic}}/{fields}{item}/{{path}}"
        rule.notes.append(f"{shared.why}; so the input ID has a part for each device")
        changed = True
    return changed


def _try(drafted: Draft) -> dict[int, _Tried]:
    """Maps the samples with the drafted rules. Returns `id` of a rule → the outcome."""
    config = Config.model_validate(drafted.plain())
    mapping = TriedMapping(Path("draft"), config, [0] * len(drafted.rules), {})
    source = config.sources[0].name
    tried = [_Tried() for _ in drafted.rules]
    for own, rule in enumerate(drafted.rules):
        told: set[str] = set()
        for record in (record for seen in rule.group.topics for record in seen.records):
            mapped = mapping.map(source, record)
            taken = next((took for took, _ in mapping.shares(source, record, mapped) if took is not None), None)
            number = taken.number - 1 if taken else own
            tried[number].took += 1
            if number != own:
                tried[own].elsewhere[id(drafted.rules[number])] = None
            if mapped.samples or mapped.rejects or mapped.why == "metadata":
                told.add(record.topic)
            tried[own].silent[record.topic] = None
            tried[number].nothing_by_design += mapped.why in ("null", "unavailable")
            tried[number].shared = tried[number].shared or mapping.shared(source, record.topic)
            tried[number].inputs.update(dict.fromkeys(input_id for input_id, _, _ in mapped.samples))
            if mapped.rejects:
                tried[number].reason = tried[number].reason or mapped.rejects[0].message
            tried[number].observed += mapping.observations
            mapping.observations.clear()
        for topic in told:
            tried[own].silent.pop(topic, None)
    return {id(rule): found for rule, found in zip(drafted.rules, tried, strict=True)}


def _conclude(drafted: Draft, tried: Mapping[int, _Tried]) -> None:
    """Adds the outcome of the trial to each rule, and drops rules whose messages are all taken by earlier rules."""
    drafted.rules = [
        rule for rule in drafted.rules if tried[id(rule)].took or not any(seen.records for seen in rule.group.topics)
    ]
    numbers = {id(rule): number for number, rule in enumerate(drafted.rules, 1)}
    for rule in drafted.rules:
        found = tried[id(rule)]
        rule.signals = list(found.inputs)
        if found.elsewhere:
            listed = ", ".join(map(str, sorted(numbers[other] for other in found.elsewhere)))
            rule.notes.append(f"some topics of this kind are taken by rule {listed}, which stands before this rule")
        rule.notes += [f"CAREFUL: {one.text}; {one.remedy}" for one in found.observed if one.kind in _SAID]
        if (
            place := next((one for one in found.inputs if one.endswith(".2")), None)
        ) and "iterate" not in rule.settings:
            rule.notes.append(
                f"CAREFUL: each place of a list becomes a signal, such as {place!r}; if the list has readings one "
                "after the other, or bytes, docs/mapping.md has the rule (parallel with time.step; decode)"
            )
        if found.silent and "preset" in rule.settings:
            rule.notes.append(
                f"{'' if found.inputs else 'CAREFUL: '}the preset takes no value from the messages of "
                f"{len(found.silent)} {'topic' if len(found.silent) == 1 else 'topics'}, such as "
                f"{next(iter(found.silent))}; if they have values that you want, write a rule for them above this rule"
            )
        if found.reason is not None:
            rule.notes.append(f"{'some' if found.inputs else 'all'} data is rejected: {found.reason}")


@dataclass(slots=True)
class _Tried:
    """The outcome of one drafted rule for the samples."""

    took: int = 0
    nothing_by_design: int = 0
    """The number of messages without a value, by design of the device: null, an empty list."""
    inputs: dict[str, None] = field(default_factory=dict)
    silent: dict[str, None] = field(default_factory=dict)
    """The topics whose messages gave neither samples nor rejects."""
    reason: str | None = None
    shared: SharedTopic | None = None
    """The fields that distinguish devices on a shared topic of the rule; None if no topic is shared."""
    observed: list[Observation] = field(default_factory=list)
    """The observations of the mapping about the samples."""
    elsewhere: dict[int, None] = field(default_factory=dict)
    """The `id` of other rules that took samples of this rule's topics."""


def _leave_out(rule: DraftRule, reason: str | None) -> None:
    """Notes why the rule gives no samples, with a remedy; the settings become a start for a person."""
    format_, _ = rule.group.kind
    topic = {name: value for name, value in rule.settings.items() if name in ("topic", "key", "compression")}
    texts = [str(document).strip() for seen in rule.group.topics for document in seen.documents]
    if format_ == "state":
        states = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        rule.settings = {**topic, "format": "text", "states": states}
        why, remedy = "states as text, no numbers", "give each state a number, in states"
    elif format_ == "number_with_unit":
        comma = {"decimal_comma": True} if any(_DECIMAL_COMMA.match(text) for text in texts) else {}
        rule.settings = {**topic, "format": "text", "strip_unit": True, **comma}
        why, remedy = "texts of a number and something else", "take strip_unit, if the rest of the text is a unit"
    elif format_ == "binary":
        rule.settings = {**topic, "format": {"type": "binary", "fields": [{"name": "value", "type": "f32"}]}}
        why, remedy = "bytes whose layout is not known", "describe the layout in format (docs/formats.md)"
    elif format_ == "text":
        rule.settings = {**topic, "format": "text"}
        why, remedy = "text, no numbers", "set states, if each text is one of a few words, or set another format"
    elif format_ == "empty":
        rule.settings = topic
        why, remedy = "empty payloads, or payloads too large to look at", "look at a message of this kind"
    else:
        rule.settings = topic
        why = "no numbers or booleans came of the messages"
        remedy = "name in values the texts with numbers (states, strip_unit), or the places of the numbers (path)"
    if reason is not None and format_ not in ("state", "number_with_unit", "binary", "empty"):
        why += f" ({reason})"
    rule.notes.append(f"why: {why}")
    rule.notes.append(f"to do: {remedy}; or skip: true, if nobody needs the data")


def _warn(rule: DraftRule) -> None:
    for level in rule.group.levels:
        if rule.settings.get("time") == {"template": f"{{{level.name}}}"}:
            continue
        if level.looks_like_an_id:
            rule.notes.append(
                f"CAREFUL: {{{level.name}}} looks like an ID that is new with each message ({level.values[0]!r}). Each "
                "value makes further signals, and signals are billed: take the level out of input, and set "
                "shared_inputs: true"
            )
        elif level.many:
            rule.notes.append(
                f"{{{level.name}}} has {len(level.values)} values so far; each value makes further signals, and "
                "signals are billed"
            )


def _text(value: bytes) -> str:
    return repr(value.decode("utf-8", "backslashreplace")[:40])
