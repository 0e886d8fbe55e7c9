"""A table of waiting samples: the inputs whose samples come together, and their rows.

The rows of a table have one of two forms. If a table has one input and few rows, the rows are packed into bytes: 24
bytes a row, and hardly anything beside them, since there may be 100,000 such tables. Else the rows are a `RowBlock`.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from struct import Struct
from typing import Final, Literal, TypeAlias

from connector.packing.frame import RowBlock

RECENT_ROWS: Final = 16
"""Rows of a table that are remembered after they were taken out, for values that replace them. Packed rows are at most
as many: appending to bytes copies them."""
ROW_BYTES: Final = 24
FEW_BYTES: Final = RECENT_ROWS * ROW_BYTES
_ROW: Final = Struct("=qqd")
pack_row: Final = _ROW.pack
"""Time, token and value → the packed row."""
unpack_row: Final = _ROW.unpack
_token_in: Final = Struct("=8xq").unpack_from
_TIMES: Final = [Struct("=" + rows * "q16x").unpack for rows in range(RECENT_ROWS + 1)]
_VALUES: Final = [Struct("=" + rows * "16xd").unpack for rows in range(RECENT_ROWS + 1)]
LANDMARKS: Final = [
    Struct("=qq8x" + "".join("q16x" if row in (rows // 2, rows - 1) else "24x" for row in range(1, rows))).unpack
    for rows in range(RECENT_ROWS + 1)
]
"""For each number of packed rows, from 3 on: the rows → first time, first token, time in the middle, last time."""

Stored: TypeAlias = bytes | RowBlock


class Table:
    """Inputs whose samples come together, and the rows that wait."""

    __slots__ = ("names", "recent", "sent", "stored", "width")

    def __init__(self, inputs: Sequence[str]) -> None:
        self.names: str | tuple[str, ...] = inputs[0] if len(inputs) == 1 else tuple(inputs)
        """The input, or several inputs."""
        self.width = len(inputs)
        self.stored: Stored = b""
        """The rows that wait."""
        self.sent = 0
        """Rows taken out since `Pending.take_row_counts` was last called."""
        self.recent: Stored = b""
        """The last rows that were taken out at once, at most `RECENT_ROWS`; empty before the first."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs, in the order of the values of a row."""
        return (self.names,) if isinstance(self.names, str) else self.names

    @property
    def rows(self) -> int:
        """Number of rows that wait."""
        stored = self.stored
        return len(stored) // ROW_BYTES if type(stored) is bytes else len(stored.times)  # type: ignore[union-attr]

    @property
    def times(self) -> array[int]:
        """One for each row, in µs since the epoch, in order of arrival. Not to be changed."""
        return _column("q", self.stored, 0) if isinstance(self.stored, bytes) else self.stored.times

    @property
    def tokens(self) -> array[int]:
        """One for each row; rising. Not to be changed."""
        return _column("q", self.stored, 1) if isinstance(self.stored, bytes) else self.stored.tokens

    @property
    def values(self) -> array[float]:
        """The rows one after the other. Not to be changed."""
        return _column("d", self.stored, 2) if isinstance(self.stored, bytes) else self.stored.values

    def token(self, row: int) -> int:
        """The token of one row."""
        if not isinstance(self.stored, bytes):
            return self.stored.tokens[row]
        token: int = _token_in(self.stored, row * ROW_BYTES)[0]
        return token

    def has_times_of(self, other: Table) -> bool:
        """Whether both tables have the same times."""
        mine, others = self.stored, other.stored
        if isinstance(mine, bytes) and isinstance(others, bytes):
            return len(mine) == len(others) and times_of(mine) == times_of(others)
        return self.times == other.times

    def append(self, time_us: int, token: int, values: Iterable[float]) -> None:
        """Add one row, with the values in the order of the inputs."""
        stored = self.stored
        if isinstance(stored, bytes):
            if self.width == 1 and len(stored) < FEW_BYTES:
                self.stored = stored + pack_row(time_us, token, *values)
                return
            stored = self._spread(stored)
        stored.times.append(time_us)
        stored.tokens.append(token)
        stored.values.extend(values)

    def extend(self, times: Sequence[int], tokens: Sequence[int], values: array[float]) -> None:
        """Add several rows."""
        stored = self.stored
        if isinstance(stored, bytes):
            if self.width == 1 and len(stored) + len(times) * ROW_BYTES <= FEW_BYTES:
                rows = map(pack_row, times, tokens, values)
                self.stored = stored + (next(rows) if len(times) == 1 else b"".join(rows))
                return
            stored = self._spread(stored)
        stored.times.extend(times)
        stored.tokens.extend(tokens)
        stored.values.extend(values)

    def head(self, rows: int) -> RowBlock:
        """A copy of the first rows."""
        return RowBlock(self.inputs, self.times[:rows], self.tokens[:rows], self.values[: rows * self.width])

    def take(self, rows: int) -> RowBlock:
        """Take the first rows out."""
        stored, width = self.stored, self.width
        self.sent += rows
        if isinstance(stored, bytes):
            packed, self.stored = stored[: rows * ROW_BYTES], stored[rows * ROW_BYTES :]
            self.recent = packed or self.recent
            return _block(self.inputs, packed)
        if rows == len(stored.times):
            taken, self.stored = stored, b""
        else:
            taken = self.head(rows)
            self.stored = RowBlock(
                stored.inputs, stored.times[rows:], stored.tokens[rows:], stored.values[rows * width :]
            )
        if rows:
            last = slice(-RECENT_ROWS, None)
            values = taken.values[-RECENT_ROWS * width :]
            self.recent = RowBlock(stored.inputs, taken.times[last], taken.tokens[last], values)
        return taken

    def keep(self, kept: Sequence[int]) -> None:
        """Keep only the rows with these indexes."""
        width, every = self.width, self.head(self.rows)
        values = array("d")
        for i in kept:
            values.extend(every.values[i * width : (i + 1) * width])
        self.stored = b""
        if kept:
            self.extend([every.times[i] for i in kept], [every.tokens[i] for i in kept], values)

    def part(self, inputs: Collection[str]) -> Table:
        """A new table with these inputs of the table, and all of its rows."""
        chosen = [i for i, input_id in enumerate(self.inputs) if input_id in inputs]
        found = Table([self.inputs[i] for i in chosen])
        found.sent = self.sent
        if self.rows:
            values = array("d", bytes(8 * self.rows * len(chosen)))
            for j, i in enumerate(chosen):
                values[j :: len(chosen)] = self.values[i :: self.width]
            found.extend(self.times, self.tokens, values)
        return found

    def _spread(self, packed: bytes) -> RowBlock:
        self.stored = stored = _block(self.inputs, packed)
        return stored


def times_of(rows: Stored) -> Sequence[int]:
    """The times of rows, in µs."""
    return _TIMES[len(rows) // ROW_BYTES](rows) if isinstance(rows, bytes) else rows.times


def values_of(rows: Stored) -> Sequence[float]:
    """The values of rows, one row after the other."""
    return _VALUES[len(rows) // ROW_BYTES](rows) if isinstance(rows, bytes) else rows.values


def _block(inputs: tuple[str, ...], packed: bytes) -> RowBlock:
    if not packed:
        return RowBlock(inputs, array("q"), array("q"), array("d"))
    return RowBlock(inputs, _column("q", packed, 0), _column("q", packed, 1), _column("d", packed, 2))


def _column(kind: Literal["q", "d"], packed: bytes, place: int) -> array:  # type: ignore[type-arg]
    """The times, tokens or values of packed rows, whose places in a row are 0, 1 and 2."""
    if len(packed) <= ROW_BYTES:
        return array(kind, packed[8 * place : 8 * place + 8])
    return array(kind, memoryview(packed).cast("q")[place::3].tobytes())
