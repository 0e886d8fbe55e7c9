"""The items that `publish` makes of signals."""

from __future__ import annotations

from connector.clarify import SignalResource
from connector.commands.clarify.resources import _item


def test_an_attribute_that_clarify_adds_later_is_no_part_of_an_item() -> None:
    attributes = {"name": "Boiler", "input": "a/b", "labels": {"hall": ["3"]}, "gapDetection": "PT5M", "newField": 1}
    signal = SignalResource.model_validate({"id": "0" * 20, "type": "signals", "attributes": attributes})
    wire = _item(signal, "{name} ({input})", {"site": ["Oslo"]}, visible=True).to_wire()
    assert wire["name"] == "Boiler (a/b)"
    assert wire["labels"] == {"hall": ["3"], "site": ["Oslo"]}
    assert (wire["gapDetection"], wire["visible"]) == ("PT5M", True)
    assert "newField" not in wire
