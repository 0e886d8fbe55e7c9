"""A table keeps its rows whichever form they have: packed bytes up to 16 rows of one input, arrays above."""

from __future__ import annotations

from array import array

import pytest

from connector.packing.pending import Pending
from connector.packing.table import RECENT_ROWS, Table, times_of, values_of
from connector.records import Mapped, Sample

SIZES = [1, 2, 3, RECENT_ROWS, RECENT_ROWS + 1, 40]


def columns(table: Table) -> tuple[list[int], list[int], list[float]]:
    return list(table.times), list(table.tokens), list(table.values)


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("taken", [0, 1, 3, RECENT_ROWS])
def test_rows_come_out_as_they_went_in(rows: int, taken: int) -> None:
    """Times may be before 1970 and out of order, and tokens of bundles are negative."""
    times = [(-1) ** i * i * 10**6 for i in range(rows)]
    tokens, values = [-3, *range(rows - 1)], [i / 3 for i in range(rows)]
    one_by_one, at_once = Table(["a"]), Table(["a"])
    for time_us, token, value in zip(times, tokens, values, strict=True):
        one_by_one.append(time_us, token, (value,))
    at_once.extend(times, tokens, array("d", values))
    taken = min(taken, rows)
    for table in (one_by_one, at_once):
        assert (table.rows, columns(table)) == (rows, (times, tokens, values))
        assert [table.token(row) for row in range(rows)] == tokens
        block = table.take(taken)
        assert (block.inputs, list(block.times), list(block.tokens)) == (("a",), times[:taken], tokens[:taken])
        assert list(block.values) == values[:taken]
        assert columns(table) == (times[taken:], tokens[taken:], values[taken:])
        assert (list(times_of(table.recent)), list(values_of(table.recent))) == (times[:taken], values[:taken])
        table.keep(range(1, table.rows, 2))
        assert columns(table) == (times[taken + 1 :: 2], tokens[taken + 1 :: 2], values[taken + 1 :: 2])


@pytest.mark.parametrize("rows", SIZES)
def test_tables_with_equal_times_are_a_group_in_either_form(rows: int) -> None:
    pending = Pending()
    for row in range(rows):
        alike: list[list[Sample]] = [[("a", row, 1.0)], [("b", row, 2.0), ("c", row, 3.0)]]
        other = row if row in (0, rows // 2, rows - 1) else row + 1_000  # the first, middle and last time are the same
        alike.append([("d", other, 4.0)])
        pending.add(row * 3, enumerate(map(Mapped, alike)), 0.0)
    groups = pending.groups()
    found = [[table.inputs for table in groups.members.get(n, [table])] for n, table in enumerate(groups.first)]
    together = [("a",), ("b", "c")]
    assert found == ([[*together, ("d",)]] if rows <= 3 else [together, [("d",)]])
    assert (groups.rows, groups.ranks) == ([rows] * len(found), [0, 2][: len(found)])
