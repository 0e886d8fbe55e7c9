"""What the data-frame command calls its columns, and what it draws into one chart."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.clarify import DataFrame, DataSelection, Included, ItemResource
from connector.clarify.answers import SavedItem
from connector.commands.clarify.charts import Chart, charts, titled
from connector.commands.clarify.plot import draw, write_png

T0 = 1_777_615_200_000_000
HOUR = 3_600_000_000
A, B, C = ("a" * 20, "b" * 20, "c" * 20)


def selection(**series: list[float | None]) -> DataSelection:
    """Data of two items of one name, and of one with states; `a`, `b` and `c` stand for their IDs."""
    names = {A: ("Pressure", "bar"), B: ("Pressure", ""), C: ("Mill", "")}
    items = [
        ItemResource(
            id=item,
            type="items",
            attributes=SavedItem(
                name=name,
                eng_unit=unit,
                value_type="enum" if item == C else "numeric",
                enum_values={"0": "off", "1": "on"} if item == C else {},
            ),
        )
        for item, (name, unit) in names.items()
    ]
    columns = {key[0] * 20 + key[1:]: values for key, values in series.items()}
    times = [T0 + n * HOUR for n in range(len(next(iter(series.values()))))]
    return DataSelection(data=DataFrame(times, columns), included=Included(items=items))


def test_columns_are_called_by_name_aggregate_and_state() -> None:
    found = titled(selection(a_avg=[1], b=[2], c_0=[3600], c_7=[1]))
    assert list(found.series) == [f"Pressure ({A}) avg", f"Pressure ({B})", "Mill off", "Mill 7"]


def test_data_as_it_is_has_one_line_an_item() -> None:
    pressure, mill = charts(selection(a=[1, None, 3], c=[0, 1, 2]), names=False)
    assert pressure == Chart(f"{A} (bar)", {"": [(T0, 1), (T0 + 2 * HOUR, 3)]})
    assert mill.levels == {0: "off", 1: "on", 2: "2"}, "a state without a text is shown by its number"


def test_a_rollup_is_its_average_between_least_and_greatest() -> None:
    (chart,) = charts(selection(a_count=[9], a_min=[1], a_max=[3], a_sum=[18], a_avg=[2]), names=True)
    assert chart.title == f"Pressure ({A}) (bar)"
    assert chart.lines == {"avg": [(T0, 2)]}
    assert chart.band == ([(T0, 1)], [(T0, 3)])


def test_a_state_that_is_missing_in_a_bucket_had_none_of_it() -> None:
    (chart,) = charts(selection(c_0=[3600, None], c_1=[None, 60]), names=True)
    assert chart.is_share
    assert chart.lines == {"off": [(T0, 3600), (T0 + HOUR, 0)], "on": [(T0, 0), (T0 + HOUR, 60)]}


def test_every_kind_of_chart_is_drawn(tmp_path: Path) -> None:
    for number, one in enumerate((
        selection(a=[1.5, None, 3], b=[None, None, None], c=[0, 1, 0]),
        selection(a_min=[1, 1], a_max=[3, 4], a_avg=[2, 2], c_0=[3600, None], c_1=[None, 60]),
    )):  # fmt: skip
        found = charts(one, names=True)
        assert all(chart.title in draw(found, 80) for chart in found)
        write_png(found, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
    states = draw(charts(selection(c=[0, 1, 0]), names=True), 40)
    assert "⡇" in states or "⢸" in states, "a state is held until the next one: edges are upright"


def test_a_picture_has_a_bound(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="room for 100 items, not 101"):
        write_png([Chart("x", {"": []})] * 101, tmp_path / "x.png")
