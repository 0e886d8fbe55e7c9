"""Records → samples: the hot path of the mapping.

For each topic a plan is made once (which rule, which levels) and each path's input ID is looked up once;
after that a record costs a decode and a few dictionary look-ups per value. Every leaf of a payload ends as
a sample, as a reject, or counted as filtered; a record that gives nothing at all is a reject.

The time of a value is that of the nearest object around it that has a time field, else the record's own.
Elements of a list that carry a time of their own are readings of the same signals, so their index is no part
of the path; other elements are told apart by their index.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson

from connector.formats.format import PayloadError
from connector.formats.json_payload import RepeatedKeys, decode, decode_repeated, may_repeat_keys
from connector.mapping.input_ids import InputIds, Origin
from connector.mapping.rules import (
    APPEND_TIME,
    ARRIVAL_TIME,
    AUTO_TIME,
    CREATE_TIME,
    RECEIVED_TIME,
    Publishing,
    Rule,
    ValueRule,
    everything,
)
from connector.mapping.templates import HEADER, KEY
from connector.mapping.times import TimeBounds, TimeError, format_time, is_time_name, parse_time
from connector.records import ItemMetadata, Mapped, Reason, Record, Reject, Sample, SignalMetadata, TimeKind

_DECIMAL_TEXT: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_MAX_DEPTH: Final = 32
_MAX_PLANS: Final = 100_000
_MAX_SHAPES: Final = 100
"""A topic, before they are learnt anew: each message may have other keys."""
_MAX_OTHER_NAMES: Final = 10_000
_NO_VALUE_RULE: Final = ValueRule()
_NO_TIME: Final = -(2**62)
"""Stands in a sample for a time that the record does not have, until the sample is taken back."""
_PLAIN_TIMES: Final = (AUTO_TIME, ARRIVAL_TIME)
_OWN_TIMES: Final = {CREATE_TIME: TimeKind.CREATED, APPEND_TIME: TimeKind.APPENDED, RECEIVED_TIME: None}


class _Shape(NamedTuple):
    """What is known of the objects with certain keys, none of which a rule skips."""

    ids: tuple[str | None, ...]
    """In the order of the keys; `_TIME` for the one with the time, None for those that never had a number."""
    time_key: str | None


_TIME: Final = ""
_NEW_SHAPE: Final = _Shape((), None)


class _TopicPlan:
    """What is known of one topic, or of its records with one key: the rule, the named levels, the input ID of each
    path seen. Where the rule or the IDs depend on the record, a topic has a plan for each kind of its records."""

    __slots__ = (
        "by_record",
        "choices",
        "ids",
        "keys_merged",
        "record",
        "rule",
        "shapes",
        "source",
        "topic",
        "used",
        "variables",
    )

    def __init__(self, source: str, topic: str, rule: Rule | None, levels: dict[str, str], record: str = "") -> None:
        self.source = source
        self.topic = topic
        self.rule = rule
        self.variables = {**levels, "source": source, "topic": topic}
        self.record = record
        self.ids: dict[str, str | None] = {}
        self.shapes: dict[tuple[str, ...], _Shape | None] = {}
        """By the keys of an object, in their order."""
        self.keys_merged = False
        """Whether records with different keys were seen, and no rule tells them apart."""
        self.choices: list[tuple[Rule, dict[str, str]]] | None = None
        """The rules that may take a record of this topic, where it depends on the record."""
        self.used: tuple[str, ...] = ()
        """Which variables of the record tell."""
        self.by_record: dict[tuple[str, ...], _TopicPlan] = {}


class _Work:
    """One record on its way through the walk."""

    __slots__ = ("arrival_us", "filtered", "keys", "no_time", "plan", "record", "rejects", "samples", "skipped")

    def __init__(self, record: Record, plan: _TopicPlan) -> None:
        self.record = record
        self.plan = plan
        self.samples: list[Sample] = []
        self.rejects: list[Reject] = []
        self.filtered = 0
        self.skipped = 0
        self.keys = 0
        self.arrival_us = record.received_us or record.time_us
        self.no_time: Reject | None = None
        """Why the record's own time cannot be used; values that need it have `_NO_TIME`."""


