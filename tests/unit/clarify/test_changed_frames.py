"""A DataFrame that was changed after it was made: what is sound is sent, as with PyClarify; the rest is refused."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import orjson
import pyclarify
import pytest

from connector.clarify import AsyncClient, Client, DataFrame
from tests.credentials import credentials
from tests.unit.clarify.server import Server

T0 = datetime(2026, 5, 1, 6, tzinfo=UTC)
CREDENTIALS = credentials("basic-auth")
Change = Callable[[Any], object]


def at(n: int) -> datetime:
    return T0 + timedelta(seconds=n)


def given() -> dict[str, Any]:
    return {"times": [at(0), at(1)], "series": {"a": [1.5, 2.5], "b": [3.0, None]}}


def append(frame: Any) -> None:
    frame.times.append(at(2))
    frame.series["a"].append(9.5)
    frame.series["b"].append(None)


def replace(frame: Any) -> None:
    frame.series["a"][1] = 7.25
    frame.series["b"][1] = 8.0


def remove(frame: Any) -> None:
    del frame.times[0]
    for values in frame.series.values():
        del values[0]


def several(frame: Any) -> None:
    append(frame)
    frame.series["c"] = [0.5, 1.5, 2.5]
    del frame.series["a"]
    frame.times.reverse()


SOUND: dict[str, Change] = {
    "a series more": lambda frame: frame.series.update(c=[4.5, 5.5]),
    "a series of ours more": lambda frame: frame.series.__setitem__("c/d", [4.5, None]),
    "a series less": lambda frame: frame.series.pop("a"),
    "no series": lambda frame: frame.series.clear(),
    "a time more": append,
    "a time less": remove,
    "another value": replace,
    "another time": lambda frame: frame.times.__setitem__(0, at(-5)),
    "another order": lambda frame: frame.times.reverse(),
    "other values": lambda frame: frame.series.__setitem__("a", [8.5, 9.5]),
    "times set": lambda frame: setattr(frame, "times", [at(7), at(8)]),
    "series set": lambda frame: setattr(frame, "series", {"x": [1.0, 2.0]}),
    "several": several,
}


def as_sent(wire: bytes) -> tuple[list[datetime], dict[str, list[Any]]]:
    found = orjson.loads(wire)
    return [datetime.fromisoformat(text) for text in found["times"]], found["series"]


@pytest.mark.parametrize("looked", [False, True], ids=["at once", "after it was used"])
@pytest.mark.parametrize("change", SOUND.values(), ids=SOUND)
def test_what_is_sound_counts_as_with_pyclarify(change: Change, looked: bool) -> None:
    theirs = pyclarify.DataFrame(**given())
    change(theirs)
    frame = DataFrame(**given())
    if looked:
        assert as_sent(frame.to_wire_bytes())[1] == given()["series"]
        assert frame.times == given()["times"]
    change(frame)
    times, series = as_sent(frame.to_wire_bytes())
    assert times == theirs.times
    assert series == theirs.series
    made_so = DataFrame(times, series)
    for one in (frame, copy.copy(frame), copy.deepcopy(frame), pickle.loads(pickle.dumps(frame))):
        assert one == made_so
        assert len(one) == len(times)
        assert one.samples == made_so.samples
        assert one.times_us == made_so.times_us
        assert one.columns == made_so.columns
        assert one.rows(1, 2) == made_so.rows(1, 2)
        assert one.only(series) == made_so
        assert DataFrame.merge([one]) == DataFrame.merge([made_so])
        assert one + {"times": [at(99)], "series": {"z": [1]}} == made_so + {"times": [at(99)], "series": {"z": [1]}}
        assert one.to_pandas().equals(made_so.to_pandas())
        assert one.to_wire() == made_so.to_wire()
        assert repr(one) == repr(made_so)


ILL: dict[str, tuple[Change, str]] = {
    "a time without values": (lambda frame: frame.times.append(at(2)), "'a' has 2 values for 3 times"),
    "a value without a time": (lambda frame: frame.series["b"].append(1), "'b' has 3 values for 2 times"),
    "too short a series": (lambda frame: frame.series.update(c=[1]), "'c' has 1 values for 2 times"),
    "a text": (lambda frame: frame.series["a"].__setitem__(1, "2.5"), "series 'a', value 1: '2.5' is no number"),
    "infinity": (lambda frame: frame.series["b"].__setitem__(0, float("inf")), "series 'b', value 0: inf cannot"),
    "a text for a series": (lambda frame: frame.series.update(c="12"), "series 'c' must be a list of numbers"),
    "a number for a series": (lambda frame: frame.series.update(c=5), "series 'c' must be a list of numbers"),
    "no input ID": (lambda frame: frame.series.update({"c d": [1, 2]}), "'c d' cannot be an input ID"),
    "a key that is no text": (lambda frame: frame.series.update({5: [1, 2]}), "5 cannot be an input ID"),
    "no time": (lambda frame: frame.times.__setitem__(1, "soon"), "times[1]: 'soon' is no ISO 8601 time"),
}
USES: dict[str, Change] = {
    "to_wire": DataFrame.to_wire,
    "to_wire_bytes": DataFrame.to_wire_bytes,
    "to_pandas": DataFrame.to_pandas,
    "merge": lambda frame: DataFrame.merge([DataFrame(), frame]),
    "+": lambda frame: DataFrame() + frame,
    "==": lambda frame: DataFrame() == frame,
    "rows": lambda frame: frame.rows(0, 1),
    "only": lambda frame: frame.only(["a"]),
    "last": lambda frame: frame.last(1),
    "between": lambda frame: frame.between(0, 2**50),
    "samples": lambda frame: frame.samples,
    "times_us": lambda frame: frame.times_us,
    "columns": lambda frame: frame.columns,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(("change", "said"), ILL.values(), ids=ILL)
def test_what_breaks_a_rule_is_named_when_the_frame_is_used(change: Change, said: str, use: Change) -> None:
    frame = DataFrame(**given())
    change(frame)
    for _ in range(2):  # it is not forgotten
        with pytest.raises(ValueError) as error:  # noqa: PT011 - below
            use(frame)
        assert said in str(error.value)


def test_what_was_mended_can_be_used_again() -> None:
    frame = DataFrame(**given())
    frame.times.append(at(2))
    with pytest.raises(ValueError, match="2 values for 3 times"):
        frame.to_wire()
    for values in frame.series.values():
        values.append(4)
    assert as_sent(frame.to_wire_bytes())[1] == {"a": [1.5, 2.5, 4], "b": [3.0, None, 4]}


def test_values_that_lists_are_made_of() -> None:
    frame = DataFrame(**given())
    column = np.array([1.0, np.nan])
    frame.series.update(n=column, t=(1, True), g=(x for x in (5, 6)))  # type: ignore[arg-type]
    frame.times.append(at(2).isoformat())  # type: ignore[arg-type]
    frame.times.pop()
    for _ in range(2):
        series = as_sent(frame.to_wire_bytes())[1]
        assert series == {"a": [1.5, 2.5], "b": [3.0, None], "n": [1.0, None], "t": [1, 1], "g": [5, 6]}
    column[1] = 9.0
    assert frame.columns["n"] == (1.0, 9.0)


@pytest.mark.parametrize("times", ["2026-05-01T06:00:00Z", 5, {}, ["soon"]])
def test_times_that_cannot_be_set(times: Any) -> None:
    frame = DataFrame(**given())
    with pytest.raises(ValueError, match="time"):
        frame.times = times
    assert frame == DataFrame(**given())


def test_series_that_cannot_be_set() -> None:
    frame = DataFrame(**given())
    with pytest.raises(ValueError, match="series must be a dict"):
        frame.series = [1, 2]  # type: ignore[assignment]
    assert frame == DataFrame(**given())


def test_names_that_came_in_an_answer_stay() -> None:
    """They are of items and aliases, and need not be input IDs."""
    frame = DataFrame.from_wire({"times": ["2026-05-01T06:00:00Z"], "series": {"Mean of all": [1]}})
    frame.series["Mean of all"][0] = 2
    assert frame.columns == {"Mean of all": (2,)}


def test_parts_do_not_change_with_the_whole_nor_the_whole_with_what_was_written() -> None:
    frame = DataFrame(**given())
    part, wire = frame.only(["a"]), frame.to_wire()
    frame.series["a"][0] = 99.0
    wire["series"]["x"] = [1]  # type: ignore[index]
    assert part == DataFrame([at(0), at(1)], {"a": [1.5, 2.5]})
    assert set(frame.columns) == {"a", "b"}


def stand_in() -> Server:
    return Server(lambda _method, _params: {"signalsByInput": {}})


def insert(server: Server, frame: DataFrame, kind: str) -> None:
    network = httpx.MockTransport(server)
    if kind == "async":

        async def use() -> None:
            async with AsyncClient(CREDENTIALS, transport=network, rates=None) as client:
                (await client.insert(frame)).raise_for_error()

        asyncio.run(use())
        return
    most = {"max_request_bytes": 1600} if kind == "split" else {}
    with Client(CREDENTIALS, transport=network, rates=None, **most) as client:  # type: ignore[arg-type]
        client.insert(frame).raise_for_error()


@pytest.mark.parametrize("kind", ["sync", "async", "split"])
def test_an_insert_sends_what_is_in_the_frame_now(kind: str) -> None:
    frame = DataFrame(**given())
    server = stand_in()
    insert(server, frame, kind)
    for n in range(2, 30):
        frame.times.append(at(n))
        frame.series["a"].append(float(n))
        frame.series["b"].append(None)
    frame.series["c"] = [float(n) for n in range(30)]
    server.calls.clear()
    insert(server, frame, kind)
    sent = [params["data"] for _, params in server.calls]
    assert (len(sent) > 1) == (kind == "split")
    times = [datetime.fromisoformat(text) for data in sent for text in data["times"]]
    assert times == [at(n) for n in range(30)]
    assert [value for data in sent for value in data["series"]["a"]] == frame.series["a"]
    assert [value for data in sent for value in data["series"]["c"]] == frame.series["c"]


@pytest.mark.parametrize("kind", ["sync", "async", "split"])
@pytest.mark.parametrize(("change", "said"), ILL.values(), ids=ILL)
def test_an_insert_of_what_breaks_a_rule_sends_nothing(change: Change, said: str, kind: str) -> None:
    frame = DataFrame(**given())
    change(frame)
    server = stand_in()
    with pytest.raises(ValueError) as error:  # noqa: PT011 - below
        insert(server, frame, kind)
    assert said in str(error.value)
    assert server.calls == []
