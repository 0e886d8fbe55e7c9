"""The walk over a document: each leaf becomes a sample or a reject, or is counted as filtered.

The time of a value comes from the nearest object around the value that has a time field, or else from the rule. The
module `item_names` tells the elements of a list apart, and `places` writes the place of a value. Objects with known
keys take a shorter way with the same result: see `known_shapes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json import dumps
from math import isfinite
from typing import Final

from connector.formats.documents import count
from connector.formats.format import PayloadError
from connector.formats.text.json_payload import RepeatedKeys
from connector.mapping.documents.field_names import is_plural, meaning
from connector.mapping.documents.item_names import (
    NO_NAME,
    differing_text,
    has_readings,
    item_name,
    name_elements,
    parallel_names,
)
from connector.mapping.documents.places import is_odd, item_segment, join, last_key, places_of_lists, segment, shown
from connector.mapping.observations import Observation, Observations
from connector.mapping.plans import NO_VALUE_RULE, Plan, value_of, value_rule
from connector.mapping.rules.rules import AUTO_TIME, Rule
from connector.mapping.rules.values import DECIMAL_TEXT, NOT_FINITE, Conversion, ValueRejectedError
from connector.mapping.time.times import (
    LEAST_EPOCH,
    ReadTime,
    TimeBounds,
    TimeError,
    format_time,
    has_time_in_parts,
    is_other_time,
    is_possible_time_name,
    is_time_name,
    looks_like_moment,
    time_in_path,
    unknown_time,
)
from connector.records import Reason, Record, Reject, Sample

MAX_DEPTH: Final = 32
_MAX_OTHER_NAMES: Final = 10_000
_LONGEST_NAME: Final = 100
"""The most characters of a key that is remembered as no time."""
NO_TIME: Final = -(2**62)
"""The time of a sample that needs the record's own time, if the record has none; such a sample becomes a reject."""


_TIME_IN_PARTS: Final = (
    "year, month and day are in separate fields, which only a rule can join: set time: {template: "
    "'{payload.year}-{payload.month}-{payload.day} {payload.hour}:{payload.minute}', format: '%Y-%m-%d %H:%M', zone: "
    "Europe/Oslo} with the fields of the device (time: arrival uses the time of arrival)"
)
_AMBIGUOUS: Final = (
    "a key with a dot and an object in an object give two values of this message one name; name them in the rule of "
    "this topic, or let the sender rename one of the keys"
)

LONGEST_PLACE: Final = 2_000
"""The longest place of an object or a list, in characters: the place is written down for each value in it, so a key of
a megabyte with thousands of values behind it would cost gigabytes."""
_MOST_CONTAINERS: Final = 200_000
"""The most objects and lists that are walked in a document: a megabyte of empty lists takes seconds."""


NOTHING: Final[Mapping[str, object]] = {}


class Work:
    """One record on its way through the walk."""

    __slots__ = (
        "ambiguous",
        "arrival_us",
        "at",
        "beside",
        "containers",
        "filtered",
        "found_around",
        "keys",
        "lacks",
        "no_time",
        "place",
        "plan",
        "read_time",
        "rejects",
        "samples",
        "skipped",
        "times_around",
        "unused_time",
        "whole",
        "why",
    )

    def __init__(self, record: Record, plan: Plan) -> None:
        self.plan = plan
        self.samples: list[Sample] = []
        self.rejects: list[Reject] = []
        self.filtered = 0
        self.skipped = 0
        self.why = ""
        """The reason why values were left out, a key of `FILTERED_BECAUSE`; empty if the rule leaves them out."""
        self.keys = 0
        self.containers = 0
        """How many objects and lists were walked."""
        self.arrival_us = record.received_us or record.time_us
        self.read_time: ReadTime = plan.rule.time.read
        self.no_time: Reject | None = None
        """The reject if the record's own time cannot be used; values that need this time have `NO_TIME`."""
        self.beside: Mapping[str, object] = NOTHING
        """Path → a combined value that has no place in the document."""
        self.lacks: Mapping[str, str] = {}
        """Variable that input IDs need and that the plan lacks → a text about the place where it should be."""
        self.place = ""
        """The place of this document in the payload, for rejects."""
        self.unused_time: str = ""
        """The place of the first time that no value uses; empty if there is none."""
        self.whole: object = None
        """The whole payload, and in a rule with items the key and the place of the item: for a composed time."""
        self.at: tuple[str, int] = "", 0
        self.found_around: dict[tuple[int, int], tuple[object, object]] = {}
        self.times_around: dict[tuple[int, int], object] | None = None
        """(`id` of the source of a time, `id` of an object around items) → the time in this object, or MISSING."""
        self.ambiguous: frozenset[str] = frozenset()
        """Shown places that several values of this document share."""


