"""Converts a value of a payload to the number that is stored, or rejects the value with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Literal
from unicodedata import category

from connector.mapping.rules.numbers import GROUPED_START, LOOSE_TEXT, AmbiguousError, with_decimal_comma
from connector.mapping.rules.scaling import scaling
from connector.records import Reason

NUMBER_TEXT: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
"""Text in the notation of numbers in JSON."""
DECIMAL_TEXT: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+([eE][+-]?\d+)?|[eE][+-]\d+)?", re.ASCII)
"""Text that is read as a number without a setting. `12e4` is left out: it may be a part of a MAC address or a serial
number."""
_NUMBER_AND_REST: Final = re.compile(r"([+-]?[.,]*\d[\d.,]*(?:[eE][+-]?\d+)?)(.*)", re.ASCII | re.DOTALL)
LIMIT: Final = re.compile(r"\s*([<>≤≥])=?\s*(.+)", re.DOTALL)
"""A limit in place of a value, as laboratories and sensors at the end of their range write it: `<0.05`, `> 100`."""
_BEGINS_AS_NUMBER: Final = re.compile(r"\s*[+\-\N{MINUS SIGN}]?(?:[.,]?\d|PT?\d)", re.ASCII)
_SMALL_DIGITS: Final = frozenset("¹²³⁰⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉")
"""Raised and lowered digits, as in `m³` and `CO₂`."""
_NO_UNIT_HAS: Final = frozenset(
    "\t\n\r\v\f:;.,'_|\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{ARABIC DECIMAL SEPARATOR}\N{ARABIC THOUSANDS SEPARATOR}\N{FULLWIDTH COLON}"
)
"""Signs between the parts of times, addresses and long numbers."""
_UNITS_WITHOUT_LETTERS: Final = frozenset('%‰‱"\N{PRIME}\N{DOUBLE PRIME}')
_SYMBOLS: Final = ("So", "Sc")
"""Unicode's categories of `°`, `℃`, `€`."""
_LONGEST_UNIT: Final = 20
_LONGEST: Final = 400

Decision = Literal["reject", "drop"]
FILTERED: Final = "filtered"
"""The result of a conversion for a value that is left out on purpose."""