class Mapper:
    """Maps the records of one or more sources. Pure but for what it remembers: plans, IDs, discoveries."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        claims: Mapping[str, Origin] = MappingProxyType({}),
        sources: Collection[str] | None = None,
        without_retained: Collection[str] = (),
        unmatched: str = "filter",
        bounds: TimeBounds | None = None,
        max_payload_bytes: int = 4 * 1024 * 1024,
        max_values: int = 20_000,
    ) -> None:
        """`unmatched` (`filter`, `dead_letter` or `map`) says what becomes of a record that no rule takes;
        without any rule every record is mapped. `claims` is which origin owned which input ID in earlier
        runs; those of sources that are not in `sources` any more may be taken over. Retained messages of the
        sources in `without_retained` are left out."""
        self.ids = InputIds(claims, self._wanted_today)
        self._sources = sources
        self._without_retained = frozenset(without_retained)
        self._rules = tuple(rules)
        self._fallback = everything() if unmatched == "map" or not rules else None
        self._reject_unmatched = unmatched == "dead_letter"
        self._bounds = bounds or TimeBounds()
        self._max_payload_bytes = max_payload_bytes
        self._max_values = max_values
        self._plans: dict[tuple[str, str], _TopicPlan] = {}
        self._other_names: set[str] = set()
        """Keys that are known not to be times, so that they need not be looked at again."""
        self.discovered: list[tuple[str, SignalMetadata]] = []
        """Signals seen for the first time whose rule says metadata; the caller takes them away."""

    def map(self, source: str, record: Record) -> Mapped:
        """What this record becomes. Never raises for a payload, whatever is in it."""
        payload = record.payload
        if payload is None or record.problem:  # a tombstone says that something is deleted: no measurement
            return _rejected(Reason.MALFORMED_RECORD, record.problem) if record.problem else Mapped(skipped=True)
        plan = self._plans.get((source, record.topic)) or self._plan(source, record.topic)
        if plan.choices is not None:
            plan = self._plan_for(plan, tuple(_variable(record, name) for name in plan.used))
        rule = plan.rule
        if rule is None or rule.skip or (record.retained and source in self._without_retained):
            return self._unmapped(rule, record.topic)
        if len(payload) > self._max_payload_bytes:
            return _rejected(
                Reason.PAYLOAD_TOO_LARGE,
                f"{len(payload)} bytes; at most {self._max_payload_bytes} are mapped (mapping.max_payload)",
            )
        try:
            return self._map_payload(record, plan, payload)
        except PayloadError as error:
            return _rejected(error.reason, str(error))

    def merges_keys(self, source: str, one: Record, other: Record) -> bool:
        """Whether these records of one topic have different keys that no rule looks at, so that what may be two
        devices becomes one. True once a topic."""
        if one.key == other.key or one.topic != other.topic:
            return False
        plan = self._plans.get((source, one.topic))
        if plan is None or plan.keys_merged or plan.rule is None or plan.rule.skip or plan.rule.shared_inputs:
            return False
        plan.keys_merged = KEY not in plan.used
        return plan.keys_merged

    def _map_any(self, record: Record, plan: _TopicPlan, value: object, payload: bytes) -> Mapped:
        work = self._walk(record, plan, value)
        if work.keys and may_repeat_keys(payload, work.keys):
            work = self._walk(record, plan, decode_repeated(payload))
        self._check_count(work)
        mapped = Mapped(work.samples, work.rejects, work.filtered)
        if not work.samples and not work.rejects:
            if work.skipped:
                mapped.skipped = True
            else:
                mapped.rejects.append(
                    Reject(Reason.NO_NUMERIC_VALUE, f"no number or boolean in {_shown(value)}; nothing to store")
                )
        return mapped

    def _wanted_today(self, origin: Origin) -> str | None:
        """The text that this origin wants for its ID; None if it is not mapped any more."""
        if self._sources is not None and origin.source not in self._sources:
            return None
        plan = self._plan(origin.source, origin.topic)
        if (plan.choices is not None) != bool(origin.record):
            return None
        if plan.choices is not None:
            said: dict[str, str] = orjson.loads(origin.record)
            if said.keys() != set(plan.used):
                return None
            plan = self._plan_for(plan, tuple(said[name] for name in plan.used))
        if plan.rule is None or plan.rule.skip:
            return None
        value_rule = _value_rule(plan.rule, origin.path)
        return None if value_rule is None else _wanted(plan, value_rule, origin.path)

    # -- plans and IDs: once per topic and path ---------------------------------------------------

    def _plan(self, source: str, topic: str) -> _TopicPlan:
        choices: list[tuple[Rule, dict[str, str]]] = []
        for candidate in self._rules:
            found = candidate.pattern.match(topic)
            if found is not None:
                choices.append((candidate, found))
                if candidate.key is None:
                    break
        rule, levels = choices[0] if choices else (self._fallback, {})
        plan = _TopicPlan(source, topic, rule, levels)
        used = {name for choice, _ in choices for name in choice.record_variables}
        if any(choice.key is not None for choice, _ in choices):
            used.add(KEY)
        if used:
            plan.choices = choices
            plan.used = tuple(sorted(used))
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans[source, topic] = plan
        return plan

    def _plan_for(self, topic: _TopicPlan, values: tuple[str, ...]) -> _TopicPlan:
        """The plan of the topic's records with these values of the variables that tell."""
        known = topic.by_record.get(values)
        if known is not None:
            return known
        variables = dict(zip(topic.used, values, strict=True))
        rule, levels = self._fallback, {}
        for choice, named in topic.choices or ():
            found = {} if choice.key is None else choice.key.match(variables[KEY])
            if found is not None:
                rule, levels = choice, {**named, **found}
                break
        plan = _TopicPlan(topic.source, topic.topic, rule, {**levels, **variables}, orjson.dumps(variables).decode())
        if len(topic.by_record) >= _MAX_PLANS:
            topic.by_record.clear()
        topic.by_record[values] = plan
        return plan

    def _unmapped(self, rule: Rule | None, topic: str) -> Mapped:
        if rule is None and self._reject_unmatched:
            return _rejected(Reason.NO_RULE, f"no rule of the mapping takes topic {topic!r}")
        return Mapped(skipped=True)

    def _new_id(self, plan: _TopicPlan, path: str) -> str | None:
        rule = plan.rule
        assert rule is not None  # noqa: S101 - records without a rule never come here
        value_rule = _value_rule(rule, path)
        if value_rule is None:
            plan.ids[path] = None
            return None
        origin = Origin(plan.source, plan.topic, path, plan.record)
        wanted = _wanted(plan, value_rule, path)
        input_id = self.ids.assign(origin, wanted, shared=rule.shared_inputs)
        plan.ids[path] = input_id
        metadata = _metadata(plan, rule, value_rule, path, input_id)
        if metadata is not None:
            self.discovered.append((input_id, metadata))
        return input_id

    # -- most records: one flat object, with keys seen before ---------------------------------------

    def _map_payload(self, record: Record, plan: _TopicPlan, payload: bytes) -> Mapped:
        try:
            obj = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return self._map_any(record, plan, decode(payload), payload)
        if type(obj) is not dict:
            return self._map_any(record, plan, obj, payload)
        keys = tuple(obj)
        shape = plan.shapes.get(keys, _NEW_SHAPE)
        if shape is not None and shape is not _NEW_SHAPE:
            mapped = self._map_known(record, shape, obj, payload)
            if mapped is not None:
                return mapped
        mapped = self._map_any(record, plan, obj, payload)
        if shape is not None:  # the walk may have given its keys inputs
            if len(plan.shapes) >= _MAX_SHAPES:
                plan.shapes.clear()
            plan.shapes[keys] = self._learn(plan, obj)
        return mapped

    def _map_known(self, record: Record, shape: _Shape, obj: dict[str, object], payload: bytes) -> Mapped | None:
        """The same as the walk gives, in a third of its time; None for whatever is not as plain as that."""
        if payload.count(b":") != len(obj) and may_repeat_keys(payload, len(obj)):
            return None  # without more colons than keys, none stands twice
        time_us = record.time_us
        if shape.time_key is not None:
            try:
                time_us = parse_time(obj[shape.time_key])
            except TimeError:
                return None  # the walk says what is wrong with it
        if shape.time_key is not None or record.time_kind:
            bounds = self._bounds
            newest_us = (record.received_us or record.time_us) + bounds.newest_after_arrival_us
            if not bounds.oldest_us <= time_us <= newest_us:
                return None
        samples: list[Sample] = []
        filtered = 0
        for input_id, value in zip(shape.ids, obj.values()):  # noqa: B905 - the keys are the shape's
            kind = type(value)
            if kind is float or kind is int or kind is bool:  # finite: orjson reads nothing else
                if input_id:
                    samples.append((input_id, time_us, value))  # type: ignore[arg-type]
                elif input_id != _TIME:
                    return None
            elif input_id != _TIME:
                if value is not None and (kind is not str or _DECIMAL_TEXT.fullmatch(value)):  # type: ignore[call-overload]
                    return None
                filtered += 1
        return Mapped(samples, [], filtered) if samples else None

    def _learn(self, plan: _TopicPlan, obj: dict[str, object]) -> _Shape | None:
        """What is known of objects with these keys; None if they are not for `_map_known`."""
        rule = plan.rule
        if rule is None or rule.time not in _PLAIN_TIMES or len(obj) > self._max_values:
            return None
        time_key = None
        if rule.time == AUTO_TIME:
            time_key = next((k for k, v in obj.items() if is_time_name(k) and not isinstance(v, dict | list)), None)
        ids = plan.ids
        for key, value in obj.items():
            skipped = key in ids and ids[key] is None
            if skipped or isinstance(value, dict | list):
                return None
        return _Shape(tuple(_TIME if key == time_key else ids.get(key) for key in obj), time_key)

    # -- the walk: once per record ----------------------------------------------------------------

    def _walk(self, record: Record, plan: _TopicPlan, value: object) -> _Work:
        work = _Work(record, plan)
        rule = plan.rule
        assert rule is not None  # noqa: S101 - as above
        time_us = record.time_us
        look_for_time = rule.time == AUTO_TIME
        if record.time_kind or rule.time in _OWN_TIMES:
            time_us = self._own_time(work, rule.time)
        time_path = rule.time_path
        if time_path is not None:
            try:
                time_us = self._read_time(_lookup(value, time_path), work.arrival_us)
            except TimeError as error:
                reason = Reason.TIME_UNREADABLE if not isinstance(error, _OutOfRangeError) else Reason.TIME_OUT_OF_RANGE
                work.rejects.append(Reject(reason, f"time field {time_path!r}: {error}"))
                return work
        if type(value) is dict:
            self._object(work, value, "", time_us, look_for_time, 1)
        else:
            self._value(work, value, "", time_us, look_for_time, 0)
        if work.no_time is not None:
            _reject_without_time(work, work.no_time)
        return work

    def _object(self, work: _Work, obj: dict[str, object], path: str, time_us: int, look: bool, depth: int) -> None:
        plan = work.plan
        work.keys += len(obj)
        time_key: str | None = None
        if look:
            time_key = self._find_time(obj)
            if time_key is not None:
                try:
                    time_us = self._read_time(obj[time_key], work.arrival_us)
                except TimeError as error:
                    self._reject_time(work, path, time_key, obj[time_key], error)
                    return
        ids = plan.ids
        samples = work.samples
        prefix = path + "." if path else ""
        for key, value in obj.items():
            kind = type(value)
            if kind is float or kind is int:
                if key == time_key:
                    continue
                at = prefix + key if prefix else key
                input_id = ids.get(at) or self._known_id(work, at)
                if input_id is not None:
                    if isfinite(value):  # type: ignore[arg-type]
                        samples.append((input_id, time_us, value))  # type: ignore[arg-type]
                    else:
                        _reject_value(work, at, value)
            elif key != time_key:
                self._value(work, value, prefix + key, time_us, look, depth)
        if type(obj) is RepeatedKeys:
            for key, value in obj.replaced:
                work.keys += 1
                work.rejects.append(
                    Reject(
                        Reason.DUPLICATE_KEY,
                        f"key {key!r} stands more than once in its object; only the last value was taken",
                        prefix + key,
                        _shown(value),
                    )
                )

    def _value(self, work: _Work, value: object, path: str, time_us: int, look: bool, depth: int) -> None:
        kind = type(value)
        if isinstance(value, dict | list):
            if depth >= _MAX_DEPTH:
                work.rejects.append(
                    Reject(Reason.NESTED_TOO_DEEPLY, f"more than {_MAX_DEPTH} levels deep", path or "(top)")
                )
            elif isinstance(value, dict):
                self._object(work, value, path, time_us, look, depth + 1)
            else:
                self._list(work, value, path, time_us, look, depth + 1)
            return
        number: float
        if kind is bool or kind is int or kind is float:
            number = value  # type: ignore[assignment]
        elif kind is str and _DECIMAL_TEXT.fullmatch(value):  # type: ignore[call-overload]
            number = float(value)  # type: ignore[arg-type]
        else:
            work.filtered += 1  # text or null
            return
        input_id = work.plan.ids.get(path) or self._known_id(work, path)
        if input_id is None:
            return
        if isfinite(number):
            work.samples.append((input_id, time_us, number))
        else:
            _reject_value(work, path, value)

    def _list(self, work: _Work, items: list[object], path: str, time_us: int, look: bool, depth: int) -> None:
        for index, item in enumerate(items):
            if look and isinstance(item, dict) and self._find_time(item) is not None:
                self._object(work, item, path, time_us, look, depth)
            else:
                self._value(work, item, f"{path}.{index}" if path else str(index), time_us, look, depth)

    def _known_id(self, work: _Work, path: str) -> str | None:
        """The ID of a path whose look-up gave nothing: it is new, or a rule skips it."""
        plan = work.plan
        if path in plan.ids:
            input_id = plan.ids[path]
        else:
            self._check_count(work)
            input_id = self._new_id(plan, path)
        if input_id is None:
            work.filtered += 1
            if plan.rule is None or path != plan.rule.time_path:
                work.skipped += 1
        return input_id

    def _check_count(self, work: _Work) -> None:
        """Asked before each new ID too: a message that is refused must not leave a million IDs behind."""
        if len(work.samples) + len(work.rejects) > self._max_values:
            raise PayloadError(
                Reason.TOO_MANY_VALUES,
                f"more than {self._max_values} values in one message (mapping.max_values)",
            )

    # -- times ------------------------------------------------------------------------------------

    def _find_time(self, obj: dict[str, object]) -> str | None:
        """The first key that is a time by its name: the same for the same object, whatever came before."""
        others = self._other_names
        for key, value in obj.items():
            if key in others:
                continue
            if not is_time_name(key):
                if len(others) >= _MAX_OTHER_NAMES:
                    others.clear()
                others.add(key)
            elif not isinstance(value, dict | list):
                return key
        return None

    def _own_time(self, work: _Work, wanted: str) -> int:
        """The record's own time, where its kind is wanted and it is plausible; else `_NO_TIME`, with the reason."""
        record = work.record
        if wanted == RECEIVED_TIME:
            return work.arrival_us
        kind = _OWN_TIMES.get(wanted)
        if kind is not None and record.time_kind != kind:
            work.no_time = Reject(
                Reason.TIME_UNREADABLE,
                f"the record has no {wanted}: that is message.timestamp.type of its topic. Change the topic, or set "
                "time: arrival in its rule to take whichever time the record has",
            )
            return _NO_TIME
        try:
            self._check_bounds(record.time_us, work.arrival_us)
        except TimeError as error:
            work.no_time = Reject(Reason.TIME_OUT_OF_RANGE, f"the record's own timestamp: {error}")
            return _NO_TIME
        return record.time_us

    def _read_time(self, value: object, arrival_us: int) -> int:
        time_us = parse_time(value)
        self._check_bounds(time_us, arrival_us)
        return time_us

    def _check_bounds(self, time_us: int, arrival_us: int) -> None:
        bounds = self._bounds
        if not bounds.oldest_us <= time_us <= arrival_us + bounds.newest_after_arrival_us:
            try:
                shown = format_time(time_us)
            except (OverflowError, ValueError):
                shown = f"{time_us} µs since 1970"
            raise _OutOfRangeError(
                f"{shown} is no plausible time (before {format_time(bounds.oldest_us)} or too far ahead): "
                "is the device's clock set? To use the time of arrival instead, set time: arrival in its rule (time: "
                "received where the record's own time is the wrong one)"
            )

    def _reject_time(self, work: _Work, path: str, key: str, value: object, error: TimeError) -> None:
        reason = Reason.TIME_OUT_OF_RANGE if isinstance(error, _OutOfRangeError) else Reason.TIME_UNREADABLE
        work.rejects.append(Reject(reason, f"time field {key!r}: {error}", path or None, _shown(value)))