def is_left_out(rule: Rule, path: str, value: object, look: bool) -> bool:
    """Whether a rule that takes only the values it names names none in the object or list at this place.

    With `look`, an object is walked all the same: its time may be one that no value uses, which is said.
    """
    if rule.other_values or (look and type(value) is not list):
        return False
    return shown(path) not in rule.parents and shown(path) not in rule.values


def is_item(rule: Rule, path: str) -> bool:
    """Whether an object with a name at this place is an item: some senders write a list of one item as this item."""
    return is_plural(last_key(path)) or (rule.single_items and ("." in path or rule.inside))


class OutOfRangeError(TimeError):
    """The time can be read, but is not plausible as the time of a measurement."""


class Walker:
    """Walks documents.

    The class is long because its methods call each other: an object has lists, a list has objects, and both have
    values.
    """

    def __init__(
        self,
        bounds: TimeBounds,
        max_values: int,
        new_id: Callable[[Plan, str], str | None],
        learn: Callable[[Plan, str, str], int],
        observations: Observations,
        was_at: Callable[[Plan, str], bool] = lambda _plan, _path: False,
    ) -> None:
        """`max_values` bounds the samples and rejects of a message.

        `new_id` returns the input ID of a path, or None if the rule leaves the path out. `learn` returns the number of
        a state by its name. `was_at` returns whether a path had an input ID in an earlier run.
        """
        self._was_at = was_at
        self._observations = observations
        self._bounds = bounds
        self._max_values = max_values
        self._new_id = new_id
        self._learn = learn
        self._other_names: set[str] = set()
        """Keys that are known not to be times, so that they are not checked again."""

    def walk(self, work: Work, value: object, path: str, time_us: int) -> None:
        """Walk a document; values without a time in the document have the time `time_us`.

        Raises `PayloadError` for too many values.
        """
        look = work.plan.rule.time.kind == AUTO_TIME
        if isinstance(value, dict):
            self._object(work, value, path, time_us, look, 1)
        else:
            self._value(work, value, path, time_us, look, 0)

    def _object(  # noqa: C901, PLR0912
        self,
        work: Work,
        obj: dict[str, object],
        path: str,
        time_us: int,
        look: bool,
        depth: int,
        naming: tuple[str, ...] = (),
    ) -> None:
        """Walk an object; the values of the keys in `naming` are already a part of the object's place."""
        if len(path) > LONGEST_PLACE:
            self._refuse_long(work, obj, path)
            return
        plan = work.plan
        work.keys += len(obj)
        time_key: str | None = None
        if look:
            time_key = self.find_time(obj)
            found = self._own_time(work, obj, time_key, path, time_us)
            if found is None:
                return
            time_us = found
        if not work.ambiguous and any(map(is_odd, obj)):
            work.ambiguous = repeated_places(obj, path, self.has_time)
        ids = plan.ids
        samples = work.samples
        before = len(samples)
        plain = not plan.conversions and not work.ambiguous
        prefix = path + "." if path else ""
        lists = False
        for key, value in obj.items():
            kind = type(value)
            if key == time_key:
                continue
            if key in naming:
                found, keys = count(value)
                work.filtered += found
                work.keys += keys
                continue
            at = prefix + segment(key)
            if plain and (kind is float or kind is int) and not value >= LEAST_EPOCH:  # type: ignore[operator]
                input_id = ids.get(at) or self._known_id(work, at, value)
                if at in plan.conversions:
                    self._value(work, value, at, time_us, look, depth)
                elif input_id is not None:
                    if isfinite(value):  # type: ignore[arg-type]
                        samples.append((input_id, time_us, value))  # type: ignore[arg-type]
                    else:
                        self._reject_value(work, at, value, Reason.NOT_FINITE, NOT_FINITE)
            elif kind is list and len(obj) > 1:
                lists = True  # the list may belong to another list
            else:
                self._value(work, value, at, time_us, look, depth)
        if lists:
            self._lists(work, obj, prefix, time_key, time_us, look, depth)
        if time_key is not None and len(samples) == before and not work.unused_time:
            work.unused_time = prefix + segment(time_key)
        if type(obj) is RepeatedKeys:
            for key, value in obj.replaced:
                work.keys += 1
                work.rejects.append(repeated(key, shown(prefix + segment(key)), value))

    def _own_time(
        self, work: Work, obj: dict[str, object], time_key: str | None, path: str, time_us: int
    ) -> int | None:
        """Returns the time of an object's values in µs: from its own time field, or else `time_us`.

        If the time cannot be read, the time becomes a reject, and the result is None.
        """
        if time_key is None:
            if path:
                return time_us
            if not has_time_in_parts(obj):
                work.unused_time = unknown_time(obj) or ""
                return time_us
            work.rejects.append(Reject(Reason.TIME_UNREADABLE, _TIME_IN_PARTS))
            return None
        try:
            return self.read_time(work, obj[time_key])
        except TimeError as error:
            what = f"time field {time_key!r}"
            if any(is_possible_time_name(key) for key in obj):
                what += (
                    " (if the date is in another field, set time: {template: '{payload.date} {payload.time}'} in the "
                    "rule)"
                )
            work.rejects.append(self.time_reject(error, what, shown(path) or None, obj[time_key]))
            return None

    def _lists(
        self,
        work: Work,
        obj: dict[str, object],
        prefix: str,
        time_key: str | None,
        time_us: int,
        look: bool,
        depth: int,
    ) -> None:
        """Walk the lists among the members of an object, which may be columns of one table."""
        named = parallel_names(obj)
        times = [key for key, value in obj.items() if look and is_list_of_times(key, value)]
        for key, value in obj.items():
            if type(value) is not list or key == time_key:
                continue
            at = prefix + segment(key)
            if is_left_out(work.plan.rule, at, value, look):
                self._value(work, value, at, time_us, look, depth)
                continue
            other = next((one for one in times if one != key and len(obj[one]) == len(value)), None)  # type: ignore[arg-type]
            if key in times:
                work.filtered += len(value)
            elif other is not None and has_readings(value):
                why = (
                    f"the times of this list are in the list {other!r} beside it; write a rule with "
                    f"parallel: [{other}, {key}] and time: {other}"
                )
                self._refuse(work, value, at, Reason.TIME_UNREADABLE, why)
            elif named is None or depth >= MAX_DEPTH or shown(at) in work.plan.rule.positions:
                self._value(work, value, at, time_us, look, depth)
            elif key == named.key:
                work.filtered += len(value)
            elif key in named.columns:
                for part, inner in zip(named.segments, value, strict=True):
                    if len(part) > LONGEST_PLACE:
                        self._refuse_long(work, inner, part)
                        continue
                    self._value(work, inner, f"{at}.{part}", time_us, look, depth + 1)
            else:
                self._value(work, value, at, time_us, look, depth)

    def _container(
        self, work: Work, value: dict[str, object] | list[object], path: str, time_us: int, look: bool, depth: int
    ) -> None:
        work.containers += 1
        if work.containers > _MOST_CONTAINERS:
            raise PayloadError(Reason.TOO_EXPENSIVE, f"more than {_MOST_CONTAINERS} objects and lists in one document")
        if path and is_left_out(work.plan.rule, path, value, look):
            found, keys = count(value)
            work.filtered += found
            work.keys += keys
        elif depth >= MAX_DEPTH:
            work.rejects.append(
                Reject(Reason.NESTED_TOO_DEEPLY, f"more than {MAX_DEPTH} levels deep", shown(path) or "(top)")
            )
        elif isinstance(value, dict):
            name = NO_NAME
            if path and is_item(work.plan.rule, path) and shown(path) not in work.plan.rule.parents:
                name = item_name(value)
            at = f"{path}.{item_segment(name.parts)}" if name.parts else path
            self._object(work, value, at, time_us, look, depth + 1, name.keys)
        else:
            self._list(work, value, path, time_us, look, depth + 1)

    def _value(self, work: Work, value: object, path: str, time_us: int, look: bool, depth: int) -> None:  # noqa: PLR0912
        if isinstance(value, dict | list):
            self._container(work, value, path, time_us, look, depth)
            return
        plan = work.plan
        conversion = plan.conversions.get(path)
        if conversion is None and isinstance(value, str) and path not in plan.ids:
            sources = plan.rule.attribute_sources
            rule = value_of(plan, path) if sources else value_rule(plan.rule, path)
            conversion = None if rule is None else rule.conversion or plan.rule.conversion
        if conversion is not None:
            self._convert(work, value, path, time_us, conversion)
            return
        kind = type(value)
        number: float
        if kind is bool or kind is int or kind is float:
            number = value  # type: ignore[assignment]
            if number >= LEAST_EPOCH and _is_time_of_other(plan, path, value):
                if is_time_name(last_key(path.rpartition(".")[0])):
                    work.unused_time = work.unused_time or path
                work.filtered += 1
                work.skipped += 1
                return
        elif kind is str and DECIMAL_TEXT.fullmatch(value):  # type: ignore[call-overload]
            if _is_no_number(plan, path, value):
                work.filtered += 1
                return
            number = float(value)  # type: ignore[arg-type]
        else:
            work.filtered += 1  # text or null
            return
        input_id = plan.ids.get(path) or self._known_id(work, path, value)
        if input_id is None:
            return
        if path in plan.conversions:  # known only together with the ID
            self._convert(work, value, path, time_us, plan.conversions[path])
        elif work.ambiguous and shown(path) in work.ambiguous:
            self._reject_value(work, path, value, Reason.NO_IDENTITY, _AMBIGUOUS)
        elif isfinite(number):
            work.samples.append((input_id, time_us, number))
        else:
            self._reject_value(work, path, value, Reason.NOT_FINITE, NOT_FINITE)

    def _convert(self, work: Work, value: object, path: str, time_us: int, conversion: Conversion) -> None:
        try:
            number = conversion.apply(value, lambda text: self._state(work, path, text))
        except ValueRejectedError as error:
            if (
                error.reason is Reason.NOT_A_NUMBER
                and path in work.plan.rule.name_paths
                and path not in work.plan.rule.values
            ):
                work.filtered += 1
                return
            self._reject_value(work, path, value, error.reason, str(error))
            return
        if isinstance(number, str):  # FILTERED
            work.filtered += 1
            if isinstance(value, int | float) or (isinstance(value, str) and conversion.states is not None):
                work.skipped += 1  # the rule leaves the value out; other text and null are no values at all
            return
        input_id = work.plan.ids.get(path) or self._known_id(work, path, value)
        if input_id is not None:
            work.samples.append((input_id, time_us, number))

    def _list(self, work: Work, items: list[object], path: str, time_us: int, look: bool, depth: int) -> None:
        if len(path) > LONGEST_PLACE:
            self._refuse_long(work, items, path)
            return
        rule = work.plan.rule
        naming = None
        if not rule.positions or shown(path) not in rule.positions:
            naming = name_elements(items, self.has_time if look else _never)
            self._by_place(work, items if naming is None else [], path)
        if naming is None:
            if path and meaning(last_key(path)).identifier and value_rule(rule, path) is NO_VALUE_RULE:
                found, keys = count(items)
                work.filtered += found
                work.keys += keys
                return
            for index, item in enumerate(items):
                self._value(work, item, f"{path}.{index}" if path else str(index), time_us, look, depth)
            return
        if naming.guessed:
            self._guess(work, path, naming.guessed)
        for index, (item, name) in enumerate(zip(items, naming.names, strict=True)):
            if name.parts:
                at = join(path, item_segment(name.parts))
                if isinstance(item, dict):
                    self._object(work, item, at, time_us, look, depth, name.keys)
                else:
                    self._value(work, item, at, time_us, look, depth)
            elif naming.timed and isinstance(item, dict) and self.has_time(item):
                self._object(work, item, path, time_us, look, depth)
            else:
                self._refuse(work, item, join(path, str(index)), Reason.NO_IDENTITY, naming.refusal)

    def _refuse(self, work: Work, value: object, path: str, reason: Reason, why: str) -> None:
        """Make one reject for a list or an object with readings; one without readings is counted as filtered."""
        found, keys = count(value)
        work.keys += keys
        if has_readings(value):
            self.check_count(work)
            self._reject_value(work, path, shown_value(value), reason, why)
            found -= 1
        work.filtered += found

    def _refuse_long(self, work: Work, value: object, path: str) -> None:
        """Make one reject of values whose common place is too long to be written down for each of them."""
        found, keys = count(value)
        work.keys += keys
        work.filtered += found - 1
        work.rejects.append(
            Reject(
                Reason.TOO_EXPENSIVE,
                f"its place has {len(path)} characters; values are read at places of at most {LONGEST_PLACE}",
                shown(path[:LONGEST_PLACE]) + "…",
                shown_value(value),
            )
        )

    def _guess(self, work: Work, path: str, field: str) -> None:
        plan, at = work.plan, shown(path) or "@"
        self._observations.add(
            Observation(
                "items_named_by_guess",
                plan.source,
                f"{plan.topic}: {at}",
                f"the items of the list {at} are named by their field {field!r}, since no other field names them",
                f"if this is right, write a rule to be sure: {{topic: {dumps(plan.topic)}, iterate: {dumps(at)}, "
                f"item_name: {dumps(field)}}}",
            )
        )

    def _by_place(self, work: Work, items: list[object], path: str) -> None:
        """Tell that the places of these items are their names, if a text in the items may be one."""
        field = differing_text(items)
        if not field:
            return
        plan, at = work.plan, shown(path) or "@"
        self._observations.add(
            Observation(
                "items_by_place",
                plan.source,
                f"{plan.topic}: {at}",
                f"no field certainly names the items of the list {at}, so each place in the list is a signal; an item "
                "at another place would become another signal",
                f"if the field {field!r} names the items, write a rule {{topic: {dumps(plan.topic)}, "
                f"iterate: {dumps(at)}, item_name: {dumps(field)}}}; if their order is always the same, do nothing",
            )
        )

    def _time_in_key(self, plan: Plan, path: str, written: str) -> None:
        at = shown(path.partition(written)[0].removesuffix(".")) or "@"
        self._observations.add(
            Observation(
                "time_in_key",
                plan.source,
                f"{plan.topic}: {at}",
                f"the key {written!r} at {at} of {plan.topic!r} is a time: each time makes a new signal",
                f"write a rule {{topic: {dumps(plan.topic)}, iterate: {dumps(at)}, input: ..., "
                'time: {template: "{item}"}}; if the key is a name, name the value in the values of a rule',
            )
        )

    def _list_or_single(self, work: Work, path: str) -> None:
        """Tell that a value has a new input ID because a list is a single item now, or the reverse."""
        plan = work.plan
        for other, at in places_of_lists(path):
            known = plan.ids.get(other)
            if known is None:
                if not self._was_at(plan, other) or self._was_at(plan, path):
                    continue
            elif any(input_id == known for input_id, _, _ in work.samples):
                continue  # both are values of one message
            where = shown(at) or "@"
            always = f"format: {{type: xml, lists: [{dumps(last_key(at))}]}}" if plan.rule.single_items and at else ""
            self._observations.add(
                Observation(
                    "list_or_single",
                    plan.source,
                    f"{plan.topic}: {where}",
                    f"what is at {where!r} of {plan.topic!r} is a list in some messages and one item in others: the "
                    f"value at {shown(path) or '@'!r} was at {shown(other) or '@'!r} before, and these are two signals",
                    f"say in the rule that it is a list always: {always}"
                    if always
                    else "let the sender always write a list; or write two rules with when, and with the same input",
                )
            )
            return

    def _state(self, work: Work, path: str, text: str) -> int:
        """Returns the number of a state by its name. Raises `ValueRejectedError`."""
        refusal = self._refusal(work, path)
        if refusal is not None:
            raise ValueRejectedError(Reason.NO_IDENTITY, refusal)
        return self._learn(work.plan, path, text)

    def _refusal(self, work: Work, path: str) -> str | None:
        """Returns the reason why the path must not get an input ID; None if it may.

        A path must not get an input ID if the record lacks a variable that the ID needs.
        """
        plan = work.plan
        value = value_rule(plan.rule, path) if plan.lacking else None
        names = plan.lacking & plan.rule.told_apart_by(value) if value is not None else None
        if not names:
            return None
        number = "" if plan.rule.number is None else f" {plan.rule.number + 1}"
        said = "; ".join(f"{{{name}}}: {work.lacks[name]}" for name in sorted(names))
        return (
            f"the record lacks a text by which rule{number} tells devices apart ({said}); without this text, several "
            "devices would be one signal"
        )

    def _known_id(self, work: Work, path: str, value: object) -> str | None:
        """Returns the ID of a path that the plan's look-up did not find; None if the path has no ID.

        Such a path is new, or a rule skips it, or it must not have an ID.
        """
        plan = work.plan
        refusal = self._refusal(work, path)
        if refusal is not None:
            self.check_count(work)
            self._reject_value(work, path, value, Reason.NO_IDENTITY, refusal)
            return None
        if path in plan.ids:
            input_id = plan.ids[path]
        elif _is_identifier(plan, path):
            input_id = plan.ids[path] = None
        else:
            self.check_count(work)
            try:
                input_id = self._new_id(plan, path)
            except ValueRejectedError as error:
                self._reject_value(work, path, value, error.reason, str(error))
                return None
            if (written := time_in_path(path, work.arrival_us)) is not None:
                self._time_in_key(plan, path, written)
            if input_id is not None:
                self._list_or_single(work, path)
        if input_id is None:
            work.filtered += 1
            if path not in plan.rule.time_paths:
                work.skipped += 1
        return input_id

    def check_count(self, work: Work) -> None:
        """Raise `PayloadError` if a message has too many values.

        This is also checked before each new ID: a refused message must not leave a million IDs behind.
        """
        if len(work.samples) + len(work.rejects) > self._max_values:
            raise PayloadError(
                Reason.TOO_MANY_VALUES,
                f"more than {self._max_values} values in one message (mapping.max_values)",
            )

    def _reject_value(self, work: Work, path: str, value: object, reason: Reason, message: str) -> None:
        path = shown(path)
        where = f"{work.place}.{path}" if work.place and path else work.place or path
        work.rejects.append(Reject(reason, message, where or "(top)", shortened(str(value))))

    # -- times ------------------------------------------------------------------------------------

    def find_time(self, obj: dict[str, object]) -> str | None:
        """Returns the key of an object's time; None if it has no time.

        This is the first key that is certainly a time by its name, or else the first key that may be a time by its name
        and has a time as its value. The result depends only on the object, and not on earlier objects.
        """
        others = self._other_names
        possible: str | None = None
        for key, value in obj.items():
            if key in others:
                continue
            if is_time_name(key):
                if not isinstance(value, dict | list):
                    return key
            elif is_possible_time_name(key):
                if possible is None and looks_like_moment(value):
                    possible = key
            else:
                if len(others) >= _MAX_OTHER_NAMES:
                    others.clear()
                if len(key) <= _LONGEST_NAME:
                    others.add(key)
        return possible

    def has_time(self, obj: dict[str, object]) -> bool:
        """Whether an object has a time field."""
        return self.find_time(obj) is not None

    def read_time(self, work: Work, value: object) -> int:
        """Returns a time in µs, read as the rule says and checked against the bounds. Raises `TimeError`."""
        time_us = work.read_time(value)
        self.check_bounds(time_us, work.arrival_us)
        return time_us

    def check_bounds(self, time_us: int, arrival_us: int) -> None:
        """Raise `OutOfRangeError` if `time_us` is no plausible time of a measurement that arrived at `arrival_us`."""
        bounds = self._bounds
        if not bounds.oldest_us <= time_us <= arrival_us + bounds.newest_after_arrival_us:
            try:
                shown = format_time(time_us)
            except (OverflowError, ValueError):
                shown = f"{time_us} µs since 1970"
            raise OutOfRangeError(
                f"{shown} is no plausible time (before {format_time(bounds.oldest_us)} or too far ahead): "
                "is the device's clock set? To use the time of arrival instead, set time: arrival in its rule (time: "
                "received where the record's own time is the wrong one)"
            )

    @staticmethod
    def time_reject(error: TimeError, what: str, path: str | None, value: object) -> Reject:
        """Returns the reject for a time that cannot be used; `what` names the field or header."""
        reason = Reason.TIME_OUT_OF_RANGE if isinstance(error, OutOfRangeError) else Reason.TIME_UNREADABLE
        return Reject(reason, f"{what}: {error}", path, shown_value(value))


