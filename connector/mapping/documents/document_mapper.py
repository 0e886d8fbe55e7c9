"""Documents → samples, under the plan of one rule.

An object with known keys takes a short way; every other document is walked. If a rule iterates, each item is a document
itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import isfinite
from operator import itemgetter
from typing import Final

import orjson

from connector.formats.documents import count
from connector.formats.text.json_payload import decode, decode_repeated, may_repeat_keys
from connector.mapping.documents.decimals import DecimalsAsBytes
from connector.mapping.documents.decode_hints import PackedTexts
from connector.mapping.documents.decoded import NOT_DECODED
from connector.mapping.documents.items import PayloadItem, items_of, leaves_beside
from connector.mapping.documents.known_items import KnownItems, Surroundings, has_known_items
from connector.mapping.documents.known_lists import learn_lists, variant_of
from connector.mapping.documents.known_shapes import NOT_YET, KnownShapes
from connector.mapping.documents.nothing import nothing_because
from connector.mapping.documents.places import shown
from connector.mapping.documents.repeats import refuse_repeats
from connector.mapping.documents.shapes import Shape, flat_of
from connector.mapping.documents.tolerances import Tolerances
from connector.mapping.documents.walk import NO_TIME, Walker, Work, leaves, shortened, shown_value
from connector.mapping.plans import Plan, header_of, item_texts, nearest, record_texts, template_text
from connector.mapping.rules.paths import MISSING, lookup
from connector.mapping.rules.rules import (
    ARRIVAL_TIME,
    AUTO_TIME,
    COMPOSED_TIME,
    FIELD_TIME,
    HEADER_TIME,
    Quality,
    Rule,
    TimeSource,
)
from connector.mapping.rules.templates import ITEM
from connector.mapping.rules.values import NUMBER_TEXT
from connector.mapping.signals.identity import lacks
from connector.mapping.signals.shared_topics import SharedTopics, may_name
from connector.mapping.thinning.thinning import Thinner
from connector.mapping.time.clock_skew import zone_hours
from connector.mapping.time.composed import Place
from connector.mapping.time.record_times import record_time
from connector.mapping.time.times import TimeBounds, TimeError
from connector.mapping.topic_plans import TopicPlans
from connector.records import Mapped, Reason, Record, Reject, Sample

_TIME: Final = itemgetter(1)
_AHEAD_US: Final = 20 * 60 * 1_000_000
"""A time that is further ahead than this (µs) may be a local time that is written as UTC."""
_MAX_SHAPES: Final = 100
"""The most shapes of a topic; above, all are forgotten and learned again: each message may have other keys."""
_MOST_KEYS: Final = 5_000
"""The most keys of a message with lists that may become a row."""
_NEW_SHAPE: Final = Shape((), (), None, None, -2, 0)
_SHAPED_TIMES: Final = (AUTO_TIME, ARRIVAL_TIME, FIELD_TIME, COMPOSED_TIME)


class DocumentMapper:
    """Maps documents.

    The class is long because an item of a rule with `iterate` is a document, too: documents and items share the short
    ways, the times and the end of a record.
    """

    def __init__(
        self,
        plans: TopicPlans,
        walker: Walker,
        shapes: KnownShapes,
        thinner: Thinner,
        bounds: TimeBounds,
        shared: SharedTopics,
        decimals: DecimalsAsBytes,
        tolerances: Tolerances,
        packed: PackedTexts,
    ) -> None:
        self._packed = packed
        self._tolerances = tolerances
        self._decimals = decimals
        self._shared = shared
        self._plans = plans
        self._walker = walker
        self._shapes = shapes
        self._thinner = thinner
        self._bounds = bounds

    def payload(self, record: Record, plan: Plan, payload: bytes, document: object = NOT_DECODED) -> Mapped:
        """Returns the outcome of a payload; `document` is the payload if it was decoded. Raises `PayloadError`."""
        if document is NOT_DECODED:
            try:
                document = orjson.loads(payload)
            except orjson.JSONDecodeError:
                tolerated: set[str] = set()
                document = decode(payload, tolerated)  # it knows by itself which keys it repeats
                self._tolerances.note(plan.source, plan.topic, tolerated)
                return self._any(record, plan, document, None)
        if type(document) is dict:
            return self._object(record, plan, document, payload)
        mapped = self._any(record, plan, document, payload)
        if type(document) is list:
            self._learn_lists(plan, document, mapped, payload)
        return mapped

    def document(self, rule: Rule, plan: Plan, record: Record, named: Mapping[str, str], document: object) -> Mapped:
        """Returns the outcome of a document by a rule; `named` has the named levels of the record's key and headers.

        Raises `PayloadError`.
        """
        whole = document
        texts = record_texts(rule, record, document)
        if rule.prepare is not None:
            document = rule.prepare(document, record.received_us or record.time_us)
        selected = document
        outside = 0
        if rule.select is not None:
            selected = rule.select.find(document)
            if selected is MISSING or selected is None:
                return Mapped(skipped=True, filtered=leaves(document), why="left_out")
            outside = leaves(document) - leaves(selected)
            self._decimals.look(plan, document, selected)
        if rule.iterates:
            return self._items(rule, plan, record, named, texts, selected, (document,), outside, whole)
        if rule.dynamic:
            plan = self._plans.plan_for(plan, texts, named)
        elif plan.clock is None:
            self._plans.set_clock(plan)
        plain = rule.select is None and not (rule.expressions or rule.quality or plan.lacking or rule.combine)
        if isinstance(selected, dict) and plain:
            return self._object(record, plan, selected, None)
        outer = (document,) if selected is not document else ()
        work = Work(record, plan)
        work.whole = whole
        selected = _combined(work, rule, selected, outer, "")
        if plan.lacking:
            work.lacks = lacks(plan, whole)
        self._walk_document(work, record, plan, selected, outer, "")
        work.filtered += max(0, outside)
        return self._finish(work, record, plan, selected)

    def _object(self, record: Record, plan: Plan, obj: dict[str, object], payload: bytes | None) -> Mapped:
        """`payload` is None if the payload cannot have a key twice, or if this was already checked."""
        keys = tuple(obj)
        shape = plan.shapes.get(keys, _NEW_SHAPE)
        if shape is not None and shape is not _NEW_SHAPE:
            mapped = self._known(record, plan, shape, obj, payload)
            if mapped is not None:
                return mapped
        mapped = self._any(record, plan, obj, payload)
        if shape is None:
            self._learn_lists(plan, obj, mapped, payload)
        if shape is not None and plan.rule.time.kind in _SHAPED_TIMES and not plan.rule.time.correct_above_us:
            learned = self._shapes.learn_shape(plan, obj)  # the walk may have given input IDs to its keys
            if learned is not NOT_YET:
                if len(plan.shapes) >= _MAX_SHAPES:
                    plan.shapes.clear()
                    plan.flats.clear()
                plan.shapes[keys] = learned
                self._learn_flat(plan, keys, learned)
                if plan.flat is not None and plan.flat.keys == keys:
                    plan.flat.watched = plan.watched and may_name(obj)
                self._plans.grew(_shape_bytes(keys))
        return mapped

    def _known(
        self, record: Record, plan: Plan, shape: Shape, obj: dict[str, object], payload: bytes | None
    ) -> Mapped | None:
        """Returns the outcome that the walk would return, in a third of the time; None if the object needs the walk."""
        if payload is not None and payload.count(b":") != shape.all_keys and may_repeat_keys(payload, shape.all_keys):
            return None  # if there are no more colons than keys, no key is there twice
        time_us = record.time_us
        newest_us = (record.received_us or time_us) + self._bounds.newest_after_arrival_us
        time = plan.rule.time
        samples: list[Sample] = []
        if time.kind == FIELD_TIME:
            found = self._shapes.known_time(time, obj, newest_us)
            if found is None:
                return None
            time_us = found
        elif time.composed is not None:
            place = Place(record, plan.variables, obj, obj, (), "", 0, {})
            if (composed_us := self._composed(time, place, newest_us)) is None:
                return None
            time_us = composed_us
        elif record.time_kind and not self._bounds.oldest_us <= time_us <= newest_us:
            return None  # the walk reports the time, if a value needs it
        filtered = self._shapes.take_known(shape, obj, time_us, newest_us, time.read, samples)
        if filtered < 0 or not samples or (payload is None and not all(isfinite(value) for _, _, value in samples)):
            return None
        if plan.watched:
            self.watch(plan, obj, samples)
        if self._thinner.how:
            kept = self._thinner.thin(plan.source, samples)
            filtered += len(samples) - len(kept)
            samples = kept
        if plan.clock is not None and samples and samples[0][1] != record.time_us and not record.retained:
            plan.clock.note(record.time_us, samples[0][1])
        return Mapped(samples, [], filtered)

    def _learn_lists(self, plan: Plan, document: object, mapped: Mapped, payload: bytes | None) -> None:
        """Learn a shape by which messages like this one, with lists in them, become rows."""
        if payload is None or mapped.rejects or not mapped.samples or plan.rule.align or plan.rule.shared_inputs:
            return
        keys = count(document)[1]
        if keys > _MOST_KEYS or may_repeat_keys(payload, keys):
            return
        found = learn_lists(plan, document, self._walker.find_time, mapped.filtered, keys)
        if found is None or not self._thinner.how.keys().isdisjoint(found[0].inputs):
            return
        flat, lists = found
        if len(plan.flats) >= _MAX_SHAPES:
            plan.flats.clear()
        if plan.lists != lists:
            plan.lists = lists
            plan.flats.clear()
        variant = variant_of(document, lists)
        if variant is not None:
            plan.flat = plan.flats[variant] = flat
            flat.plan = plan
            flat.watched = plan.watched and may_name(document)
            self._plans.grew(_shape_bytes(flat.inputs))

    def watch(self, plan: Plan, document: object, samples: Iterable[Sample]) -> None:
        """For some of the messages, check whether several things share the topic."""
        watch = plan.watch
        if watch is not None and watch.left:
            watch.left -= 1
            return
        if watch is None or watch.looks_closely:
            self._packed.look(plan, document)
        grown = self._shared.look(plan, document, samples)
        if grown:
            self._plans.grew(grown)
        if self._shared.held(plan) is not None:  # from now on, no message of the topic may be a row
            plan.flat = None
            plan.flats.clear()
            if plan.items is not None:
                plan.items.forget()

    def _learn_flat(self, plan: Plan, keys: tuple[str, ...], shape: Shape | None) -> None:
        """Learn the flat shape of objects with these keys, if such objects may become rows.

        They may if all values are taken as they are, and if the thinner does not need them.
        """
        plan.flats.pop(keys, None)
        if plan.flat is not None and plan.flat.keys == keys:
            plan.flat = next(iter(plan.flats.values()), None)
        rule = plan.rule
        if shape is None or rule.align is not None or rule.shared_inputs or rule.time.composed is not None:
            return
        path = rule.time.path
        if path is not None and (not path.plain or not path.parts):
            return
        flat = flat_of(shape, None if path is None else path.parts, by_name=rule.time.kind == AUTO_TIME)
        if flat is not None and self._thinner.how.keys().isdisjoint(flat.inputs):
            plan.flat = plan.flats[keys] = flat
            flat.plan = plan

    def _any(self, record: Record, plan: Plan, value: object, payload: bytes | None) -> Mapped:
        work = self._walked(record, plan, value)
        if payload is not None and work.keys and may_repeat_keys(payload, work.keys):
            value = decode_repeated(payload)
            work = self._walked(record, plan, value)
        return self._finish(work, record, plan, value)

    def _walked(self, record: Record, plan: Plan, value: object) -> Work:
        work = Work(record, plan)
        work.whole = value
        self._walk_document(work, record, plan, value, (), "")
        return work

    def _finish(self, work: Work, record: Record, plan: Plan, value: object) -> Mapped:
        """Thin the samples and read the device's clock; returns the outcome, with a reject if nothing was found."""
        self._walker.check_count(work)
        if len(work.samples) > 1 and not plan.rule.shared_inputs:
            own_time_us = record.time_us if plan.rule.iterates else None
            work.samples, rejects, left_out = refuse_repeats(
                work.samples, lambda: _places(plan), own_time_us=own_time_us
            )
            work.rejects += rejects
            work.filtered += left_out
        if plan.watched and work.samples and not work.place:
            self.watch(plan, value, work.samples)
        if work.unused_time and any(sample[1] == record.time_us for sample in work.samples):
            self._shared.unused_time(plan, work.unused_time)
        if not work.samples and not work.rejects and not work.skipped:
            why = nothing_because(_looked_at(plan.rule, value), drops_text=plan.rule.drops_text)
            if why:
                return Mapped(filtered=work.filtered, skipped=True, why=why)
            return _nothing(f"no number or boolean in {shown_value(value)}; nothing to store", work.filtered)
        if work.samples and plan.clock is not None and not record.retained:
            self._read_clock(work, record, plan)
        filtered = max(0, work.filtered)  # less than 0: nulls that were put in place of parts were not walked
        samples = work.samples
        if self._thinner.how:
            kept = self._thinner.thin(plan.source, samples)
            filtered += len(samples) - len(kept)
            samples = kept
        skipped = not work.samples and not work.rejects
        why = "" if samples or work.rejects else "thinned" if work.samples else work.why or "left_out"
        return Mapped(samples, work.rejects, filtered, skipped, why)

    def _read_clock(self, work: Work, record: Record, plan: Plan) -> None:
        newest = max(map(_TIME, work.samples))
        if newest == record.time_us or plan.clock is None:
            return
        plan.clock.note(record.time_us, newest)
        hours = zone_hours(record.time_us - newest) if newest > record.time_us + _AHEAD_US else None
        if hours is not None:
            self._shared.local_time(plan, -hours)
        above = plan.rule.time.correct_above_us
        lag = plan.clock.lag_us
        if above is not None and lag is not None and abs(lag) > above:
            work.samples = [
                (input_id, time_us if time_us == record.time_us else time_us + lag, value)
                for input_id, time_us, value in work.samples
            ]

    def _items(
        self,
        rule: Rule,
        plan: Plan,
        record: Record,
        named: Mapping[str, str],
        texts: Mapping[str, str],
        selected: object,
        outer: tuple[object, ...],
        outside: int,
        whole: object,
    ) -> Mapped:
        work = Work(record, plan)
        work.whole = whole
        inside = seen = 0
        beside = leaves_beside(rule, selected)
        total = leaves(selected) if beside is None else 0
        around = outer if outer[0] is not selected else ()
        composed = rule.time.composed is not None
        told = tuple(texts.values())
        items = items_of(rule, selected)
        if beside is not None and (known := self._known_items(plan)) is not None:
            found = rule.iterate[0].find(selected)
            if type(found) is list or (type(found) is dict and rule.item_name is None):
                seen = len(found)
                outside_items = (selected, *around)
                surroundings = Surroundings(
                    work,
                    selected,
                    told,
                    lambda: self._time_of(work, record, rule.time, {}, outside_items),
                    lambda: not _is_bad(rule.quality, {}, outside_items),
                )
                items = known.take(surroundings, found)
        for item in items:
            seen += 1
            if composed:
                work.at = item.names[-1] if item.names else "", item.place
                if rule.time.is_key:
                    item = item._replace(names=item.names[:-1])  # noqa: PLW2901 - the key is the time, and no name
            base = self._plan_of_item(rule, plan, item, texts, named)
            work.plan = base
            outer = (*item.outer, *around)
            taken = self._take_item(work, record, base, item.value, outer)
            if taken >= 0:
                inside += taken
                continue
            if base.lacking:
                work.lacks = lacks(base, whole, item.value, item.outer, item.place)
            inside += leaves(item.value)
            self._walker.check_count(work)
            place = item.name.strip() or str(item.place)
            value = _combined(work, rule, item.value, outer, place)
            self._walk_document(work, record, base, value, outer, place)
            if rule.combine is None:
                self._learn_item(base, value, item, told)
        work.place = ""
        work.filtered += (max(0, total - inside) if beside is None else beside) + max(0, outside)
        if not seen and any(isinstance(path.find(selected), dict | list) for path in (*rule.iterate, *rule.parallel)):
            return Mapped(filtered=work.filtered, skipped=True, why="null")
        if not seen:
            return _nothing(
                f"there is nothing to take items from at {' → '.join(path.text for path in rule.iterate) or '@'}",
            )
        return self._finish(work, record, work.plan, selected)

    def _plan_of_item(
        self, rule: Rule, plan: Plan, item: PayloadItem, texts: Mapping[str, str], named: Mapping[str, str]
    ) -> Plan:
        if rule.dynamic == (ITEM,):
            return plan.by_texts.get((item.name,)) or self._plans.plan_for(plan, {ITEM: item.name}, named)
        if rule.dynamic:
            said = {**texts, **item_texts(rule, item.name, item.place, item.value, item.outer)}
            return self._plans.plan_for(plan, said, named)
        if plan.clock is None:
            self._plans.set_clock(plan)
        return plan

    def _known_items(self, plan: Plan) -> KnownItems | None:
        """Returns the known items of a plan; None if its rule needs the walk for each item."""
        if plan.items is None and has_known_items(plan.rule):
            quality, read = plan.rule.quality, plan.rule.time.read
            good = frozenset() if quality is None else quality.good
            plan.items = KnownItems(
                plan,
                self._bounds,
                lambda shape, obj, time_us, newest_us, samples: self._shapes.take_known(
                    shape, obj, time_us, newest_us, read, samples
                ),
                lambda found: _is_in(found, good),
                self._thinner.how,
                self._plans.grew,
            )
        return plan.items

    def _take_item(  # noqa: PLR0911 - ways out
        self, work: Work, record: Record, plan: Plan, obj: object, outer: tuple[object, ...]
    ) -> int:
        """Take an item that is an object with known keys; returns the number of its leaves.

        Returns -1 for every other item, which must be walked.
        """
        if type(obj) is not dict:
            return -1
        shape = plan.shapes.get(tuple(obj))
        if shape is None:
            return -1
        rule = plan.rule
        if _is_bad(rule.quality, obj, outer):
            return -1
        newest_us = work.arrival_us + self._bounds.newest_after_arrival_us
        time_us = self._time_of_item(work, record, plan, shape, obj, outer)
        if time_us is None:
            return -1
        samples: list[Sample] = []
        filtered = self._shapes.take_known(shape, obj, time_us, newest_us, rule.time.read, samples)
        if filtered < 0 or not samples:
            return -1
        for _, _, value in samples:
            if not isfinite(value):
                return -1
        work.samples += samples
        work.filtered += filtered
        return shape.leaves

    def _time_of_item(
        self, work: Work, record: Record, plan: Plan, shape: Shape, obj: dict[str, object], outer: tuple[object, ...]
    ) -> int | None:
        """Returns the time of an item in µs; None if the item must be walked for its time."""
        rule = plan.rule
        newest_us = work.arrival_us + self._bounds.newest_after_arrival_us
        if rule.time.kind == FIELD_TIME:
            return self._shapes.known_time(rule.time, obj, newest_us)
        if rule.time.composed is not None:
            place = Place(record, plan.variables, work.whole, obj, outer, *work.at, work.found_around)
            return self._composed(rule.time, place, newest_us)
        if (rule.time.kind == AUTO_TIME and shape.time_key is None) or record.time_kind:
            return None  # the time may be in an object around the item
        if rule.time.kind == AUTO_TIME:
            try:
                self._time_of(work, record, rule.time, obj, outer)
            except TimeError:
                return None  # the walk refuses the item for it
        return record.time_us

    def _learn_item(self, plan: Plan, value: object, item: PayloadItem, texts: tuple[str, ...]) -> None:
        rule = plan.rule
        if type(value) is dict and not rule.expressions and rule.time.kind in _SHAPED_TIMES:
            shape = self._shapes.learn_shape(plan, value)
            if shape is not None and shape is not NOT_YET:
                if len(plan.shapes) >= _MAX_SHAPES:
                    plan.shapes.clear()
                if shape.keys not in plan.shapes:
                    self._plans.grew(2 * _shape_bytes(shape.keys))
                plan.shapes[shape.keys] = shape
                if plan.items is not None:
                    plan.items.learn(plan, item.names[-1] if item.names else "", value, shape, texts)

    def _walk_document(
        self, work: Work, record: Record, plan: Plan, value: object, outer: tuple[object, ...], place: str
    ) -> None:
        """Walk one document under its plan; for an item, `outer` has the items around it, from the inside out."""
        work.plan, work.place, work.ambiguous = plan, place, frozenset()  # nothing of an item before
        rule = plan.rule
        try:
            time_us = self._time_of(work, record, rule.time, value, outer)
        except TimeError as error:
            what = rule.time.said or "time field"
            work.rejects.append(self._walker.time_reject(error, what, place or None, MISSING))
            work.rejects[-1] = replace(work.rejects[-1], value=None)
            return
        first = len(work.samples)
        if rule.quality is not None and not self._good(work, rule.quality, value, outer, place):
            return
        if rule.other_values or rule.values or not rule.expressions:
            self._walker.walk(work, value, "", time_us)
        else:
            work.filtered += leaves(value)
        for path, made in work.beside.items():
            self._walker.walk(work, made, path, time_us)
        if rule.expressions:
            self._find(work, plan, value, outer, time_us)
        if work.no_time is not None:
            _take_back(work, plan, first, work.no_time)

    def _find(self, work: Work, plan: Plan, value: object, outer: tuple[object, ...], time_us: int) -> None:
        """Map the values that the rule's expressions find; these values do not count as left out any more."""
        taken = len(work.samples) + len(work.rejects)
        work.plan = plan.for_found()
        for path, name in plan.rule.expressions:
            quality = plan.rule.quality
            found = nearest(path, value, outer if quality is not None and path == quality.path else ())
            if found is not MISSING:
                self._walker.walk(work, found, name, time_us)
        work.plan = plan
        taken = len(work.samples) + len(work.rejects) - taken
        work.filtered = max(0, work.filtered - taken)

    def _good(self, work: Work, quality: Quality, value: object, outer: tuple[object, ...], place: str) -> bool:
        """Returns whether the values may be taken; if not, they are counted as rejected or filtered."""
        if quality.use in ("keep", "signal"):
            return True
        found = nearest(quality.path, value, outer)
        if found is MISSING:
            self._shared.look_for_quality(work.plan, quality.path, value)
            return True
        if _is_in(found, quality.good):
            return True
        values = leaves(value)
        if quality.use == "reject":
            work.rejects.append(
                Reject(
                    Reason.BAD_QUALITY,
                    f"the quality {quality.path.text!r} is {shown_value(found)}",
                    place or "(top)",
                )
            )
            values -= 1
        work.filtered += values
        work.skipped += values
        work.why = work.why or "bad_quality"
        return False

    def _time_of(self, work: Work, record: Record, source: TimeSource, value: object, outer: tuple[object, ...]) -> int:
        """Returns the time of values without a time of their own, in µs. Raises `TimeError`."""
        found: object = MISSING
        if source.composed is not None:
            place = Place(record, work.plan.variables, work.whole, value, outer, *work.at, work.found_around)
            time_us = source.composed.time_us(place)
            if time_us is not None:
                self._walker.check_bounds(time_us, work.arrival_us)
                return time_us
            if not source.or_arrival:
                raise TimeError("it is not there, or a part of it is empty")
        elif source.kind == FIELD_TIME and source.path is not None:
            found = source.path.find(value)
            if found is MISSING:
                found = self._time_around(work, source, outer)
            if found is MISSING and not source.or_arrival:
                raise TimeError("the payload has no such field")
        elif source.kind == HEADER_TIME:
            text = header_of(record, source.header)
            found = MISSING if text is None else text
            if text is None and not source.or_arrival:
                raise TimeError("the record has no such header (MQTT 5: user property)")
        elif source.kind == AUTO_TIME:
            found = self._time_around(work, source, outer)
        if found is not MISSING:
            return self._walker.read_time(work, found)
        return record_time(record, source.kind, work, self._walker.check_bounds)

    def _composed(self, source: TimeSource, place: Place, newest_us: int) -> int | None:
        """Returns the time of an object in µs; None if the object must be walked for its time."""
        assert source.composed is not None  # noqa: S101 - asked only where the time is composed
        try:
            time_us = source.composed.time_us(place)
        except TimeError:
            return None
        return time_us if time_us is not None and self._bounds.oldest_us <= time_us <= newest_us else None

    def _time_around(self, work: Work, source: TimeSource, outer: tuple[object, ...]) -> object:
        """Returns the time in the nearest of the objects around an item, or MISSING.

        Each object is searched once for all items in it: many items in a large object cost no more than their lengths.
        """
        if work.times_around is None:
            work.times_around = {}
        known = work.times_around
        for around in outer:
            place = id(source), id(around)  # both live as long as the message is mapped
            if place not in known:
                known[place] = MISSING
                if source.kind == FIELD_TIME and source.path is not None:
                    known[place] = source.path.find(around)
                elif isinstance(around, dict) and (key := self._walker.find_time(around)) is not None:
                    known[place] = around[key]
            if known[place] is not MISSING:
                return known[place]
        return MISSING


