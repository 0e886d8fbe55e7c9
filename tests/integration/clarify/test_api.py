"""The client against the sandbox: over a real line, with both kinds of credentials."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.clarify import (
    Api,
    DataFrame,
    InvalidParams,
    NotAllowed,
    Refused,
    Retryable,
    SignalInfo,
    TooLarge,
)
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secrets_used import WRONG

T0 = 1_777_615_200_000_000  # 2026-05-01T06:00:00Z in microseconds
KINDS = ["client-credentials", "basic-auth"]

sandbox = sandbox_fixture("module", [{"credentials_kind": kind} for kind in KINDS], rate_limiter="off")


@pytest.fixture
def clarify(sandbox: SandboxServer) -> Iterator[Api]:
    sandbox.clear_faults()
    with Api(sandbox.credentials_path) as client:
        yield client


def frame(key: str, *values: float | None) -> DataFrame:
    return DataFrame(times=[T0 + n for n in range(len(values))], series={key: values})


def test_what_is_inserted_is_stored_exactly(sandbox: SandboxServer, clarify: Api) -> None:
    data = frame("mill/feed.rate", 81.5, None, -0.1, True)
    first = clarify.insert(data).signals_by_input["mill/feed.rate"]
    again = clarify.insert_encoded(data.to_wire_bytes()).signals_by_input["mill/feed.rate"]
    assert first.created
    assert not again.created
    assert first.id == again.id == sandbox.signals()["mill/feed.rate"].id
    assert sandbox.samples("mill/feed.rate") == [(T0, 81.5), (T0 + 2, -0.1), (T0 + 3, 1.0)]


def test_metadata_is_saved(clarify: Api) -> None:
    info = SignalInfo(
        name="Mill state",
        labels={"line": ["3"]},
        value_type="enum",
        enum_values={0: "off", 1: "on"},
        sample_interval="PT10S",
        annotations={"acme/gw": "x"},
    )
    first = clarify.save_signals({"mill/state": info}).signals_by_input["mill/state"]
    assert (first.created, first.updated) == (True, False)
    same = clarify.save_signals({"mill/state": info}, create_only=True).signals_by_input["mill/state"]
    assert (same.id, same.created, same.updated) == (first.id, False, False)
    changed = clarify.save_signals({"mill/state": {"name": "Mill"}}).signals_by_input["mill/state"]
    assert (changed.id, changed.created, changed.updated) == (first.id, False, True)


def test_a_revoked_token_is_renewed_in_passing(sandbox: SandboxServer, clarify: Api) -> None:
    clarify.insert(frame("renewal", 1.0))
    asked = sandbox.stats()["requests"].get("token", 0)
    sandbox.faults([{"method": "insert", "times": 1, "kind": "revoke_tokens"}])
    if sandbox.credentials()["credentials"]["type"] == "basic-auth":
        with pytest.raises(NotAllowed):
            clarify.insert(frame("renewal", 1.0, 2.0))
    clarify.insert(frame("renewal", 1.0, 2.0))
    renewed = sandbox.stats()["requests"].get("token", 0) - asked
    assert renewed == (0 if sandbox.credentials()["credentials"]["type"] == "basic-auth" else 1)
    assert sandbox.samples("renewal") == [(T0, 1.0), (T0 + 1, 2.0)]


def test_a_lost_answer_leaves_the_outcome_open(sandbox: SandboxServer, clarify: Api) -> None:
    for value, kind, stored in ((1.0, "answer_lost", True), (2.0, "half_answer", True), (3.0, "cut", False)):
        sandbox.faults([{"method": "insert", "times": 1, "kind": kind}])
        with pytest.raises(Retryable) as caught:
            clarify.insert(frame(f"lost/{kind}", value))
        assert caught.value.outcome_unknown
        assert (f"lost/{kind}" in sandbox.signals()) is stored
        clarify.insert(frame(f"lost/{kind}", value))
        assert sandbox.samples(f"lost/{kind}") == [(T0, value)]


def test_refusals_say_what_to_do(sandbox: SandboxServer, clarify: Api) -> None:
    sandbox.faults(
        [
            {"times": 1, "kind": "status", "status": 503, "retry_after": 7, "method": "insert"},
            {"times": 1, "kind": "status", "status": 413, "method": "insert"},
            {"times": 1, "kind": "rpc_error", "code": -32003, "method": "insert"},
        ]
    )
    with pytest.raises(Retryable) as caught:
        clarify.insert(frame("refused", 1.0))
    assert caught.value.retry_after == 7.0
    with pytest.raises(TooLarge):
        clarify.insert(frame("refused", 1.0))
    with pytest.raises(NotAllowed):
        clarify.insert(frame("refused", 1.0))
    with pytest.raises(Refused):
        clarify.call("integration.noSuchMethod", {})
    with pytest.raises(Refused), Api(sandbox.credentials_path, api_version="0.1") as other:
        other.insert(frame("refused", 1.0))


@pytest.mark.parametrize("style", ["documented", "live"])
def test_the_guilty_are_named_in_both_styles(style: str) -> None:
    with SandboxServer(rate_limiter="off", error_style=style) as sandbox, Api(sandbox.credentials_path) as c:
        series = b'{"a.b":[1],"a":[1],"a.b.c":[1,2],"d/e":["x"]}'
        with pytest.raises(InvalidParams) as insert:
            c.insert_encoded(b'{"times":["2026-05-01T06:00:00Z"],"series":%b}' % series)
        keys = {"a", "a.b", "a.b.c", "d/e"}
        assert insert.value.guilty_series(keys)
        assert insert.value.guilty_series(keys) <= {"a.b.c", "d/e"}
        assert (insert.value.trace is not None) is (style == "documented")

        signals = {"x.y": {"name": "n", "valueType": "colour"}, "x": {"name": "n"}}
        params = {"integration": c.integration, "signalsByInput": signals}
        with pytest.raises(InvalidParams) as save:
            c.call("integration.saveSignals", params)
        assert save.value.guilty_inputs({"x", "x.y"}) == {"x.y"}
        assert sandbox.signals() == {}


def test_wrong_credentials_are_not_allowed(sandbox: SandboxServer) -> None:
    fields = sandbox.credentials()
    fields["credentials"]["clientSecret"] = WRONG
    with Api(fields) as client, pytest.raises(NotAllowed) as caught:
        client.insert(frame("wrong", 1.0))
    assert caught.value.code == 401
    assert WRONG not in str(caught.value)
