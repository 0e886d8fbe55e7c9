"""Whatever a message that describes signals holds, its record is counted as metadata or is a dead letter."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Record

PRESETS = ["home_assistant", "zigbee2mqtt", "homie", "siemens_ie", "opcua_pubsub"]
TOPICS = [
    "homeassistant/sensor/x/config",
    "homeassistant/device/x/config",
    "homeassistant/sensor/x/unit_of_measurement",
    "zigbee2mqtt/bridge/devices",
    "homie/d/n/p/$unit",
    "homie/5/d/$description",
    "ie/m/j/simatic/v1/c/dp",
    "opcua/json/metadata/p",
]
WORDS = [
    *(
        "name",
        "state_topic",
        "stat_t",
        "~",
        "val_tpl",
        "value_template",
        "dev",
        "device",
        "cmps",
        "unit_of_meas",
        "pl_on",
    ),
    *("friendly_name", "definition", "exposes", "features", "property", "label", "unit", "nodes", "properties"),
    *("connections", "dataPoints", "dataPointDefinitions", "topic", "id", "MetaData", "Fields", "Name", "Properties"),
    *("PublisherId", "DataSetWriterId", "Key", "Value", "Description", "Text", "EngineeringUnits", "DisplayName"),
]
TEXTS = st.sampled_from([*WORDS, "{{ value_json.a }}", "{{ value }}", "~/a", "a/~", "", "°C", "a" * 500]) | st.text()
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=8),
    max_leaves=40,
)
SECTION = MappingSection.model_validate({"presets": PRESETS})
RULES = SECTION.compile()


@given(st.lists(st.tuples(st.sampled_from(TOPICS), DOCUMENTS), min_size=1, max_size=4))
def test_a_message_that_describes_signals_is_metadata_or_a_dead_letter(messages: list[tuple[str, Any]]) -> None:
    mapper = Mapper(RULES)
    for topic, document in messages:
        found = mapper.map("s", Record(topic, orjson.dumps(document), 1_790_000_000_000_000))
        assert found.samples == []
        assert bool(found.rejects) != (found.why in ("metadata", "left_out")), found
    for described in mapper.take_descriptions():
        assert described.signal.strip()
        assert Mapper(RULES, descriptions=[described]).take_descriptions() == []