def _combined(work: Work, rule: Rule, document: object, outer: tuple[object, ...], place: str) -> object:
    """Returns the document with its combined values; `place` is the name of the item, for rejects."""
    if rule.combine is None:
        return document
    document, work.beside, rejects, filtered = rule.combine(document, outer)
    work.rejects += [replace(one, path=f"{place}.{one.path}") for one in rejects] if place else rejects
    work.filtered += filtered
    return document


def _looked_at(rule: Rule, document: object) -> object:
    """Returns the parts of a document that the rule may take: the values that it names, or all but the time.

    Returns the document if the rule says neither, or if the document has none of them.
    """
    named = not rule.other_values and bool(rule.values)
    time = rule.time.path
    if not named and (time is None or not time.plain):
        return document
    items = [item.value for item in items_of(rule, document)] if rule.iterates else [document]
    if not named:
        return [rest for item in items if (rest := _without(item, time.dotted if time else "")) != {}] or document
    parts = [tuple(path.split(".")) if path else () for path in rule.values]
    found = [value for item in items for part in parts if (value := lookup(item, part)) is not MISSING]
    return found or document


def _without(item: object, key: str | None) -> object:
    return {name: value for name, value in item.items() if name != key} if isinstance(item, dict) else item


def _shape_bytes(keys: Collection[str]) -> int:
    return 1500 + 150 * len(keys) + sum(map(len, keys))


