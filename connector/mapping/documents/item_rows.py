"""Rows out of lists of items: a message whose items all have one time is a row, as a flat object is.

The items are those of a rule with `iterate`, and an earlier message with the same items was taken by column. A message
that differs in more than its values, its time and its good qualities is no row: its items are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import chain
from typing import Any, Final, NamedTuple

from connector.mapping.documents.item_columns import (
    TIMES,
    Alike,
    are_equal,
    are_scalars,
    check_others,
    check_quality,
    columns_of,
    is_key,
    key_of,
)
from connector.mapping.documents.known_lists import variant_of
from connector.mapping.documents.shapes import Flat, Keys
from connector.mapping.plans import Plan
from connector.mapping.rules.rules import ARRIVAL_TIME, FIELD_TIME, Rule
from connector.mapping.rules.templates import ITEM
from connector.mapping.signals.shared_topics import may_name

_MOST_ROWS: Final = 100
"""The most lists of names of a topic that become rows; above, all are forgotten and learned again."""
_TEXTS: Final = {str}


def may_be_rows(rule: Rule) -> bool:
    """Whether messages of this rule may be rows, if no other rule takes their topic.

    Then a message is only decoded, and its samples depend on nothing but the items and the object around them.
    """
    return (
        rule.dynamic == (ITEM,)
        and rule.item_name is not None
        and is_key(rule.item_name)
        and len(rule.iterate) == 1
        and is_key(rule.iterate[0])
        and rule.time.kind in (FIELD_TIME, ARRIVAL_TIME)
        and not (rule.format or rule.sparkplug or rule.decode or rule.prepare or rule.select or rule.describes)
        and not (rule.when or rule.headers or rule.key or rule.skip or rule.align or rule.shared_inputs)
        and not (rule.time.correct_above_us or (rule.device is not None and ITEM in rule.device.variables))
    )


def use_rows(
    plan: Plan,
    alike: Alike,
    document: dict[str, Any],
    is_good: Callable[[object], bool],
    thinned: Collection[str],
) -> int:
    """Let the next messages like `document` be rows, if they may; returns the additional bytes in memory.

    `plan` is the plan of the topic, and `alike` are the items of the document. `is_good` says whether a quality is
    good. `thinned` has the inputs that are thinned.
    """
    names = plan.rule.item_name
    assert names is not None  # noqa: S101 - asked only where `may_be_rows` holds
    plan.lists = ((plan.rule.iterate[0].parts[0], names.parts),)
    variant = variant_of(document, plan.lists)
    flat = plan.flats.get(variant) if variant is not None else None
    grown = 0
    if flat is None:
        row = _row(plan.rule, alike, document, is_good)
        inputs = tuple(chain.from_iterable(alike.inputs))
        if row is None or variant is None or len(set(inputs)) < len(inputs) or not set(inputs).isdisjoint(thinned):
            return 0
        flat = row.flat(inputs)
        flat.watched = alike.plan.watched and may_name(document)
        if len(plan.flats) >= _MOST_ROWS:
            plan.flats.clear()
        plan.flats[variant] = flat
        grown = 300 * flat.width
    plan.flat, plan.clock = flat, alike.plan.clock
    return grown


def _row(rule: Rule, alike: Alike, document: dict[str, Any], is_good: Callable[[object], bool]) -> _Row | None:
    """Returns the facts about messages like this one; None if they are no rows."""
    key, layout = rule.iterate[0].parts[0], alike.layout
    around = {name: value for name, value in document.items() if name != key}
    time = key_of(rule.time.path, around) if layout.time is None else None
    if set(map(type, alike.identities)) != _TEXTS or not are_scalars(around.values()):
        return None  # equal names may be other texts, or there are more values around the items
    if layout.time is None and time is None and rule.time.kind == FIELD_TIME:
        return None  # the time is that of the record
    if layout.quality is None and rule.quality is not None and rule.quality.use != "keep":
        return None  # the quality is around the items
    return _Row(tuple(document), key, tuple(around), time, alike, [*alike.identities], is_good)


class _Row(NamedTuple):
    """The facts about messages with the same items."""

    keys: Keys
    """The keys of the message."""
    key: str
    """The key of the list."""
    around: Keys
    """The other keys of the message."""
    time_around: str | None
    """The key of the time, in the message; None if the items have the time, or nothing has it."""
    alike: Alike
    names: list[object]
    is_good: Callable[[object], bool]

    def flat(self, inputs: tuple[str, ...]) -> Flat:
        """Returns the same for the readers of rows."""
        layout, items = self.alike.layout, len(self.names)
        flat = Flat.of_lists(
            inputs,
            self.values,
            None if layout.time is None and self.time_around is None else self.time,
            len(self.keys) + len(self.alike.keys) * items,
            len(self.around) + layout.filtered * items,
        )
        flat.plan = self.alike.plan
        return flat

    def values(self, document: Any) -> list[Any]:
        """Returns the values of a message in the order of the inputs. Raises LookupError or TypeError if it differs."""
        layout, items = self.alike.layout, document[self.key]
        if tuple(document) != self.keys or type(items) is not list or len(items) != len(self.names):
            raise LookupError
        columns = columns_of(items)
        if (
            tuple(columns) != self.alike.keys
            or columns[self.alike.name] != self.names
            or (layout.time is not None and not are_equal(columns[layout.time]))
            or not are_scalars([document[key] for key in self.around])
        ):
            raise LookupError
        if layout.quality is not None:
            check_quality(columns[layout.quality], self.is_good)
        check_others(layout, columns)
        return [*chain.from_iterable([columns[key] for key in layout.reads])]

    def time(self, document: Any) -> object:
        """Returns the time of a message. Raises LookupError if its type is not that of a time."""
        found = document[self.time_around] if self.time_around else document[self.key][0][self.alike.layout.time]
        if type(found) not in TIMES:
            raise LookupError
        return found
