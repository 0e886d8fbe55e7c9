"""The short way through the items of a rule with `iterate`: known names and known keys, without a walk for each item.

The walk of one item shows the inputs of all items with the same name and the same keys. An item that does not fit is
walked, and the walk reports its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat
from math import fsum, isfinite
from operator import itemgetter
from sys import float_info
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connector.mapping.documents.item_columns import (
    MISFITS,
    TIMES,
    Alike,
    Columns,
    Layout,
    are_equal,
    check_identities,
    check_identity,
    check_other,
    check_others,
    check_quality,
    columns_of,
    is_key,
    key_of,
)
from connector.mapping.documents.item_rows import may_be_rows, use_rows
from connector.mapping.documents.items import PayloadItem, element_of
from connector.mapping.documents.shapes import TIME, Flat, Keys, Shape
from connector.mapping.documents.walk import Work
from connector.mapping.rules.paths import Path
from connector.mapping.rules.rules import ARRIVAL_TIME, AUTO_TIME, FIELD_TIME, Rule
from connector.mapping.rules.templates import INDEX, ITEM, ITEM_FIELD
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
_NUMBERS: Final = frozenset((int, float, bool))
_ALONE: Final = 3
"""So few items are taken one by one if they are not alike."""
_AN_EPOCH: Final = 1_790_000_000

TakeShape = Callable[[Shape, dict[str, object], int, int, list[Sample]], int]
"""(shape, item, its time, the newest plausible time, the list to which its samples are added) → number of values that
are left out, or -1 for an item that does not fit."""


class _Known(NamedTuple):
    """The facts about the items with one name and certain keys."""

    plan: Plan
    layout: Layout
    inputs: tuple[str, ...]
    """The input IDs of the values that become samples."""


class Surroundings:
    """What the samples of items depend on, outside of the items."""

    __slots__ = ("_good_around", "_is_good", "_time_around", "_time_us", "around", "newest_us", "size", "texts", "work")

    def __init__(
        self,
        work: Work,
        around: Any,
        texts: tuple[str, ...],
        time_around: Callable[[], int],
        good_around: Callable[[], bool],
    ) -> None:
        self.work = work
        self.around = around
        """The object around the items."""
        self.texts = texts
        """The texts that tell messages apart."""
        self.size = 0
        """The number of items."""
        self.newest_us = 0
        """The newest plausible time."""
        self._time_around = time_around
        self._time_us: int | None = None
        self._good_around = good_around
        self._is_good: bool | None = None

    def time_us(self) -> int:
        """Returns the time of items without a time of their own, in µs. Raises `TimeError`."""
        if self._time_us is None:
            self._time_us = self._time_around()
        return self._time_us

    def is_good(self) -> bool:
        """Returns whether items without a quality of their own may be taken."""
        if self._is_good is None:
            self._is_good = self._good_around()
        return self._is_good


class KnownItems:
    """The known items of one topic under one rule.

    Items that are all alike are taken at once, by column; otherwise each known item is taken alone.
    """

    def __init__(
        self,
        plan: Plan,
        bounds: TimeBounds,
        take_shape: TakeShape,
        is_good: Callable[[object], bool],
        thinned: Collection[str],
        grew: Callable[[int], None],
    ) -> None:
        """`plan` is the plan of the topic. `is_good` says whether a quality is good.

        `thinned` has the inputs that are thinned. `grew` is told the additional bytes in memory.
        """
        self._plan = plan
        self._rule = rule = plan.rule
        self._bounds = bounds
        self._take_shape = take_shape
        self._is_good = is_good
        self._thinned = thinned
        self._grew = grew
        self._gives_rows = may_be_rows(rule)
        self._identify = _identity(rule)
        named = rule.item_name if rule.dynamic == (ITEM,) else None
        self._name_key = named.parts[0] if named is not None and is_key(named) else None
        """The key with the name, if nothing else tells items apart."""
        self._known: dict[tuple[Keys, tuple[str, ...]], dict[object, _Known]] = {}
        """(keys of an item, texts of its message) → the name of the item, or what tells items apart → its facts."""
        self._layouts: dict[Layout, Layout] = {}
        """Each layout once: equal layouts are then compared at once."""
        self._last: Alike | None = None
        """The items of the last message whose items are alike: mostly the next message has the same."""
        self._tried: tuple[Alike, Keys] | None = None
        """The last items that could become rows or not, and the keys around them."""
        self._row: Flat | None = None
        """The row of these items; None if they cannot become a row."""

    def forget(self) -> None:
        """Forget all items."""
        self._known.clear()
        self._layouts.clear()
        self._last = self._tried = self._row = self._plan.flat = None
        self._plan.flats.clear()

    def take(self, message: Surroundings, found: list[Any] | dict[str, Any]) -> Iterator[PayloadItem]:
        """Add the samples of the known items in `found` to the message's; yields every other item at its place."""
        items: list[Any] = list(found.values()) if isinstance(found, dict) else found
        names = list(found) if isinstance(found, dict) else [""] * len(items)
        message.size = len(items)
        message.newest_us = message.work.arrival_us + self._bounds.newest_after_arrival_us
        readable = True
        if self._rule.time.kind == AUTO_TIME:
            try:
                message.time_us()
            except TimeError:
                readable = False  # the walk refuses all items, also those with a time of their own
        others = self._take_some(message, names, items, 0) if readable else iter(range(len(items)))
        members = isinstance(found, dict)
        for index in others:
            yield element_of(self._rule, names[index], index, items[index], message.around, members=members)

    def _take_some(self, message: Surroundings, names: list[str], items: list[Any], first: int) -> Iterator[int]:
        """Take known items; yields the index of every other item. `first` is the index of the first item.

        If not all are alike, each half may be.
        """
        with suppress(*MISFITS):
            self._take_alike(message, names, items)
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
            except MISFITS:
                del samples[before:]
                yield index

    def _take_alike(self, message: Surroundings, names: list[str], items: list[Any]) -> None:
        """Take all items at once, if all have the same keys, and numbers as their values.

        Otherwise, raises one of `MISFITS` and has taken nothing. `names` are those of `take`.
        """
        work, columns = message.work, columns_of(items)
        alike = self._alike(message.texts, tuple(columns), self._identities(names, items, columns))
        layout = alike.layout
        if layout.quality is not None:
            check_quality(columns[layout.quality], self._is_good)
        elif not message.is_good():
            raise LookupError
        if layout.time is None:
            times = [message.time_us()]
        else:
            cells = columns[layout.time]
            if not TIMES.issuperset(map(type, cells)):
                raise LookupError
            times = list(map(self._rule.time.read, cells[:1] if are_equal(cells) else cells))
        if not (self._bounds.oldest_us <= min(times) and max(times) <= message.newest_us):
            raise LookupError
        samples: list[Iterator[Sample]] = []
        for key, inputs in zip(layout.reads, alike.inputs, strict=True):
            values = columns[key]
            if not (_NUMBERS.issuperset(map(type, values)) and isfinite(fsum(values))):
                raise LookupError
            samples.append(zip(inputs, times if len(times) > 1 else repeat(times[0]), values))  # noqa: B905
        check_others(layout, columns)
        work.samples += samples[0] if len(samples) == 1 else chain.from_iterable(zip(*samples, strict=True))
        work.filtered += layout.filtered * len(items)
        _took(work, alike.plan, layout)
        if self._gives_rows and len(items) == message.size:
            self._use_rows(alike, message.around, is_row=len(times) == 1)

    def _use_rows(self, alike: Alike, around: Any, *, is_row: bool) -> None:
        """Let the next messages like this one be rows, if this one has one time for all of its items."""
        plan, keys = self._plan, tuple(around)
        if not is_row:
            plan.flat = None  # the next one is not likely to have one time, either
        elif self._tried is not None and self._tried[0] is alike and self._tried[1] == keys:
            plan.flat = self._row
        else:
            plan.flat = None
            self._tried = alike, keys
            self._grew(use_rows(plan, alike, around, self._is_good, self._thinned))
            self._row = plan.flat

    def _identities(self, names: list[str], items: list[dict[str, object]], columns: Columns) -> Sequence[object]:
        """Returns what tells the items apart, for each item. Raises LookupError if this is not certain."""
        if self._name_key is None:
            found: Sequence[object] = list(map(self._identify, names, items))
        else:
            found = columns[self._name_key]
        check_identities(found)
        return found

    def _alike(self, texts: tuple[str, ...], keys: Keys, identities: Sequence[object]) -> Alike:
        """Returns the facts about all items of a message. Raises LookupError if one is new, or if they differ."""
        last = self._last
        if last is not None and last.keys == keys and last.identities == identities and last.texts == texts:
            return last
        facts = list(map(self._known[keys, texts].__getitem__, identities))
        plan, layout, _ = facts[-1]
        if layout.shape is not None or list(map(itemgetter(1), facts)).count(layout) != len(facts):
            raise LookupError
        inputs = tuple(zip(*map(itemgetter(2), facts), strict=True))
        self._last = Alike(keys, texts, identities, self._name_key or "", layout, plan, inputs)
        return self._last

    def _take_one(self, message: Surroundings, name: str, item: Any) -> None:
        """Take a known item. Raises one of `MISFITS` for any other item; then some of its samples may be there."""
        if type(item) is not dict:
            raise LookupError
        work, samples, before = message.work, message.work.samples, len(message.work.samples)
        identity = self._identify(name, item)
        check_identity(identity)
        plan, layout, inputs = self._known[tuple(item), message.texts][identity]
        if not (message.is_good() if layout.quality is None else self._is_good(item[layout.quality])):
            raise LookupError
        if layout.time is None:
            time_us = message.time_us()
        elif type(item[layout.time]) in TIMES:
            time_us = self._rule.time.read(item[layout.time])
        else:
            raise LookupError
        if not self._bounds.oldest_us <= time_us <= message.newest_us:
            raise LookupError
        left_out = layout.filtered
        if layout.shape is not None:
            left_out = self._take_shape(layout.shape, item, time_us, message.newest_us, samples)
        for key, input_id in zip(layout.reads, inputs, strict=False):
            if type(value := item[key]) in _NUMBERS:
                samples.append((input_id, time_us, value))
            else:
                check_other(value, None)
                left_out += 1
        for key, entry in layout.others:
            check_other(item[key], entry)
        if left_out < 0 or len(samples) == before or not all(-_MAX <= sample[2] <= _MAX for sample in samples[before:]):
            raise LookupError
        work.filtered += left_out
        _took(work, plan, layout)

    def learn(self, plan: Plan, name: str, obj: dict[str, object], shape: Shape, texts: tuple[str, ...]) -> None:
        """Learn the items with the keys of `obj`, which was walked before; `name` is its key in the object around."""
        rule = plan.rule
        time = shape.time_key if rule.time.kind == AUTO_TIME else key_of(rule.time.path, obj)
        if rule.time.kind == AUTO_TIME and (time is None or not is_time_name(time)):
            if any(is_possible_time_name(key) for key in obj if key != time):
                return  # its value decides whether it is the time
            if time is None and (has_time_in_parts(obj) or unknown_time(dict.fromkeys(obj, _AN_EPOCH))):
                return
        try:
            identity = self._identify(name, obj)
            check_identity(identity)
        except (LookupError, TypeError):
            return
        quality = key_of(None if (says := rule.quality) is None or says.use == "keep" else says.path, obj)
        entries = list(zip(shape.keys, shape.entries, strict=True))
        simple = not shape.guarded and shape.conversions is None and not any(type(e) is Shape for e in shape.entries)
        reads = [(key, entry) for key, entry in entries if type(entry) is str and entry != TIME]
        if simple and not reads:
            return
        others = [(key, entry) for key, entry in entries if entry is None or type(entry) is bool]
        checked = (time, quality, self._name_key)
        layout = Layout(
            time,
            quality,
            None if simple else shape,
            tuple(key for key, _ in reads) if simple else (),
            tuple((k, e) for k, e in others if e is not False or k not in checked) if simple else (),
            len(others),
        )
        self._last = None
        if simple:  # only such items are compared
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
        and (time.kind in (AUTO_TIME, ARRIVAL_TIME) or (time.kind == FIELD_TIME and all(map(is_key, paths))))
        and (quality is None or quality.use == "keep" or is_key(quality.path))
    )


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
    if not is_key(path):
        return lambda _, obj: path.find(obj)
    get = itemgetter(path.parts[0])
    return lambda _, obj: get(obj)


def _took(work: Work, plan: Plan, layout: Layout) -> None:
    work.plan = plan
    if layout.time is None:
        work.unused_time = ""  # as the walk does
