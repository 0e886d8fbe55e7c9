"""The walk: once over a document, every leaf of it a sample, a reject, or counted as filtered.

The time of a value is that of the nearest object around it that has a time field, else the one that the rule says.
Elements of a list that carry a time of their own are readings of the same signals, so their index is no part of the
path; other elements are told apart by their index. Objects whose keys were seen before take a shorter way, which gives
the same: see `known_shapes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Final

from connector.formats.format import PayloadError
from connector.formats.text.json_payload import RepeatedKeys
from connector.mapping.plans import Plan, value_rule
from connector.mapping.rules.rules import AUTO_TIME
from connector.mapping.rules.values import DECIMAL_TEXT, NOT_FINITE, Conversion, ValueRejectedError
from connector.mapping.time.times import ReadTime, TimeBounds, TimeError, format_time, is_time_name
from connector.records import Reason, Record, Reject, Sample

MAX_DEPTH: Final = 32
_MAX_OTHER_NAMES: Final = 10_000
_LONGEST_NAME: Final = 100
"""Of a key that is remembered for being no time."""
NO_TIME: Final = -(2**62)
"""Stands in a sample for a time that the record does not have, until the sample is taken back."""


_SCALARS: Final = frozenset((str, int, float, bool, type(None)))


class Work:
    """One record on its way through the walk."""

    __slots__ = (
        "arrival_us",
        "filtered",
        "keys",
        "lacks",
        "no_time",
        "place",
        "plan",
        "read_time",
        "rejects",
        "samples",
        "skipped",
    )

    def __init__(self, record: Record, plan: Plan) -> None:
        self.plan = plan
        self.samples: list[Sample] = []
        self.rejects: list[Reject] = []
        self.filtered = 0
        self.skipped = 0
        self.keys = 0
        self.arrival_us = record.received_us or record.time_us
        self.read_time: ReadTime = plan.rule.time.read
        self.no_time: Reject | None = None
        """Why the record's own time cannot be used; values that need it have `NO_TIME`."""
        self.lacks: Mapping[str, str] = {}
        """What the plan lacks that input IDs are made of, and what there is instead."""
        self.place = ""
        """Where in the payload the document of this walk is, for rejects."""


class OutOfRangeError(TimeError):
    """Readable, but no plausible time of a measurement."""


