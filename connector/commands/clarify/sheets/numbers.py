"""The cells of values: text → number, as the numbers of the file show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from math import isfinite
from typing import Final

from connector.mapping.tags.decimals import Decimals

_POINT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA: Final = re.compile(r"[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_NO_VALUES: Final = frozenset(
    ("na", "n/a", "#n/a", "#na", "#nv", "nan", "null", "none", "nil", "-", "--", "---", ".", "?", "bad", "no data")
)
"""Texts (in small letters) that often mean that there is no value."""


class Numbers:
    """How the values of a file are written."""

    def __init__(self, decimal_comma: bool | None, no_values: Collection[str]) -> None:
        """`decimal_comma` is None to be told apart. `no_values` are the texts that mean that there is no value."""
        self.decimals = Decimals(decimal_comma, "file", "use --decimal-comma or --decimal-point")
        self.decimals.is_of_one_program = True
        self._no_values = frozenset(("", *no_values))

    def read(self, text: str) -> float | None:
        """Return the number of a cell; None for no value. Raises ValueError, with the reason for people."""
        text = text.strip()
        if text in self._no_values:
            return None
        decimals = self.decimals
        if (text.isdigit() or text[0] in "+-") and _INTEGER.fullmatch(text):
            return int(text)
        if decimals.comma:
            if _COMMA.fullmatch(text) and isfinite(number := float(text.replace(",", "."))):
                return number
        elif (
            (decimals.comma is False or decimals.points_are_certain)
            and _POINT.fullmatch(text)
            and isfinite(number := float(text))
        ):
            return number
        try:
            return decimals.number(text)
        except ValueError as error:
            if text.casefold() in _NO_VALUES or text.startswith("#"):
                raise ValueError(f"{error}; if it means that there is no value: --na {shlex.quote(text)}") from None
            raise
