"""Whether a rule can take a topic that a source subscribes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from connector.mapping.rules.topics import parse_pattern
from connector.sources.subscriptions import overlap

LEVELS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)
FILTERS = st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from([levels, [*levels, "#"]])
)
PATTERNS = st.lists(st.sampled_from(["a", "b", "{n}", "+"]), min_size=1, max_size=3, unique=True).flatmap(
    lambda levels: st.sampled_from([levels, [*levels, "#"], ["**", *levels], [levels[0], "{rest...}", *levels[1:]]])
)


@given(topic=LEVELS, filter_=FILTERS, pattern=PATTERNS)
def test_where_a_topic_is_like_both_they_overlap(topic: list[str], filter_: list[str], pattern: list[str]) -> None:
    rule = parse_pattern("/".join(pattern))
    both = rule.match("/".join(topic)) is not None and topic_matches_sub("/".join(filter_), "/".join(topic))
    if rule.separator == "/" and both:
        assert overlap(rule.levels, filter_)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "+/b", True),
        ("a/#", "b/#", False),
        ("a/#", "#", True),
        ("a", "a/#", True),
        ("#/x", "a/+/y", False),
        ("#/x", "a/+/x", True),
        ("a/#/x", "a/b", False),
        ("a/#/x", "a/b/+", True),
        ("$SYS/#", "#", False),
        ("$SYS/#", "+/broker", False),
        ("$SYS/+/x", "$SYS/broker/#", True),
        ("a/$x", "+/+", True),
    ],
)
def test_overlap(one: str, other: str, expected: bool) -> None:
    assert overlap(one.split("/"), other.split("/")) is expected
    assert overlap(other.split("/"), one.split("/")) is expected
