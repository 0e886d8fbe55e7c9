"""Records → samples: which rule takes a record, and what comes of it.

For each topic it is found out once which rules may take it. Mostly that is one rule which needs nothing but the decoded
payload; then a record costs a decode and a few dictionary look-ups per value. Otherwise the rules are asked in order, a
payload is decoded once for each format that they want, and conditions, items and expressions are looked at.
Every leaf of a payload ends as a sample, as a reject, or counted as filtered (a time that is read is part of its
samples); a record that gives nothing at all is a reject.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from types import MappingProxyType
from typing import Final

import orjson

from connector.formats.format import PayloadError
from connector.formats.json_payload import decode, decode_repeated, may_repeat_keys
from connector.formats.sparkplug.host import Owner
from connector.mapping.align import Aligner
from connector.mapping.clock_skew import Clocks, Skew
from connector.mapping.decoded import Decoded
from connector.mapping.input_ids import InputIds, Origin
from connector.mapping.items import items_of, leaves_beside
from connector.mapping.paths import MISSING
from connector.mapping.plans import (
    FOUND,
    Plan,
    TopicPlan,
    header_of,
    item_texts,
    key_of,
    metadata,
    record_texts,
    value_rule,
    wanted_id,
)
from connector.mapping.record_times import record_time
from connector.mapping.rules import (
    ARRIVAL_TIME,
    AUTO_TIME,
    FIELD_TIME,
    HEADER_TIME,
    Quality,
    Rule,
    TimeSource,
    everything,
)
from connector.mapping.shapes import Shape, flat_of
from connector.mapping.shares import Share
from connector.mapping.sparkplug import SparkplugMapping, SparkplugPlan, limits_of
from connector.mapping.sparkplug_rule import variables_of
from connector.mapping.states import LearnedStates
from connector.mapping.templates import ITEM, ITEM_FIELD, KEY, PAYLOAD
from connector.mapping.thinning import Thinner
from connector.mapping.times import TimeBounds, TimeError
from connector.mapping.walk import NO_TIME, NOT_YET, Walker, Work, cut, leaves, shown_value
from connector.records import Mapped, Reason, Record, Reject, Sample, SignalMetadata

_CLOCKS_SECONDS: Final = 30.0
_MAX_PLANS: Final = 100_000
_MAX_SHAPES: Final = 100
"""A topic, before they are learnt anew: each message may have other keys."""
_NEW_SHAPE: Final = Shape((), (), None, None, -2, 0)
NOT_DECODED: Final = object()
"""Stands for a document that nobody has decoded yet."""
_SHAPED_TIMES: Final = (AUTO_TIME, ARRIVAL_TIME, FIELD_TIME)


class Mapper:
    """Maps the records of one or more sources. Pure but for what it remembers: plans, IDs, states, clocks, what is
    thinned, and what it discovered."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        claims: Mapping[str, Origin] = MappingProxyType({}),
        states: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        births: Mapping[str, Iterable[tuple[Owner, bytes]]] = MappingProxyType({}),
        sources: Collection[str] | None = None,
        without_retained: Collection[str] = (),
        unmatched: str = "filter",
        match_all: bool = False,
        clock_warning_us: int = 60_000_000,
        bounds: TimeBounds | None = None,
        max_payload_bytes: int = 4 * 1024 * 1024,
        max_values: int = 20_000,
    ) -> None:
        """`unmatched` (`filter`, `dead_letter` or `map`) says what becomes of a record that no rule takes;
        without any rule every record is mapped. With `match_all` every rule that takes a record maps it, else the
        first. `claims` is which origin owned which input ID in earlier runs, `states` which states of which input were
        learned, `births` what Sparkplug's nodes had said, by source; IDs of sources that are not in `sources` any more
        may be taken over. Retained messages of the sources in `without_retained` are left out."""
        self.ids = InputIds(claims, self._wanted_today)
        self.states = LearnedStates(states)
        self.clocks = Clocks()
        self.thinner = Thinner()
        self.aligner = Aligner()
        self._sources = sources
        self._without_retained = frozenset(without_retained)
        self._rules = tuple(rules)
        self._fallback = everything() if unmatched == "map" or not rules else None
        self._reject_unmatched = unmatched == "dead_letter"
        self._match_all = match_all
        self._clock_warning_us = clock_warning_us
        self._clocks_at = 0.0
        self.bounds = bounds or TimeBounds()
        self.max_payload_bytes = max_payload_bytes
        self._walker = Walker(self.bounds, max_values, self._new_id, self._learn)
        self.sparkplug = SparkplugMapping(
            self.bounds,
            limits_of(self._rules, max_payload_bytes, max_values),
            births,
            new_id=self._new_id,
            learn=self._learn,
            discover=self._discover,
            check_time=self._walker.check_bounds,
        )
        self._topics: dict[tuple[str, str], TopicPlan] = {}
        self._shares: list[Share] = []
        self.discovered: list[tuple[str, SignalMetadata]] = []
        """Signals seen for the first time, or with a state that is new, whose rule says metadata; the caller takes
        them away."""

    def plain_plan(self, source: str, topic: str) -> Plan | None:
        """The plan of a topic whose records need only be decoded and walked; None for any other."""
        return (self._topics.get((source, topic)) or self._topic(source, topic)).plain

    def map(self, source: str, record: Record, document: object = NOT_DECODED) -> Mapped:
        """What this record becomes; `document` is its payload, where that is JSON and was decoded already.

        Never raises for a payload, whatever is in it; `SchemaUnavailableError` where a schema registry is away: then
        the same record is to be mapped again later."""
        payload = record.payload
        if payload is None or record.problem:  # a tombstone says that something is deleted: no measurement
            return _rejected(Reason.MALFORMED_RECORD, record.problem) if record.problem else Mapped(skipped=True)
        topic = self._topics.get((source, record.topic)) or self._topic(source, record.topic)
        if record.retained and source in self._without_retained:
            return Mapped(skipped=True)
        plan = topic.plain
        if plan is None:
            return self._map_by_rules(source, record, topic, payload)
        if len(payload) > self.max_payload_bytes:
            return self._too_large(payload)
        try:
            mapped = self._map_payload(record, plan, payload, document)
        except PayloadError as error:
            mapped = _rejected(error.reason, str(error))
        if plan.rule.align is not None:
            mapped.samples = self.aligner.align(mapped.samples, plan.rule.align)
        return mapped if not mapped.rejects or plan.rule.number is None else _pointing(mapped, plan.rule)

    def shares(self, source: str, record: Record, mapped: Mapped) -> list[Share]:
        """Which rules took a record, and what each made of it. To be asked right after `map` gave `mapped` for it."""
        topic = self._topics.get((source, record.topic))
        if record.payload is None or record.problem or topic is None:
            return []
        if record.retained and source in self._without_retained:
            return []
        if topic.plain is None:
            return self._shares
        return [Share(topic.plain.rule.number, len(mapped.samples), len(mapped.rejects), mapped.filtered)]

    def merges_keys(self, source: str, one: Record, other: Record) -> bool:
        """Whether these records of one topic have different keys that no rule looks at, so that what may be two
        devices becomes one. True once a topic."""
        if one.key == other.key or one.topic != other.topic:
            return False
        topic = self._topics.get((source, one.topic))
        if topic is None or topic.keys_merged or not topic.choices:
            return False
        used = {name for rule, _ in topic.choices for name in rule.identity}
        first = topic.choices[0][0]
        if (
            first.skip
            or first.shared_inputs
            or any(name == KEY or name.startswith((PAYLOAD, ITEM_FIELD)) for name in used)
        ):
            return False
        topic.keys_merged = True
        return True

    def clocks_off(self, now: float) -> list[Skew]:
        """Clocks that are found to be off, each once; asked for as often as one likes, looked for twice a minute.
        `now` is in seconds, on any clock that only rises."""
        if now < self._clocks_at:
            return []
        self._clocks_at = now + _CLOCKS_SECONDS
        return self.clocks.newly_off(self._clock_warning_us)

    def forget(self, source: str) -> None:
        """What was mapped of this source may come again, and may not have been sent."""
        self.thinner.forget(source)

    # -- which rule: once per topic ---------------------------------------------------------------

    def _topic(self, source: str, name: str) -> TopicPlan:
        topic = TopicPlan()
        for rule in self._rules:
            levels = rule.pattern.match(name)
            if levels is not None:
                known = levels if rule.sparkplug is None else {**levels, **variables_of(name)}
                topic.choices.append((rule, Plan(source, name, rule, known)))
                if not self._match_all and not (rule.key or rule.headers or rule.when):
                    break
        if not topic.choices and self._fallback is not None:
            topic.choices.append((self._fallback, Plan(source, name, self._fallback, {})))
        if len(topic.choices) == 1:
            rule, plan = topic.choices[0]
            if rule.is_plain and not rule.skip:
                topic.plain = plan
                self._set_clock(plan)
        if len(self._topics) >= _MAX_PLANS:
            self._topics.clear()
        self._topics[source, name] = topic
        return topic

    def _set_clock(self, plan: Plan) -> None:
        rule = plan.rule
        if rule.time.kind in (AUTO_TIME, FIELD_TIME, HEADER_TIME):
            key = plan.variables[KEY]
            device = plan.topic if not key else f"{plan.topic}/{key}"
            if rule.device is not None:
                device = rule.device.render({**plan.variables, "path": "", "field": ""})
            plan.clock = self.clocks.of(plan.source, device)

    def _wanted_today(self, origin: Origin) -> set[str]:
        """The texts that this origin wants for its IDs; none if it is not mapped any more."""
        if self._sources is not None and origin.source not in self._sources:
            return set()
        said: dict[str, str] = orjson.loads(origin.record) if origin.record else {}
        is_found = said.pop(FOUND, None) is not None
        texts = set()
        for rule, plan in (self._topics.get(origin[:2]) or self._topic(origin.source, origin.topic)).choices:
            if rule.skip or said.keys() != set(rule.identity) or (is_found and rule.found is None):
                continue
            named = self._named(rule, said.get(KEY), said)
            if named is None:
                continue
            known = {**dict.fromkeys(rule.dynamic, ""), **plan.variables, **named, **said}
            ruled = rule.found if is_found and rule.found is not None else rule
            value = value_rule(ruled, origin.path)
            if value is not None:
                texts.add(wanted_id(Plan(origin.source, origin.topic, ruled, known), value, origin.path))
        return texts

    @staticmethod
    def _named(rule: Rule, key: str | None, headers: Mapping[str, str]) -> dict[str, str] | None:
        """The levels of key and headers that the rule names, None if it does not take a record with these. Headers are
        by their variables' names; what is not known of them is not asked."""
        named = {} if rule.key is None else rule.key.match(key or "")
        if named is None:
            return None
        for name, pattern in rule.headers:
            text = headers.get(f"header.{name}")
            found = {} if text is None else pattern.match(text)
            if found is None:
                return None
            named.update(found)
        return named

    # -- IDs: once per path -----------------------------------------------------------------------

    def _new_id(self, plan: Plan, path: str) -> str | None:
        rule = plan.rule
        value = value_rule(rule, path)
        if value is None:
            plan.ids[path] = None
            return None
        input_id = self.ids.assign(plan.origin(path), wanted_id(plan, value, path), shared=rule.shared_inputs)
        plan.ids[path] = input_id
        conversion = value.conversion or rule.conversion
        if conversion is not None:
            plan.conversions[path] = conversion
        thinning = value.thinning or rule.thinning
        if thinning is not None:
            self.thinner.add(input_id, thinning)
        self._discover(plan, path, input_id)
        return input_id

    def _discover(self, plan: Plan, path: str, input_id: str) -> None:
        value = value_rule(plan.rule, path)
        if value is not None:
            called = path if value.named is None else value.named
            describe = plan.described if isinstance(plan, SparkplugPlan) else partial(metadata, plan)
            found = describe(value, called, input_id, self.states.of(input_id))
            if found is not None:
                self.discovered.append((input_id, found))

    def _learn(self, plan: Plan, path: str, text: str) -> int:
        input_id = plan.ids.get(path) or self._new_id(plan, path)
        assert input_id is not None  # noqa: S101 - a value that is left out is not converted
        conversion = plan.conversions[path]
        declared = conversion.states.known.values() if conversion.states else ()
        number, is_new = self.states.learn(input_id, text, set(declared))
        if is_new:
            self._discover(plan, path, input_id)
        return number

    # -- most records: one rule, one object, with keys seen before ----------------------------------

    def _map_payload(self, record: Record, plan: Plan, payload: bytes, document: object = NOT_DECODED) -> Mapped:
        if document is NOT_DECODED:
            try:
                document = orjson.loads(payload)
            except orjson.JSONDecodeError:
                return self._map_any(record, plan, decode(payload), payload)
        if type(document) is dict:
            return self._map_object(record, plan, document, payload)
        return self._map_any(record, plan, document, payload)

    def _map_object(self, record: Record, plan: Plan, obj: dict[str, object], payload: bytes | None) -> Mapped:
        """`payload` is None where its keys cannot repeat, or where that was looked at."""
        keys = tuple(obj)
        shape = plan.shapes.get(keys, _NEW_SHAPE)
        if shape is not None and shape is not _NEW_SHAPE:
            mapped = self._map_known(record, plan, shape, obj, payload)
            if mapped is not None:
                return mapped
        mapped = self._map_any(record, plan, obj, payload)
        if shape is not None and plan.rule.time.kind in _SHAPED_TIMES and not plan.rule.time.correct_above_us:
            learned = self._walker.learn_shape(plan, obj)  # the walk may have given its keys inputs
            if learned is not NOT_YET:
                if len(plan.shapes) >= _MAX_SHAPES:
                    plan.shapes.clear()
                    plan.flats.clear()
                plan.shapes[keys] = learned
                self._learn_flat(plan, keys, learned)
        return mapped

    def _learn_flat(self, plan: Plan, keys: tuple[str, ...], shape: Shape | None) -> None:
        """Whether objects with these keys become rows: where nothing is to be done with a value but to take it, and
        where no other origin has its inputs."""
        plan.flats.pop(keys, None)
        if plan.flat is not None and plan.flat.keys == keys:
            plan.flat = next(iter(plan.flats.values()), None)
        rule = plan.rule
        if shape is None or rule.align is not None or rule.shared_inputs:
            return
        path = rule.time.path
        if path is not None and (not path.plain or not path.parts):
            return
        flat = flat_of(shape, None if path is None else path.parts, by_name=rule.time.kind == AUTO_TIME)
        if flat is not None and self.thinner.how.keys().isdisjoint(flat.inputs):
            plan.flat = plan.flats[keys] = flat

    def _map_known(
        self, record: Record, plan: Plan, shape: Shape, obj: dict[str, object], payload: bytes | None
    ) -> Mapped | None:
        """The same as the walk gives, in a third of its time; None for whatever is not as plain as that."""
        if payload is not None and payload.count(b":") != shape.all_keys and may_repeat_keys(payload, shape.all_keys):
            return None  # without more colons than keys, none stands twice
        time_us = record.time_us
        newest_us = (record.received_us or time_us) + self.bounds.newest_after_arrival_us
        time = plan.rule.time
        samples: list[Sample] = []
        if time.kind == FIELD_TIME:
            found = self._walker.known_time(time, obj, newest_us)
            if found is None:
                return None
            time_us = found
        elif record.time_kind and not self.bounds.oldest_us <= time_us <= newest_us:
            return None  # the walk says what is wrong with it, where it is needed
        filtered = self._walker.take_known(shape, obj, time_us, newest_us, time.read, samples)
        if filtered < 0 or not samples or (payload is None and not all(isfinite(value) for _, _, value in samples)):
            return None
        if self.thinner.how:
            kept = self.thinner.thin(plan.source, samples)
            filtered += len(samples) - len(kept)
            samples = kept
        if plan.clock is not None and samples and samples[0][1] != record.time_us and not record.retained:
            plan.clock.note(record.time_us, samples[0][1])
        return Mapped(samples, [], filtered)

    def _map_any(self, record: Record, plan: Plan, value: object, payload: bytes | None) -> Mapped:
        work = self._walked(record, plan, value)
        if payload is not None and work.keys and may_repeat_keys(payload, work.keys):
            value = decode_repeated(payload)
            work = self._walked(record, plan, value)
        return self._finish(work, record, plan, value)

    def _walked(self, record: Record, plan: Plan, value: object) -> Work:
        work = Work(record, plan)
        self._walk_document(work, record, plan, value, (), "")
        return work

    def _finish(self, work: Work, record: Record, plan: Plan, value: object) -> Mapped:
        """Thinning, the device's clock, and a reject where there is nothing at all."""
        self._walker.check_count(work)
        if not work.samples and not work.rejects and not work.skipped:
            message = f"no number or boolean in {shown_value(value)}; nothing to store"
            return Mapped(rejects=[Reject(Reason.NO_NUMERIC_VALUE, message)], filtered=work.filtered)
        if work.samples and plan.clock is not None and not record.retained:
            self._read_clock(work, record, plan)
        filtered = work.filtered
        samples = work.samples
        if self.thinner.how:
            kept = self.thinner.thin(plan.source, samples)
            filtered += len(samples) - len(kept)
            samples = kept
        skipped = not work.samples and not work.rejects
        return Mapped(samples, work.rejects, filtered, skipped)

    def _read_clock(self, work: Work, record: Record, plan: Plan) -> None:
        newest = max(time_us for _, time_us, _ in work.samples)
        if newest == record.time_us or plan.clock is None:
            return
        plan.clock.note(record.time_us, newest)
        above = plan.rule.time.correct_above_us
        lag = plan.clock.lag_us
        if above is not None and lag is not None and abs(lag) > above:
            work.samples = [
                (input_id, time_us if time_us == record.time_us else time_us + lag, value)
                for input_id, time_us, value in work.samples
            ]

    # -- one document, or one item of it ------------------------------------------------------------

    def _walk_document(
        self, work: Work, record: Record, plan: Plan, value: object, outer: tuple[object, ...], place: str
    ) -> None:
        """Walk one document (an item, with those around it in `outer`) under its plan."""
        work.plan, work.place = plan, place
        rule = plan.rule
        try:
            time_us = self._time_of(work, record, rule.time, value, outer)
        except TimeError as error:
            what = f"header {rule.time.header!r}" if rule.time.kind == HEADER_TIME else "time field"
            if rule.time.path is not None:
                what += f" {rule.time.path.text!r}"
            work.rejects.append(self._walker.time_reject(error, what, place or None, MISSING))
            work.rejects[-1] = replace(work.rejects[-1], value=None)
            return
        first = len(work.samples)
        if rule.quality is not None and not self._good(work, rule.quality, value, place):
            return
        if rule.other_values or rule.values or not rule.expressions:
            self._walker.walk(work, value, "", time_us)
        else:
            work.filtered += leaves(value)
        if rule.expressions:
            self._find(work, plan, value, time_us)
        if work.no_time is not None:
            _take_back(work, plan, first, work.no_time)

    def _find(self, work: Work, plan: Plan, value: object, time_us: int) -> None:
        """What the rule's expressions find; what they found counts no more as left out."""
        taken = len(work.samples) + len(work.rejects)
        work.plan = plan.for_found()
        for path, name in plan.rule.expressions:
            found = path.find(value)
            if found is not MISSING:
                self._walker.walk(work, found, name, time_us)
        work.plan = plan
        taken = len(work.samples) + len(work.rejects) - taken
        work.filtered = max(0, work.filtered - taken)

    def _good(self, work: Work, quality: Quality, value: object, place: str) -> bool:
        """Whether the values are to be taken; if not, they are accounted for."""
        found = quality.path.find(value)
        if quality.use in ("keep", "signal") or found is MISSING or _is_in(found, quality.good):
            return True
        values = leaves(value)
        if quality.use == "reject":
            work.rejects.append(
                Reject(
                    Reason.BAD_QUALITY,
                    f"its quality {quality.path.text!r} is {shown_value(found)}",
                    place or "(top)",
                )
            )
            values -= 1
        work.filtered += values
        work.skipped += values
        return False

    def _time_of(self, work: Work, record: Record, source: TimeSource, value: object, outer: tuple[object, ...]) -> int:
        """The time of what has none of its own. Raises `TimeError`."""
        found: object = MISSING
        if source.kind == FIELD_TIME and source.path is not None:
            found = next((f for o in (value, *outer) if (f := source.path.find(o)) is not MISSING), MISSING)
            if found is MISSING and not source.or_arrival:
                raise TimeError("the payload has no such field")
        elif source.kind == HEADER_TIME:
            text = header_of(record, source.header)
            found = MISSING if text is None else text
            if text is None and not source.or_arrival:
                raise TimeError("the record has no such header (MQTT 5: user property)")
        elif source.kind == AUTO_TIME:
            for around in outer:
                key = self._walker.find_time(around) if isinstance(around, dict) else None
                if key is not None and isinstance(around, dict):
                    found = around[key]
                    break
        if found is not MISSING:
            return self._walker.read_time(work, found)
        return record_time(record, source.kind, work, self._walker.check_bounds)

    # -- all other records ------------------------------------------------------------------------

    def _map_by_rules(self, source: str, record: Record, topic: TopicPlan, payload: bytes) -> Mapped:
        decoded = Decoded(payload, self.max_payload_bytes, once=not self._match_all)
        result = Mapped()
        taken = skipped = 0
        shares = self._shares = []
        for rule, plan in topic.choices:
            named = self._takes(rule, record)
            if named is None:
                continue
            if rule.skip and not rule.when:
                taken += 1
                skipped += 1
                shares.append(Share(rule.number, 0, 0, 0))
                if self._match_all:
                    continue
                break
            mapped = self._by_rule(rule, plan, record, named, decoded)
            if mapped is None:
                continue
            taken += 1
            if mapped.skipped:
                skipped += 1
            if rule.align is not None:
                mapped.samples = self.aligner.align(mapped.samples, rule.align)
            shares.append(Share(rule.number, len(mapped.samples), len(mapped.rejects), mapped.filtered))
            result = _joined(result, _pointing(mapped, rule))
            if not self._match_all and not decoded.has_more(rule.format):
                break
        rest = decoded.rest()
        if not taken:
            return self._unmatched(source, record, payload)
        if rest and not self._match_all:
            result = self._with_rest(result, rest)
        if not result.samples and not result.rejects:
            result.skipped = True
        return result

    def _takes(self, rule: Rule, record: Record) -> dict[str, str] | None:
        """The levels that key and headers name, None if the rule does not take such records."""
        if rule.key is None and not rule.headers:
            return {}
        headers = {}
        for name, _ in rule.headers:
            text = header_of(record, name)
            if text is None:
                return None
            headers[f"header.{name}"] = text
        return self._named(rule, None if rule.key is None else key_of(record), headers)

    def _by_rule(
        self, rule: Rule, plan: Plan, record: Record, named: Mapping[str, str], decoded: Decoded
    ) -> Mapped | None:
        """What the rule makes of the documents that it takes and no rule before it took; None if there are none."""
        if rule.sparkplug is not None:
            return self._map_sparkplug(rule, plan, record)
        result: Mapped | None = None
        try:
            documents, keys_repeat = decoded.by(rule.format)
            for number, document in documents:
                if not all(condition.holds(document) for condition in rule.when):
                    continue
                decoded.take(rule.format, number)
                mapped = Mapped(skipped=True, filtered=leaves(document)) if rule.skip else None
                if mapped is None:
                    mapped = self._map_document(rule, plan, record, named, document)
                result = mapped if result is None else _joined(result, mapped)
        except PayloadError as error:
            decoded.failed(rule.format)
            result = _joined(result or Mapped(), _rejected(error.reason, str(error)))
        else:
            bad = decoded.take_bad(rule.format) if result is not None or not rule.when else []
            if bad:
                result = _joined(result or Mapped(), Mapped(rejects=bad))
            if keys_repeat and result is not None:
                result = _joined(result, Mapped(rejects=keys_repeat))
                keys_repeat.clear()
        return result

    def _map_sparkplug(self, rule: Rule, plan: Plan, record: Record) -> Mapped:
        try:
            mapped = self.sparkplug.map(plan.source, record, rule)
        except PayloadError as error:
            return _rejected(error.reason, str(error))
        if self.thinner.how:
            kept = self.thinner.thin(plan.source, mapped.samples)
            mapped.filtered += len(mapped.samples) - len(kept)
            mapped.samples = kept
        return mapped

    def _map_document(
        self, rule: Rule, plan: Plan, record: Record, named: Mapping[str, str], document: object
    ) -> Mapped:
        texts = record_texts(rule, record, document)
        if rule.prepare is not None:
            document = rule.prepare(document, record.received_us or record.time_us)
        selected = document
        outside = 0
        if rule.select is not None:
            selected = rule.select.find(document)
            if selected is MISSING or selected is None:
                return Mapped(skipped=True, filtered=leaves(document))
            outside = leaves(document) - leaves(selected)
        if rule.iterates:
            return self._map_items(rule, plan, record, named, texts, selected, (document,), outside)
        if rule.dynamic:
            plan = self._plan_for(plan, texts, named)
        elif plan.clock is None:
            self._set_clock(plan)
        if isinstance(selected, dict) and rule.select is None and not (rule.expressions or rule.quality):
            return self._map_object(record, plan, selected, None)
        outer = (document,) if selected is not document else ()
        work = Work(record, plan)
        self._walk_document(work, record, plan, selected, outer, "")
        work.filtered += max(0, outside)
        return self._finish(work, record, plan, selected)

    def _plan_for(self, plan: Plan, texts: Mapping[str, str], named: Mapping[str, str]) -> Plan:
        found = plan.with_texts(tuple(texts[name] for name in plan.rule.dynamic), named)
        if found.clock is None:
            self._set_clock(found)
        return found

    def _map_items(
        self,
        rule: Rule,
        plan: Plan,
        record: Record,
        named: Mapping[str, str],
        texts: Mapping[str, str],
        selected: object,
        outer: tuple[object, ...],
        outside: int,
    ) -> Mapped:
        work = Work(record, plan)
        inside = seen = 0
        beside = leaves_beside(rule, selected)
        total = leaves(selected) if beside is None else 0
        around = outer if outer[0] is not selected else ()
        base = plan
        by_name = rule.dynamic == (ITEM,)
        for item in items_of(rule, selected):
            seen += 1
            if by_name:
                known = plan.by_texts.get((item.name,))
                base = known or self._plan_for(plan, {ITEM: item.name}, named)
            elif rule.dynamic:
                said = {**texts, **item_texts(rule, item.name, item.place, item.value, item.outer)}
                base = self._plan_for(plan, said, named)
            elif base.clock is None:
                self._set_clock(base)
            taken = self._take_item(work, record, base, item.value)
            if taken >= 0:
                inside += taken
                continue
            inside += leaves(item.value)
            self._walker.check_count(work)
            place = item.name or str(item.place)
            self._walk_document(work, record, base, item.value, (*item.outer, *around), place)
            self._learn_item(base, item.value)
        work.plan, work.place = base, ""
        work.filtered += (max(0, total - inside) if beside is None else beside) + max(0, outside)
        if not seen:
            return _rejected(
                Reason.NO_NUMERIC_VALUE,
                f"there is nothing to take items from at {' → '.join(path.text for path in rule.iterate) or '@'}",
            )
        return self._finish(work, record, base, selected)

    def _take_item(self, work: Work, record: Record, plan: Plan, obj: object) -> int:  # noqa: PLR0911 - ways out
        """Take an item that is an object with keys seen before; how many leaves it has. -1 for any other: it is to be
        walked."""
        if type(obj) is not dict:
            return -1
        shape = plan.shapes.get(tuple(obj))
        if shape is None:
            return -1
        rule = plan.rule
        if rule.quality is not None and rule.quality.use != "keep":
            quality = rule.quality.path.find(obj)
            if quality is not MISSING and not _is_in(quality, rule.quality.good):
                return -1
        newest_us = work.arrival_us + self.bounds.newest_after_arrival_us
        time_us = record.time_us
        if rule.time.kind == FIELD_TIME:
            found = self._walker.known_time(rule.time, obj, newest_us)
            if found is None:
                return -1
            time_us = found
        elif (rule.time.kind == AUTO_TIME and shape.time_key is None) or record.time_kind:
            return -1  # it may be that of an object around it
        samples: list[Sample] = []
        filtered = self._walker.take_known(shape, obj, time_us, newest_us, rule.time.read, samples)
        if filtered < 0:
            return -1
        for _, _, value in samples:
            if not isfinite(value):
                return -1
        work.samples += samples
        work.filtered += filtered
        return shape.leaves

    def _learn_item(self, plan: Plan, value: object) -> None:
        rule = plan.rule
        if type(value) is dict and not rule.expressions and rule.time.kind in _SHAPED_TIMES:
            shape = self._walker.learn_shape(plan, value)
            if shape is not None and shape is not NOT_YET:
                if len(plan.shapes) >= _MAX_SHAPES:
                    plan.shapes.clear()
                plan.shapes[tuple(value)] = shape

    def _unmatched(self, source: str, record: Record, payload: bytes) -> Mapped:
        """A record that no rule takes."""
        if self._fallback is not None:
            plan = Plan(source, record.topic, self._fallback, {})
            topic = self._topics[source, record.topic]
            if topic.fallback is None:
                topic.fallback = plan
            if len(payload) > self.max_payload_bytes:
                return self._too_large(payload)
            try:
                return self._map_payload(record, topic.fallback, payload)
            except PayloadError as error:
                return _rejected(error.reason, str(error))
        if self._reject_unmatched:
            return _rejected(Reason.NO_RULE, f"no rule of the mapping takes topic {record.topic!r}")
        return Mapped(skipped=True)

    def _with_rest(self, result: Mapped, rest: list[object]) -> Mapped:
        """Some documents of a payload were taken and these were not."""
        if self._reject_unmatched:
            said = [
                Reject(Reason.NO_RULE, "no rule of the mapping takes this document", None, shown_value(document))
                for document in rest
            ]
            return _joined(result, Mapped(rejects=said))
        return _joined(result, Mapped(filtered=sum(map(leaves, rest)), skipped=True))

    def _too_large(self, payload: bytes) -> Mapped:
        return _rejected(
            Reason.PAYLOAD_TOO_LARGE,
            f"{len(payload)} bytes; at most {self.max_payload_bytes} are mapped (mapping.max_payload)",
        )


