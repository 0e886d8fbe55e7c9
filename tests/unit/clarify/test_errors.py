"""The error tree: which keys a complaint is about, and what each class carries."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from connector import ConnectorError
from connector.clarify import (
    ArgumentError,
    ClarifyError,
    Client,
    CredentialsError,
    DataFrame,
    InvalidParams,
    NotAllowed,
    Problem,
    Refused,
    Retries,
    Retryable,
    Timeouts,
    TooLarge,
    query,
)
from tests.credentials import credentials

CREDENTIALS = credentials("basic-auth")


def invalid(*paths: str) -> InvalidParams:
    return InvalidParams("Invalid params", problems=[Problem(path, "bad") for path in paths])


@pytest.mark.parametrize(
    ("path", "keys", "guilty"),
    [
        ("data.series.a", {"a", "b"}, {"a"}),
        ("data.series.a[3]", {"a"}, {"a"}),
        ("data.series.a.3", {"a"}, {"a"}),
        ("data.series.boiler/1/t.x[0].y", {"boiler/1/t", "boiler/1/t.x", "boiler"}, {"boiler/1/t.x"}),
        ("data.series.a.b.c", {"a", "a.b", "a.b.c", "a.b.c.d"}, {"a.b.c"}),
        ("data.series.a.b.c", {"a", "a.b.d"}, {"a"}),
        ("data.series.a..b", {"a.", "a"}, {"a."}),
        ("data.series.ab", {"a"}, set()),
        ("data.series.a", {"ab", "a.b"}, set()),
        ("data.series.", {"a"}, set()),
        ("data.series", {"series", "data"}, set()),
        ("data.times", {"times"}, set()),
        ("integration", {"integration"}, set()),
        ("data.series.#", {"#"}, {"#"}),
        ("data.series.x:data.series.y", {"x:data.series.y", "y"}, {"x:data.series.y"}),
    ],
)
def test_guilty_series(path: str, keys: set[str], guilty: set[str]) -> None:
    assert invalid(path).guilty_series(keys) == guilty
    assert invalid(path).guilty("data.series", list(keys)) == guilty


def test_guilty_inputs_under_both_names() -> None:
    error = invalid("signalsByInput.a.b.labels.x y", "inputs.c.name", "data.series.d", "integration")
    assert error.guilty_inputs({"a", "a.b", "c", "d"}) == {"a.b", "c"}


def test_no_problem_names_nobody() -> None:
    assert invalid().guilty_series({"a"}) == set()


def test_thousands_of_complaints_are_matched_in_no_time() -> None:
    keys = [f"plant.line{i}.motor.temp" for i in range(20_000)]
    assert invalid(*(f"data.series.{key}[7]" for key in keys)).guilty_series(keys) == set(keys)


def test_what_an_error_says() -> None:
    error = Retryable("Busy.", code=503, method="integration.insert", trace="t1", retry_after=3.0)
    assert str(error) == "integration.insert: Busy. [trace t1]"
    assert (error.code, error.method, error.trace, error.retry_after) == (503, "integration.insert", "t1", 3.0)
    assert not error.outcome_unknown
    assert str(CredentialsError("No file.")) == "No file."


@pytest.mark.parametrize(
    "error",
    [
        Retryable("m", code=503, method="x", trace="t", retry_after=1.0, outcome_unknown=True),
        InvalidParams("m", code=-32602, problems=[Problem("a", "b")]),
        TooLarge("m", code=413),
        NotAllowed("m", code=401),
        Refused("m", code=400),
        CredentialsError("m"),
    ],
)
def test_errors_are_of_one_tree_and_survive_a_process_border(error: ClarifyError) -> None:
    assert isinstance(error, ClarifyError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: DataFrame([0], {"a": ["text"]}),
        lambda: DataFrame(["no time"], {}),
        lambda: DataFrame([0], {"no input ID": [1.0]}),
        lambda: query.Filter(fields={"$name": "a"}),
        lambda: query.In("text"),
        lambda: Timeouts(read=0),
        lambda: Retries(attempts=0),
        lambda: Client(CREDENTIALS, "one"),
        lambda: Client(CREDENTIALS, verify="no-such.pem"),
        lambda: Client(CREDENTIALS).insert(1),
        lambda: Client(CREDENTIALS).save_signals(["a"], []),
        lambda: Client(CREDENTIALS).save_signals(["a"], [{"name": ""}]),
        lambda: Client(CREDENTIALS).publish_signals(["no ID"], [{"name": "a"}]),
        lambda: Client(CREDENTIALS).select_items(skip=-1),
        lambda: Client(CREDENTIALS).connect_signals("cq3t8v5e1k7n4m0r2s6g"),
        lambda: Client(CREDENTIALS).data_frame(rollup="soon"),
        lambda: Client(CREDENTIALS).data_frame(gte="2026-05-02T00:00:00Z", lt="2026-05-01T00:00:00Z"),
        lambda: Client(CREDENTIALS).evaluate("PT1H", timeZone="Nowhere"),
        lambda: Client(CREDENTIALS).evaluate("PT1H", items=[{"id": "a"}]),
    ],
)
def test_a_wrong_argument_is_an_error_of_ours_and_a_value_error(wrong: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError) as raised:
        wrong()
    assert isinstance(raised.value, ConnectorError)
    assert isinstance(raised.value, ValueError)
    assert not isinstance(raised.value, ClarifyError)
