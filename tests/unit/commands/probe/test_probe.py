"""`probe` against sandboxes with each switch set: every setting is reported rightly, and the bounds hold."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector.clarify.limits import RATES
from connector.commands.probe import report
from connector.commands.probe.limits import _pace, _refusal
from connector.commands.probe.line import Reply, Request
from connector.commands.probe.run import QUESTIONS, Probe, plan
from connector.commands.probe.session import INSERT, Said
from connector.commands.probe.stored import EXPERIMENTS, Written
from connector.sandbox.faults import FAULT_RULES
from connector.sandbox.settings import SandboxSettings
from tests.unit.commands.probe.quick_line import QuickLine

PREFIX = "probe/"
DEFAULTS: dict[str, Any] = SandboxSettings().model_dump()
NOT_SEEN = {"total_seconds"}
"""Switches that no request shows, unless the queue is longer."""
WITHOUT_DELAY = {"queue_seconds", "timeout_answer"}
"""Switches that show only if requests over the rate are delayed, until they time out."""
ALWAYS_OPEN = {"integrations"}


@pytest.fixture
def open_line() -> Iterator[Callable[..., QuickLine]]:
    opened: list[QuickLine] = []

    def make(**switches: Any) -> QuickLine:
        opened.append(QuickLine(**switches))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def run(line: QuickLine, *skip: str, faults: object = None) -> dict[str, Any]:
    if faults is not None:
        line.app._faults.add(FAULT_RULES.validate_python(faults))
    probe = Probe(line, line.credentials(), plan(PREFIX, skip), PREFIX)
    complete = True
    try:
        probe.run(lambda _: None, lambda _: None)
    except KeyboardInterrupt:
        complete = False
    return report.document(probe, complete=complete)


def unsettled(made: dict[str, Any]) -> set[str]:
    return {one["question"] for one in made["findings"] if not one["settled"]} - ALWAYS_OPEN


SWITCHES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    ({"error_style": "live"}, set()),
    ({"rate_limiter": "off"}, {*WITHOUT_DELAY, "requests_per_second", "too_many_requests"}),
    ({"requests_per_second": 0.5}, set()),
    ({"requests_per_second": 2.0}, set()),
    ({"queue_seconds": 4.0}, set()),
    ({"queue_seconds": 2.0}, set()),
    ({"queue_seconds": 12.0}, set()),
    ({"timeout_answer": "504"}, set()),
    ({"timeout_answer": "drop"}, set()),
    ({"timeout_answer": "-32015"}, set()),
    ({"too_many_requests": "plain"}, WITHOUT_DELAY),
    ({"too_many_requests": "retry-after"}, WITHOUT_DELAY),
    ({"oversize": "-32600"}, set()),
    ({"oversize": "reset"}, set()),
    ({"max_body_bytes": 1_234_567}, set()),
    ({"max_body_bytes": 9_000_001}, set()),
    ({"gzip": "accept"}, set()),
    ({"duplicate_times": "first"}, set()),
    ({"duplicate_times": "error"}, set()),
    ({"null_values": "erase"}, set()),
    ({"unordered_times": "reject"}, set()),
    ({"limits": "clamp"}, set()),
    ({"windows": "ignore"}, set()),
    ({"include_item": "refuse"}, set()),
    ({"format_echo": "live"}, set()),
    ({"gap_detection": "null"}, set()),
    ({"gap_detection": "PT1H30M"}, set()),
    ({"read_delay": 7.0}, set()),
    ({"read_delay": 40.0}, set()),
    ({"partial_failure": "on"}, set()),
    ({"token_seconds": 30}, set()),
]


def test_every_value_of_every_switch_is_among_these() -> None:
    """A new switch of the sandbox is a new question of the probe."""
    assert {name for one, _ in SWITCHES for name in one} == SandboxSettings.model_fields.keys() - NOT_SEEN
    for name, field in SandboxSettings.model_fields.items():
        values = getattr(field.annotation, "__args__", ())
        assert set(values) <= {one.get(name, DEFAULTS[name]) for one, _ in SWITCHES}, name


@pytest.mark.parametrize(("switches", "open_"), SWITCHES, ids=lambda one: str(one) if isinstance(one, dict) else "")
def test_each_switch_is_reported_rightly(
    switches: dict[str, Any], open_: set[str], open_line: Callable[..., QuickLine]
) -> None:
    line = open_line(**switches)
    made = run(line)
    expected = {name: value for name, value in {**DEFAULTS, **switches}.items() if name not in open_ | NOT_SEEN}
    found = dict(made["sandbox"])
    # The looks for a sample are a second apart at first, then six.
    assert expected.pop("read_delay") == pytest.approx(found.pop("read_delay"), abs=1.1 if line.now() < 120 else 6.1)
    if line.now() < 120:
        assert found.pop("queue_seconds", None) == pytest.approx(expected.pop("queue_seconds", None))
    assert found == expected
    assert made["requests"] == len(line.sent) <= plan(PREFIX).requests
    assert set(line.store.signals()) <= set(made["inputs"])
    assert set(line.store.items()) == set(made["items"].values())
    orjson.dumps(made)


def test_a_report_makes_the_sandbox_answer_alike(open_line: Callable[..., QuickLine]) -> None:
    odd = {"error_style": "live", "duplicate_times": "first", "null_values": "erase", "gzip": "accept",
           "oversize": "reset", "timeout_answer": "drop", "requests_per_second": 0.5, "limits": "clamp"}  # fmt: skip
    first = run(open_line(**odd))
    second = run(open_line(**first["sandbox"]))
    assert odd.items() <= first["sandbox"].items()
    answers = [
        [(one["question"], one["sandbox"], one["settled"]) for one in made["findings"]] for made in (first, second)
    ]
    assert answers[0] == answers[1]


def test_what_follows_for_the_connector(open_line: Callable[..., QuickLine]) -> None:
    assert run(open_line())["connector"] == {}
    slow = {"requests_per_second": 0.5, "max_body_bytes": 1_000_000, "queue_seconds": 18, "total_seconds": 18}
    made = run(open_line(**slow))
    assert made["connector"] == {
        "delivery.max_bytes": "1000000B",
        "delivery.requests_per_second": 0.5,
        "delivery.metadata_requests_per_second": 0.5,
        "clarify.timeout": "23s",
    }
    assert made["sandbox"]["total_seconds"] == 18


def method_of(request: Request) -> str:
    try:
        found = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return ""
    return str(found["method"]) if isinstance(found, dict) and "method" in found else ""


def test_documented_rates_are_kept_except_where_rates_are_measured(open_line: Callable[..., QuickLine]) -> None:
    line = open_line(too_many_requests="plain")
    made = run(line, "rates", "scope", "throttling")
    assert line.app._stats.refusals[429] == 0
    times = defaultdict(list)
    for at, request in line.sent:
        times[method_of(request)].append(at)
    assert len(times[INSERT]) > 15
    for method, rate in RATES.items():
        assert all(after - before >= 1 / rate for before, after in pairwise(times[method])), method
    assert "rate_limiter" not in made["sandbox"]


def test_a_measurement_stops_at_the_first_refusal(open_line: Callable[..., QuickLine]) -> None:
    line = open_line(too_many_requests="plain")
    run(line)
    assert line.app._stats.refusals[429] == len(RATES) - 1


@pytest.mark.parametrize("method", ["admin.*", "clarify.*"])
def test_without_the_right_to_read_what_is_open_and_what_is_needed(
    method: str, open_line: Callable[..., QuickLine]
) -> None:
    made = run(open_line(), faults=[{"method": method, "kind": "rpc_error", "code": -32003}])
    by_name = {one["question"]: one for one in made["findings"]}
    for name in ("overwrite", "null", "older", "read-delay", "windows", "edges"):
        assert not by_name[name]["settled"]
        assert "`admin` and `clarify`" in by_name[name]["needs"]
        assert "-32003" in by_name[name]["answer"]
    assert {"size", "errors", "gzip", "throttling", "token", "scope"}.isdisjoint(unsettled(made))
    assert made["sandbox"]["max_body_bytes"] == DEFAULTS["max_body_bytes"]
    assert {"duplicate_times", "null_values"}.isdisjoint(made["sandbox"])


def test_a_refusal_is_settled_without_the_right_to_read(open_line: Callable[..., QuickLine]) -> None:
    line = open_line(duplicate_times="error", unordered_times="reject")
    made = run(line, faults=[{"method": "admin.*", "kind": "rpc_error", "code": -32003}])
    assert made["sandbox"]["duplicate_times"] == "error"
    assert made["sandbox"]["unordered_times"] == "reject"


def test_a_server_that_fails_settles_nothing_wrongly(open_line: Callable[..., QuickLine]) -> None:
    made = run(open_line(), faults=[{"method": "insert", "kind": "status", "status": 500}])
    wrong = {"oversize", "max_body_bytes", "duplicate_times", "unordered_times", "partial_failure", "rate_limiter"}
    assert wrong.isdisjoint(made["sandbox"])
    assert {"size", "overwrite", "order", "partial", "rates", "empty", "nulls-only"} <= unsettled(made)


def test_an_interrupted_probe_leaves_a_partial_report(open_line: Callable[..., QuickLine]) -> None:
    line = open_line(interrupt_at=60)
    made = run(line)
    assert made["complete"] is False
    assert len(made["findings"]) == len(QUESTIONS)
    assert made["sandbox"]["duplicate_times"] == "newest"
    assert [one for one in made["findings"] if "interrupted" in one["answer"]]
    assert set(line.store.signals()) <= set(made["inputs"])
    text = "\n".join(report.end_lines(made))
    assert "INTERRUPTED" in text
    assert all(key in text for key in line.store.signals())


def test_answers_of_an_unknown_shape_are_open_questions(open_line: Callable[..., QuickLine]) -> None:
    line = open_line()
    send = line.send

    def odd(request: Request) -> Any:
        reply = send(request)
        if b"admin." not in request.body:
            return reply
        return type(reply)(reply.began, reply.ended, 200, b'{"id":7,"result":{"data":[{"attributes":3}]}}')

    line.send = odd  # type: ignore[method-assign]
    made = run(line)
    assert {"overwrite", "metadata"} <= unsettled(made)
    assert any("shape" in one["answer"] for one in made["findings"])


def test_a_network_that_loses_large_requests_is_no_size_limit(open_line: Callable[..., QuickLine]) -> None:
    for failure in ("the connection was reset", "WriteTimeout"):
        line = open_line()
        send, lost = line.send, []

        def lossy(request: Request) -> Any:
            reply = send(request)  # noqa: B023 - called in this turn of the loop only
            if len(request.body) < 1_000_000 or len(lost) == 1:  # noqa: B023
                return reply
            lost.append(request)  # noqa: B023
            return type(reply)(reply.began, reply.ended, None, failure=failure)  # noqa: B023

        line.send = lossy  # type: ignore[method-assign]
        made = run(line, "rates", "scope", "throttling")
        assert "size" in unsettled(made)
        assert {"oversize", "max_body_bytes"}.isdisjoint(made["sandbox"])
        assert "delivery.max_bytes" not in made["connector"]


@pytest.mark.parametrize(
    ("name", "frames", "values", "text"),
    [
        ("repeated", 1, {"0": 1.0}, "accepted: the first value wins"),
        ("older", 2, {"60": 1.0}, "an older sample is accepted and DROPPED after a newer sample"),
        ("older", 2, {}, "accepted, but stored is {}"),
        ("overwrite", 2, {"0": 3.0}, "values 1 and 2 were sent, and 3.0 is stored"),
        ("precision", 1, {"0.123": 1.0}, "times are cut to milliseconds"),
        ("precision", 1, {}, "0.123456789 s was sent, and None s is stored"),
        ("order", 1, {"60": 1.0}, "accepted, but stored is {'60': 1.0}"),
    ],
)
def test_what_no_sandbox_does_is_told_too(name: str, frames: int, values: dict[str, float], text: str) -> None:
    (experiment,) = (one for one in EXPERIMENTS if one.name == name)
    answer = experiment.judge(Written(replies(*[0.1] * frames), values))
    assert answer.text == text
    assert answer.sandbox == {}
    assert answer.is_settled == ("stored is" not in text and "is stored" not in text)


def test_every_question_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[4] / "docs" / "probe.md").read_text()
    assert [one.name for one in QUESTIONS if f"`{one.name}`" not in text] == []
    most = int(re.search(r"At most (\d+) requests, (\d+) signals", text)[1])  # type: ignore[index]
    assert plan(PREFIX).requests <= most


def replies(*seconds: float, status: int | None = 200, failure: str = "") -> list[Said]:
    """Successes that took so long, then an answer with this status, if it is another one."""
    good = [Said(Reply(0.0, one, 200), {"result": {}}, "") for one in seconds[: None if status == 200 else -1]]
    return good if status == 200 else [*good, Said(Reply(0.0, seconds[-1], status, failure=failure), {}, failure)]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (replies(0.1, 1.1, 2.1, 3.1, 4.1, 5.1), "1 a second, more are delayed"),
        (replies(0.1, 0.1, 0.12, 1.1, 2.1, 3.1), "1 a second after 3 at once, more are delayed"),
        (replies(0.1, 0.35, 0.36, 0.4, 0.5, 0.5), "6 at once were not delayed"),  # new connections, not the server
        (replies(0.1, 1.1, 2.1, 3.1, 4.0, status=503), "1 a second, more are delayed"),
        (replies(0.1, 0.2, status=429), "too many are refused: HTTP 429"),
        (replies(0.1, 0.2, 0.3, 0.1, status=500), "HTTP 500"),
        (replies(0.1, 0.1, 0.1, 0.1, status=None, failure="ConnectError"), "no answer (ConnectError)"),
    ],
)
def test_what_a_burst_shows(said: list[Said], shown: str) -> None:
    assert str(_pace(said)) == shown


def test_whether_integrations_share_a_rate(open_line: Callable[..., QuickLine]) -> None:
    line = open_line()
    probe = Probe(line, line.credentials(), plan(PREFIX), PREFIX, second=line.credentials())  # one rate for both
    probe.run(lambda _: None, lambda _: None)
    answers = {one.question.name: one.answer for one in probe.found}
    assert answers["integrations"].detail == {"shared": True}
    assert answers["scope"].detail == {"shared": False}
    assert all(answer.is_settled for answer in answers.values())


@pytest.mark.parametrize(
    ("said", "longest", "switches"),
    [
        (replies(10.0, status=503), 9.0, {"too_many_requests", "timeout_answer", "queue_seconds"}),
        (replies(16.0, status=504), 9.0, {"too_many_requests", "timeout_answer", "queue_seconds", "total_seconds"}),
        (replies(0.1, status=503), 9.0, set()),  # refused at once: no switch of the sandbox
        (replies(0.1, status=None, failure="ReadError"), 9.0, set()),  # the network, perhaps
        (replies(40.0, status=None, failure="ReadTimeout"), 9.0, set()),
        (replies(0.1, status=500), 9.0, set()),
    ],
)
def test_what_a_refusal_shows(said: list[Said], longest: float, switches: set[str]) -> None:
    answer = _refusal(said[0], longest)
    assert set(answer.sandbox) == switches
    assert answer.is_settled == (said[0].reply.status in (503, 504))


def test_no_secret_is_in_a_report(open_line: Callable[..., QuickLine]) -> None:
    line = open_line()
    secret = line.store.integration().client_secret
    made = orjson.dumps(
        run(line, faults=[{"method": "insert", "kind": "rpc_error", "code": -32000, "message": secret}])
    )
    assert b"[secret]" in made
    assert secret.encode() not in made
    (token,) = {request.headers["Authorization"].split()[1] for _, request in line.sent[1:]}
    assert token.encode() not in made


def test_a_token_endpoint_that_fails_later_leaves_the_answers_before(open_line: Callable[..., QuickLine]) -> None:
    line = open_line(token_seconds=60)
    send = line.send

    def failing(request: Request) -> Any:
        reply = send(request)
        is_token = request.url.endswith("token") and len(line.sent) > 1
        return Reply(reply.began, reply.ended, 503) if is_token else reply

    line.send = failing  # type: ignore[method-assign]
    made = run(line)
    assert made["sandbox"]["duplicate_times"] == "newest"
    assert "throttling" in unsettled(made)
    assert any("no token" in one["answer"] for one in made["findings"])


def test_more_requests_than_announced_are_not_sent(open_line: Callable[..., QuickLine]) -> None:
    line = open_line()
    probe = Probe(line, line.credentials(), plan(PREFIX), PREFIX)
    probe.session._budget = 40
    probe.run(lambda _: None, lambda _: None)
    assert len(line.sent) <= 40
    assert any("announced" in one.answer.text for one in probe.found)
