"""A mapper with the rules of a configuration."""

from __future__ import annotations

from typing import Any

from connector.formats.catalogue import build_format
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection


def mapper(*rules: dict[str, Any], match: str = "first", **more: Any) -> Mapper:
    """A mapper with these rules, in the words of a configuration; `more` are further arguments of `Mapper`."""
    section = MappingSection.model_validate({"rules": rules, "match": match})
    return Mapper(section.compile(build_format), match_all=match == "all", **more)
