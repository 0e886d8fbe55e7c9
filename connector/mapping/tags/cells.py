"""The cells of a tag list → attributes: numbers as spreadsheet programs write them, states, durations, yes and no."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from math import isfinite
from typing import Final, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from connector.clarify.iso8601 import duration_text
from connector.clarify.limits import ENUM_VALUE_MAX
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
_GROUPED: Final = re.compile(r"([+-]?\d{1,3}(?:[ \u00a0\u2009\u202f'\u2019]\d{3})+)((?:[.,]\d+)?)", re.ASCII)
_PLAIN: Final = re.compile(r"[+-]?\d+(?:[eE][+-]?\d+)?", re.ASCII)
_ONE_SIGN: Final = re.compile(r"[+-]?(\d*)([.,])(\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DOTS_THEN_COMMA: Final = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+|[+-]?\d{1,3}(?:\.\d{3}){2,}", re.ASCII)
_COMMAS_THEN_DOT: Final = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d+|[+-]?\d{1,3}(?:,\d{3}){2,}", re.ASCII)

_BETWEEN_THOUSANDS: Final = re.compile(r"[ \u00a0\u2009\u202f'\u2019]")

Sign = Literal["comma", "point", "none", "comma?", "point?"]
"""The decimal sign of a number; with `?`, the sign may also be between the thousands."""


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


def decimal_sign(text: str) -> Sign | None:
    """Returns the decimal sign of a number; None if the text is no number."""
    grouped = _GROUPED.fullmatch(text)
    if grouped:
        return "comma" if grouped[2][:1] == "," else "point" if grouped[2] else "none"
    if _PLAIN.fullmatch(text):
        return "none"
    found = _ONE_SIGN.fullmatch(text)
    if found:
        sign: Literal["comma", "point"] = "comma" if found[2] == "," else "point"
        grouping = 1 <= len(found[1]) <= 3 and found[1][0] != "0" and len(found[3]) == 3 and "e" not in text.lower()
        return sign if not grouping else "comma?" if sign == "comma" else "point?"
    if _DOTS_THEN_COMMA.fullmatch(text):
        return "comma"
    return "point" if _COMMAS_THEN_DOT.fullmatch(text) else None


class Decimals:
    """The decimal sign of a list: said in the configuration, or by the numbers of the list that leave no doubt."""

    def __init__(self, said: bool | None, rows: Iterable[Row]) -> None:
        """`said` is the setting `decimal_comma`; None: the sign is told apart."""
        self._said = said
        self.comma = said
        self._certain: dict[str, tuple[int, str]] = {}
        """`comma` and `point` → (line, text) of the first number that has this sign for certain."""
        if said is None:
            for row in rows:
                for column in ("scale", "offset"):
                    text = row.cells.get(column, "").replace("\N{MINUS SIGN}", "-")
                    sign = decimal_sign(text) if text else None
                    if sign in ("comma", "point"):
                        self._certain.setdefault(sign, (row.line, text))
            if len(self._certain) == 1:
                self.comma = "comma" in self._certain

    def number(self, column: str, text: str) -> float:
        """Returns the number of a cell. Raises `CellError`."""
        text = text.replace("\N{MINUS SIGN}", "-")
        sign = decimal_sign(text)
        if sign is None:
            raise CellError(column, f"{text[:60]!r} is no number")
        if sign.endswith("?") and self._said is not None and (sign == "comma?") is not self._said:
            return float(re.sub("[.,]", "", text))  # the sign is between the thousands
        if sign != "none":
            self._check(column, text, sign)
        thousands, decimal = (".", ",") if sign.startswith("comma") else (",", ".")
        number = float(_BETWEEN_THOUSANDS.sub("", text).replace(thousands, "").replace(decimal, "."))
        if not isfinite(number):
            raise CellError(column, f"{text[:60]!r} is too large")
        return number

    def _check(self, column: str, text: str, sign: Sign) -> None:
        if len(self._certain) > 1:
            (comma_line, comma), (point_line, point) = self._certain["comma"], self._certain["point"]
            raise CellError(
                column,
                f"the list has decimal commas ({comma!r} on line {comma_line}) and decimal points ({point!r} on line "
                f"{point_line}); write all numbers in one way, or set decimal_comma",
            )
        wanted = self.comma if self.comma is not None else False
        if sign == "comma?" and not wanted:
            raise CellError(
                column,
                f"{text!r} may be {text.replace(',', '.')} or {text.replace(',', '')}; write {text}0 or "
                f"{text.replace(',', '')}, or set decimal_comma",
            )
        if sign == "point?" and wanted:
            raise CellError(
                column,
                f"{text!r} may be {text.replace('.', ',')} or {text.replace('.', '')}, in a list with decimal commas; "
                "write the number without the point",
            )
        if sign in ("comma", "point") and (sign == "comma") is not wanted:
            raise CellError(column, f"{text!r} has another decimal sign than decimal_comma says")


def tag_of(row: Row, decimals: Decimals) -> Tag:
    """Returns the tag of a row. Raises `CellError`."""
    cells = row.cells
    if "key" not in cells:
        raise CellError("key", "is empty, so the row belongs to no signal")
    states = _states(cells["states"]) if "states" in cells else {}
    scale = decimals.number("scale", cells["scale"]) if "scale" in cells else None
    offset = decimals.number("offset", cells["offset"]) if "offset" in cells else None
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
