"""Formulas of clarify.evaluate: parsing and evaluating.

Documented (docs api/1.1/methods/clarify/evaluate): formulas are those of calculated items, over aliases of items and of
earlier calculations, with `gapfill(alias)` for items and `bucket_seconds()`. The page with the whole language is not at
hand, so the rest is assumed to be what such languages have: + - * / % and ^ (power, which binds tightest and to the
right), comparisons and `and`, `or`, `not` that give 1 and 0, parentheses, numbers, and the functions below. A missing
value makes the result missing; so do a division by zero and everything that is no finite number.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

_LONGEST: Final = 4096
_DEEPEST: Final = 40
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign><=|>=|==|!=|&&|\|\||[-+*/%^<>=!(),])|(?P<end>\Z)|(?P<bad>.))",
    re.DOTALL,
)

Values: TypeAlias = Sequence[float | None]


class FormulaError(ValueError):
    """A formula that cannot be: says where, and what was expected."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    series: Mapping[str, Values]
    n: int
    bucket_seconds: Sequence[float]
    gapfill: Callable[[str], Values]


_Node: TypeAlias = Callable[[_Inputs], Values]


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula."""

    names: frozenset[str]
    """The aliases that it reads."""
    gap_filled: frozenset[str]
    """Those of them that stand in `gapfill`."""
    _root: _Node

    def evaluate(
        self,
        series: Mapping[str, Values],
        n: int,
        *,
        bucket_seconds: Sequence[float],
        gapfill: Callable[[str], Values],
    ) -> list[float | None]:
        """The formula in each of the `n` buckets; `series` has the values of its names."""
        return list(self._root(_Inputs(series, n, bucket_seconds, gapfill)))


def _either(x: float, y: float) -> float:
    return float(bool(x) or bool(y))


def _both(x: float, y: float) -> float:
    return float(bool(x) and bool(y))


def _power(x: float, y: float) -> float:
    found = x**y
    if isinstance(found, complex):
        raise ValueError("a root of a negative number")  # noqa: TRY004 - as math.sqrt has it
    return float(found)


_FUNCTIONS: Final[Mapping[str, tuple[int, int | None, Callable[..., float]]]] = {
    # name: (fewest arguments, most or None, function)
    "abs": (1, 1, abs),
    "ceil": (1, 1, math.ceil),
    "floor": (1, 1, math.floor),
    "round": (1, 1, lambda x: math.floor(x + 0.5)),
    "trunc": (1, 1, math.trunc),
    "sign": (1, 1, lambda x: (x > 0) - (x < 0)),
    "sqrt": (1, 1, math.sqrt),
    "exp": (1, 1, math.exp),
    "ln": (1, 1, math.log),
    "log": (1, 1, math.log),
    "log10": (1, 1, math.log10),
    "log2": (1, 1, math.log2),
    "pow": (2, 2, _power),
    "mod": (2, 2, math.fmod),
    "min": (1, None, lambda *values: min(values)),
    "max": (1, None, lambda *values: max(values)),
    "sin": (1, 1, math.sin),
    "cos": (1, 1, math.cos),
    "tan": (1, 1, math.tan),
    "asin": (1, 1, math.asin),
    "acos": (1, 1, math.acos),
    "atan": (1, 1, math.atan),
    "atan2": (2, 2, math.atan2),
    "if": (3, 3, lambda condition, x, y: x if condition else y),
}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e}
_COMPARISONS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_SUMS: Final[Mapping[str, Callable[[float, float], float]]] = {"+": operator.add, "-": operator.sub}
_PRODUCTS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
}


def parse(text: str) -> Formula:
    """The formula. Raises FormulaError."""
    if len(text) > _LONGEST:
        raise FormulaError(f"a formula has at most {_LONGEST} characters")
    return _Parser(text).parse()


def _each(function: Callable[..., float], parts: Sequence[_Node]) -> _Node:
    """The function of the parts' values, bucket by bucket."""

    def run(inputs: _Inputs) -> Values:
        return [_one(function, values) for values in zip(*(part(inputs) for part in parts), strict=True)]

    return run


def _fold(first: _Node, rest: Sequence[tuple[Callable[[float, float], float], _Node]]) -> _Node:
    """A chain of operators, from left to right."""
    if not rest:
        return first

    def run(inputs: _Inputs) -> Values:
        found = first(inputs)
        for function, part in rest:
            found = [_one(function, pair) for pair in zip(found, part(inputs), strict=True)]
        return found

    return run


def _one(function: Callable[..., float], values: tuple[float | None, ...]) -> float | None:
    if None in values:
        return None
    try:
        found = float(function(*values))
    except (ArithmeticError, ValueError):
        return None
    return found if math.isfinite(found) else None


