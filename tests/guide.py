"""What PyClarify's guide shows, with only the import changed: `python -m tests.guide PACKAGE CREDENTIALS`.

PACKAGE is `pyclarify` or `connector.clarify`. Every answer is printed as JSON, one object of all steps. IDs become
numbers in the order of their appearance, and what differs from run to run (times of creation, hashes over IDs) is
left out, so that the answers of two clients can be compared field by field.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

_ID = re.compile(r"(?<![a-v0-9])[a-v0-9]{20}(?![a-v0-9])")
_VOLATILE = frozenset(("createdAt", "updatedAt", "relationshipsHash", "jsonrpc", "id", "trace", "method"))
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


_DURATION = TypeAdapter(timedelta)


def run(package: str, credentials: str, **options: Any) -> dict[str, Any]:
    """All steps; step → answer. The options are for the client."""
    clarify = importlib.import_module(package)
    query = importlib.import_module(f"{package}.query")
    client = clarify.Client(credentials, **options)
    answers: dict[str, Any] = {}

    # Creating a signal, both ways.
    by_arrays = clarify.Signal(
        name="Bedroom temperature",
        description="Temperature in the bedroom",
        labels={"data-source": ["Raspberry Pi"], "location": ["Home", "Bedroom"]},
        engUnit="°C",
        sampleInterval=timedelta(minutes=1),
        gapDetection=timedelta(hours=1),
    )
    answers["save by arrays"] = client.save_signals(
        input_ids=["bedroom/temperature"], signals=[by_arrays], create_only=False
    )
    by_dict = clarify.Signal(
        name="Weather",
        labels={"location": ["Home", "Garden"]},
        valueType="enum",
        enumValues={"0": "Wind", "1": "Rain", "2": "Cloudy"},
    )
    answers["save by dict"] = client.save_signals(signals_by_input={"weather": by_dict}, create_only=True)
    answers["save once more"] = client.save_signals(signals_by_input={"weather": by_dict}, create_only=True)

    # Inserting.
    frame = clarify.DataFrame(
        series={"bedroom/temperature": [20.5, 21.0, None], "weather": [0, None, 2]},
        times=["2022-10-10T00:00:00Z", "2022-10-10T00:01:00Z", "2022-10-10T00:02:00.5Z"],
    )
    answers["insert a frame"] = client.insert(frame)
    data = {
        "times": ["2022-10-10T00:00:00", datetime.fromisoformat("2022-10-10T01:00:00+02:00")],
        "series": {"pressure": [1025, 1024.5], "total": [True, 3]},
    }
    answers["insert a dict"] = client.insert(data)
    answers["insert a dict with timestamps"] = client.insert({"timestamps": data["times"], "series": data["series"]})
    if hasattr(clarify, "GroupAggregation"):  # PyClarify 0.6 cannot read the data of pandas 3
        answers["insert of pandas"] = client.insert(frame.to_pandas())

    # Querying signals.
    answers["all signals"] = client.select_signals(sort=["input"])
    answers["counted"] = client.select_signals(limit=1, skip=1, sort=["-input"], total=True)
    names = query.Filter(fields={"name": query.Regex(value="^B.*temp")})
    answers["by regex"] = client.select_signals(filter=names)
    here = query.Filter(fields={"labels.location": query.In(value=["Bedroom", "Cellar"])})
    other = query.Filter(fields={"input": query.NotEqual(value="weather")})
    answers["and"] = client.select_signals(filter=names & here & other)
    answers["or"] = client.select_signals(filter=names | query.Filter(fields={"input": "weather"}), sort=["input"])
    answers["mixed"] = client.select_signals(filter=(names | here) & other, sort=["input"])
    answers["plain query"] = client.select_signals(filter={"input": {"$nin": ["weather", "total"]}}, sort=["-name"])

    answers["skip, limit and sort"] = client.select_signals(skip=1, limit=50, sort=["-id"])
    of_these = {"fields": {"input": {"operator": "$in", "value": ["weather", "total"]}}}
    dicts = {"and_list": [of_these, {"fields": {"name": "total"}}]}
    answers["filter of dicts"] = client.select_signals(filter=query.Filter(**dicts))

    # Publishing, both ways.
    signals = {s.attributes.input: s for s in answers["all signals"].result.data}
    items = [
        clarify.Item(name="Bedroom", labels={"location": ["Home"]}, engUnit="°C", visible=True),
        clarify.Item(name="Pressure", gapDetection=timedelta(minutes=5)),
    ]
    answers["publish by arrays"] = client.publish_signals(
        signal_ids=[signals["bedroom/temperature"].id, signals["pressure"].id], items=items
    )
    weather = clarify.Item(name="Weather", valueType="enum", enumValues={"0": "Wind"}, visible=True)
    answers["publish by dict"] = client.publish_signals(items_by_signal={signals["weather"].id: weather})
    answers["publish again"] = client.publish_signals(
        items_by_signal={signals["weather"].id: weather}, create_only=True
    )
    answers["signals with items"] = client.select_signals(include=["item"], sort=["input"])

    # Items and data.
    answers["items"] = client.select_items(sort=["name"])
    answers["visible items"] = client.select_items(filter=query.Filter(fields={"visible": query.Equal(value=True)}))
    window = {"gte": "2022-10-09T00:00:00Z", "lt": "2022-10-12T00:00:00Z"}
    answers["data"] = client.data_frame(**window)
    answers["data with items"] = client.data_frame(
        filter=query.Filter(fields={"name": "Bedroom"}), include=["item"], **window
    )
    only_home = query.Filter(fields={"labels.location": query.Regex(value="Home")})
    answers["data of a filter"] = client.data_frame(filter=only_home, include=["item"], **window)
    answers["items of a filter"] = client.select_items(filter=only_home)
    answers["all data"] = client.data_frame(limit=-1, **window)
    answers["data of days"] = client.data_frame(gte=date(2022, 10, 10), lt=date(2022, 10, 11))
    answers["rollup"] = client.data_frame(rollup="PT1H", **window)
    answers["rollup of the window"] = client.data_frame(rollup="window", **window)
    answers["last"] = client.data_frame(last=1, **window)
    answers["months of data"] = client.data_frame(gte="2022-08-01T00:00:00Z", lt="2022-12-01T00:00:00Z")
    bedroom = next(i for i in answers["items"].result.data if i.attributes.name == "Bedroom").id
    answers["evaluate"] = client.evaluate(
        items=[clarify.ItemAggregation(id=bedroom, aggregation="max", alias="t")],
        calculations=[clarify.Calculation(formula="t * 1.8 + 32", alias="f")],
        rollup="PT1M",
        **window,
    )

    # What is wrong.
    answers["unknown field"] = client.select_signals(filter={"nonsense": 1})
    answers["no such signal"] = client.publish_signals(items_by_signal={"0" * 20: weather})
    return {step: _plain(answer) for step, answer in answers.items()}


def _plain(response: Any) -> dict[str, Any]:
    if response.error is not None:
        return {"error": {"code": int(response.error.code), "message": response.error.message}}
    try:
        result = response.result.model_dump(mode="json", by_alias=True)
    except TypeError:
        result = response.result.dict()
    plain: dict[str, Any] = {"result": _cleaned(result)}
    return plain


def _cleaned(value: Any, key: str = "") -> Any:
    """Without what is volatile or unset, and times in one form."""
    if isinstance(value, Mapping):
        kept = {}
        for name, entry in value.items():
            cleaned = _cleaned(entry, name)
            volatile = name in _VOLATILE - {"id"}
            if not volatile and cleaned is not None and (cleaned not in ({}, [], "") or key == "series"):
                kept[name] = cleaned
        return kept
    if isinstance(value, list | tuple):
        return [_cleaned(entry, "entry") for entry in value]
    if isinstance(value, str) and _TIME.fullmatch(value):
        return datetime.fromisoformat(value).isoformat()
    if key in ("gapDetection", "sampleInterval") and value is not None:
        return _DURATION.validate_python(value).total_seconds()
    return value


def numbered(answers: Mapping[str, Any]) -> dict[str, Any]:
    """The answers with IDs as numbers in the order of their appearance."""
    known: dict[str, str] = {}
    text = json.dumps(answers)
    found: dict[str, Any] = json.loads(_ID.sub(lambda id_: known.setdefault(id_[0], f"id-{len(known) + 1}"), text))
    return found


if __name__ == "__main__":
    at_once = {} if sys.argv[1] == "pyclarify" else {"rates": None}  # ours would wait for its turn
    print(json.dumps(numbered(run(sys.argv[1], sys.argv[2], **at_once)), indent=1, ensure_ascii=False))
