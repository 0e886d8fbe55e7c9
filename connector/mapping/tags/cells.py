"""The cells of a tag list → attributes: numbers as spreadsheet programs write them, states, durations, yes and no."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from connector.clarify.iso8601 import duration_text
from connector.clarify.limits import ENUM_VALUE_MAX
from connector.mapping.tags.decimals import Decimals
from connector.mapping.tags.tag import LABEL, Tag
from connector.settings import Seconds

_YES: Final = frozenset(("true", "yes", "x", "1", "wahr", "ja", "vrai", "oui", "sann", "sant", "sandt", "verdadero"))
_NO: Final = frozenset(
    ("false", "no", "0", "falsch", "nein", "faux", "non", "usann", "falskt", "falsk", "falso", "nei")
)
_LONGEST_UNIT: Final = 255
_LONGEST_STATE: Final = 128
_MOST_STATES: Final = 10_000
_SECONDS: Final[TypeAdapter[float]] = TypeAdapter(Seconds)
_PAIRS: Final = re.compile(r"[,;|\n]")
_INTEGER: Final = re.compile(r"\d{1,4}", re.ASCII)


class CellError(ValueError):
    """A cell cannot be read; `column` is the name of its column."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


class Row(NamedTuple):
    """One row of a list, before its cells are read."""

    line: int
    cells: dict[str, str]
    """Name of the column → text, without spaces around it; only cells with a text."""


def decimals_of(said: bool | None, rows: Iterable[Row]) -> Decimals:
    """Returns how the numbers of a list are written; `said` is the setting `decimal_comma`."""
    decimals = Decimals(said, "list", "set decimal_comma")
    for row in rows:
        for column in ("scale", "offset"):
            decimals.learn(row.line, row.cells.get(column, ""))
    return decimals


def tag_of(row: Row, decimals: Decimals) -> Tag:
    """Returns the tag of a row. Raises `CellError`."""
    cells = row.cells
    if "key" not in cells:
        raise CellError("key", "is empty, so the row belongs to no signal")
    states = _states(cells["states"]) if "states" in cells else {}
    scale, offset = _number("scale", cells, decimals), _number("offset", cells, decimals)
    value_type = cells.get("type", "").casefold() or None
    if value_type not in (None, "numeric", "enum"):
        raise CellError("type", f"{cells['type'][:60]!r} is no type; write numeric or enum")
    is_enum = value_type == "enum" or (bool(states) and value_type is None)
    for column, number in (("scale", scale), ("offset", offset)):
        if number == 0 and column == "scale":
            raise CellError(column, "0 makes every value the same")
        if number is not None and is_enum:
            raise CellError(column, "is not for a signal with states")
    if len(cells.get("unit", "")) > _LONGEST_UNIT:
        raise CellError("unit", f"has more than {_LONGEST_UNIT} characters")
    return Tag(
        cells["key"],
        row.line,
        name=cells.get("name", ""),
        description=cells.get("description", ""),
        unit=cells.get("unit", ""),
        value_type="enum" if is_enum else value_type,
        scale=scale,
        offset=offset,
        states=states,
        skip=_yes("skip", cells["skip"]) if "skip" in cells else False,
        sample_interval=_duration("sample_interval", cells),
        gap_detection=_duration("gap_detection", cells),
        labels=tuple(
            sorted((column[len(LABEL) :], text) for column, text in cells.items() if column.startswith(LABEL))
        ),
    )


def _number(column: str, cells: dict[str, str], decimals: Decimals) -> float | None:
    try:
        return decimals.number(cells[column]) if column in cells else None
    except ValueError as error:
        raise CellError(column, str(error)) from None


def _states(text: str) -> dict[str, int]:
    """Returns text → number of `OPEN=1, CLOSED=0`; a pair may also be written as `1=OPEN`."""
    states: dict[str, int] = {}
    for pair in filter(None, map(str.strip, _PAIRS.split(text))):
        left, equals, right = (part.strip() for part in pair.partition("="))
        numbers = [part for part in (left, right) if _INTEGER.fullmatch(part)]
        if not equals or len(numbers) != 1 or not (left and right) or "=" in right:
            raise CellError("states", f"{pair[:60]!r} is no state; write a text and a number: OPEN=1, CLOSED=0")
        number, name = int(numbers[0]), right if left == numbers[0] else left
        if number > ENUM_VALUE_MAX:
            raise CellError("states", f"the number of {name[:60]!r} is above {ENUM_VALUE_MAX}")
        if len(name) > _LONGEST_STATE:
            raise CellError("states", f"{name[:60]!r}… has more than {_LONGEST_STATE} characters")
        if states.setdefault(name, number) != number:
            raise CellError("states", f"{name[:60]!r} has two numbers")
        if len(states) > _MOST_STATES:
            raise CellError("states", f"more than {_MOST_STATES} states")
    return states


def _yes(column: str, text: str) -> bool:
    word = text.casefold()
    if word not in _YES and word not in _NO:
        raise CellError(column, f"{text[:60]!r} is neither yes nor no")
    return word in _YES


def _duration(column: str, cells: dict[str, str]) -> str | None:
    if column not in cells:
        return None
    try:
        seconds = _SECONDS.validate_python(cells[column])
        if seconds <= 0:
            raise CellError(column, "must be more than 0")
        return duration_text(timedelta(seconds=seconds))
    except ValidationError as error:
        raise CellError(column, error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    except OverflowError:
        raise CellError(column, "is too long") from None