class _Parser:
    """Recursive descent; one method for each level of binding, the loosest first."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        position = 0
        while True:
            found = _TOKEN.match(text, position)
            assert found is not None  # noqa: S101 - the last alternative takes anything
            kind = found.lastgroup or ""
            at = found.start(kind)
            if kind == "bad":
                raise FormulaError(f"character {at + 1}: {found[kind]!r} has no place in a formula")
            self._tokens.append((kind, found[kind], at))
            if kind == "end":
                break
            position = found.end()
        self._next = 0
        self._depth = 0
        self._names: set[str] = set()
        self._gap_filled: set[str] = set()

    def parse(self) -> Formula:
        root = self._or()
        if self._peek()[0] != "end":
            raise self._unexpected("an operator or the end")
        return Formula(frozenset(self._names), frozenset(self._gap_filled), root)

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> str | None:
        """The next token's text, if it is one of these."""
        _, text, _ = self._peek()
        if text not in texts:
            return None
        self._next += 1
        return text

    def _unexpected(self, expected: str) -> FormulaError:
        kind, text, at = self._peek()
        found = "the end" if kind == "end" else repr(text)
        return FormulaError(f"character {at + 1}: expected {expected}, found {found}")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FormulaError(f"character {self._peek()[2] + 1}: nested more than {_DEEPEST} deep")

    def _or(self) -> _Node:
        self._deeper()
        left, rest = self._and(), []
        while self._take("or", "||"):
            rest.append((_either, self._and()))
        self._depth -= 1
        return _fold(left, rest)

    def _and(self) -> _Node:
        left, rest = self._not(), []
        while self._take("and", "&&"):
            rest.append((_both, self._not()))
        return _fold(left, rest)

    def _not(self) -> _Node:
        if self._take("not", "!"):
            self._deeper()
            inner = self._not()
            self._depth -= 1
            return _each(operator.not_, (inner,))
        return self._comparison()

    def _comparison(self) -> _Node:
        left = self._binary(_SUMS, lambda: self._binary(_PRODUCTS, self._sign))
        sign = self._take(*_COMPARISONS)
        if sign is None:
            return left
        right = self._binary(_SUMS, lambda: self._binary(_PRODUCTS, self._sign))
        return _each(_COMPARISONS[sign], (left, right))

    def _binary(self, operators: Mapping[str, Callable[[float, float], float]], part: Callable[[], _Node]) -> _Node:
        left, rest = part(), []
        while (sign := self._take(*operators)) is not None:
            rest.append((operators[sign], part()))
        return _fold(left, rest)

    def _sign(self) -> _Node:
        sign = self._take("-", "+")
        if sign is None:
            return self._power()
        self._deeper()
        inner = self._sign()
        self._depth -= 1
        return _each(operator.neg, (inner,)) if sign == "-" else inner

    def _power(self) -> _Node:
        base = self._atom()
        if self._take("^"):
            self._deeper()
            exponent = self._sign()
            self._depth -= 1
            return _each(_power, (base, exponent))
        return base

    def _atom(self) -> _Node:
        kind, text, _ = self._peek()
        if kind == "number":
            self._next += 1
            return _constant(float(text))
        if self._take("("):
            inner = self._or()
            self._expect(")")
            return inner
        if kind != "name" or text in ("and", "or", "not"):
            raise self._unexpected("a number, a name or (")
        self._next += 1
        if self._take("("):
            return self._call(text)
        if text in _CONSTANTS:
            return _constant(_CONSTANTS[text])
        self._names.add(text)
        return lambda inputs: inputs.series[text]

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            raise self._unexpected(repr(text))

    def _call(self, name: str) -> _Node:
        if name == "bucket_seconds":
            self._expect(")")
            return lambda inputs: inputs.bucket_seconds
        if name == "gapfill":
            kind, alias, _ = self._peek()
            if kind != "name":
                raise self._unexpected("the alias of an item")
            self._next += 1
            self._expect(")")
            self._names.add(alias)
            self._gap_filled.add(alias)
            return lambda inputs: inputs.gapfill(alias)
        if name not in _FUNCTIONS:
            known = ", ".join(sorted([*_FUNCTIONS, "bucket_seconds", "gapfill"]))
            at = self._tokens[self._next - 2][2]
            raise FormulaError(f"character {at + 1}: there is no function {name!r}; there are {known}")
        arguments = [self._or()]
        while self._take(","):
            arguments.append(self._or())
        self._expect(")")
        fewest, most, function = _FUNCTIONS[name]
        if not fewest <= len(arguments) <= (most or len(arguments)):
            wanted = str(fewest) if fewest == most else f"{fewest} or more"
            raise FormulaError(f"{name} takes {wanted} arguments, not {len(arguments)}")
        return _each(function, arguments)


def _constant(value: float) -> _Node:
    found = value if math.isfinite(value) else None
    return lambda inputs: [found] * inputs.n
