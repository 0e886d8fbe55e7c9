"""Values out of several fields, and several out of one: registers, bits, scales and offsets in other fields, limits.

A document gets its combined values before it is walked: a value takes the place of its parts, and the bits of an
integer become an object. A part is null then, so that the walk counts it as left out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from connector.mapping.documents.field_names import meaning
from connector.mapping.documents.item_names import name_elements
from connector.mapping.documents.places import item_segment, shown
from connector.mapping.documents.walk import leaves
from connector.mapping.plans import nearest
from connector.mapping.rules.numbers import LOOSE_TEXT
from connector.mapping.rules.paths import MISSING, Path, lookup
from connector.mapping.rules.scaling import scaling
from connector.mapping.rules.values import LIMIT, PLAIN, Conversion, ValueRejectedError
from connector.mapping.time.times import is_other_time, is_possible_time_name, is_time_name, looks_like_moment
from connector.records import Reason, Reject

LIMIT_SIGNAL: Final = "_limit"
"""The end of the name of a signal that marks limits."""
BARE: Final = "(value)"
"""The key of a payload that is a number itself, beside the mark of its limit."""
_BETWEEN_WORDS: Final = re.compile(r"[\s,;\[\]]+")
_WORD_TEXT: Final = re.compile(r"-?\d{1,5}", re.ASCII)
_MOST_TEXT: Final = 400
_WORD: Final = 2**16
_GREATEST_EXACT: Final = 2**53
_GREATEST_EXPONENT: Final = 30
_MOST_DEPTH: Final = 32
_SCALARS: Final = (int, float, str)
_scaling: Final = lru_cache(1000)(scaling)

Parts: TypeAlias = tuple[str, ...]
"""The keys and places of lists that lead to a value."""


@dataclass(frozen=True, slots=True)
class FieldNumber:
    """A number in a field of the document: a scale or an offset."""

    what: str
    """The name of the setting, for people."""
    path: Path | None = None
    """The path of the field; None if the path of the value is a part of it, between `before` and `after`."""
    before: str = ""
    after: str = ""
    power_of_ten: bool = False
    default: float | None = None

    def field_of(self, place: str) -> Path:
        """Returns the path of the field for the value at `place`."""
        if self.path is not None:
            return self.path
        text = f"{self.before}{place}{self.after}"
        return Path(text, tuple(text.split(".")))

    def is_field(self, place: str) -> bool:
        """Whether `place` is that of such a field for some value."""
        if self.path is not None:
            return self.path.plain and place == self.path.dotted
        around = len(self.before) + len(self.after)
        return len(place) > around and place.startswith(self.before) and place.endswith(self.after)

    def of(self, path: Path, document: object, outer: Sequence[object]) -> float:
        """Returns the number at `path`. Raises `ValueRejectedError`."""
        found = nearest(path, document, tuple(outer))
        if found is MISSING or found is None:
            if self.default is None:
                raise _refused(
                    f"its {self.what} is missing: there is no field {path.text!r}; set {self.what}.default in the "
                    "rule, or let the sender add the field"
                )
            found = self.default
        elif isinstance(found, str) and LOOSE_TEXT.fullmatch(found.strip()):
            found = float(found)
        if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
            raise _refused(f"its {self.what} in the field {path.text!r} is no number: {found!r:.40}")
        if not self.power_of_ten:
            return found
        if found != int(found) or abs(found) > _GREATEST_EXPONENT:
            raise _refused(
                f"its {self.what} in the field {path.text!r} is {found}, and no exponent from -{_GREATEST_EXPONENT} to "
                f"{_GREATEST_EXPONENT}; in SunSpec -32768 means that the device has no such value"
            )
        return float(f"1e{int(found)}")


@dataclass(frozen=True, slots=True)
class Words:
    """Registers of 16 bits that are one number."""

    of: tuple[Path, ...]
    """The fields with one register each, or the only field, with a list or a text of all registers."""
    count: int
    read: Callable[[bytes], float]

    def number(self, found: list[object]) -> object:
        """Returns the number of what was found at the fields; `MISSING` if nothing was. Raises `ValueRejectedError`."""
        if all(one is MISSING or one is None for one in found):
            return MISSING
        lacking = [path.text for path, one in zip(self.of, found, strict=True) if one is MISSING or one is None]
        if lacking:
            raise _refused(f"a register is missing: there is no field {lacking[0]!r}")
        only = found[0] if len(found) == 1 else None
        if isinstance(only, list):
            found = only
        elif isinstance(only, str) and len(only) <= _MOST_TEXT:
            found = [one for one in _BETWEEN_WORDS.split(only) if one]
        if len(found) != self.count:
            raise _refused(f"{len(found)} registers where the type of words needs {self.count}")
        return self.read(struct.pack(f">{self.count}H", *map(_word, found)))


@dataclass(frozen=True, slots=True)
class Bits:
    """A part of an integer: the boolean at `lowest` if `count` is None, else a number of `count` bits."""

    name: str
    lowest: int
    count: int | None = None


class Combined(NamedTuple):
    """A document with its combined values."""

    document: object
    beside: dict[str, object]
    """Path → a value that has no place in the document, which is a list."""
    rejects: list[Reject]
    filtered: int
    """The number of further values that are left out; less than 0 if the document has nulls that are no values."""


@dataclass(frozen=True, slots=True)
class Combination:
    """How a value is made."""

    parts: Parts = ()
    """The place of the value."""
    path: Path | None = None
    """The JMESPath that finds the value; None if the value stands at its place."""
    conversion: Conversion = PLAIN
    """The conversion to the number that is scaled."""
    words: Words | None = None
    scale: FieldNumber | float = 1.0
    offset: FieldNumber | float = 0.0
    bits: tuple[Bits, ...] = ()
    marks_limits: bool = False

    @property
    def in_fields(self) -> tuple[FieldNumber, ...]:
        """The scale and the offset that stand in fields."""
        return tuple(one for one in (self.scale, self.offset) if isinstance(one, FieldNumber))


class Combiner:
    """Makes the combined values of a rule's documents."""

    def __init__(
        self, named: Sequence[Combination], others: Combination | None = None, known: Collection[str] = ()
    ) -> None:
        """`named` are for values that the rule names, `others` for all values whose path is not in `known`.

        `known` has the paths of all values that the rule names, and of its time and quality.
        """
        self._named = named
        self._others = others
        self._known = known

    def combine(self, document: object, outer: Sequence[object]) -> Combined:
        """Returns the document with its combined values; the document itself is not changed.

        `outer` are the objects around the document, from the inside out.
        """
        work = _Work(document, outer)
        for one in self._named:
            parts = one.parts if one.path is not None else find_parts(document, one.parts)
            work.used.update(field.field_of(".".join(parts)).parts for field in one.in_fields)
            if one.words is not None:
                work.put_words(one, one.words)
            else:
                work.put(one, parts, lookup(document, parts) if one.path is None else one.path.find(document))
        known = {find_parts(document, tuple(place.split("."))) for place in self._known} if self._others else set()
        for parts, value in _leaves(document) if self._others is not None else ():
            assert self._others is not None  # noqa: S101 - asked above
            if any(field.is_field(".".join(parts)) for field in self._others.in_fields):
                work.used.add(parts)
            elif parts not in known and not _is_no_measurement(parts, value):
                work.put(self._others, parts, value, keeps_text=True)
        for parts in work.used:
            if parts and ".".join(parts) not in self._known and isinstance(lookup(work.document, parts), _SCALARS):
                work.set(parts, None)
        return Combined(work.document, work.beside, work.rejects, work.filtered)


