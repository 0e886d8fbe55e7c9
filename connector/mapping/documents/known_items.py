"""The short way through the items of a rule with `iterate`: known names and known keys, without a walk for each item.

The walk of one item shows the inputs of all items with the same name and the same keys. An item that does not fit is
walked, and the walk reports its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, repeat
from math import fsum, isfinite
from operator import itemgetter
from sys import float_info
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connector.mapping.documents.items import PayloadItem, element_of
from connector.mapping.documents.shapes import TIME, Keys, Shape
from connector.mapping.documents.walk import Work
from connector.mapping.rules.paths import Path
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
_ALONE: Final = 3
"""So few items are taken one by one if they are not alike."""
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
    identities: Sequence[object]
    """What tells the items apart, for each item."""
    layout: _Layout
    plan: Plan
    """The plan of the last item."""
    inputs: tuple[tuple[str, ...], ...]
    """For each of the values that become samples, the input IDs of all items."""


class _Message(NamedTuple):
    """The message whose items are taken."""

    work: Work
    texts: tuple[str, ...]
    """The texts that tell messages apart."""
    time_around: Callable[[], int]
    """Returns the time of items without a time of their own, in µs. Raises `TimeError`."""
    newest_us: int
    """The newest plausible time."""


class KnownItems:
    """The known items of one topic under one rule.

    Items that are all alike are taken at once, by column; otherwise each known item is taken alone.
    """

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
        self._known: dict[tuple[Keys, tuple[str, ...]], dict[object, _Known]] = {}
        """(keys of an item, texts of its message) → the name of the item, or what tells items apart → its facts."""
        self._layouts: dict[_Layout, _Layout] = {}
        """Each layout once: equal layouts are then compared at once."""
        self._last: _Alike | None = None
        """The items of the last message whose items are alike: mostly the next message has the same."""

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

        `found` has the items, and `around` is the object with them. See `_Message` for `texts` and `time_around`.
        """
        items: list[Any] = list(found.values()) if isinstance(found, dict) else found
        names = list(found) if isinstance(found, dict) else [""] * len(items)
        newest_us = work.arrival_us + self._bounds.newest_after_arrival_us
        message = _Message(work, texts, cache(time_around), newest_us)
        readable = True
        if self._rule.time.kind == AUTO_TIME:
            try:
                message.time_around()
            except TimeError:
                readable = False  # the walk refuses all items, also those with a time of their own
        others = self._take_some(message, names, items, 0) if readable else iter(range(len(items)))
        for index in others:
            yield element_of(self._rule, names[index], index, items[index], around, members=isinstance(found, dict))

    def _take_some(self, message: _Message, names: list[str], items: list[Any], first: int) -> Iterator[int]:
        """Take known items; yields the index of every other item. `first` is the index of the first item.

        If not all are alike, each half may be.
        """
        with suppress(*_MISFITS):
            if self._take_alike(message, names, items):
                return
        if len(items) > _ALONE:
            half = len(items) // 2
            yield from self._take_some(message, names[:half], items[:half], first)
            yield from self._take_some(message, names[half:], items[half:], first + half)
            return
        samples = message.work.samples
        for index, (name, item) in enumerate(zip(names, items, strict=True), first):
            before = len(samples)
            try:
                self._take_one(message, name, item)
            except _MISFITS:
                del samples[before:]
                yield index

    def _take_alike(self, message: _Message, names: list[str], items: list[Any]) -> bool:
        """Take all items at once, if all have the same keys, and numbers as their values.

        Otherwise, returns False or raises one of `_MISFITS`, and has taken nothing. `names` are those of `take`.
        """
        work, keys = message.work, tuple(items[0])
        if set(map(type, items)) != _DICT or [*chain.from_iterable(items)] != [*keys] * len(items):
            return False
        columns: dict[str, tuple[Any, ...]] = dict(zip(keys, zip(*map(dict.values, items), strict=True), strict=True))
        alike = self._alike(message.texts, keys, self._identities(names, items, columns))
        if alike is None:
            return False
        layout = alike.layout
        if layout.quality is not None:
            cells = columns[layout.quality]
            if not all(self._is_good(quality) for _, quality in set(zip(map(type, cells), cells, strict=True))):
                return False
        if layout.time is None:
            times = [message.time_around()]
        else:
            times = list(map(self._read_time, _different(columns[layout.time])))
        if not (self._bounds.oldest_us <= min(times) and max(times) <= message.newest_us):
            return False
        samples: list[Iterator[Sample]] = []
        for key, inputs in zip(layout.reads, alike.inputs, strict=True):
            values = columns[key]
            if not (_NUMBERS.issuperset(map(type, values)) and isfinite(fsum(values))):
                return False
            samples.append(zip(inputs, times if len(times) > 1 else repeat(times[0]), values))  # noqa: B905
        for key, entry in layout.others:
            if entry is not False or not _SCALARS.issuperset(map(type, columns[key])):
                for value in columns[key]:
                    _check_other(value, entry)
        work.samples += samples[0] if len(samples) == 1 else chain.from_iterable(zip(*samples, strict=True))
        work.filtered += layout.filtered * len(items)
        _took(work, alike.plan, layout)
        return True

    def _identities(
        self, names: list[str], items: list[dict[str, object]], columns: dict[str, tuple[Any, ...]]
    ) -> Sequence[object]:
        """Returns what tells the items apart, for each item. Raises LookupError if this is not certain."""
        if self._name_key is None:
            found: Sequence[object] = tuple(map(self._identify, names, items))
        else:
            found = columns[self._name_key]
        if not _NAMES.issuperset(map(type, found)):
            for identity in found:
                _check_identity(identity)
        return found

    def _alike(self, texts: tuple[str, ...], keys: Keys, identities: Sequence[object]) -> _Alike | None:
        """Returns the facts about all items of a message; None if they differ. Raises LookupError if one is new."""
        last = self._last
        if last is not None and last.keys == keys and last.identities == identities and last.texts == texts:
            return last
        facts = list(map(self._known[keys, texts].__getitem__, identities))
        plan, layout, _ = facts[-1]
        if layout.shape is not None or list(map(itemgetter(1), facts)).count(layout) != len(facts):
            return None
        inputs = tuple(zip(*map(itemgetter(2), facts), strict=True))
        self._last = _Alike(keys, texts, identities, layout, plan, inputs)
        return self._last

    def _take_one(self, message: _Message, name: str, item: Any) -> None:
        """Take a known item. Raises one of `_MISFITS` for any other item; then some of its samples may be there."""
        if type(item) is not dict:
            raise LookupError
        work, samples, before = message.work, message.work.samples, len(message.work.samples)
        identity = self._identify(name, item)
        _check_identity(identity)
        plan, layout, inputs = self._known[tuple(item), message.texts][identity]
        if layout.quality is not None and not self._is_good(item[layout.quality]):
            raise LookupError
        time_us = message.time_around() if layout.time is None else self._read_time(item[layout.time])
        if not self._bounds.oldest_us <= time_us <= message.newest_us:
            raise LookupError
        left_out = layout.filtered
        if layout.shape is not None:
            left_out = self._take_shape(layout.shape, item, time_us, message.newest_us, samples)
        for key, input_id in zip(layout.reads, inputs, strict=False):
            if type(value := item[key]) in _NUMBERS:
                samples.append((input_id, time_us, value))
            else:
                _check_other(value, None)
                left_out += 1
        for key, entry in layout.others:
            _check_other(item[key], entry)
        if left_out < 0 or len(samples) == before or not all(-_MAX <= sample[2] <= _MAX for sample in samples[before:]):
            raise LookupError
        work.filtered += left_out
        _took(work, plan, layout)

    def _read_time(self, value: object) -> int:
        if type(value) not in _TIMES:
            raise LookupError
        return self._rule.time.read(value)

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
            _check_identity(identity)
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
        self._last = None
        layout = self._layouts.setdefault(layout, layout)
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


def _took(work: Work, plan: Plan, layout: _Layout) -> None:
    work.plan = plan
    if layout.time is None:
        work.unused_time = ""  # as the walk does


def _check_identity(identity: object) -> None:
    """Raise LookupError if it is not certain that equal identities are equal texts."""
    if not (_NAMES.issuperset(map(type, identity)) if type(identity) is tuple else type(identity) in _NAMES):
        raise LookupError


def _check_other(value: object, entry: bool | None) -> None:
    """Raise LookupError for a value that may become a sample; `entry` is that of the shape."""
    if value is None or (entry is False and not isinstance(value, dict | list)):
        return
    if isinstance(value, dict | list | int | float) or (
        entry is None and type(value) is str and DECIMAL_TEXT.fullmatch(value)
    ):
        raise LookupError
