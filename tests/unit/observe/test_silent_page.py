"""The page /silent, page by page, of one process and of several workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.observe.http import AskedPage
from connector.observe.silent_page import merged_silent_page, silent_page
from connector.pipeline.notices import Notices
from connector.records import Mapped
from connector.runtime.silence import Silence
from tests.scripted import Clock


def silent(*inputs: str) -> AskedPage:
    """The page of a process in which these signals are silent, and the signal of another rule is not."""
    clock = Clock()
    silence = Silence(Notices(), clock=clock, wall=lambda: 1_790_000_000.0)
    rules = [
        compile_rule(RuleSection.model_validate({"topic": topic, "expect_every": every}), number=number)
        for number, (topic, every) in enumerate((("p/#", "5m"), ("q/#", "learned")))
    ]
    silence.begin(rules, "")
    for input_id in inputs:
        silence.expect(input_id, "s", rules[0])
    silence.expect("q", "s", rules[1])
    silence.saw([(n, Mapped([(input_id, 0, 1.0)])) for n, input_id in enumerate([*inputs, "q"])])
    clock.now += 400
    silence.look({"s": 0.0}, {"s"})
    return silent_page(silence, "main")


def asked(page: AskedPage, /, **query: str) -> tuple[int, dict[str, Any], list[str]]:
    status, _, body = page(query)
    found = json.loads(body)
    return status, found, [one["at"] for one in found.get("signals", ())]


def test_pages_are_sorted_and_bounded() -> None:
    page = silent("p/3", "p/1", "b|p/2")
    _, found, inputs = asked(page, limit="2")
    assert (found["watched"], found["silent"], inputs, found["next"]) == (4, 3, ["b|p/2", "p/1"], "p/1")
    assert found["rules"] == [
        {"rule": 1, "topic": "p/#", "expect_every": 300.0, "watched": 3, "silent": 3},
        {"rule": 2, "topic": "q/#", "expect_every": "learned", "watched": 1, "silent": 0},
    ]
    assert (found["signals"][0]["input"], found["signals"][0]["integration"]) == ("p/2", "b")
    _, found, inputs = asked(page, after="p/1", limit="2")
    assert (inputs, found["next"], found["signals"][0]["since"]) == (["p/3"], None, "2026-09-21T14:06:40Z")
    assert asked(page, rule="2")[2] == []
    assert asked(page, rule="1", limit="99999")[2] == ["b|p/2", "p/1", "p/3"]


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "-1"), ("limit", "0"), ("rule", "x"), ("rule", "²"), ("page", "1")]
)
def test_a_wrong_parameter_is_said(name: str, value: str) -> None:
    for page in (silent(), merged_silent_page(lambda _: {})):
        status, found, _ = asked(page, **{name: value})
        assert status == 400
        assert name in found["error"]


def test_without_such_rules_nothing_is_watched() -> None:
    status, found, inputs = asked(silent_page(None, "main"))
    assert (status, found["watched"], found["rules"], inputs) == (200, 0, [], [])


def test_workers_are_added_up_page_by_page() -> None:
    workers = {1: silent("p/1", "p/4"), 2: silent("p/2", "p/3"), 3: None}
    queries: list[str] = []

    def ask_all(path: str) -> Mapping[int, str | None]:
        queries.append(path)
        query = dict(part.split("=") for part in path.partition("?")[2].replace("%2F", "/").split("&"))
        return {number: None if page is None else page(query)[2].decode() for number, page in workers.items()}

    page = merged_silent_page(ask_all)
    _, found, inputs = asked(page, limit="3")
    assert (found["watched"], found["silent"], inputs, found["next"]) == (6, 4, ["p/1", "p/2", "p/3"], "p/3")
    assert [rule["silent"] for rule in found["rules"]] == [4, 0]
    _, found, inputs = asked(page, limit="3", after="p/3", rule="1")
    assert (inputs, found["next"]) == (["p/4"], None)
    assert queries[-1] == "/silent?after=p%2F3&limit=3&rule=1"