def find_parts(document: object, parts: Parts) -> Parts:
    """Returns the keys and places of lists that lead to a value, where `parts` may have names of items for places.

    Returns `parts` itself if the document has no such value.
    """
    found: list[str] = []
    at = document
    for part in parts:
        key = part
        if isinstance(at, list) and not _is_index(at, part):
            naming = name_elements(at, _has_time)
            names = [] if naming is None else [shown(item_segment(name.parts)) for name in naming.names]
            key = str(names.index(part)) if part in names else ""
        if isinstance(at, list) and key:
            at = at[int(key)]
        elif isinstance(at, dict) and part in at:
            at = at[part]
        else:
            return parts
        found.append(key)
    return tuple(found)


def _has_time(obj: dict[str, object]) -> bool:
    return any(map(is_time_name, obj))


class _Work:
    """A document on its way."""

    def __init__(self, document: object, outer: Sequence[object]) -> None:
        self.document: Any = document
        self.beside: dict[str, object] = {}
        self.rejects: list[Reject] = []
        self.filtered = 0
        self.used: set[Parts] = set()
        """The places of fields with scales and offsets."""
        self._original = document
        self._outer = outer
        self._taken: set[Parts] = set()
        self._copies: dict[int, object] = {}
        """`id` → a copy that belongs to this work."""

    def put_words(self, one: Combination, words: Words) -> None:
        """Put the number of some registers in their place, or make a reject."""
        own = find_parts(self._original, one.parts)
        of = [find_parts(self._original, path.parts) if path.plain else () for path in words.of]
        found = [
            lookup(self._original, parts) if path.plain else path.find(self._original)
            for path, parts in zip(words.of, of, strict=True)
        ]
        try:
            number = words.number(found)
        except ValueRejectedError as error:
            self._reject(own, error, found)
            number = None
        if number is MISSING:
            return
        for path, parts, register in zip(words.of, of, found, strict=True):
            if path.plain and path.parts != one.parts and register is not MISSING:
                self._take(parts, register)
        if number is None:
            self._give_up(own)
            return
        if any(path.parts == one.parts for path in words.of):
            self.filtered += max(1, leaves(found[0])) - 1
        elif any(path.plain for path in words.of):
            self.filtered -= 1  # the value stands for one of its registers
        self.put(one, own, number)

    def _take(self, parts: Parts, register: object) -> None:
        """Take a register out of the document; it is counted as left out."""
        if parts in self._taken:
            self.filtered += 1
            return
        self._taken.add(parts)
        self.filtered += max(1, leaves(register)) - (1 if parts else 0)
        if parts:
            self.set(parts, None)
        else:
            self.document = {}

    def _give_up(self, parts: Parts) -> None:
        """Put null in the place of a value that is a reject, if the document has this place."""
        if lookup(self.document, parts) is not MISSING:
            self.set(parts, None)
        self.filtered -= 1  # the walk counts the null, or the registers are counted

    def put(self, one: Combination, parts: Parts, value: object, *, keeps_text: bool = False) -> None:
        """Put a combined value in the place of `value`, or make a reject. Objects, lists and null stay as they are.

        With `keeps_text`, a text that is no number stays, too.
        """
        if not isinstance(value, bool | int | float | str):
            return
        limit = LIMIT.fullmatch(value) if one.marks_limits and isinstance(value, str) else None
        try:
            number = one.conversion.apply(value if limit is None else limit[2], _no_state)
            if isinstance(number, str):  # FILTERED
                if not (keeps_text and isinstance(value, str)):
                    self.set(parts, None)
                return
            if one.in_fields:
                number = _scaling(self._number(one.scale, parts), self._number(one.offset, parts))(number)
            self.set(parts, _parts_of(number, one.bits) if one.bits else number)
        except ValueRejectedError as error:
            self._reject(parts, error, value)
            self._give_up(parts)
            return
        if one.marks_limits:
            sign = 0 if limit is None else -1 if limit[1] in "<≤" else 1
            if parts:
                self.set((*parts[:-1], parts[-1] + LIMIT_SIGNAL), sign)
            else:
                self.document = {BARE: number, BARE + LIMIT_SIGNAL: sign}

    def _number(self, field: FieldNumber | float, parts: Parts) -> float:
        if not isinstance(field, FieldNumber):
            return field
        return field.of(field.field_of(".".join(parts)), self._original, self._outer)

    def _reject(self, parts: Parts, error: ValueRejectedError, value: object) -> None:
        self.rejects.append(Reject(error.reason, str(error), ".".join(parts) or "(top)", f"{value!r:.80}"))

    def set(self, parts: Parts, value: object) -> None:
        """Set a value, in copies of the objects and lists around it."""
        if not parts:
            self.document = value
            return
        if isinstance(self.document, list) and not _is_index(self.document, parts[0]):
            self.beside[".".join(parts)] = value
            return
        self.document = at = self._own(self.document if isinstance(self.document, dict | list) else {})
        for number, part in enumerate(parts[:-1]):
            inner = at[int(part)] if isinstance(at, list) else at.get(part)
            if not isinstance(inner, dict) and not (isinstance(inner, list) and _is_index(inner, parts[number + 1])):
                parts = (*parts[:number], ".".join(parts[number:]))  # a key that has dots itself
                break
            at[int(part) if isinstance(at, list) else part] = inner = self._own(inner)
            at = inner
        at[int(parts[-1]) if isinstance(at, list) else parts[-1]] = value

    def _own(self, value: Any) -> Any:
        if id(value) in self._copies:
            return value
        copy = value.copy()
        self._copies[id(copy)] = copy
        return copy


