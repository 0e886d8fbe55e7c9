"""What a command writes as CSV, `insert` reads back: texts that are guarded against spreadsheets, and numbers."""

from __future__ import annotations

import io

import pytest

from connector.commands.clarify.sheets.reader import Layout, Reader
from connector.terminal.tables import write_csv

TIME = "2026-05-01T06:00:00Z"
TIME_US = 1_777_615_200_000_000


@pytest.mark.parametrize("long", [False, True])
def test_a_guarded_input_id_and_negative_numbers_come_back(long: bool) -> None:
    out = io.StringIO()
    if long:
        write_csv(["time", "input", "value"], [[TIME, "-boiler", -4.5], [TIME, "+x", "-1e3"]], out)
    else:
        write_csv(["time", "-boiler", "+x"], [[TIME, -4.5, "-1e3"]], out)
    assert "'-boiler" in out.getvalue()
    reader = Reader("file", io.BytesIO(out.getvalue().encode()), Layout(long=long))
    (block,) = reader.blocks()
    assert reader.problems == []
    assert block.times == {TIME_US: 0}
    assert block.series == {"-boiler": [-4.5], "+x": [-1000.0]}
