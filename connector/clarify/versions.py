"""Versions of the API, in their order, and what its pre-releases call differently. Source: clients (PyClarify 0.7)."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from connector.clarify.errors import ArgumentError

_SELECTOR: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(?:(alpha|beta)(\d{1,4}))?")
_STAGES: Final = ("alpha", "beta", None)

ApiVersion: TypeAlias = tuple[int, int, int, int]
"""Major, minor, stage and its number: 1.2alpha1 < 1.2beta1 < 1.2."""


class ApiVersionError(ArgumentError):
    """The method is not part of the API version that this client uses."""


def read_version(selector: object) -> ApiVersion:
    """The version that a selector such as `1.1` or `1.2beta1` names. TypeError, ValueError."""
    if not isinstance(selector, str):
        raise TypeError(f"api_version must be a text such as '1.2', not {selector!r}")
    found = _SELECTOR.fullmatch(selector)
    if found is None:
        raise ArgumentError(f"api_version must be such as 1.1, 1.2 or 1.2beta1, not {selector!r}")
    return int(found[1]), int(found[2]), _STAGES.index(found[3]), int(found[4] or 0)


CONNECTING: Final = read_version("1.2alpha1")
"""The first version that has groups in `evaluate`, and connects signals to items."""

_RELEASED: Final = read_version("1.2")
_OLD_NAMES: Final = {
    "admin.signals.connect": "admin.connectSignals",
    "admin.signals.disconnect": "admin.disconnectSignals",
}


def adapted(method: str, params: dict[str, object], version: ApiVersion) -> tuple[str, dict[str, object]]:
    """The call as this version has it: the pre-releases of 1.2 name two methods differently, select groups by a query
    instead of a filter, and know no `total` in a data frame's query."""
    if not CONNECTING <= version < _RELEASED:
        return method, params
    groups, query = params.get("groups"), params.get("query")
    if isinstance(groups, list):
        params = {**params, "groups": [_old_group(group) for group in groups]}
    if method == "clarify.dataFrame" and isinstance(query, dict):
        params = {**params, "query": {key: value for key, value in query.items() if key != "total"}}
    return _OLD_NAMES.get(method, method), params


def _old_group(group: dict[str, object]) -> dict[str, object]:
    rest = {key: value for key, value in group.items() if key != "filter"}
    return {**rest, "query": {"filter": group.get("filter", {})}}
