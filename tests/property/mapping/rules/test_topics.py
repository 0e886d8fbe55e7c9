"""Topic patterns against a plain reading of MQTT's rules."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector.mapping.rules.topics import parse_pattern

levels = st.sampled_from(["", "a", "b", "a.b", "$x", "ø", "(", "a\n"])


def matches(pattern: list[str], topic: list[str]) -> bool:
    """MQTT's rules, word for word: 5.0 section 4.7."""
    if topic[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    if not pattern:
        return not topic
    for i, level in enumerate(pattern):
        if level == "#":
            return True
        if i == len(topic):
            return False
        if level not in ("+", topic[i]):
            return False
    return len(pattern) == len(topic)


@settings(max_examples=250, deadline=None)
@given(
    pattern=st.lists(levels | st.just("+"), max_size=4),
    tail=st.sampled_from([[], ["#"]]),
    topic=st.lists(levels, min_size=1, max_size=4),
    named=st.booleans(),
)
def test_patterns_match_as_mqtt_says(pattern: list[str], tail: list[str], topic: list[str], named: bool) -> None:
    wanted = pattern + tail
    assume(wanted and "/".join(wanted))
    assume("/".join(topic))  # a topic is at least one character long
    written = [f"{{level{i}}}" if named and level == "+" else level for i, level in enumerate(wanted)]
    found = parse_pattern("/".join(written)).match("/".join(topic))
    assert (found is not None) == matches(wanted, topic)
    if found is not None and named:
        assert found == {f"level{i}": topic[i] for i, level in enumerate(wanted) if level == "+"}
