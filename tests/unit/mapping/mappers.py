"""A mapper with the rules of a configuration, and what it makes of one payload."""

from __future__ import annotations

import json
from typing import Any

from connector.formats.catalogue import build_format
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.records import Mapped
from tests.unit.records import record


def mapper(*rules: dict[str, Any], match: str = "first", **more: Any) -> Mapper:
    """A mapper with these rules, in the words of a configuration; `more` are further arguments of `Mapper`."""
    section = MappingSection.model_validate({"rules": rules, "match": match})
    return Mapper(section.compile(build_format), match_all=match == "all", **more)


def take(using: Mapper, payload: Any, topic: str = "t", **more: Any) -> Mapped:
    """What a mapper makes of a record with this payload, a payload other than bytes as JSON; `more` as in `record`."""
    return using.map("mqtt", record(payload if isinstance(payload, bytes) else json.dumps(payload), topic, **more))
