"""Filters on the command line: `name~^Boiler`, `labels.site=Oslo`, `visible=true`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from connector.clarify import query

_CONDITION: Final = re.compile(
    r"(?P<field>[A-Za-z][A-Za-z0-9_./-]*?)\s*(?P<sign>!=|<=|>=|=|~|<|>)\s*(?P<value>.*)", re.DOTALL
)
_SIGNS: Final[Mapping[str, Callable[[Any], query.Comparison]]] = {
    "=": query.Equal,
    "!=": query.NotEqual,
    "~": query.Regex,
    "<": query.Less,
    "<=": query.LessOrEqual,
    ">": query.Greater,
    ">=": query.GreaterOrEqual,
}
_BOOLEANS: Final = {"true": True, "false": False}

_OPTIONS: Final = (
    click.option(
        "--filter",
        "-f",
        "conditions",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Only resources that match. Signs: = != ~ (regular expression) < <= > >=. Fields: name, input, id, "
        "labels.KEY, annotations.KEY, visible, valueType, createdAt … With several filters, all must match.",
    ),
    click.option("--query", "raw", metavar="JSON", help="A complete filter in the syntax of the Clarify API."),
)


def read_filter(conditions: Sequence[str], raw: str | None) -> query.Filter | dict[str, Any]:
    """Return the filter that --filter or --query describes. Raises click.UsageError."""
    if raw is not None:
        if conditions:
            raise click.UsageError("use --filter or --query, not both")
        try:
            found = json.loads(raw)
        except json.JSONDecodeError as error:
            raise click.UsageError(f"--query is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise click.UsageError('--query must be an object such as {"name": {"$regex": "^Boiler"}}')
        return found
    joined = query.Filter()
    for condition in conditions:
        joined = joined & _condition(condition)
    return joined


def _condition(text: str) -> query.Filter:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise click.UsageError(f"--filter {text!r} is not a condition such as name~^Boiler or labels.site=Oslo")
    field, sign, value = found["field"], found["sign"], found["value"]
    given: object = _BOOLEANS.get(value, value) if field == "visible" else value
    return query.Filter(fields={field: _SIGNS[sign](given)})


Chosen = query.Filter | dict[str, Any]


def both(one: Chosen, other: query.Filter) -> Chosen:
    """Return a filter for the resources that match both filters."""
    return one & other if isinstance(one, query.Filter) else {"$and": [one, other.to_query()]}


def read_limit(text: str) -> int | None:
    """Return the number of an option --limit; None for all. Raises click.UsageError."""
    if text == "all":
        return None
    if not text.isdecimal() or not text.isascii():
        raise click.UsageError(f"--limit must be a number or all, not {text!r}")
    return int(text)


def matches_all(chosen: Chosen) -> bool:
    """Whether the filter has no condition, so that every resource matches."""
    return not (chosen.to_query() if isinstance(chosen, query.Filter) else chosen)


def with_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for filters to a command, and return the command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