class _OutOfRangeError(TimeError):
    """Readable, but no plausible time of a measurement."""


def _value_rule(rule: Rule, path: str) -> ValueRule | None:
    """What the rule says of this path; None if the value is skipped, or is the rule's time field."""
    found = rule.values.get(path)
    if found is None:
        return _NO_VALUE_RULE if rule.other_values and path != rule.time_path else None
    return None if found.skip else found


def _variables(plan: _TopicPlan, path: str) -> dict[str, str]:
    return {KEY: "", **plan.variables, "path": path, "field": path.rpartition(".")[2]}


def _wanted(plan: _TopicPlan, value_rule: ValueRule, path: str) -> str:
    template = value_rule.input or (plan.rule.input if plan.rule else None)
    if template is None:
        start = f"{plan.topic}/{plan.variables[KEY]}" if plan.rule and plan.rule.key else plan.topic
        return f"{start}:{path}" if path else start
    return template.render(_variables(plan, path))


def _metadata(plan: _TopicPlan, rule: Rule, value_rule: ValueRule, path: str, input_id: str) -> SignalMetadata | None:
    says = bool(
        rule.says_metadata or value_rule.name or value_rule.description or value_rule.unit or value_rule.value_type
    )
    publishing = rule.publish if value_rule.publish else None
    if not says and publishing is None:
        return None
    variables = _variables(plan, path)
    name = value_rule.name or rule.name
    description = value_rule.description or rule.description
    return SignalMetadata(
        name=name.render(variables) if name else input_id,
        description=description.render(variables) if description else "",
        unit=value_rule.unit or rule.unit or "",
        value_type=value_rule.value_type or rule.value_type or "numeric",
        labels=tuple((key, (template.render(variables),)) for key, template in rule.labels),
        enum_values=value_rule.enum_values or rule.enum_values,
        saved=says,
        item=_item(publishing, variables) if publishing is not None else None,
    )


