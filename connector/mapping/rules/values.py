"""From what a payload has in a value's place to the number that is stored, or to the reason that there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

from connector.records import Reason

DECIMAL_TEXT: Final = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
"""Text that is taken for a number without being told so: JSON's own notation."""
_LOOSE_TEXT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WITH_UNIT: Final = re.compile(r"([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*([^\d\s.,+-].{0,19})?", re.ASCII)
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
        if self.text == "drop":
            return None
        raise ValueRejectedError(Reason.NOT_A_NUMBER, "text that is no number, where its rule wants one")

    def _number(self, text: str) -> float | None:
        if DECIMAL_TEXT.fullmatch(text):
            return float(text)
        if not (self.decimal_comma or self.strip_unit) or len(text) > _LONGEST:
            return None
        text = text.strip().replace("\N{MINUS SIGN}", "-")
        if self.strip_unit:
            found = _WITH_UNIT.fullmatch(text)
            if not found:
                return None
            text = found[1]
        if self.decimal_comma:
            whole, comma, fraction = text.rpartition(",")
            # 1.234,5 has its thousands between dots; 1.5 without a comma is what it is
            text = whole.replace(".", "").replace(" ", "") + "." + fraction if comma else text
        return float(text) if _LOOSE_TEXT.fullmatch(text) else None


PLAIN: Final = Conversion()
NOT_FINITE: Final = "NaN and infinity are no numbers that Clarify stores"
