"""Scaling: value * scale + offset, rounded once.

A value, a scale and an offset are taken as the decimals that they are written as: 12 * 0.1 is 1.2, not
1.2000000000000002. The result is the float nearest to the exact one. A division of two whole numbers is rounded once,
so the sum is made of whole numbers: (value * n + m) / d. Floats are exact for whole numbers up to 2^53, and faster.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

_DIGITS: Final = 1e6
_SHOWS: Final = 2.0**49
"""Below this number, a product with `_DIGITS` that is whole shows the decimals of a float (15 digits)."""
_EXACT: Final = 2**53
_TO_WHOLE: Final = 1.5 * 2.0**52
"""A float below 2^51 is rounded to a whole number if this number is added and taken away again."""
_MOST_DECIMALS: Final = 30


def scaling(scale: float, offset: float) -> Callable[[float], float]:
    """Returns a function value → scaled value, for integers and finite floats.

    The function returns infinity if the result is too large, and raises TypeError for a value of another type.
    """
    n, n_under = Decimal(repr(scale)).as_integer_ratio()
    m, m_under = Decimal(repr(offset)).as_integer_ratio()
    n, m, d = n * m_under, m * n_under, n_under * m_under
    by_decimals: list[tuple[int, int]] = [(m * 10**decimals, d * 10**decimals) for decimals in range(_MOST_DECIMALS)]
    m_digits, d_digits = by_decimals[6]
    room = (_EXACT - abs(m_digits)) // max(abs(n), 1) if d_digits <= _EXACT else 0
    most = float(min(_SHOWS, max(room, 0)))
    times, plus, under = (float(n), float(m_digits), float(d_digits)) if most else (1.0, 0.0, 1.0)

    def scaled(value: float) -> float:
        try:
            if type(value) is float:
                whole = value * _DIGITS
                if -most < whole < most:
                    whole = whole + _TO_WHOLE - _TO_WHOLE
                    if whole / _DIGITS == value:
                        return (whole * times + plus) / under
                before, _, after = repr(value).partition(".")
                if "e" in after or not after:
                    over, parts = Decimal(repr(value)).as_integer_ratio()
                    return (over * n + m * parts) / (parts * d)
                more, total = by_decimals[len(after)]
                return (int(before + after) * n + more) / total
            if type(value) is int or type(value) is bool:
                return (value * n + m) / d
        except OverflowError:
            return float("inf")
        raise TypeError(f"{type(value).__name__} cannot be scaled")

    return scaled
