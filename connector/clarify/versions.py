"""The order of API versions, and the other names in pre-releases. Source: clients (PyClarify 0.7)."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from connector.clarify.errors import ArgumentError

_SELECTOR: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(?:(alpha|beta)(\d{1,4}))?")
_STAGES: Final = ("alpha", "beta", None)

ApiVersion: TypeAlias = tuple[int, int, int, int]
"""Major, minor, stage and number of the stage: 1.2alpha1 < 1.2beta1 < 1.2."""


class ApiVersionError(ArgumentError):
    """The API version of the client does not have the method or the parameter."""


def read_version(selector: object) -> ApiVersion:
    """The version of a selector such as `1.1` or `1.2beta1`.

    Raises TypeError if the selector is no text, and ArgumentError for another text.
    """
    if not isinstance(selector, str):
        raise TypeError(f"api_version must be a text such as '1.2', not {selector!r}")
    found = _SELECTOR.fullmatch(selector)
    if found is None:
        raise ArgumentError(f"api_version must be such as 1.1, 1.2 or 1.2beta1, not {selector!r}")
    return int(found[1]), int(found[2]), _STAGES.index(found[3]), int(found[4] or 0)


CONNECTING: Final = read_version("1.2alpha1")
"""The first version with groups in `evaluate` and with methods that connect signals to items."""

_RELEASED: Final = read_version("1.2")
_OLD_NAMES: Final = {
    "admin.signals.connect": "admin.connectSignals",
    "admin.signals.disconnect": "admin.disconnectSignals",
}


def adapted(method: str, params: dict[str, object], version: ApiVersion) -> tuple[str, dict[str, object]]:
    """The method and the parameters of a call, in the form that the API version takes.

    The pre-releases of 1.2 have other names for two methods, select groups by a query instead of a filter, and have no
    `total` in the query of a data frame.
    """
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
