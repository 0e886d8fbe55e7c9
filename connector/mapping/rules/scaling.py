"""Scaling: value * scale + offset, rounded once.

A value, a scale and an offset are taken as the decimals that they are written as: 12 * 0.1 is 1.2, not
1.2000000000000002. The result is the float nearest to the exact one. A division of two whole numbers is rounded once,
so the sum is made of whole numbers: (value * n + m) / d.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

_DIGITS: Final = 10**6
_EXACT: Final = 2.0**49
"""Below this number, a product with `_DIGITS` that is whole shows the decimals of a float (15 digits)."""


def scaling(scale: float, offset: float) -> Callable[[float], float]:
    """Returns a function value → scaled value, for integers and finite floats.

    The function returns infinity if the result is too large, and raises TypeError for a value of another type.
    """
    n, n_under = Decimal(repr(scale)).as_integer_ratio()
    m, m_under = Decimal(repr(offset)).as_integer_ratio()
    n, m, d = n * m_under, m * n_under, n_under * m_under
    m_digits, d_digits = m * _DIGITS, d * _DIGITS

    def scaled(value: float) -> float:
        try:
            if type(value) is float:
                whole = value * _DIGITS
                if -_EXACT < whole < _EXACT:
                    digits = round(whole)
                    if digits / _DIGITS == value:
                        return (digits * n + m_digits) / d_digits
                before, _, after = repr(value).partition(".")
                if "e" in after or not after:
                    over, under = Decimal(repr(value)).as_integer_ratio()
                else:
                    over, under = int(before + after), 10 ** len(after)
                return (over * n + m * under) / (under * d)
            if type(value) is int or type(value) is bool:
                return (value * n + m) / d
        except OverflowError:
            return float("inf")
        raise TypeError(f"{type(value).__name__} cannot be scaled")

    return scaled
