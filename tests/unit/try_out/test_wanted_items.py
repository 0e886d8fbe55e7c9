"""The items that a mapping wants, from the state that a connector has left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.config.read import load_config
from connector.mapping.signals.input_ids import Origin
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.reconciler import Entry
from connector.state.state import State
from connector.try_out.wanted_items import NoSignalsError, wanted_items

INTEGRATION = "cp1a5c9e3g7i2k6m0o4q"
CONFIG = """
clarify: {credentials: none.json}
sources: [{type: mqtt, name: mqtt, url: mqtt://broker, topics: ["#"]}]
mapping:
  rules:
    - {topic: "by/{line}", input: "{payload.site}/{path}", publish: true}
    - {topic: "hidden/#"}
    - {topic: "#", publish: true}
state_dir: state
"""
CLAIMS = {
    "by/l7:old": Origin("mqtt", "by/l7", "v"),  # from before the rule used the site
    "oslo/v": Origin("mqtt", "by/l7", "v", '{"payload.site":"oslo"}'),
    "by/l8:old": Origin("mqtt", "by/l8", "v"),
    "hidden/a:v": Origin("mqtt", "hidden/a", "v"),
    "a:v": Origin("mqtt", "a", "v"),
    "gone:v": Origin("gone", "a", "w"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


def test_what_the_state_tells(folder: Path) -> None:
    (folder / "state").mkdir()
    state = State(folder / "state" / "state.sqlite")
    state.add_claims(CLAIMS.items())
    for kind, integration, key in (
        (MetadataKind.SIGNAL, INTEGRATION, "a:v"),
        (MetadataKind.SIGNAL, "another", "oslo/v"),
        (MetadataKind.ITEM, INTEGRATION, "shared"),
        (MetadataKind.ITEM, INTEGRATION, "hidden/a:v"),
        (MetadataKind.ITEM, "another", "elsewhere"),
    ):
        saved = Entry("digest", 1.0)
        MetadataBook(state, kind, integration).revise([key], lambda _key, _entry, saved=saved: saved)
    state.close()
    found = wanted_items(load_config(folder / "c.yaml"), INTEGRATION, None)
    assert sorted(found.signals) == ["a:v", "oslo/v"]
    assert found.settled == {"a:v": "digest"}
    told: dict[str, Any] = {key: why.split(":")[0] for key, why in found.unknown.items()}
    assert told == {
        "by/l8:old": "the rules of today make its input ID of other parts of the message",
        "shared": "its origin is not in the state",
    }


def test_without_a_state_and_a_capture_there_is_nothing_to_say(folder: Path) -> None:
    with pytest.raises(NoSignalsError, match="--input FILE"):
        wanted_items(load_config(folder / "c.yaml"), INTEGRATION, None)