def _item(publishing: Publishing, variables: Mapping[str, str]) -> ItemMetadata:
    labels = publishing.labels
    return ItemMetadata(
        name=publishing.name.render(variables) if publishing.name else None,
        description=publishing.description.render(variables) if publishing.description else None,
        labels=None if labels is None else tuple((key, (text.render(variables),)) for key, text in labels),
        visible=publishing.visible,
        overwrite=publishing.overwrite,
    )


def _lookup(value: object, path: str) -> object:
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            raise TimeError("the payload has no such field")
        value = value[part]
    return value


def _reject_without_time(work: _Work, reject: Reject) -> None:
    """Take back the samples that would have needed the record's own time."""
    paths = {input_id: path for path, input_id in work.plan.ids.items()}
    kept = []
    for sample in work.samples:
        if sample[1] == _NO_TIME:
            path = paths.get(sample[0]) or "(top)"
            work.rejects.append(Reject(reject.reason, reject.message, path, _cut(repr(sample[2]))))
        else:
            kept.append(sample)
    work.samples = kept


def _variable(record: Record, name: str) -> str:
    """What this variable is for this record: `key`, or `header.NAME`, of which the last counts."""
    if name == KEY:
        key = record.key or b""
        try:
            return key.decode()
        except UnicodeDecodeError:
            return key.hex()
    wanted = name.removeprefix(HEADER)
    return next((value for header, value in reversed(record.headers) if header == wanted), "")


def _reject_value(work: _Work, path: str, value: object) -> None:
    work.rejects.append(
        Reject(
            Reason.NOT_FINITE,
            "NaN and infinity are no numbers that Clarify stores",
            path or "(top)",
            _cut(str(value)),
        )
    )


def _rejected(reason: Reason, message: str) -> Mapped:
    return Mapped(rejects=[Reject(reason, message)])


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