def _never(_obj: dict[str, object]) -> bool:
    return False


def _is_identifier(plan: Plan, path: str) -> bool:
    """Whether numbers at this path are identifiers: by their name, if the rule has no settings for the path."""
    return meaning(last_key(path)).identifier and value_rule(plan.rule, path) is NO_VALUE_RULE


def _is_no_number(plan: Plan, path: str, value: object) -> bool:
    """Whether a text of digits is no number: an identifier, or another time than that of the values beside it."""
    key = last_key(path)
    return (
        meaning(key).text_identifier or (len(value) >= 10 and is_other_time(key, value))  # type: ignore[arg-type]
    ) and value_rule(plan.rule, path) is NO_VALUE_RULE


def _is_time_of_other(plan: Plan, path: str, value: object) -> bool:
    """Whether a number is another time than that of the values beside it.

    The name of its field, or of the object around it, says so (`{"timestamp": {"seconds": 1790000000}}`).
    """
    around = path.rpartition(".")[0]
    return (
        is_other_time(last_key(path), value) or (around != "" and is_other_time(last_key(around), value))
    ) and value_rule(plan.rule, path) is NO_VALUE_RULE


def is_list_of_times(key: str, value: object) -> bool:
    """Whether a field holds a list of times."""
    return (
        type(value) is list
        and bool(value)
        and (is_time_name(key) or is_possible_time_name(key))
        and all(map(looks_like_moment, value))
    )


