"""Numbers as spreadsheet programs write them: the decimal sign is told apart by all numbers of a file."""

from __future__ import annotations

import re
from math import isfinite
from typing import Final, Literal

_GROUPED: Final = re.compile(r"([+-]?\d{1,3}(?:[ \u00a0\u2009\u202f'\u2019]\d{3})+)((?:[.,]\d+)?)", re.ASCII)
_PLAIN: Final = re.compile(r"[+-]?\d+(?:[eE][+-]?\d+)?", re.ASCII)
_ONE_SIGN: Final = re.compile(r"[+-]?(\d*)([.,])(\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DOTS_THEN_COMMA: Final = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+|[+-]?\d{1,3}(?:\.\d{3}){2,}", re.ASCII)
_COMMAS_THEN_DOT: Final = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d+|[+-]?\d{1,3}(?:,\d{3}){2,}", re.ASCII)
_BETWEEN_THOUSANDS: Final = re.compile(r"[ \u00a0\u2009\u202f'\u2019]")

Sign = Literal["comma", "point", "none", "comma?", "point?"]
"""The decimal sign of a number; with `?`, the sign may also be between the thousands."""


def decimal_sign(text: str) -> Sign | None:
    """Returns the decimal sign of a number; None if the text is no number."""
    grouped = _GROUPED.fullmatch(text)
    if grouped:
        return "comma" if grouped[2][:1] == "," else "point" if grouped[2] else "none"
    if _PLAIN.fullmatch(text):
        return "none"
    found = _ONE_SIGN.fullmatch(text)
    if found:
        sign: Literal["comma", "point"] = "comma" if found[2] == "," else "point"
        grouping = 1 <= len(found[1]) <= 3 and found[1][0] != "0" and len(found[3]) == 3 and "e" not in text.lower()
        return sign if not grouping else "comma?" if sign == "comma" else "point?"
    if _DOTS_THEN_COMMA.fullmatch(text):
        return "comma"
    return "point" if _COMMAS_THEN_DOT.fullmatch(text) else None


class Decimals:
    """The decimal sign of a file: said by a person, or by the numbers of the file that leave no doubt."""

    def __init__(self, said: bool | None, file: str, remedy: str) -> None:
        """`said` is True for a comma, False for a point, None: told apart. `file` and `remedy` are words for errors."""
        self._said = said
        self._file = file
        self._remedy = remedy
        self.comma = said
        """Whether the sign is a comma; None: no number says it for certain, or the numbers contradict each other."""
        self.points_are_certain = True
        """Whether `1.234` is 1.234 as long as no number says otherwise. False: such a number is refused."""
        self.is_of_one_program = False
        """Whether one program wrote all numbers: beside `4.5`, a `1,234` is 1234. False: it is refused even then."""
        self._certain: dict[str, tuple[int, str]] = {}
        """`comma` and `point` → (line, text) of the first number that has this sign for certain."""

    def learn(self, line: int, text: str) -> None:
        """Learn from one text of the file; a text that is no number teaches nothing."""
        if self._said is None and ("," in text or "." in text):
            sign = decimal_sign(text.replace("\N{MINUS SIGN}", "-"))
            if sign in ("comma", "point"):
                self._certain.setdefault(sign, (line, text))
                self.comma = "comma" in self._certain if len(self._certain) == 1 else None

    def number(self, text: str) -> float:
        """Returns the number of a text. Raises ValueError."""
        text = text.replace("\N{MINUS SIGN}", "-")
        sign = decimal_sign(text)
        if sign is None:
            raise ValueError(f"{text[:60]!r} is no number")
        known = self.comma if self.is_of_one_program else self._said
        if sign.endswith("?") and known is not None and (sign == "comma?") is not known:
            return float(re.sub("[.,]", "", text))  # the sign is between the thousands
        if sign != "none":
            self._check(text, sign)
        thousands, decimal = (".", ",") if sign.startswith("comma") else (",", ".")
        number = float(_BETWEEN_THOUSANDS.sub("", text).replace(thousands, "").replace(decimal, "."))
        if not isfinite(number):
            raise ValueError(f"{text[:60]!r} is too large")
        return number

    def _check(self, text: str, sign: Sign) -> None:
        if len(self._certain) > 1:
            (comma_line, comma), (point_line, point) = self._certain["comma"], self._certain["point"]
            raise ValueError(
                f"the {self._file} has decimal commas ({comma!r} on line {comma_line}) and decimal points ({point!r} "
                f"on line {point_line}); write all numbers in one way, or {self._remedy}"
            )
        wanted = self.comma if self.comma is not None else False
        if sign == "comma?" and not wanted:
            raise ValueError(
                f"{text!r} may be {text.replace(',', '.')} or {text.replace(',', '')}; write {text}0 or "
                f"{text.replace(',', '')}, or {self._remedy}"
            )
        if sign == "point?" and wanted:
            raise ValueError(
                f"{text!r} may be {text.replace('.', ',')} or {text.replace('.', '')}, in a {self._file} with decimal "
                "commas; write the number without the point"
            )
        if sign == "point?" and self.comma is None and not self.points_are_certain:
            raise ValueError(f"{text!r} may be {text.replace('.', ',')} or {text.replace('.', '')}; {self._remedy}")
        if sign in ("comma", "point") and (sign == "comma") is not wanted:
            line, other = next(iter(self._certain.values()), (0, ""))
            known = f"{other!r} on line {line}" if other else f"what was said: {'comma' if wanted else 'point'}"
            raise ValueError(f"{text!r} has another decimal sign than {known}")
