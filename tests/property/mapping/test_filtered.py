"""A message that becomes nothing on purpose says why, in a known word; any other message does not."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import FILTERED_BECAUSE, Record

TIME = 1_790_000_000_000_000
LEAVES = st.sampled_from([None, 1, 2.5, True, "on", "unavailable", "12,5", "", "Infinity"])
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["v", "q", "id", "name"]), inner),
    max_leaves=6,
)
PAYLOADS = st.one_of(
    DOCUMENTS.map(lambda document: json.dumps(document).encode()),
    st.sampled_from([b"", None, b"unavailable", b"nan", b"text", b"{", b"\xff", b'{"v": 1}\n{"v": null}']),
)
RULES: list[dict[str, Any]] = [
    {"topic": "a/skipped", "skip": True},
    {"topic": "a/+", "when": {"q": 1}, "skip": True},
    {"topic": "a/b", "text": "drop"},
    {"topic": "a/+", "values": {"v": {"thin": {"change_only": True}}}, "other_values": "filter"},
    {"topic": "+/b", "quality": {"path": "q", "good": [192], "bad": "drop"}, "thin": {"deadband": 1}},
    {"topic": "+/c", "format": "ndjson", "when": {"v": 1}, "values": {"v": {}}, "other_values": "filter"},
]
RECORDS = st.builds(
    lambda topic, payload, retained: Record(topic, payload, TIME, retained=retained),
    st.sampled_from(["a/skipped", "a/b", "a/c", "b/b", "b/c", "c"]),
    PAYLOADS,
    st.booleans(),
)


@given(
    records=st.lists(RECORDS, min_size=1, max_size=8),
    rules=st.lists(st.sampled_from(RULES), max_size=4),
    match=st.sampled_from(["first", "all"]),
    unmatched=st.sampled_from(["filter", "map", "dead_letter"]),
    never_retained=st.booleans(),
)
def test_why_a_message_became_nothing(
    records: list[Record], rules: list[dict[str, Any]], match: str, unmatched: str, never_retained: bool
) -> None:
    section = MappingSection.model_validate({"rules": rules})
    mapper = Mapper(
        section.compile(),
        match_all=match == "all",
        unmatched=unmatched,
        without_retained=["plant"] if never_retained else [],
    )
    for record in records:
        found = mapper.map("plant", record)
        nothing = not found.samples and not found.rejects
        assert (found.why in FILTERED_BECAUSE) is nothing, (record, found)
        assert bool(found.why) is nothing


def test_a_message_of_a_known_shape_whose_values_are_thinned_out() -> None:
    rule = {"topic": "a/+", "values": {"v": {"thin": {"change_only": True}}}, "other_values": "filter"}
    mapper = Mapper(MappingSection.model_validate({"rules": [rule]}).compile())
    whys = [mapper.map("plant", Record("a/b", b'{"v": 2.5, "q": 1}', TIME + n)).why for n in range(4)]
    assert whys == ["", "thinned", "thinned", "thinned"]