def _is_index(value: list[object], part: str) -> bool:
    return part.isdecimal() and part.isascii() and int(part) < len(value)


def _word(value: object) -> int:
    if isinstance(value, str) and _WORD_TEXT.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_WORD // 2 <= value < _WORD:
        raise _refused(f"{value!r:.40} is no register of 16 bits: an integer from 0 to 65535, or from -32768 to 32767")
    return value % _WORD


def _parts_of(number: float, bits: tuple[Bits, ...]) -> dict[str, int]:
    if not 0 <= number <= (2**64 if isinstance(number, int) else _GREATEST_EXACT) or number != int(number):
        raise _refused(
            f"{number!r:.40} has no bits: bits are parts of an integer that is not negative; let the sender write the "
            "word as an unsigned integer (WORD, UINT)"
        )
    whole = int(number)
    return {
        one.name: bool(whole >> one.lowest & 1) if one.count is None else whole >> one.lowest & ((1 << one.count) - 1)
        for one in bits
    }


def _leaves(document: object) -> Iterator[tuple[Parts, object]]:
    left: list[tuple[Parts, object]] = [((), document)]
    for parts, value in left:  # the list grows in this loop
        if len(parts) > _MOST_DEPTH:
            continue  # the walk refuses it
        if isinstance(value, dict):
            left += [((*parts, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [((*parts, str(index)), inner) for index, inner in enumerate(value)]
        else:
            yield parts, value


def _is_no_measurement(parts: Parts, value: object) -> bool:
    """Whether a value is a time or an identifier by its name, or no number by its type."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return True
    if not parts:
        return False
    key = parts[-1]
    known = meaning(key)
    return (
        (known.text_identifier if isinstance(value, str) else known.identifier)
        or is_time_name(key)
        or (is_possible_time_name(key) and looks_like_moment(value))
        or is_other_time(key, value)
    )


def _refused(message: str) -> ValueRejectedError:
    return ValueRejectedError(Reason.NOT_A_NUMBER, message)


def _no_state(_text: str) -> int:
    raise _refused("states are not combined")