def _is_bad(quality: Quality | None, obj: dict[str, object], outer: tuple[object, ...]) -> bool:
    """Whether the quality of an object, or else of the nearest object around it, decides against its values."""
    if quality is None or quality.use == "keep":
        return False
    found = quality.path.find(obj)
    if found is MISSING:
        found = nearest(quality.path, obj, outer)
    return found is not MISSING and not _is_in(found, quality.good)


def _is_in(found: object, good: frozenset[str]) -> bool:
    """Whether a quality is good: capitals do not matter, and a number or a boolean may be written as text."""
    if isinstance(found, bool | int | float):
        found = template_text(found)
    if not isinstance(found, str):
        return False
    folded = found.strip().casefold()
    if folded in good:
        return True
    return NUMBER_TEXT.fullmatch(folded) is not None and template_text(float(folded)) in good


def _places(plan: Plan) -> dict[str, str]:
    """Input ID → its place in the payload, for people."""
    ids = {**plan.ids, **(plan.found.ids if plan.found is not None else {})}
    return {input_id: shown(path) for path, input_id in ids.items() if input_id is not None}


def _take_back(work: Work, plan: Plan, first: int, reject: Reject) -> None:
    """Turn the samples from `first` on that need the record's own time into rejects."""
    paths = _places(plan)
    kept: list[Sample] = []
    for sample in work.samples[first:]:
        if sample[1] == NO_TIME:
            path = paths.get(sample[0]) or "(top)"
            work.rejects.append(Reject(reject.reason, reject.message, path, shortened(repr(sample[2]))))
        else:
            kept.append(sample)
    work.samples[first:] = kept


def _nothing(message: str, filtered: int = 0) -> Mapped:
    return Mapped(rejects=[Reject(Reason.NO_NUMERIC_VALUE, message)], filtered=filtered)
