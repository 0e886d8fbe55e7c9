"""The short way through the items of a rule with `iterate`: known names and known keys, without a walk for each item.

The walk of one item shows the inputs of all items with the same name and the same keys. An item that does not fit is
walked, and the walk reports its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from operator import itemgetter
from sys import float_info
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connector.mapping.documents.items import PayloadItem, element_of
from connector.mapping.documents.shapes import TIME, Keys, Shape
from connector.mapping.documents.walk import NO_TIME, Work
from connector.mapping.rules.paths import MISSING, Path
from connector.mapping.rules.rules import ARRIVAL_TIME, AUTO_TIME, FIELD_TIME, Quality, Rule
from connector.mapping.rules.templates import INDEX, ITEM, ITEM_FIELD
from connector.mapping.rules.values import DECIMAL_TEXT
from connector.mapping.time.times import (
    TimeBounds,
    TimeError,
    has_time_in_parts,
    is_possible_time_name,
    is_time_name,
    unknown_time,
)
from connector.records import Sample

if TYPE_CHECKING:
    from connector.mapping.plans import Plan

_MAX: Final = float_info.max
_MISFITS: Final = (LookupError, TypeError, TimeError)
_NAMES: Final = frozenset((str, int))
"""The types of values that name an item. `True` and `1.0` equal 1, but are other texts."""
_TIMES: Final = (int, str, float)
_AN_EPOCH: Final = 1_790_000_000

TakeShape = Callable[[Shape, dict[str, object], int, int, list[Sample]], int]
"""(shape, item, its time, the newest plausible time, the list to which its samples are added) → number of values that
are left out, or -1 for an item that does not fit."""


class _Known(NamedTuple):
    """The facts about the items with one name and certain keys."""

    plan: Plan
    time: str | None
    """The key with the time; None if the time is not in the item."""
    quality: str | None
    """The key with the quality; None if the item has none."""
    shape: Shape | None
    """The shape of the item, if its values are not only taken as they are; else None."""
    reads: tuple[tuple[str, str], ...]
    """(key, input ID) of the values that become samples."""
    others: tuple[tuple[str, bool | None], ...]
    """(key, entry of the shape) of the values that must be no samples."""
    filtered: int
    """Number of values that never become samples."""


class KnownItems:
    """The known items of one topic under one rule."""

    def __init__(self, rule: Rule, bounds: TimeBounds, take_shape: TakeShape, is_good: Callable[[object], bool]) -> None:
        """`is_good` says whether a quality is good."""
        self._rule = rule
        self._bounds = bounds
        self._take_shape = take_shape
        self._is_good = is_good
        self._identify = _identity(rule)
        self._known: dict[tuple[Keys, tuple[str, ...]], dict[object, _Known]] = {}
        """(keys of an item, texts of its message) → the name of the item, or what tells items apart → its facts."""

    def forget(self) -> None:
        """Forget all items."""
        self._known.clear()

    def take(
        self,
        work: Work,
        found: list[Any] | dict[str, Any],
        around: object,
        texts: tuple[str, ...],
        time_around: Callable[[], int],
    ) -> Iterator[PayloadItem]:
        """Add the samples of known items to `work`; yields every other item at its place between them.

        `found` has the items, `around` is the object with them, and `texts` tell messages apart. `time_around` returns
        the time of items without a time of their own, or raises `TimeError`.
        """
        samples, known_keys, identify, read = work.samples, self._known, self._identify, self._rule.time.read
        oldest_us = self._bounds.oldest_us
        newest_us = work.arrival_us + self._bounds.newest_after_arrival_us
        around_us: int | None = None
        if self._rule.time.kind == AUTO_TIME:
            try:
                around_us = time_around()
            except TimeError:
                known_keys = {}  # the walk refuses all items, also those with a time of their own
        pairs: Iterable[tuple[str, Any]] = found.items() if type(found) is dict else zip(repeat(""), found)  # noqa: B905
        keys: Keys | None = None
        names: dict[object, _Known] = {}
        good: object = MISSING
        last_time: object = MISSING
        last_us = filtered = 0
        for index, (key, obj) in enumerate(pairs):
            before = len(samples)
            left_out = 0
            try:
                if type(obj) is not dict:
                    raise LookupError
                if (own := tuple(obj)) != keys:
                    keys, names = own, known_keys.get((own, texts)) or {}
                name = identify(key, obj)
                if type(name) is not str:
                    _check_name(name)
                plan, time_key, quality_key, shape, reads, others, left_out = names[name]
                if quality_key is not None and (quality := obj[quality_key]) is not good:
                    if not self._is_good(quality):
                        raise LookupError
                    good = quality
                if time_key is None:
                    if around_us is None:
                        around_us = time_around()
                    if around_us == NO_TIME:
                        raise LookupError
                    time_us = around_us
                    work.unused_time = ""
                else:
                    time = obj[time_key]
                    if time != last_time or type(time) is not type(last_time):
                        if type(time) not in _TIMES:
                            raise LookupError
                        last_us = read(time)
                        last_time = time
                    if not oldest_us <= last_us <= newest_us:
                        raise LookupError
                    time_us = last_us
                if shape is not None:
                    left_out = self._take_shape(shape, obj, time_us, newest_us, samples)
                    if left_out < 0:
                        raise LookupError
                for inner, input_id in reads:
                    value = obj[inner]
                    kind = type(value)
                    if kind is float or kind is int or kind is bool:
                        if not -_MAX <= value <= _MAX:
                            raise LookupError
                        samples.append((input_id, time_us, value))
                    else:
                        _check_other(value, None)
                        left_out += 1
                for inner, entry in others:
                    _check_other(obj[inner], entry)
                if len(samples) == before:
                    raise LookupError
            except _MISFITS:
                del samples[before:]
                yield element_of(self._rule, key, index, obj, around, members=type(found) is dict)
            else:
                filtered += left_out
                work.plan = plan
        work.filtered += filtered

    def learn(self, plan: Plan, name: str, obj: dict[str, object], shape: Shape, texts: tuple[str, ...]) -> None:
        """Learn the items with the keys of `obj`, which was walked before; `name` is its key in the object around."""
        rule = plan.rule
        time = shape.time_key if rule.time.kind == AUTO_TIME else _key_of_time(rule.time.path, obj)
        if rule.time.kind == AUTO_TIME and (time is None or not is_time_name(time)):
            if any(is_possible_time_name(key) for key in obj if key != time):
                return  # its value decides whether it is the time
            if time is None and (has_time_in_parts(obj) or unknown_time(dict.fromkeys(obj, _AN_EPOCH))):
                return
        try:
            identity = self._identify(name, obj)
            _check_name(identity)
        except (LookupError, TypeError):
            return
        quality = _key_of_quality(rule.quality, obj)
        entries = list(zip(shape.keys, shape.entries, strict=True))
        simple = not shape.guarded and shape.conversions is None and not any(type(e) is Shape for e in shape.entries)
        reads = [(key, entry) for key, entry in entries if type(entry) is str and entry != TIME]
        others = [(key, entry) for key, entry in entries if entry is None or type(entry) is bool]
        self._known.setdefault((tuple(obj), texts), {})[identity] = _Known(
            plan,
            time,
            quality,
            None if simple else shape,
            tuple(reads) if simple else (),
            tuple((k, e) for k, e in others if e is not False or k not in (time, quality)) if simple else (),
            len(others),
        )


def has_known_items(rule: Rule) -> bool:
    """Whether items of the rule may be known: nothing but the item and the objects around it makes its samples."""
    time, quality = rule.time, rule.quality
    paths = () if time.path is None else time.path.either or (time.path,)
    return (
        len(rule.iterate) == 1
        and rule.iterate[0].plain
        and not (rule.parallel or rule.combine or rule.expressions or INDEX in rule.dynamic)
        and (time.kind in (AUTO_TIME, ARRIVAL_TIME) or (time.kind == FIELD_TIME and all(map(_is_key, paths))))
        and (quality is None or quality.use == "keep" or _is_key(quality.path))
    )


def _is_key(path: Path) -> bool:
    return path.plain and len(path.parts) == 1


def _key_of_time(path: Path | None, obj: dict[str, object]) -> str | None:
    paths = () if path is None else path.either or (path,)
    return next((path.parts[0] for path in paths if path.parts[0] in obj), None)


def _key_of_quality(quality: Quality | None, obj: dict[str, object]) -> str | None:
    key = None if quality is None or quality.use == "keep" else quality.path.parts[0]
    return key if key in obj else None


def _identity(rule: Rule) -> Callable[[str, dict[str, object]], object]:
    """Returns the function (key of an item, item) → what tells the plans of items apart: one value, or a tuple."""
    paths: list[Path | None] = []
    for variable in rule.dynamic:
        if variable == ITEM and rule.item_name is not None:
            paths.append(rule.item_name)
        elif variable == ITEM:
            paths.append(None)
        elif variable.startswith(ITEM_FIELD):
            paths.append(rule.paths[variable])
    if len(paths) > 1:
        return lambda key, obj: tuple(key if path is None else path.find(obj) for path in paths)
    if not paths or (path := paths[0]) is None:
        return (lambda key, _: key) if paths else (lambda _key, _: "")
    if not _is_key(path):
        return lambda _, obj: path.find(obj)
    get = itemgetter(path.parts[0])
    return lambda _, obj: get(obj)


def _check_name(name: object) -> None:
    """Raise LookupError if it is not certain that equal names are equal texts."""
    if not (_NAMES.issuperset(map(type, name)) if type(name) is tuple else type(name) in _NAMES):
        raise LookupError


def _check_other(value: object, entry: bool | None) -> None:
    """Raise LookupError for a value that may become a sample; `entry` is that of the shape."""
    if value is None or (entry is False and not isinstance(value, dict | list)):
        return
    if isinstance(value, dict | list | int | float) or (
        entry is None and type(value) is str and DECIMAL_TEXT.fullmatch(value)
    ):
        raise LookupError
