"""The compiler of rules: who calls the compiler, and where its errors stand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from connector.mapping.rules import section
from connector.mapping.rules.section import RuleSection
from connector.mapping.section import MappingSection


def test_a_section_does_not_know_the_compiler() -> None:
    tree = ast.parse(Path(section.__file__).read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert modules
    assert [module for module in modules if "compile" in module] == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"topic": "a", "input": "{nope}"}, "Value error, input: '{nope}': {nope} is not known here"),
        (
            {"preset": "kepware", "input": "{nope}"},
            "Value error, with preset kepware: input: '{nope}': {nope} is not known here",
        ),
    ],
)
def test_every_rule_that_does_not_compile_is_found_in_its_place(rule: dict[str, str], message: str) -> None:
    RuleSection.model_validate(rule)  # the section itself has no mistake
    with pytest.raises(ValidationError) as refused:
        MappingSection.model_validate({"rules": [rule, {"topic": "b"}, rule], "max_values": 0})
    found = refused.value.errors()
    assert [error["loc"] for error in found] == [("rules", 0), ("rules", 2), ("max_values",)]
    assert found[0]["msg"].startswith(message)
