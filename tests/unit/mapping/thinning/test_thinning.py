"""Thinning: which values of a signal pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.records import Record

S = 1_000_000
TIME = 1_790_000_000 * S


def passed(thin: dict[str, Any], *values: tuple[float, float]) -> list[tuple[float, float]]:
    """Those of these (second, value) that pass, by way of the mapper; all others count as filtered."""
    mapper = Mapper([compile_rule(RuleSection.model_validate({"topic": "t", "thin": thin, "time": "arrival"}))])
    kept: list[tuple[float, float]] = []
    filtered = 0
    for second, value in values:
        mapped = mapper.map("mqtt", Record("t", json.dumps({"v": value}).encode(), TIME + round(second * S)))
        kept += [((time_us - TIME) / S, number) for _, time_us, number in mapped.samples]
        filtered += mapped.filtered
        assert mapped.rejects == []
    assert len(kept) + filtered == len(values)
    return kept


@pytest.mark.parametrize(
    ("thin", "values", "wanted"),
    [
        ({"change_only": True}, [(0, 1), (1, 1), (2, 2), (3, 2), (4, 1)], [(0, 1), (2, 2), (4, 1)]),
        ({"change_only": True, "at_least_every": "3s"}, [(0, 1), (1, 1), (3, 1), (4, 1)], [(0, 1), (3, 1)]),
        ({"deadband": 1}, [(0, 1), (1, 1.5), (2, 2), (3, 2.1), (4, 1.2)], [(0, 1), (3, 2.1)]),
        ({"deadband_percent": 10}, [(0, 100), (1, 110), (2, 111), (3, 122), (4, 123)], [(0, 100), (2, 111), (4, 123)]),
        ({"min_interval": "2s"}, [(0, 1), (1, 2), (2, 3), (3.9, 4), (4, 5)], [(0, 1), (2, 3), (4, 5)]),
        ({"min_interval": "2s", "change_only": True}, [(0, 1), (1, 2), (3, 1), (4, 2)], [(0, 1), (4, 2)]),
        # What comes late passes, since its neighbours are not known any more; the same once more does not.
        ({"change_only": True}, [(5, 1), (1, 1), (5, 1), (5, 2), (6, 2)], [(5, 1), (1, 1), (5, 2)]),
    ],
)
def test_what_passes(
    thin: dict[str, Any], values: list[tuple[float, float]], wanted: list[tuple[float, float]]
) -> None:
    assert passed(thin, *values) == wanted


def test_a_value_may_be_thinned_otherwise_than_its_rule_says() -> None:
    rule = {"topic": "t", "thin": {"change_only": True}, "values": {"b": {"thin": {"min_interval": "1h"}}}}
    mapper = Mapper([compile_rule(RuleSection.model_validate(rule))])
    found = [
        [
            input_id
            for input_id, _, _ in mapper.map(
                "mqtt", Record("t", json.dumps({"a": 1, "b": n}).encode(), TIME + n * S)
            ).samples
        ]
        for n in range(3)
    ]
    assert found == [["t:a", "t:b"], [], []]


def test_after_a_partition_was_given_away_the_next_value_passes() -> None:
    """What passed before may never have been sent, and comes again."""
    mapper = Mapper([compile_rule(RuleSection.model_validate({"topic": "t", "thin": {"change_only": True}}))])
    record = Record("t", b"1", TIME)
    assert len(mapper.map("kafka", record).samples) == 1
    assert mapper.map("kafka", record).samples == []
    mapper.forget("other")
    assert mapper.map("kafka", record).samples == []
    mapper.forget("kafka")
    assert len(mapper.map("kafka", record).samples) == 1
