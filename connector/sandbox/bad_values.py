"""Refuses inserts that hold a certain value, in each form in which a server may report the bad value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from connector.sandbox.faults import BadValue
from connector.sandbox.problems import Problems
from connector.sandbox.rpc import INVALID_PARAMS, RpcError

_MESSAGE = "a value that is refused on request"


def error_for(fault: BadValue, params: bytes | None) -> RpcError | None:
    """The error that `fault` orders for a call with these parameters; None if they do not hold the value."""
    places = list(_places(fault.value, params))
    if not places:
        return None
    if fault.names == "nothing":
        return RpcError(INVALID_PARAMS, data={"trace": "0" * 20})
    problems = Problems()
    paths: dict[str, Callable[[str, int], str]] = {
        "series": lambda key, _: f"data.series.{key}",
        "cell": lambda key, index: f"data.series.{key}[{index}]",
        "cell_dot": lambda key, index: f"data.series.{key}.{index}",
        "row": lambda _, index: f"data.times[{index}]",
    }
    for path in dict.fromkeys(paths[fault.names](key, index) for key, index in places):
        problems.add(path, _MESSAGE)
    return RpcError(INVALID_PARAMS, problems=problems)


def _places(value: float, params: bytes | None) -> Iterator[tuple[str, int]]:
    """(series, index) of each cell with this value."""
    try:
        found: Any = orjson.loads(params or b"{}")
        series = found["data"]["series"].items()
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return  # the code that carries out the call reports the mistake
    for key, cells in series:
        if isinstance(cells, list):
            yield from ((key, index) for index, cell in enumerate(cells) if cell == value)