class ValueRejectedError(Exception):
    """The payload has a value that must not be stored; `reason` and the text say why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class States:
    """Texts that stand for the states of an enum signal."""

    known: Mapping[str, int]
    """Text → number, as declared; capitals do not matter."""
    learn: bool = False
    """Whether an unknown text gets the next free number, forever."""
    unknown: Decision = "reject"
    """The decision about an unknown text, if it is not learned."""

    def find(self, text: str) -> int | None:
        """Returns the declared number of a text; None if the text is unknown."""
        number = self.known.get(text)
        if number is not None:
            return number
        folded = text.strip().casefold()
        return next((number for known, number in self.known.items() if known.casefold() == folded), None)


@dataclass(frozen=True, slots=True)
class Conversion:
    """The conversion of a value, in this order: missing; states; text to number; scale and offset; the range."""

    scale: float = 1.0
    offset: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    out_of_range: Decision = "reject"
    not_finite: Decision = "reject"
    missing: frozenset[float | str] = frozenset()
    """Numbers (before scaling) and texts (in small letters) that mean: no reading."""
    decimal_comma: bool = False
    strip_unit: bool = False
    notation: Callable[[str], float | None] | None = None
    """Text → number, for other notations than that of JSON."""
    digits_of: str = ""
    """The numeral system of the texts (`hex` …), in which a number that is no text has lost its digits; else empty."""
    limit: Literal["reject", "value", "drop"] = "reject"
    """The decision about a limit, such as `<0.05`."""
    text: Decision = "drop"
    """The decision about a text that is no number."""
    unclear: Decision = "reject"
    """The decision about a text that has a number, but is not certainly this number."""
    states: States | None = None
    scaled_before: bool = False
    """Whether the values come scaled to this conversion."""
    scaled: Callable[[float], float] | None = field(init=False, default=None, compare=False)
    """Value → scaled value; None if values are not scaled."""

    def __post_init__(self) -> None:
        if self.scale != 1 or self.offset:
            object.__setattr__(self, "scaled", scaling(self.scale, self.offset))

    @property
    def changes_units(self) -> bool:
        """Whether a sample has another unit than the number in the payload."""
        return self.scaled_before or (self.scale, self.offset) != (1, 0)

    @property
    def is_linear(self) -> bool:
        """Whether numbers are only scaled, and checked against the range."""
        return self.states is None and not self.missing and not self.digits_of

    def apply(self, value: object, learn: Callable[[str], int]) -> float | str:
        """Returns the number, or `FILTERED`. `learn` returns the number of an unknown text. Raises
        `ValueRejectedError`."""
        if isinstance(value, str):
            number = self._from_text(value, learn)
            if number is None:
                return FILTERED
        elif isinstance(value, int | float):
            number = value
            if self.digits_of and type(value) is int:
                raise ValueRejectedError(Reason.NOT_A_NUMBER, _NO_DIGITS.format(self.digits_of))
        else:
            return FILTERED
        if self.missing and number in self.missing and type(number) is not bool:
            return FILTERED
        if not isfinite(number):
            if self.not_finite == "drop":
                return FILTERED
            raise ValueRejectedError(Reason.NOT_FINITE, NOT_FINITE)
        if self.scaled is not None:
            number = self.scaled(number)
            if not isfinite(number):
                raise ValueRejectedError(Reason.NOT_FINITE, "scale and offset make the number too large")
        if (self.minimum is not None and number < self.minimum) or (self.maximum is not None and number > self.maximum):
            if self.out_of_range == "drop":
                return FILTERED
            raise ValueRejectedError(
                Reason.OUT_OF_RANGE,
                f"{number!r} is outside of the range of its rule "
                f"({'no least' if self.minimum is None else self.minimum} to "
                f"{'no greatest' if self.maximum is None else self.maximum})",
            )
        return number

    def _from_text(self, text: str, learn: Callable[[str], int]) -> float | None:
        if self.missing and text.strip().casefold() in self.missing:
            return None
        states = self.states
        if states is not None:
            found = states.find(text)
            if found is not None:
                return found
        is_limit = False
        try:
            number = self._number(text)
            if number is None and len(text) <= _LONGEST and (limit := LIMIT.fullmatch(text)) is not None:
                number = self._number(limit[2])
                is_limit = number is not None
        except AmbiguousError as error:
            self._unclear(str(error))
            return None
        if is_limit and self.limit == "reject":
            number = None
        elif is_limit and self.limit == "drop":
            return None
        return self._without_number(text, is_limit, learn) if number is None else number

    def _without_number(self, text: str, is_limit: bool, learn: Callable[[str], int]) -> float | None:
        """Returns the number of an unknown state; None if the text is left out. Raises `ValueRejectedError`."""
        states = self.states
        if states is not None:
            if states.learn and text.strip():
                return learn(text.strip())
            if states.unknown == "drop":
                return None
            known = ", ".join(map(repr, list(states.known)[:20]))
            raise ValueRejectedError(Reason.UNKNOWN_STATE, f"no declared state (known are {known})")
        reads = self.strip_unit or self.decimal_comma or self.notation is not None
        if is_limit and (reads or self.text == "reject"):
            self._unclear(_LIMIT_SAYS)
        elif self.strip_unit and _NUMBER_AND_REST.fullmatch(_plain_minus(text)):
            self._unclear(_NO_UNIT)
        elif self.notation is not None and _BEGINS_AS_NUMBER.match(text):
            self._unclear("the text is no number in the notation that its rule says (number, thousands)")
        elif self.text == "reject":
            raise ValueRejectedError(Reason.NOT_A_NUMBER, "the text is no number, and its rule wants a number")
        return None

    def _unclear(self, why: str) -> None:
        """Raise `ValueRejectedError`, unless the rule leaves out such texts."""
        if self.unclear == "reject":
            raise ValueRejectedError(Reason.NOT_A_NUMBER, f"{why}; text: drop in the rule leaves such values out")

    def _number(self, text: str) -> float | None:
        """Returns the number of a text; None if the text is no number. Raises `AmbiguousError`."""
        notation = self.notation
        if notation is None and NUMBER_TEXT.fullmatch(text):
            return float(text)
        if not (notation is not None or self.decimal_comma or self.strip_unit) or len(text) > _LONGEST:
            return None
        text = _plain_minus(text)
        if self.strip_unit:
            found = (_NUMBER_AND_REST if notation is None else GROUPED_START).fullmatch(text)
            if not found or not _is_unit(found[2]):
                return None
            text = found[1]
        if notation is not None:
            return notation(text)
        if self.decimal_comma:
            return with_decimal_comma(text)
        return float(text) if LOOSE_TEXT.fullmatch(text) else None


def _plain_minus(text: str) -> str:
    return text.strip().replace("\N{MINUS SIGN}", "-")


def _is_unit(rest: str) -> bool:
    """Whether the text after a number is empty or a unit, such as `°C`, `m³/h`, `%`.

    A digit in this text belongs to the number or to another number, so the text is no unit. Only raised and lowered
    digits may be part of a unit, after its first character.
    """
    unit = rest.strip()
    if not unit:
        return True
    if len(unit) > _LONGEST_UNIT or unit[0] in "+-⁺⁻" or unit[0] in _SMALL_DIGITS or rest[0] in "xX":
        return False  # x or X: a hexadecimal number
    if " (" in unit:
        return False  # a remark, such as (ok) or (old)
    if any(char in _NO_UNIT_HAS or (char.isnumeric() and char not in _SMALL_DIGITS) for char in unit):
        return False
    return any(char.isalpha() or char in _UNITS_WITHOUT_LETTERS or category(char) in _SYMBOLS for char in unit)


NOT_FINITE: Final = "NaN and infinity are no numbers that Clarify stores"
_LIMIT_SAYS: Final = (
    "the text is a limit, not a value; limit: value stores the limit, limit: signal also marks it in a signal of its "
    "own, limit: drop leaves it out"
)
_NO_UNIT: Final = (
    "the text after the number is no unit (a unit has no digits and separators, as in times, addresses and grouped "
    "numbers), so the number may be only a part of the value; number: auto reads grouped numbers, number: duration "
    "durations"
)
_NO_DIGITS: Final = (
    "a number where number: {0} wants a text: it is not certain that the sender means it so; for a bare payload add "
    "format: text, else say number: {0} only at the values that are texts"
)
PLAIN: Final = Conversion()
