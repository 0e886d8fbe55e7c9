"""Sparkplug B: checks the settings of a rule with this format."""

from __future__ import annotations

from connector.mapping.rules.rules import ARRIVAL_TIME, AUTO_TIME, RECEIVED_TIME
from connector.mapping.rules.section import RuleSection

_NOT_FOR_SPARKPLUG = ("key", "headers", "when", "prepare", "select", "iterate", "parallel", "item_name", "device")


def check_sparkplug_rule(section: RuleSection) -> None:
    """Raises ValueError for a setting that Sparkplug B does not support, and for a topic that leaves out births."""
    for name in _NOT_FOR_SPARKPLUG:
        if getattr(section, name):
            raise ValueError(f"{name} is not for format sparkplug_b")
    if section.quality is not None:
        raise ValueError("quality is not for format sparkplug_b, which has bad_quality: a setting of the format")
    if section.compression != "none":
        raise ValueError("compression is not for format sparkplug_b: a compressed payload is marked in the payload")
    where = section.time.field or section.time.template or section.time.header
    if where or section.time.take not in (AUTO_TIME, ARRIVAL_TIME, RECEIVED_TIME):
        raise ValueError("time: with format sparkplug_b only auto (that of each metric), arrival and received")
    if section.time.correct_clock is not None:
        raise ValueError("time: correct_clock is not for format sparkplug_b; use time: arrival for wrong clocks")
    if any(value.path is not None for value in section.values.values()):
        raise ValueError("values: path is not for format sparkplug_b; the key is the name of the metric")
    levels = (section.topic or "#").split("/")
    if not {"#", "**"} & set(levels[:2]) and len(levels) > 2 and levels[2][:1] not in ("+", "#", "{", "*"):
        raise ValueError(
            f"topic: level 3 is {levels[2]!r}, but births, data and deaths are all needed; write + in its place"
        )
