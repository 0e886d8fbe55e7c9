"""The content of births, cut to the limits of Clarify, and how it is stored for the next run."""

from __future__ import annotations

import pytest

from connector.formats.sparkplug.births import MetricBirth, MetricTable
from connector.formats.sparkplug.datatypes import DataType
from connector.formats.sparkplug.properties import Properties, is_good, quality_code
from connector.formats.sparkplug.schema import PayloadMessage
from connector.formats.sparkplug.timeline import MAX_EPOCHS, Epoch, Timeline
from tests.sparkplug_payloads import metric


def said(**properties: object) -> Properties:
    made = PayloadMessage(metrics=[metric("m", DataType.INT32, 1, said=properties)])
    return Properties(made.metrics[0].properties)


def test_names_of_properties_are_found_however_they_are_written() -> None:
    for name in ("engUnit", "Engineering Units", "engineering_unit", "UNIT", "uom"):
        assert said(**{name: "bar"}).unit == "bar"
    assert said(unit="", engUnit=None, units="K").unit == "K", "what is empty says nothing"
    assert said(engUnit="first", unit="second").unit == "first"
    assert (said(engLow=5, engHigh=7.5).low, said(engLow=5, engHigh=7.5).high) == (5.0, 7.5)
    assert said(engLow=True).low is None
    assert said(low="5").low is None, "text is no number"


def test_what_is_too_long_for_clarify_is_cut() -> None:
    found = said(engUnit="u" * 300, documentation="d" * 2000, enumValues={"0": "s" * 200, "10000": "x", "-1": "x"})
    assert (len(found.unit), len(found.description)) == (255, 1000)
    assert found.states == (("0", "s" * 128),)


@pytest.mark.parametrize("text", ["", "no states", "[1, 2", "{", "0", "=", "0=;1=", '{"a": "b"}', "[]", "null"])
def test_what_declares_no_states_gives_none(text: str) -> None:
    assert said(states=text).states == ()


@pytest.mark.parametrize(
    ("code", "good"), [(192, True), (216, True), (None, True), (0, False), (500, False), (64, False), (-1, False)]
)
def test_quality(code: int | None, good: bool) -> None:
    made = PayloadMessage(metrics=[metric("m", DataType.INT32, 1, said={"x": 1, "Quality": code})])
    assert is_good(quality_code(made.metrics[0].properties)) is good


def test_a_timeline_is_the_same_after_it_was_written_and_read() -> None:
    line = Timeline()
    one = MetricTable(
        [MetricBirth("a", 9, 1, unit="A", states=(("0", "x"),)), MetricBirth("b")], {"T": [MetricBirth("m", 3)]}
    )
    line.add(Epoch(10, 0, one, 5))
    line.add(Epoch(20, 10, None))
    line.add(Epoch(30, 20, MetricTable(one.births(), one.definitions), 6))
    line.lost, line.lost_us = 7, 25
    assert len(line.tables()) == 1, "a table that comes again is kept once"
    again = Timeline.from_bytes(line.to_bytes())
    assert again.to_bytes() == line.to_bytes()
    assert [(e.from_us, e.session, e.bd_seq) for e in again.epochs] == [(10, 0, 5), (20, 10, None), (30, 20, 6)]
    assert again.epochs[2].table is not None
    assert again.epochs[2].table.same_as(one)
    assert again.epochs[1].table is None
    assert (again.lost, again.lost_us, again.metrics()) == (7, 25, 3)


def test_only_the_last_births_are_kept_and_what_comes_late_finds_its_place() -> None:
    line = Timeline()
    for number in range(MAX_EPOCHS + 5):
        line.add(Epoch(number * 10, 0, MetricTable([MetricBirth(f"m{number}")])))
    assert [epoch.from_us for epoch in line.epochs] == [number * 10 for number in range(5, MAX_EPOCHS + 5)]
    assert line.at(49) is None
    line.add(Epoch(105, 0, None))
    assert line.at(107) is not None
    assert line.at(107).from_us == 105  # type: ignore[union-attr]
    assert line.at(110).from_us == 110  # type: ignore[union-attr]