class Walker:
    """Walks documents. `new_id` gives a path its input ID, None if its rule leaves it out; `learn` the number of a
    state's name."""

    def __init__(
        self,
        bounds: TimeBounds,
        max_values: int,
        new_id: Callable[[Plan, str], str | None],
        learn: Callable[[Plan, str, str], int],
    ) -> None:
        self._bounds = bounds
        self._max_values = max_values
        self._new_id = new_id
        self._learn = learn
        self._other_names: set[str] = set()
        """Keys that are known not to be times, so that they need not be looked at again."""

    def walk(self, work: Work, value: object, path: str, time_us: int) -> None:
        """Walk this document; where nothing in it says a time, its values have `time_us`."""
        look = work.plan.rule.time.kind == AUTO_TIME
        if isinstance(value, dict):
            self._object(work, value, path, time_us, look, 1)
        else:
            self._value(work, value, path, time_us, look, 0)

    def _object(self, work: Work, obj: dict[str, object], path: str, time_us: int, look: bool, depth: int) -> None:  # noqa: PLR0912
        plan = work.plan
        work.keys += len(obj)
        time_key: str | None = None
        if look:
            time_key = self.find_time(obj)
            if time_key is not None:
                try:
                    time_us = self.read_time(work, obj[time_key])
                except TimeError as error:
                    work.rejects.append(
                        self.time_reject(error, f"time field {time_key!r}", path or None, obj[time_key])
                    )
                    return
        ids = plan.ids
        samples = work.samples
        plain = not plan.conversions
        prefix = path + "." if path else ""
        for key, value in obj.items():
            kind = type(value)
            if plain and (kind is float or kind is int):
                if key == time_key:
                    continue
                at = prefix + key if prefix else key
                input_id = ids.get(at) or self._known_id(work, at, value)
                if at in plan.conversions:
                    self._value(work, value, at, time_us, look, depth)
                elif input_id is not None:
                    if isfinite(value):  # type: ignore[arg-type]
                        samples.append((input_id, time_us, value))  # type: ignore[arg-type]
                    else:
                        self._reject_value(work, at, value, Reason.NOT_FINITE, NOT_FINITE)
            elif key != time_key:
                self._value(work, value, prefix + key, time_us, look, depth)
        if type(obj) is RepeatedKeys:
            for key, value in obj.replaced:
                work.keys += 1
                work.rejects.append(repeated(key, prefix + key, value))

    def _value(self, work: Work, value: object, path: str, time_us: int, look: bool, depth: int) -> None:  # noqa: PLR0912
        if isinstance(value, dict | list):
            if depth >= MAX_DEPTH:
                work.rejects.append(
                    Reject(Reason.NESTED_TOO_DEEPLY, f"more than {MAX_DEPTH} levels deep", path or "(top)")
                )
            elif isinstance(value, dict):
                self._object(work, value, path, time_us, look, depth + 1)
            else:
                self._list(work, value, path, time_us, look, depth + 1)
            return
        plan = work.plan
        conversion = plan.conversions.get(path)
        if conversion is None and isinstance(value, str) and path not in plan.ids:
            rule = value_rule(plan.rule, path)
            conversion = None if rule is None else rule.conversion or plan.rule.conversion
        if conversion is not None:
            self._convert(work, value, path, time_us, conversion)
            return
        kind = type(value)
        number: float
        if kind is bool or kind is int or kind is float:
            number = value  # type: ignore[assignment]
        elif kind is str and DECIMAL_TEXT.fullmatch(value):  # type: ignore[call-overload]
            number = float(value)  # type: ignore[arg-type]
        else:
            work.filtered += 1  # text or null
            return
        input_id = plan.ids.get(path) or self._known_id(work, path, value)
        if input_id is None:
            return
        if path in plan.conversions:  # found out with the ID
            self._convert(work, value, path, time_us, plan.conversions[path])
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
                work.skipped += 1  # the rule wants it to be left out; other text and null are just no values
            return
        input_id = work.plan.ids.get(path) or self._known_id(work, path, value)
        if input_id is not None:
            work.samples.append((input_id, time_us, number))

    def _list(self, work: Work, items: list[object], path: str, time_us: int, look: bool, depth: int) -> None:
        for index, item in enumerate(items):
            if look and isinstance(item, dict) and self.find_time(item) is not None:
                self._object(work, item, path, time_us, look, depth)
            else:
                self._value(work, item, f"{path}.{index}" if path else str(index), time_us, look, depth)

    def _state(self, work: Work, path: str, text: str) -> int:
        """The number of a state's name. Raises `ValueRejectedError`."""
        refusal = self._refusal(work, path)
        if refusal is not None:
            raise ValueRejectedError(Reason.NO_IDENTITY, refusal)
        return self._learn(work.plan, path, text)

    def _refusal(self, work: Work, path: str) -> str | None:
        """Why this path must have no input ID, where what it is made of is not there; None if it may have one."""
        plan = work.plan
        value = value_rule(plan.rule, path) if plan.lacking else None
        names = plan.lacking & plan.rule.told_apart_by(value) if value is not None else None
        if not names:
            return None
        number = "" if plan.rule.number is None else f" {plan.rule.number + 1}"
        said = "; ".join(f"{{{name}}}: {work.lacks[name]}" for name in sorted(names))
        return f"what tells devices apart in rule{number} is not there ({said}); without, they would be one signal"

    def _known_id(self, work: Work, path: str, value: object) -> str | None:
        """The ID of a path whose look-up gave nothing: it is new, or a rule skips it, or it may have none."""
        plan = work.plan
        refusal = self._refusal(work, path)
        if refusal is not None:
            self.check_count(work)
            self._reject_value(work, path, value, Reason.NO_IDENTITY, refusal)
            return None
        if path in plan.ids:
            input_id = plan.ids[path]
        else:
            self.check_count(work)
            input_id = self._new_id(plan, path)
        if input_id is None:
            work.filtered += 1
            if path != plan.rule.time_path:
                work.skipped += 1
        return input_id

    def check_count(self, work: Work) -> None:
        """Asked before each new ID too: a message that is refused must not leave a million IDs behind."""
        if len(work.samples) + len(work.rejects) > self._max_values:
            raise PayloadError(
                Reason.TOO_MANY_VALUES,
                f"more than {self._max_values} values in one message (mapping.max_values)",
            )

    def _reject_value(self, work: Work, path: str, value: object, reason: Reason, message: str) -> None:
        where = f"{work.place}.{path}" if work.place and path else work.place or path
        work.rejects.append(Reject(reason, message, where or "(top)", cut(str(value))))

    # -- times ------------------------------------------------------------------------------------

    def find_time(self, obj: dict[str, object]) -> str | None:
        """The first key that is a time by its name: the same for the same object, whatever came before."""
        others = self._other_names
        for key, value in obj.items():
            if key in others:
                continue
            if not is_time_name(key):
                if len(others) >= _MAX_OTHER_NAMES:
                    others.clear()
                if len(key) <= _LONGEST_NAME:
                    others.add(key)
            elif not isinstance(value, dict | list):
                return key
        return None

    def read_time(self, work: Work, value: object) -> int:
        """A time as the rule reads it, within the bounds. Raises `TimeError`."""
        time_us = work.read_time(value)
        self.check_bounds(time_us, work.arrival_us)
        return time_us

    def check_bounds(self, time_us: int, arrival_us: int) -> None:
        """Raise `OutOfRangeError` for what is no plausible time of a measurement."""
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
        """The reject of a time that cannot be used."""
        reason = Reason.TIME_OUT_OF_RANGE if isinstance(error, OutOfRangeError) else Reason.TIME_UNREADABLE
        return Reject(reason, f"{what}: {error}", path, shown_value(value))


def leaves(document: object) -> int:
    """How many values stand in a document, whatever they are."""
    return count(document)[0]


def count(document: object) -> tuple[int, int]:
    """(leaves, keys) of a document."""
    keys = 0
    left = [document]
    found = 1
    for value in left:  # which grows
        if isinstance(value, dict):
            n = len(value)
            keys += n
            left += [inner for inner in value.values() if type(inner) not in _SCALARS]
        elif isinstance(value, list):
            n = len(value)
            left += [inner for inner in value if type(inner) not in _SCALARS]
        else:
            continue
        found += n - 1
    return found, keys


def repeated(key: str, path: str, value: object) -> Reject:
    """The reject of a value whose key stands more than once."""
    return Reject(
        Reason.DUPLICATE_KEY,
        f"key {key!r} stands more than once in its object; only the last value was taken",
        path,
        shown_value(value),
    )


def shown_value(value: object) -> str:
    """A value for the person who reads a dead letter."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return cut(repr(value))


def cut(text: str) -> str:
    """At most 80 characters of it."""
    return text if len(text) <= 80 else text[:79] + "…"
