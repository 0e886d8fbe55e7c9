"""What places beside the rule say about signals: a later one has precedence, and a change reaches known signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from connector.mapping.mapper import Mapper
from connector.mapping.plans import Plan
from connector.mapping.rules.rules import Rule, ValueRule
from connector.mapping.rules.templates import constant
from connector.mapping.rules.topics import parse_pattern
from connector.mapping.rules.values import PLAIN
from tests.unit.records import record


class Said:
    """Says the same about every value."""

    def __init__(self, **said: str) -> None:
        self.said = said
        self.scale = 1.0

    def refined(self, plan: Plan, path: str, value: ValueRule) -> ValueRule:
        conversion = replace(value.conversion or PLAIN, scale=self.scale)
        said: dict[str, Any] = {key: constant(text) for key, text in self.said.items()}
        return replace(value, conversion=conversion, **said)


def test_the_last_source_has_precedence_and_all_have_precedence_over_the_rule() -> None:
    weak, strong = Said(name="weak", unit="bar"), Said(name="strong")
    rule = Rule(
        parse_pattern("#"), name=constant("rule"), description=constant("of the rule"), attribute_sources=(weak, strong)
    )
    mapper = Mapper([rule])
    mapper.map("s", record())
    ((input_id, metadata),) = mapper.take_discovered()
    assert (input_id, metadata.name, metadata.unit, metadata.description) == ("t:v", "strong", "bar", "of the rule")


def test_a_change_is_discovered_at_once_and_converts_the_next_record_also_one_of_a_known_shape() -> None:
    said = Said(name="before")
    mapper = Mapper([Rule(parse_pattern("#"), attribute_sources=(said,))])
    for _ in range(3):
        mapper.map("s", record())
    mapper.take_discovered()
    said.said, said.scale = {"name": "after"}, 10.0
    mapper.renew(lambda plan: plan.rule.attribute_sources == (said,))
    assert [(input_id, found.name) for input_id, found in mapper.take_discovered()] == [("t:v", "after")]
    assert [value for _ in range(3) for *_, value in mapper.map("s", record()).samples] == [10.0] * 3
    assert (mapper.ids.renames, mapper.ids.collisions) == ([], [])
