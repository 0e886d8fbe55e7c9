"""Whatever comes: looking at it never fails, and what `init` writes for it is a configuration that maps it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config.read import load_config, rule_lines
from connector.mapping.rules.compiler.rule import check_compiles
from connector.mapping.rules.section import RuleSection
from connector.records import Record
from connector.try_out.draft import draft
from connector.try_out.mapping import TriedMapping
from connector.try_out.observed import Observed
from connector.try_out.sniff import sniff
from connector.try_out.write_config import config_text
from tests.property.fuzz import FUZZ

NOW = 1_790_000_000_000_000
SOURCES = st.sampled_from(
    [
        {"type": "mqtt", "url": "mqtts://broker.example.com", "topics": ["#"]},
        {"type": "kafka", "bootstrap_servers": ["k:1"], "topics": ["t"], "group_id": "g"},
    ]
)
levels = st.sampled_from(
    ["plant", "line1", "line2", "topics", "key", "spBv1.0", "tele", "", "{x}", "#", "+", "$$", "${A}"]
)
# MQTT allows no U+0000 in a topic
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
topics = st.lists(levels | text, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(["/".join(parts), ".".join(parts)])
)
payloads = (
    st.binary(max_size=30)
    | st.text(max_size=30).map(str.encode)
    | st.sampled_from(
        [b"21.5", b'{"v": 1}', b'{"ts": 1790000000, "t": {"v": 1, "${A}": 2}}', b'{"w": 1}\n{"w": 2}', b"a b=1"]
    )
)


@FUZZ
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_payload_is_looked_at_fuzz(payload: bytes) -> None:
    assert sniff(payload).format


@settings(max_examples=60, deadline=None)
@given(SOURCES, st.lists(st.tuples(topics.filter(bool), payloads), min_size=1, max_size=12))
def test_what_is_written_is_a_configuration_whose_rules_take_what_came(
    source: dict[str, object], messages: list[tuple[str, bytes]]
) -> None:
    if source["type"] == "kafka":
        messages = [(re.sub(r"[^a-zA-Z0-9._-]", "_", topic), payload) for topic, payload in messages]
    observed = Observed()
    for topic, payload in messages:
        observed.add("", Record(topic, payload, NOW))
    drafted = draft(observed, source)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "connector.yaml"
        file.write_text(config_text(drafted, "a broker", "preview"), encoding="utf-8")
        config = load_config(file, {})
        mapping = TriedMapping(file, config, rule_lines(file), {})
    assert len(mapping.rules) == len(drafted.rules)
    for rule in drafted.without_rule:  # what is suggested for it is a rule
        check_compiles(RuleSection.model_validate(rule.settings))
    left = {seen.topic for rule in drafted.without_rule for seen in rule.group.topics}
    for topic, payload in messages:
        record = Record(topic, payload, NOW)
        name = config.sources[0].name
        mapped = mapping.map(name, record)
        odd = "/" not in topic and set(topic) & set("{}+#")  # no pattern takes these, but # alone
        assert not payload or not mapped.skipped or mapped.samples or topic not in left
        if (
            payload and not odd and not topic.startswith("$") and topic not in left
        ):  # a wildcard at the start does not take these: MQTT's own rule
            assert any(rule is not None for rule, _ in mapping.shares(name, record, mapped)), topic
