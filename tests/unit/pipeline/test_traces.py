"""The delivery of a frame as a tracer sees it: links to the contexts of its records, attempts and outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import structlog

from connector.clarify import InvalidParams, Problem, Retryable
from connector.ledger.progress import Progress
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.packing.planner import plan_frame
from connector.pipeline.destination import Integration
from connector.pipeline.pipeline import Pipeline
from connector.pipeline.traces import MOST_LINKS, Contexts, Delivery, read_context
from connector.pipeline.under_way import Limits
from connector.records import Chunk, Mapped, Record
from tests.listeners import Letters, Notes
from tests.scripted import ListSource, ScriptedClarify, Stored
from tests.unit.records import ARRIVAL, record
from tests.waiting import wait_until

SECONDS = 20.0
W3C = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""The example of the specification."""


def parent(n: int) -> str:
    return f"00-{n:032x}-{n:016x}-01"


def context(n: int) -> bytes:
    return n.to_bytes(16, "big") + n.to_bytes(8, "big") + b"\x01"


def traced(n: int, topic: str = "t", text: str | None = None) -> Record:
    return record(
        f'{{"v": {n}}}', topic, ARRIVAL + n * 1_000_000, headers=(("a", "b"), ("traceparent", text or parent(n)))
    )


class Seen:
    """A tracer with a list."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def delivered(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


Make = Callable[..., tuple[ListSource, Seen]]


@pytest.fixture
def carry() -> Iterator[Make]:
    """Makes and starts pipelines whose deliveries are seen."""
    pipelines = []

    def make(
        clarify: ScriptedClarify, mapper: Mapper | None = None, **others: ScriptedClarify
    ) -> tuple[ListSource, Seen]:
        source, seen, limits = ListSource(), Seen(), Limits(0.05, 1_000_000, 1_000_000)
        integrations = [Integration(clarify, limits, 1000.0)]
        integrations += [Integration(other, limits, 1000.0, name) for name, other in others.items()]
        pipeline = Pipeline(
            [source], mapper or Mapper(), integrations, plan_frame, Letters(), Notes(), default="plant-a", tracer=seen
        )  # fmt: skip
        pipelines.append(pipeline)
        pipeline.start()
        return source, seen

    yield make
    for pipeline in pipelines:
        pipeline.abort()
        pipeline.close(SECONDS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (W3C, "4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b701"),
        (W3C[:-2] + "00", "4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b700"),
        ("cc" + W3C[2:] + "-what-comes-later", "4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b701"),
        ("ff" + W3C[2:], None),
        (W3C + "-more", None),
        (W3C.upper(), None),
        (W3C[:-1], None),
        ("00-" + "0" * 32 + W3C[35:], None),
        (W3C[:36] + "0" * 16 + "-01", None),
        (W3C + "\n", None),
        ("", None),
    ],
)
def test_a_context_is_read_as_w3c_says(text: str, found: str | None) -> None:
    assert read_context(text) == (None if found is None else bytes.fromhex(found))


def test_the_last_header_of_the_name_counts_in_any_case() -> None:
    both = record(headers=(("traceparent", parent(1)), ("TraceParent", parent(2)), ("x", "y")))
    assert Contexts().of("s", [record(), both, record(headers=(("traceparen", W3C),))]) == {1: context(2)}
    assert Contexts().of("s", [record()]) is None


def test_a_context_that_cannot_be_read_is_told_once_for_each_source() -> None:
    contexts = Contexts()
    with structlog.testing.capture_logs() as said:
        for source in ("a", "a", "b"):
            assert contexts.of(source, [traced(1, text="x" * 1000), traced(2)]) == {1: context(2)}
    assert [line["source"] for line in said if line["event"] == "trace_context_unreadable"] == ["a", "b"]
    assert len(said[0]["traceparent"]) == 100


def test_a_delivery_has_the_contexts_of_its_records_each_once(carry: Make) -> None:
    source, seen = carry(ScriptedClarify())
    source.put(traced(1), record('{"v": 7}', "other"), traced(2), traced(3, text=parent(2)))
    wait_until(lambda: seen.deliveries, SECONDS, "a delivery", every=0.01)
    (delivery,) = seen.deliveries
    assert (list(delivery.contexts), delivery.cut) == ([context(1), context(2)], 0)
    assert (delivery.integration, delivery.outcome, delivery.attempts) == ("plant-a", "inserted", 1)
    assert (delivery.samples, delivery.inserted, delivery.records, delivery.series) == (4, 4, 4, 2)
    assert 0 <= delivery.ended_ns - delivery.begun_ns < 20e9


def test_links_are_bounded_and_the_rest_is_counted(carry: Make) -> None:
    source, seen = carry(ScriptedClarify())
    source.put(*(traced(n) for n in range(1, MOST_LINKS + 11)))
    wait_until(lambda: seen.deliveries, SECONDS, "a delivery", every=0.01)
    (delivery,) = seen.deliveries
    assert (len(delivery.contexts), delivery.cut, delivery.records) == (MOST_LINKS, 10, MOST_LINKS + 10)


def test_attempts_and_dead_letters_show(carry: Make) -> None:
    def judge(frame: Stored) -> None:
        if any(name == "bad:v" for name, _ in frame):
            raise InvalidParams("no", code=-32602, problems=[Problem("data.series.bad:v", "no such unit")])

    source, seen = carry(ScriptedClarify([Retryable("busy", retry_after=0.01)], judge))
    source.put(traced(1, "bad"), traced(2, "good"))
    wait_until(lambda: seen.deliveries, SECONDS, "a delivery", every=0.01)
    (delivery,) = seen.deliveries
    assert (delivery.outcome, delivery.attempts) == ("partly_dead_lettered", 3)
    assert (delivery.inserted, delivery.refused) == (1, 1)
    assert "no" in delivery.reason
    source.put(traced(3, "bad"))
    wait_until(lambda: len(seen.deliveries) == 2, SECONDS, "another", every=0.01)
    assert (seen.deliveries[1].outcome, list(seen.deliveries[1].contexts)) == ("dead_lettered", [context(3)])


def test_each_integration_has_its_own_delivery(carry: Make) -> None:
    rules = [RuleSection.model_validate({"topic": "{site}/m", "input": "{field}", "to": "{site}"})]
    mapper = Mapper([compile_rule(found) for found in rules], integrations={"plant-a": "", "b": "b"})
    source, seen = carry(ScriptedClarify(), mapper, b=ScriptedClarify())
    source.put(traced(1, "plant-a/m"), traced(2, "b/m"))
    wait_until(lambda: len(seen.deliveries) == 2, SECONDS, "both", every=0.01)
    assert {one.integration: list(one.contexts) for one in seen.deliveries} == {
        "plant-a": [context(1)],
        "b": [context(2)],
    }


def test_a_value_of_a_window_has_the_contexts_of_all_its_records() -> None:
    progress = Progress()
    records = [traced(n) for n in (1, 2, 3)]
    parts = [(n, Mapped([("t:v", one.time_us, 1.0)])) for n, one in enumerate(records)]
    chunk = Chunk("s", "p", range(3), records)
    first = progress.begin(chunk, parts, contexts=Contexts().of("s", records))
    bundle = progress.bundle({first: 1, first + 1: 1}, first + 1)
    assert progress.contexts([bundle]) == [context(1), context(2)]
    assert progress.contexts([bundle, first + 2]) == [context(1), context(2), context(3)]
    progress.forget("s", ["p"])
    assert progress.contexts([first + 2]) == [], "its new owner sends it"