def repeated_places(document: object, path: str, has_time: Callable[[dict[str, object]], bool]) -> frozenset[str]:
    """Returns the shown places that several values of a document share: `a.b` in `{"a.b": 1, "a": {"b": 2}}`."""
    once: set[str] = set()
    twice: set[str] = set()
    left: list[tuple[str, object, int]] = [(path, document, 0)]
    for at, value, depth in left:  # the list grows in this loop
        if depth > MAX_DEPTH or len(at) > LONGEST_PLACE:
            continue  # the walk refuses it
        if isinstance(value, dict):
            left += [(join(at, segment(key)), inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            naming = name_elements(value, has_time)
            if naming is None:
                left += [(join(at, str(index)), inner, depth + 1) for index, inner in enumerate(value)]
            else:
                left += [
                    (join(at, item_segment(name.parts)), inner, depth + 1)
                    for name, inner in zip(naming.names, value, strict=True)
                    if name.parts
                ]
        else:
            text = shown(at)
            (twice if text in once else once).add(text)
    return frozenset(twice)


def leaves(document: object) -> int:
    """Returns the number of leaves in a document: values of any kind."""
    return count(document)[0]


def repeated(key: str, path: str, value: object) -> Reject:
    """Returns the reject for a value whose key is in its object more than once."""
    return Reject(
        Reason.DUPLICATE_KEY,
        f"key {key!r} is in its object more than once; only the last value was taken",
        path,
        shown_value(value),
    )


def shown_value(value: object) -> str:
    """Returns a text for a value, for the readers of dead letters."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return shortened(repr(value))


def shortened(text: str) -> str:
    """Returns the text, or its first 79 characters and an ellipsis."""
    return text if len(text) <= 80 else text[:79] + "…"
