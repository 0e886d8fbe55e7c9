"""The signals or items that a call is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from connector.clarify import arguments
from connector.clarify.query import Filter, FilterError

QueryFilter: TypeAlias = Filter | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """The signals or items that a call is about, as the caller gave the arguments.

    An argument is checked when a method needs the argument, not before. A wrong argument raises a ValueError that names
    the argument.
    """

    filter: QueryFilter | None = None
    """None selects all resources."""
    skip: int = 0
    """The number of matching resources to leave out."""
    limit: int | None = None
    """The largest number of resources; None, or a number below zero, means all."""
    sort: Sequence[str] = ()
    """Field paths; a `-` before a path reverses the order."""
    total: bool = False
    """Whether Clarify counts all matching resources."""
    include: Sequence[str] = ()
    """The kinds of related resources that the answer has too."""

    def bounds(self) -> tuple[int, int | None]:
        """(skip, limit) as whole numbers; a limit of None means all. Raises ArgumentError for a wrong number."""
        skip = arguments.number("skip", self.skip, least=0)
        limit = -1 if self.limit is None else arguments.number("limit", self.limit)
        return skip, None if limit < 0 else limit

    def query(self, skip: int, limit: int) -> dict[str, object]:
        """The query of one page, in the API's form. Raises FilterError or ArgumentError for a wrong argument."""
        given = self.filter
        if not isinstance(given, Filter | Mapping | None):
            raise FilterError(f"filter is a Filter, or a dict such as {{'name': 'Pressure'}}, not {given!r}")
        where = given.to_query() if isinstance(given, Filter) else dict(given or {})
        fields = arguments.text_list("sort", self.sort)
        return {"filter": where, "sort": fields, "limit": limit, "skip": skip, "total": bool(self.total)}

    def included(self) -> list[str]:
        """`include` as a list of texts. Raises ArgumentError if `include` is no list."""
        return arguments.text_list("include", self.include)
