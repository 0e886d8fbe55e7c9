"""Formulas: what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.formula import FormulaError, parse


def run(text: str, **series: Sequence[float | None]) -> list[float | None]:
    n = len(next(iter(series.values()), [0]))
    formula = parse(text)
    return formula.evaluate(series, n, bucket_seconds=[60.0] * n, gapfill=lambda name: [x or 7 for x in series[name]])


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
        ("1 < 2 and not 3 < 2", 1),
        ("1 = 2 or 2 >= 3", 0),
        ("!(1 != 1) && 1 <= 1 || 0", 1),
        ("min(3, 1, 2) + max(4)", 5),
        ("round(2.5) + floor(-0.5) + ceil(0.1) + trunc(-1.9)", 2),
        ("sqrt(16) + abs(-1) + pow(2, 3) + mod(7, 4) + sign(-9)", 15),
        ("log10(100) + ln(e) + log2(8) + exp(0)", 7),
        ("if(1 > 2, 10, 20)", 20),
        ("cos(pi)", -1),
        ("bucket_seconds()", 60),
    ],
)
def test_values(text: str, value: float) -> None:
    (found,) = run(text)
    assert found is not None
    assert math.isclose(found, value)


def test_series_and_what_is_missing() -> None:
    assert run("a * 2 + b", a=[1, None, 3], b=[10, 20, None]) == [12, None, None]
    assert run("gapfill(a) + 0 * a", a=[1, None]) == [1, None]
    assert run("gapfill(a)", a=[1, None]) == [1, 7]
    assert run("1 / a", a=[0, 2]) == [None, 0.5]
    assert run("sqrt(a)", a=[-1, 4]) == [None, 2]
    assert run("a ^ 0.5", a=[-1, 4]) == [None, 2]
    assert run("10 ^ a", a=[400, 1]) == [None, 10]
    assert parse("gapfill(a) + b").names == {"a", "b"}
    assert parse("gapfill(a) + b").gap_filled == {"a"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"character 1: expected a number, a name or \(, found the end"),
        ("1 +", r"character 4: expected a number.*found the end"),
        ("1 2", r"character 3: expected an operator or the end, found '2'"),
        ("(1", r"expected '\)', found the end"),
        ("a $ b", r"character 3: '\$' has no place"),
        ("median(a)", r"character 1: there is no function 'median'; there are abs"),
        ("sqrt(1, 2)", "sqrt takes 1 arguments, not 2"),
        ("min()", "expected a number"),
        ("gapfill(1)", "expected the alias of an item, found '1'"),
        ("bucket_seconds(1)", r"expected '\)'"),
        ("(" * 41 + "1", "nested more than 40 deep"),
        ("-" * 100 + "1", "nested more than 40 deep"),
        ("1" * 5000, "at most 4096 characters"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(FormulaError, match=said):
        parse(text)


def test_a_long_chain_is_no_deep_one() -> None:
    assert run("+".join(["1"] * 2000)) == [2000]


@given(st.text(max_size=60) | st.text("ab1.e+-*/%^<>=!(), andornot", max_size=60))
def test_whatever_is_parsed(text: str) -> None:
    try:
        formula = parse(text)
    except FormulaError:
        return
    series = {name: [1.0, None] for name in formula.names}
    found = formula.evaluate(series, 2, bucket_seconds=[1.0, 1.0], gapfill=lambda name: series[name])
    assert len(found) == 2
    assert all(value is None or math.isfinite(value) for value in found)
