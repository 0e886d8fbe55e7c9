"""From what a payload has in a value's place to the number that is stored, or to the reason that there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal
from unicodedata import category

from connector.records import Reason

NUMBER_TEXT: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
"""Text in JSON's own notation of numbers."""
DECIMAL_TEXT: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+([eE][+-]?\d+)?|[eE][+-]\d+)?", re.ASCII)
"""Text that is taken for a number without being told so: the same, but `12e4`, which may be part of a MAC address or
a serial number."""
_LOOSE_TEXT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMBER_AND_REST: Final = re.compile(r"([+-]?[.,]*\d[\d.,]*(?:[eE][+-]?\d+)?)(.*)", re.ASCII | re.DOTALL)
_SMALL_DIGITS: Final = frozenset("¹²³⁰⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉")
"""Those of `m³` and `CO₂`."""
_NO_UNIT_HAS: Final = frozenset(
    "\t\n\r\v\f:;.,'_|\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{ARABIC DECIMAL SEPARATOR}\N{ARABIC THOUSANDS SEPARATOR}\N{FULLWIDTH COLON}"
)
"""What separates the parts of times, addresses and long numbers."""
_UNITS_WITHOUT_LETTERS: Final = frozenset('%‰‱"\N{PRIME}\N{DOUBLE PRIME}')
_SYMBOLS: Final = ("So", "Sc")
"""Unicode's categories of `°`, `℃`, `€`."""
_LONGEST_UNIT: Final = 20
_LONGEST: Final = 400

Decision = Literal["reject", "drop"]
FILTERED: Final = "filtered"
"""What a conversion gives for a value that is left out on purpose."""


class ValueRejectedError(Exception):
    """There is a value, but it must not be stored."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class States:
    """Texts that stand for the states of an enum signal."""

    known: Mapping[str, int]
    """As declared; also found where only the case differs."""
    learn: bool = False
    """Give a text that is not known the next free number, for ever."""
    unknown: Decision = "reject"

    def find(self, text: str) -> int | None:
        """The declared number of this text."""
        number = self.known.get(text)
        if number is not None:
            return number
        folded = text.strip().casefold()
        return next((number for known, number in self.known.items() if known.casefold() == folded), None)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is done with a value, in this order: states; text to number; scale and offset; the range."""

    scale: float = 1.0
    offset: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    out_of_range: Decision = "reject"
    not_finite: Decision = "reject"
    decimal_comma: bool = False
    strip_unit: bool = False
    text: Decision = "drop"
    """What becomes of text that is no number."""
    not_a_unit: Decision = "reject"
    """What becomes of a number with something behind it that `strip_unit` takes for no unit."""
    states: States | None = None

    def apply(self, value: object, learn: Callable[[str], int]) -> float | str:
        """The number, or `FILTERED`. `learn` gives an unknown text its state. Raises `ValueRejectedError`."""
        if isinstance(value, str):
            number = self._from_text(value, learn)
            if number is None:
                return FILTERED
        elif isinstance(value, int | float):
            number = value
        else:
            return FILTERED
        if not isfinite(number):
            if self.not_finite == "drop":
                return FILTERED
            raise ValueRejectedError(Reason.NOT_FINITE, NOT_FINITE)
        if self.scale != 1 or self.offset:
            number = number * self.scale + self.offset
            if not isfinite(number):
                raise ValueRejectedError(Reason.NOT_FINITE, "scale and offset take it beyond what a number can be")
        if (self.minimum is not None and number < self.minimum) or (self.maximum is not None and number > self.maximum):
            if self.out_of_range == "drop":
                return FILTERED
            raise ValueRejectedError(
                Reason.OUT_OF_RANGE,
                f"{number!r} is outside of what its rule allows "
                f"({'no least' if self.minimum is None else self.minimum} to "
                f"{'no greatest' if self.maximum is None else self.maximum})",
            )
        return number

    def _from_text(self, text: str, learn: Callable[[str], int]) -> float | None:
        states = self.states
        if states is not None:
            found = states.find(text)
            if found is not None:
                return found
        number = self._number(text)
        if number is not None:
            return number
        if states is not None:
            if states.learn and text.strip():
                return learn(text.strip())
            if states.unknown == "drop":
                return None
            known = ", ".join(map(repr, list(states.known)[:20]))
            raise ValueRejectedError(Reason.UNKNOWN_STATE, f"no declared state (known are {known})")
        if self.strip_unit and self.not_a_unit == "reject" and _NUMBER_AND_REST.fullmatch(_plain_minus(text)):
            raise ValueRejectedError(
                Reason.NOT_A_NUMBER,
                "what stands behind the number is no unit (digits and separators, as in times, addresses and grouped "
                "numbers, are none), so the number may be only a part of it; text: drop in the rule leaves it out",
            )
        if self.text == "drop":
            return None
        raise ValueRejectedError(Reason.NOT_A_NUMBER, "text that is no number, where its rule wants one")

    def _number(self, text: str) -> float | None:
        if NUMBER_TEXT.fullmatch(text):
            return float(text)
        if not (self.decimal_comma or self.strip_unit) or len(text) > _LONGEST:
            return None
        text = _plain_minus(text)
        if self.strip_unit:
            found = _NUMBER_AND_REST.fullmatch(text)
            if not found or not _is_unit(found[2]):
                return None
            text = found[1]
        if self.decimal_comma:
            whole, comma, fraction = text.rpartition(",")
            # 1.234,5 has its thousands between dots; 1.5 without a comma is what it is
            text = whole.replace(".", "").replace(" ", "") + "." + fraction if comma else text
        return float(text) if _LOOSE_TEXT.fullmatch(text) else None


def _plain_minus(text: str) -> str:
    return text.strip().replace("\N{MINUS SIGN}", "-")


def _is_unit(rest: str) -> bool:
    """Whether what stands behind a number is a unit, or nothing: `°C`, `m³/h`, `%`. A digit belongs to the number, or
    to another one; only raised and lowered digits may be part of a unit, behind its first character."""
    unit = rest.strip()
    if not unit:
        return True
    if len(unit) > _LONGEST_UNIT or unit[0] in "+-⁺⁻" or unit[0] in _SMALL_DIGITS or rest[0] in "xX":
        return False  # x: a hexadecimal number
    if any(char in _NO_UNIT_HAS or (char.isnumeric() and char not in _SMALL_DIGITS) for char in unit):
        return False
    return any(char.isalpha() or char in _UNITS_WITHOUT_LETTERS or category(char) in _SYMBOLS for char in unit)


PLAIN: Final = Conversion()
NOT_FINITE: Final = "NaN and infinity are no numbers that Clarify stores"
