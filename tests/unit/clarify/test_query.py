"""Filters become exactly the documented queries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connector.clarify import query
from connector.clarify.query import DataFilter, Filter, FilterError

A = Filter(fields={"name": query.NotEqual(value="Air")})
B = Filter(fields={"labels.unit-type": query.NotIn(value=["Flåte", "Merd 5"])})
C = Filter(fields={"input": query.Regex(value="^a")})


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        (query.Equal(value="x"), "x"),
        (query.NotEqual(value=1), {"$ne": 1}),
        (query.Regex(value="fo[o]{1}"), {"$regex": "fo[o]{1}"}),
        (query.In(value=["a", 1]), {"$in": ["a", 1]}),
        (query.NotIn(value=[]), {"$nin": []}),
        (query.Less(value=10), {"$lt": 10}),
        (query.LessOrEqual(value=1.5), {"$lte": 1.5}),
        (query.Greater(value=datetime(2026, 5, 1, tzinfo=UTC)), {"$gt": "2026-05-01T00:00:00Z"}),
        (query.GreaterOrEqual(value=False), {"$gte": False}),
    ],
)
def test_operators(comparison: query.Comparison, said: object) -> None:
    assert Filter(fields={"f": comparison}).to_query() == {"f": said}


def test_filters_are_joined() -> None:
    a, b, c = A.to_query(), B.to_query(), C.to_query()
    assert a == {"name": {"$ne": "Air"}}
    assert (A & B).to_query() == {"$and": [a, b]}
    assert (A & B & C).to_query() == {"$and": [a, b, c]}
    assert (A | B | C).to_query() == {"$or": [a, b, c]}
    assert (A & B | C).to_query() == {"$or": [{"$and": [a, b]}, c]}
    assert (A & (B | C)).to_query() == {"$and": [a, {"$or": [b, c]}]}
    assert ((A | B) & (B | C)).to_query() == {"$and": [{"$or": [a, b]}, {"$or": [b, c]}]}


def test_the_empty_filter_matches_everything() -> None:
    everything = Filter()
    assert everything.to_query() == {}
    assert (everything & A).to_query() == A.to_query()
    assert (everything & everything).to_query() == {}
    assert (everything | A).to_query() == {}


def test_all_fields_of_a_filter_count() -> None:
    both = Filter(fields={"name": "Air", "labels.site": query.In(value=["Oslo"])})
    assert both.to_query() == {"name": "Air", "labels.site": {"$in": ["Oslo"]}}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: query.In(value="abc"), "In takes a list of values, not 'abc'"),
        (lambda: query.NotIn(value=1), "NotIn takes a list"),
        (lambda: query.Equal(value=["a"]), r"Equal takes a text.*not \['a'\]"),
        (lambda: query.In(value=[{}]), "In takes a text"),
        (lambda: query.Regex(value=1), "Regex takes a text, not 1"),
        (lambda: Filter(fields={"$and": "x"}), r"'\$and' is no field"),
        (lambda: Filter(fields={"": "x"}), "'' is no field"),
        (lambda: Filter(fields={"a": 1}, and_list=[A]), "join filters with & and"),
    ],
)
def test_mistakes(make: Any, said: str) -> None:
    with pytest.raises(FilterError, match=said):
        make()
    with pytest.raises(TypeError):
        A & {"name": "x"}  # type: ignore[operator]


def test_windows_of_time() -> None:
    assert DataFilter().to_query() == {"times": {}}
    assert DataFilter(gte="2022-08-01T16:00:20Z", lt=datetime(2022, 8, 2, tzinfo=UTC), series=["a"]).to_query() == {
        "times": {"$gte": "2022-08-01T16:00:20Z", "$lt": "2022-08-02T00:00:00Z"},
        "series": {"$in": ["a"]},
    }
