"""The short way through the items of a rule with `iterate`: known names and known keys, without a walk for each item.

The walk of one item shows the inputs of all items with the same name and the same keys. An item that does not fit is
walked, and the walk reports its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from math import fsum, isfinite
from operator import itemgetter
from sys import float_info
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connector.mapping.documents.items import PayloadItem, element_of
from connector.mapping.documents.shapes import TIME, Keys, Shape
from connector.mapping.documents.walk import Work
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
_MISFITS: Final = (LookupError, TypeError, TimeError, OverflowError, ValueError)
_NAMES: Final = frozenset((str, int))
"""The types of values that name an item. `True` and `1.0` equal 1, but are other texts."""
_TIMES: Final = frozenset((int, str, float))
_NUMBERS: Final = frozenset((int, float, bool))
_SCALARS: Final = frozenset((int, float, bool, str, type(None)))
_DICT: Final = {dict}
_AN_EPOCH: Final = 1_790_000_000

TakeShape = Callable[[Shape, dict[str, object], int, int, list[Sample]], int]
"""(shape, item, its time, the newest plausible time, the list to which its samples are added) → number of values that
are left out, or -1 for an item that does not fit."""


class _Layout(NamedTuple):
    """How items with certain keys are read."""

    time: str | None
    """The key with the time; None if the time is not in the item."""
    quality: str | None
    """The key with the quality; None if the item has none."""
    shape: Shape | None
    """The shape of the item, if its values are not only taken as they are; else None."""
    reads: Keys
    """The keys of the values that become samples."""
    others: tuple[tuple[str, bool | None], ...]
    """(key, entry of the shape) of the values that must be no samples."""
    filtered: int
    """Number of values that never become samples."""


class _Known(NamedTuple):
    """The facts about the items with one name and certain keys."""

    plan: Plan
    layout: _Layout
    inputs: tuple[str, ...]
    """The input IDs of the values that become samples."""


class _Alike(NamedTuple):
    """All items of a message, which have the same layout."""

    keys: Keys
    texts: tuple[str, ...]
    names: Sequence[object]
    layout: _Layout
    plan: Plan
    """The plan of the last item."""
    inputs: tuple[tuple[str, ...], ...]
    """For each of the values that become samples, the input IDs of all items."""


class KnownItems:
    """The known items of one topic under one rule."""

    def __init__(
        self, rule: Rule, bounds: TimeBounds, take_shape: TakeShape, is_good: Callable[[object], bool]
    ) -> None:
        """`is_good` says whether a quality is good."""
        self._rule = rule
        self._bounds = bounds
        self._take_shape = take_shape
        self._is_good = is_good
        self._identify = _identity(rule)
        named = rule.item_name if rule.dynamic == (ITEM,) else None
        self._name_key = named.parts[0] if named is not None and _is_key(named) else None
        """The key with the name, if nothing else tells items apart."""
        self._last: _Alike | None = None
        """The items of the last message: mostly the next message has the same."""
        self._layouts: dict[_Layout, _Layout] = {}
        self._known: dict[tuple[Keys, tuple[str, ...]], dict[object, _Known]] = {}
        """(keys of an item, texts of its message) → the name of the item, or what tells items apart → its facts."""

    def forget(self) -> None:
        """Forget all items."""
        self._known.clear()
        self._layouts.clear()
        self._last = None

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
        around_us: int | None = None
        known_keys = self._known
        if self._rule.time.kind == AUTO_TIME:
            try:
                around_us = time_around()
            except TimeError:
                known_keys = {}  # the walk refuses all items, also those with a time of their own
        members = type(found) is dict
        pairs: Iterable[tuple[str, Any]] = found.items() if type(found) is dict else zip(repeat(""), found)  # noqa: B905
        try:
            if known_keys and self._take_all(
                work, [*found.values()] if type(found) is dict else found, found, texts, around_us or time_around
            ):
                return
        except _MISFITS:
            pass
        samples, identify, read = work.samples, self._identify, self._rule.time.read
        oldest_us = self._bounds.oldest_us
        newest_us = work.arrival_us + self._bounds.newest_after_arrival_us
        keys: Keys | None = None
        names: dict[object, _Known] = {}
        good: object = MISSING
        last_time: object = MISSING
        last_us = 0
        for index, (key, obj) in enumerate(pairs):
            before = len(samples)
            try:
                if type(obj) is not dict:
                    raise LookupError
                if (own := tuple(obj)) != keys:
                    keys, names = own, known_keys.get((own, texts)) or {}
                name = identify(key, obj)
                if type(name) is not str:
                    _check_name(name)
                plan, layout, inputs = names[name]
                if layout.quality is not None and (quality := obj[layout.quality]) is not good:
                    if not self._is_good(quality):
                        raise LookupError
                    good = quality
                if layout.time is None:
                    if around_us is None:
                        around_us = time_around()
                    time_us = around_us
                else:
                    time = obj[layout.time]
                    if time != last_time or type(time) is not type(last_time):
                        if type(time) not in _TIMES:
                            raise LookupError
                        last_us = read(time)
                        last_time = time
                    time_us = last_us
                if not oldest_us <= time_us <= newest_us:
                    raise LookupError
                left_out = layout.filtered
                if layout.shape is not None:
                    left_out = self._take_shape(layout.shape, obj, time_us, newest_us, samples)
                    if left_out < 0:
                        raise LookupError
                for inner, input_id in zip(layout.reads, inputs):  # noqa: B905 - a known item has an input for each
                    value = obj[inner]
                    if type(value) in _NUMBERS:
                        samples.append((input_id, time_us, value))
                    else:
                        _check_other(value, None)
                        left_out += 1
                for inner, entry in layout.others:
                    _check_other(obj[inner], entry)
                if len(samples) == before or not all(-_MAX <= value <= _MAX for _, _, value in samples[before:]):
                    raise LookupError
            except _MISFITS:
                del samples[before:]
                yield element_of(self._rule, key, index, obj, around, members=members)
            else:
                work.filtered += left_out
                work.plan = plan
                if layout.time is None:
                    work.unused_time = ""

    def _take_all(
        self,
        work: Work,
        items: list[Any],
        found: list[Any] | dict[str, Any],
        texts: tuple[str, ...],
        around_us: int | Callable[[], int],
    ) -> bool:
        """Take all items at once, by column, if they are alike; returns False, or raises LookupError, if not.

        They are alike if all have the same keys and numbers as their values. `around_us` is the time around them, or
        the function that returns this time.
        """
        keys = tuple(items[0])
        if set(map(type, items)) != _DICT or [*chain.from_iterable(items)] != [*keys] * len(items):
            return False
        columns: dict[str, tuple[Any, ...]] = dict(zip(keys, zip(*map(dict.values, items))))  # noqa: B905
        names: Sequence[object]
        if self._name_key is not None:
            names = columns[self._name_key]
        else:
            names = tuple(map(self._identify, found if type(found) is dict else repeat(""), items))
        if not _NAMES.issuperset(map(type, names)):
            for name in names:
                _check_name(name)
        last = self._last
        if last is None or last.keys != keys or last.names != names or last.texts != texts:
            facts = list(map(self._known[keys, texts].__getitem__, names))
            layout = facts[-1].layout
            if layout.shape is not None or any(one.layout != layout for one in facts):
                return False
            last = _Alike(keys, texts, names, layout, facts[-1].plan, tuple(zip(*(one.inputs for one in facts))))  # noqa: B905
            self._last = last
        layout = last.layout
        if layout.quality is not None:
            for quality in _different(columns[layout.quality]):
                if not self._is_good(quality):
                    return False
        if layout.time is None:
            times = [around_us if type(around_us) is int else around_us()]
        else:
            written = _different(columns[layout.time])
            if not _TIMES.issuperset(map(type, written)):
                return False
            times = list(map(self._rule.time.read, written))
        newest_us = work.arrival_us + self._bounds.newest_after_arrival_us
        if not (self._bounds.oldest_us <= min(times) and max(times) <= newest_us):
            return False
        found_samples = []
        for key, ids in zip(layout.reads, last.inputs):  # noqa: B905 - an input for each
            values = columns[key]
            if not (_NUMBERS.issuperset(map(type, values)) and isfinite(fsum(values))):
                return False
            found_samples.append(zip(ids, times if len(times) > 1 else repeat(times[0]), values))  # noqa: B905
        for key, entry in layout.others:
            if entry is not False or not _SCALARS.issuperset(map(type, columns[key])):
                for cell in columns[key]:
                    _check_other(cell, entry)
        work.samples += found_samples[0] if len(found_samples) == 1 else chain.from_iterable(zip(*found_samples))  # noqa: B905
        work.filtered += layout.filtered * len(items)
        work.plan = last.plan
        if layout.time is None:
            work.unused_time = ""
        return True

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
        if simple and not reads:
            return
        others = [(key, entry) for key, entry in entries if entry is None or type(entry) is bool]
        checked = (time, quality, self._name_key)
        layout = _Layout(
            time,
            quality,
            None if simple else shape,
            tuple(key for key, _ in reads) if simple else (),
            tuple((k, e) for k, e in others if e is not False or k not in checked) if simple else (),
            len(others),
        )
        layout = self._layouts.setdefault(layout, layout)
        self._last = None
        inputs = tuple(entry for _, entry in reads)
        self._known.setdefault((tuple(obj), texts), {})[identity] = _Known(plan, layout, inputs)


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


def _different(cells: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the cells; only the first one if all are the same."""
    same = cells.count(cells[0]) == len(cells) and len(set(map(type, cells))) == 1
    return cells[:1] if same else cells


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
