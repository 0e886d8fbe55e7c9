"""Formulas of clarify.evaluate: parsing and evaluating.

Documented: formulas are the formulas of calculated items, over the aliases of items and of earlier calculations, with
`gapfill(alias)` for items and `bucket_seconds()` (docs api/1.1/methods/clarify/evaluate). Numbers, `<`, `>=` and `&&`
are documented too; a true comparison gives 1.0 (an example in Clarify's Go automation).

Assumed, since the page with the whole language is not at hand: the other operators. All operators, the tightest first:

    ^            power, grouped to the right; -2 ^ 2 is -4
    - + !        before a value
    * / %        % has the sign of its left side
    + -
    < <= > >= = == !=    without chains
    not          like `!`, but looser
    && and
    || or

The functions in `_FUNCTIONS` are assumed, too: `log` is the natural logarithm, and `round` rounds a half away from
zero. `PI` and `time_seconds` are in Clarify's own examples; assumed: `time_seconds` is the start of the bucket, in
seconds since 1970. These two names cannot be aliases. A missing value makes the result missing, even if `if`,
`&&` or `||` does not need the value. A division by zero and any other result that is not finite also make the result
missing.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

_LONGEST: Final = 4096
_DEEPEST: Final = 64
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign><=|>=|==|!=|&&|\|\||[-+*/%^<>=!(),])|(?P<end>\Z)|(?P<bad>.))",
    re.DOTALL,
)

Values: TypeAlias = Sequence[float | None]
_Function: TypeAlias = Callable[..., float]


class FormulaError(ValueError):
    """A formula that cannot be parsed or evaluated; the message gives the reason and, if possible, the place."""


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Inputs(NamedTuple):
    series: Mapping[str, Values]
    n: int
    time_seconds: Sequence[float]
    bucket_seconds: Sequence[float]
    gapfill: Callable[[str], Values]


class _Apply(NamedTuple):
    """A step that replaces the last `columns` columns by one column: the function of their values."""

    function: _Function
    columns: int


_Load: TypeAlias = Callable[[_Inputs], Values]
"""A step that adds a column."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula. Made by `parse`."""

    names: frozenset[str]
    """The aliases that it reads."""
    gap_filled: frozenset[str]
    """The aliases among `names` that stand in `gapfill`."""
    _steps: tuple[_Load | _Apply, ...]
    """The steps in reverse Polish notation, so that no formula is too deep to evaluate."""

    def evaluate(
        self,
        series: Mapping[str, Values],
        n: int,
        *,
        time_seconds: Sequence[float],
        bucket_seconds: Sequence[float],
        gapfill: Callable[[str], Values],
    ) -> list[float | None]:
        """The value of the formula in each of the `n` buckets; None where the value is missing.

        `series` has the values of each name, one for each bucket. `time_seconds` has the start of each bucket, in
        seconds since 1970, and `bucket_seconds` the length of each bucket.
        `gapfill` gives the filled values of a name. Raises FormulaError for a name that is not in `series`.
        """
        unknown = sorted(self.names - series.keys())
        if unknown:
            raise FormulaError(f"there is no {unknown[0]!r}; there are {', '.join(sorted(series)) or 'no names'}")
        inputs = _Inputs(series, n, time_seconds, bucket_seconds, gapfill)
        columns: list[Values] = []
        for step in self._steps:
            if isinstance(step, _Apply):
                arguments = columns[-step.columns :]
                del columns[-step.columns :]
                columns.append([_one(step.function, row) for row in zip(*arguments, strict=True)])
            else:
                columns.append(step(inputs))
        (found,) = columns
        return [value if value is not None and math.isfinite(value) else None for value in found]


def parse(text: str) -> Formula:
    """Parse a formula. Raises FormulaError."""
    if len(text) > _LONGEST:
        raise FormulaError(f"a formula has at most {_LONGEST} characters, this one {len(text)}")
    return _Parser(text).parse()


def _one(function: _Function, values: tuple[float | None, ...]) -> float | None:
    """The function of the values of one bucket; None if a value is missing or the result is not finite."""
    if None in values:
        return None
    try:
        found = float(function(*values))
    except (ArithmeticError, ValueError):
        return None
    return found if math.isfinite(found) else None