def _joined(one: Mapped, other: Mapped) -> Mapped:
    return Mapped(
        one.samples + other.samples,
        one.rejects + other.rejects,
        one.filtered + other.filtered,
        one.skipped or other.skipped,
    )


def _pointing(mapped: Mapped, rule: Rule) -> Mapped:
    """The rejects with the number of the rule that took the record."""
    if mapped.rejects and rule.number is not None:
        mapped.rejects = [
            replace(reject, rule=rule.number) if reject.rule is None else reject for reject in mapped.rejects
        ]
    return mapped


def _is_in(found: object, good: tuple[object, ...]) -> bool:
    folded = found.strip().casefold() if isinstance(found, str) else found
    is_bool = isinstance(folded, bool)
    for value in good:  # a loop: any() of a generator takes twice as long, for each item
        if folded == (value.casefold() if isinstance(value, str) else value) and is_bool == isinstance(value, bool):
            return True
    return False


def _take_back(work: Work, plan: Plan, first: int, reject: Reject) -> None:
    """Take back the samples from `first` on that would have needed the record's own time."""
    ids = dict(plan.ids)
    if plan.found is not None:
        ids.update(plan.found.ids)
    paths = {input_id: path for path, input_id in ids.items()}
    kept = work.samples[:first]
    for sample in work.samples[first:]:
        if sample[1] == NO_TIME:
            path = paths.get(sample[0]) or "(top)"
            work.rejects.append(Reject(reject.reason, reject.message, path, cut(repr(sample[2]))))
        else:
            kept.append(sample)
    work.samples = kept


def _rejected(reason: Reason, message: str) -> Mapped:
    return Mapped(rejects=[Reject(reason, message)])
