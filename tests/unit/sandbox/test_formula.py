"""Formulas: what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from connector.sandbox.formula import FormulaError, parse


def run(text: str, **series: Sequence[float | None]) -> list[float | None]:
    n = len(next(iter(series.values()), [0]))
    formula = parse(text)
    starts = [900.0 + 60 * index for index in range(n)]
    return formula.evaluate(
        series,
        n,
        time_seconds=starts,
        bucket_seconds=[60.0] * n,
        gapfill=lambda name: [x or 7 for x in series[name]],
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("-2 ^ 2", -4),
        ("2 ^ 3 ^ 2", 512),
        ("2 ^ -1", 0.5),
        ("7 % 4 + .5e1", 8),
        ("8 / 4 / 2", 1),
        ("-7 % 4", -3),
        ("2 - -2", 4),
        ("1.e2 + 1e-2 + 2E+0", 102.01),
        (" \t1\n+ 1 ", 2),
        ("1 < 2 and not 3 < 2", 1),
        ("1 < 2", 1),
        ("2 < 2", 0),
        ("2 <= 2", 1),
        ("2 > 2", 0),
        ("2 >= 2", 1),
        ("2 == 2", 1),
        ("2 != 2", 0),
        ("1 = 2 or 2 >= 3", 0),
        ("1 || 1 && 0", 1),
        ("(1 || 1) && 0", 0),
        ("1 + 1 < 3 && 2 * 2 > 3", 1),
        ("!(1 != 1) && 1 <= 1 || 0", 1),
        ("!0 + 1", 2),
        ("!2 == 2", 0),
        ("not 2 == 3", 1),
        ("not not 5", 1),
        ("min(3, 1, 2) + max(4)", 5),
        ("round(2.5) + floor(-0.5) + ceil(0.1) + trunc(-1.9)", 2),
        ("round(-2.5)", -3),
        ("round(-2.4)", -2),
        ("round(0.49999999999999994)", 0),
        ("round(4503599627370497)", 4503599627370497),
        ("sqrt(16) + abs(-1) + pow(2, 3) + mod(7, 4) + sign(-9)", 15),
        ("log10(100) + ln(exp(1)) + log(exp(2)) + log2(8) + exp(0)", 9),
        ("if(1 > 2, 10, 20)", 20),
        ("if(2 > 1, 10, 20)", 10),
        ("cos(pi()) + sin(0) + tan(0) + acos(1) + asin(0) + atan(0)", -1),
        ("4 * atan2(1, 1) - pi()", 0),
        ("bucket_seconds()", 60),
        ("sin(2*PI*time_seconds/3600)", 1),
        ("bucket_seconds() / 3600 * 120", 2),
    ],
)
def test_values(text: str, value: float) -> None:
    (found,) = run(text)
    assert found is not None
    assert math.isclose(found, value, abs_tol=1e-12)


def test_the_example_of_the_documentation() -> None:
    """Buckets in which a temperature goes through 26."""
    assert run("gapfill(t0) < 26 && gapfill(t1) >=26", t0=[20, 25, 27, 28], t1=[25, 27, 28, 25]) == [0, 1, 0, 0]


def test_series_and_what_is_missing() -> None:
    assert run("a * 2 + b", a=[1, None, 3], b=[10, 20, None]) == [12, None, None]
    assert run("gapfill(a) + 0 * a", a=[1, None]) == [1, None]
    assert run("gapfill(a)", a=[1, None]) == [1, 7]
    assert run("1 / a", a=[0, 2]) == [None, 0.5]
    assert run("sqrt(a)", a=[-1, 4]) == [None, 2]
    assert run("a ^ 0.5", a=[-1, 4]) == [None, 2]
    assert run("10 ^ a", a=[400, 1]) == [None, 10]
    assert run("a % 0", a=[1]) == [None]
    assert run("exp(a)", a=[1000, 0]) == [None, 1]
    assert run("a * 1e308", a=[10, 1]) == [None, 1e308]
    assert run("a * 1e308 > 1", a=[10, 1]) == [None, 1]
    assert run("max(a, b)", a=[1, None, 3], b=[None, 2, 4]) == [None, None, 4]
    assert run("if(a, b, 0)", a=[0, 1], b=[None, 2]) == [None, 2]
    assert run("a || 1", a=[None, 0]) == [None, 1]
    assert run("a", a=[math.nan, math.inf, -math.inf, 1.5]) == [None, None, None, 1.5]
    assert run("a + 1", a=[]) == []
    assert run("7", a=[1, None, 3]) == [7, 7, 7]


def test_names() -> None:
    # Any alias can be read, also those that are called like a function or like a famous number.
    assert run("e * min - pi", e=[10], min=[2], pi=[3]) == [17]
    assert run("If_1 + _", If_1=[1], _=[2]) == [3]
    assert parse("1 + bucket_seconds() + pi()").names == frozenset()
    assert parse("gapfill(a) + b").names == {"a", "b"}
    assert parse("gapfill(a) + b").gap_filled == {"a"}
    with pytest.raises(FormulaError, match="there is no 'c'; there are a, b"):
        run("a + c", a=[1], b=[2])
    with pytest.raises(FormulaError, match="there is no 'c'; there are no names"):
        run("c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"character 1: expected a number, a name or \(, found the end"),
        ("1 +", r"character 4: expected a number.*found the end"),
        ("1 2", r"character 3: expected an operator or the end, found '2'"),
        ("(1", r"expected '\)', found the end"),
        ("a $ b", r"character 3: '\$' has no place"),
        ("a & b", "character 3: '&' has no place"),
        ("\u0661", "character 1: '\u0661' has no place"),
        ("1 + median(a)", r"character 5: there is no function 'median'; there are abs.* bucket_seconds,.* gapfill, if"),
        ("1 + sqrt(1, 2)", "character 5: sqrt takes 1 argument, not 2"),
        ("pow(1)", "character 1: pow takes 2 arguments, not 1"),
        ("min()", "character 1: min takes 1 argument or more, not 0"),
        ("pi(1)", "character 1: pi takes no arguments, not 1"),
        ("min(1,)", r"character 7: expected a number, a name or \(, found '\)'"),
        ("gapfill(1)", "character 9: expected the alias of an item, found '1'"),
        ("gapfill(a + b)", r"character 11: expected '\)', found '\+'"),
        ("gapfill()", r"expected the alias of an item, found '\)'"),
        ("gapfill(not)", "expected the alias of an item, found 'not'"),
        ("bucket_seconds(1)", r"character 16: expected '\)'"),
        ("1 < 2 < 3", "character 7: comparisons make no chain"),
        ("1 == 2 != 3", "character 8: comparisons make no chain"),
        ("1 + not 2", "character 5: expected a number, a name or .*found 'not'"),
        ("and", "character 1: expected a number"),
        ("1 && || 2", r"character 6: .*found '\|\|'"),
        ("()", r"character 2: .*found '\)'"),
        ("1)", r"character 2: expected an operator or the end, found '\)'"),
        ("2e", "character 2: expected an operator or the end, found 'e'"),
        ("1.2.3", "character 4: expected an operator or the end, found '.3'"),
        ("1e999", "character 1: 1e999 is larger than any number"),
        ("(" * 65 + "1" + ")" * 65, "character 66: nested more than 64 deep"),
        ("abs(" * 65 + "1" + ")" * 65, "nested more than 64 deep"),
        ("-" * 100 + "1", "nested more than 64 deep"),
        ("not " * 100 + "1", "nested more than 64 deep"),
        ("^".join("1" * 100), "nested more than 64 deep"),
        ("1" * 5000, "at most 4096 characters"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(FormulaError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [("(", ")", 1), ("abs(", ")", 1), ("-", "", 1), ("!", "", 1), ("not ", "", 1), ("1^", "", 1), ("1+(", ")", 65)],
)
def test_as_deep_as_allowed(before: str, after: str, value: float) -> None:
    assert run(before * 64 + "1" + after * 64) == [value]


def test_a_long_chain_is_no_deep_one() -> None:
    assert run("+".join(["1"] * 2000)) == [2000]
    assert run("max(" + ",".join(["1"] * 2000) + ")") == [1]