# -- operators and functions ----------------------------------------------------------------------


def _either(x: float, y: float) -> float:
    return float(bool(x) or bool(y))


def _both(x: float, y: float) -> float:
    return float(bool(x) and bool(y))


def _power(x: float, y: float) -> float:
    found = x**y
    if isinstance(found, complex):
        raise ValueError("a root of a negative number")  # noqa: TRY004 - as math.sqrt has it
    return float(found)


def _round(x: float) -> float:
    # Not floor(x + 0.5): this sum is itself rounded, for numbers just below a half and above 2 ** 52.
    whole = math.trunc(x)
    return whole + math.copysign(1, x) if abs(x - whole) >= 0.5 else whole


_FUNCTIONS: Final[Mapping[str, tuple[int, int | None, _Function]]] = {
    # name: (fewest arguments, most or None, function)
    "abs": (1, 1, abs),
    "ceil": (1, 1, math.ceil),
    "floor": (1, 1, math.floor),
    "round": (1, 1, _round),
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
    "pi": (0, 0, lambda: math.pi),
    "if": (3, 3, lambda condition, x, y: x if condition else y),
}
_SPECIAL: Final = ("bucket_seconds", "gapfill")
VARIABLES: Final[Mapping[str, Callable[[_Inputs], Values]]] = {
    "PI": lambda inputs: [math.pi] * inputs.n,
    "time_seconds": lambda inputs: inputs.time_seconds,
}
"""The names that every formula knows. An alias cannot have such a name."""

_LOOSEST, _BOTH, _NOT, _COMPARISON, _SUM, _PRODUCT = range(1, 7)
_OPERATORS: Final[Mapping[str, tuple[int, _Function]]] = {
    # sign: (how tightly it binds, function)
    "||": (_LOOSEST, _either),
    "or": (_LOOSEST, _either),
    "&&": (_BOTH, _both),
    "and": (_BOTH, _both),
    "<": (_COMPARISON, operator.lt),
    "<=": (_COMPARISON, operator.le),
    ">": (_COMPARISON, operator.gt),
    ">=": (_COMPARISON, operator.ge),
    "=": (_COMPARISON, operator.eq),
    "==": (_COMPARISON, operator.eq),
    "!=": (_COMPARISON, operator.ne),
    "+": (_SUM, operator.add),
    "-": (_SUM, operator.sub),
    "*": (_PRODUCT, operator.mul),
    "/": (_PRODUCT, operator.truediv),
    "%": (_PRODUCT, math.fmod),
}
_BEFORE: Final[Mapping[str, _Function | None]] = {"-": operator.neg, "+": None, "!": operator.not_}
_WORDS: Final = ("and", "or", "not")


# -- parsing --------------------------------------------------------------------------------------


