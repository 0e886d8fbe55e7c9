"""Topic patterns and templates: MQTT's own rules, and mistakes that are named."""

from __future__ import annotations

import pytest

from connector.mapping.rules.rules import template_for
from connector.mapping.rules.templates import TemplateError, parse_template
from connector.mapping.rules.topics import PatternError, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "topic", "levels"),
    [
        ("plant/{line}/{machine}/state", "plant/7/press/state", {"line": "7", "machine": "press"}),
        ("plant/{line}/state", "plant//state", {"line": ""}),
        ("plant/+/state", "plant/7/state", {}),
        ("plant/#", "plant", {}),
        ("plant/#", "plant/", {}),
        ("plant/{line}/#", "plant/7", {"line": "7"}),
        ("plant/{line}/#", "plant/7/a/b", {"line": "7"}),
        ("#", "anything/at all", {}),
        ("$SYS/#", "$SYS/broker/uptime", {}),
        ("a.b/{x}", "a.b/line\nbreak", {"x": "line\nbreak"}),
        ("{class}", "7", {"class": "7"}),
        ("/+", "/x", {}),
        ("plant.{line}.telemetry", "plant.7.telemetry", {"line": "7"}),
        ("plant.#", "plant", {}),
        ("plant.#", "plant.7.a", {}),
        ("{site}.+", "trondheim.x", {"site": "trondheim"}),
    ],
)
def test_topics_that_a_pattern_takes(pattern: str, topic: str, levels: dict[str, str]) -> None:
    assert parse_pattern(pattern).match(topic) == levels


@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        ("plant/{line}/state", "plant/7/8/state"),
        ("plant/+", "plant"),
        ("plant/+", "plant/7/8"),
        ("plant/#", "plants"),
        ("a.b", "axb"),
        ("#", "$SYS/uptime"),
        ("+/uptime", "$SYS/uptime"),
        ("{first}/uptime", "$SYS/uptime"),
        ("Plant", "plant"),
        ("plant.{line}.telemetry", "plant.7.8.telemetry"),
        ("plant.{line}", "plant.7/8"),
        ("plant.#", "plants"),
        ("plant", "plant\n"),
    ],
)
def test_topics_that_a_pattern_leaves(pattern: str, topic: str) -> None:
    assert parse_pattern(pattern).match(topic) is None


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "must not be empty"),
        ("a/#/b", "level 2: '#' may stand only at the end"),
        ("a/b+", "level 2 ('b+')"),
        ("a/{x}y", "must fill its whole level"),
        ("{X}", "names are small letters"),
        ("{}", "names are small letters"),
        ("a.{x}y", "must fill its whole level"),
        ("a.#.b", "level 2: '#' may stand only at the end"),
        ("a/{x}/{x}", "level 3: the name {x} is there twice"),
    ],
)
def test_a_bad_pattern_says_which_level_and_why(pattern: str, said: str) -> None:
    with pytest.raises(PatternError) as refused:
        parse_pattern(pattern)
    assert said in str(refused.value)


def test_a_template_is_filled_in() -> None:
    template = parse_template("{line}/{field} {{literal}}", ["line", "field"])
    assert template.variables == {"line", "field"}
    assert template.render({"line": "7", "field": "temp", "unused": ""}) == "7/temp {literal}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{lnie}", "did you mean {line}?"),
        ("{zzz}", "known are {line}, {source}, {topic}, {path}, {field}, {key}, {header.NAME}"),
        ("{}", "{} is not known here"),
        ("{line.upper}", "not known"),
        ("{line!r}", "no formats"),
        ("{line:>10}", "no formats"),
        ("{line", "literal braces"),
        ("line}", "literal braces"),
    ],
)
def test_a_bad_template_says_what_is_known(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as refused:
        template_for(parse_pattern("plant/{line}").names, text)
    assert said in str(refused.value)
    assert repr(text) in str(refused.value)