class _Parser:
    """Recursive descent, with one method for all operators between two values; each method appends its steps."""

    def __init__(self, text: str) -> None:
        self._tokens = _read_tokens(text)
        self._next = 0
        self._depth = 0
        self._steps: list[_Load | _Apply] = []
        self._names: set[str] = set()
        self._gap_filled: set[str] = set()

    def parse(self) -> Formula:
        self._expression(_LOOSEST)
        if self._peek().kind != "end":
            raise self._unexpected("an operator or the end")
        return Formula(frozenset(self._names), frozenset(self._gap_filled), tuple(self._steps))

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *texts: str) -> str | None:
        """Take the next token if its text is one of these; returns the text, or None."""
        text = self._peek().text
        if text not in texts:
            return None
        self._next += 1
        return text

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            raise self._unexpected(repr(text))

    def _unexpected(self, expected: str) -> FormulaError:
        token = self._peek()
        found = "the end" if token.kind == "end" else repr(token.text)
        return _error(token.at, f"expected {expected}, found {found}")

    def _deeper(self, part: Callable[[], None]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _error(self._peek().at, f"nested more than {_DEEPEST} deep")
        part()
        self._depth -= 1

    def _expression(self, loosest: int) -> None:
        """Values, and between them operators that bind at least as tightly as `loosest`."""
        if loosest <= _NOT and self._take("not"):
            self._deeper(lambda: self._expression(_NOT))
            self._steps.append(_Apply(operator.not_, 1))
        else:
            self._value()
        compared = False
        while (sign := self._peek().text) in _OPERATORS:
            tightness, function = _OPERATORS[sign]
            if tightness < loosest:
                return
            if tightness == _COMPARISON and compared:
                raise _error(self._peek().at, "comparisons make no chain: write a < b && b < c")
            compared = tightness == _COMPARISON
            self._next += 1
            self._expression(tightness + 1)
            self._steps.append(_Apply(function, 2))

    def _value(self) -> None:
        """One value, with signs before it and a power after it."""
        sign = self._take(*_BEFORE)
        if sign is not None:
            self._deeper(self._value)
            function = _BEFORE[sign]
            if function is not None:
                self._steps.append(_Apply(function, 1))
            return
        self._atom()
        if self._take("^"):
            self._deeper(self._value)
            self._steps.append(_Apply(_power, 2))

    def _atom(self) -> None:
        token = self._peek()
        if self._take("("):
            self._deeper(lambda: self._expression(_LOOSEST))
            self._expect(")")
            return
        if token.kind not in ("number", "name") or token.text in _WORDS:
            raise self._unexpected("a number, a name or (")
        self._next += 1
        if token.kind == "number":
            self._steps.append(_constant(token))
        elif self._take("("):
            self._call(token)
        elif token.text in VARIABLES:
            self._steps.append(VARIABLES[token.text])
        else:
            self._names.add(token.text)
            self._steps.append(lambda inputs: inputs.series[token.text])

    def _call(self, called: _Token) -> None:
        name = called.text
        if name == "bucket_seconds":
            self._expect(")")
            self._steps.append(lambda inputs: inputs.bucket_seconds)
        elif name == "gapfill":
            alias = self._peek()
            if alias.kind != "name" or alias.text in _WORDS:
                raise self._unexpected("the alias of an item")
            self._next += 1
            self._expect(")")
            self._names.add(alias.text)
            self._gap_filled.add(alias.text)
            self._steps.append(lambda inputs: inputs.gapfill(alias.text))
        elif name in _FUNCTIONS:
            self._apply(called, self._arguments())
        else:
            known = ", ".join(sorted([*_FUNCTIONS, *_SPECIAL]))
            raise _error(called.at, f"there is no function {name!r}; there are {known}")

    def _arguments(self) -> int:
        """Parse the arguments of a call; returns their number."""
        if self._take(")"):
            return 0
        count = 1
        self._deeper(lambda: self._expression(_LOOSEST))
        while self._take(","):
            count += 1
            self._deeper(lambda: self._expression(_LOOSEST))
        self._expect(")")
        return count

    def _apply(self, called: _Token, count: int) -> None:
        fewest, most, function = _FUNCTIONS[called.text]
        if not fewest <= count <= (count if most is None else most):
            wanted = f"{fewest or 'no'} argument{'s' if fewest != 1 else ''}{' or more' if most is None else ''}"
            raise _error(called.at, f"{called.text} takes {wanted}, not {count}")
        if count == 0:
            value = function()
            self._steps.append(lambda inputs: [value] * inputs.n)
        else:
            self._steps.append(_Apply(function, count))


def _read_tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        found = _TOKEN.match(text, position)
        assert found is not None  # noqa: S101 - the last alternative takes anything
        kind = found.lastgroup or ""
        token = _Token(kind, found[kind], found.start(kind))
        if kind == "bad":
            raise _error(token.at, f"{token.text!r} has no place in a formula")
        tokens.append(token)
        position = found.end()
    return tokens


def _constant(token: _Token) -> _Load:
    value = float(token.text)
    if not math.isfinite(value):
        raise _error(token.at, f"{token.text[:20]} is larger than any number here, which is some 1.8e308")
    return lambda inputs: [value] * inputs.n


def _error(at: int, problem: str) -> FormulaError:
    return FormulaError(f"character {at + 1}: {problem}")
