"""The screen of `top`: it fits the terminal whatever is in it; a reading adds up the workers of a connector."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from connector.commands.live.reading import IntegrationState, Metrics, SourceState, TopReader, TopReading
from connector.commands.live.view import render, write_text
from connector.terminal.rates import Rates

EMPTY = TopReading(0.0, True, [], [], Rates(), (), 0.0, {}, {}, True, "", [], [], {}, None, {})
NOTICE = {
    "kind": "rule_unused",
    "source": "plant",
    "text": "rule 3 has not taken any message",
    "remedy": "is it right?",
}
INTEGRATION = IntegrationState("Clarify", 151.2, 0.9, 1.0, 12.0, 0.5, 0.2, 300.0, 160.0, 90_000.0, 1.0, True, False)
BUSY = replace(
    EMPTY,
    rates=Rates(46.2, 163.9, 151.0, 0.99),
    history=tuple(Rates(samples_in=float(i)) for i in range(60)),
    messages=dict.fromkeys(("received", "inserted", "waiting"), 1234),
    notices=[NOTICE] * 3,
    sources=[SourceState(f"s{n}", 10.0, {"received": 9}, {}, None, 7200.0, "journal") for n in range(3)],
    integrations=[INTEGRATION, replace(INTEGRATION, name="plant-b", sustainable=False)],
    dead_letters={"invalid_json": 4, "no_rule": 3},
    dead_letters_kept=7.0,
)
HOSTILE = replace(
    BUSY,
    ready=False,
    problems=["plant: away\n\x1b[5m" * 30] * 50,
    notices=[{"worker": 1, "text": "温度\x1b[2J" * 99, "remedy": "\r\n" * 99}] * 50,
    messages=dict.fromkeys(("received", "inserted", "waiting"), 10**15),
    sources=[SourceState("s" * 200, 1e12, {"received": 10**15}, {}, 1e15, 1e9, "x" * 99)] * 50,
    integrations=[replace(INTEGRATION, held=True)] * 50,
    dead_letters={f"r{n}" * 50: 10**12 for n in range(50)},
)


def drawn(reading: TopReading, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(render(reading, "127.0.0.1:9464", "no answer" if reading is HOSTILE else "", width, height))
    return captured.get().removesuffix("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (100, 12), (40, 10), (20, 5), (300, 20)])
@pytest.mark.parametrize("reading", [EMPTY, BUSY, HOSTILE], ids=["empty", "busy", "hostile"])
def test_nothing_overflows_or_wraps(reading: TopReading, width: int, height: int) -> None:
    lines = drawn(reading, width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert not [line for line in lines if not line.isprintable()]


def test_the_screen_and_the_text_say_what_is_wrong_and_what_to_do() -> None:
    screen = "\n".join(drawn(BUSY, 140, 40))
    text = io.StringIO()
    write_text(BUSY, "127.0.0.1:9464", text)
    for words in (
        "▲ plant-b: more samples come in than can be sent",
        "• plant: rule 3 has not taken any message",
        "→ is it right?",
        "2 h (journal)",
        "all sent in 1 s; 90,000 samples/s fit",
        "TOO MUCH: at most 90,000 samples/s",
        "The payload is not JSON, or is cut off.",
    ):
        assert words in screen
        assert words in text.getvalue()


OF_WORKERS = """\
# TYPE clarify_connector_messages_received_total counter
clarify_connector_messages_received_total{worker="1"} 7.0
# TYPE clarify_connector_samples_settled_total counter
clarify_connector_samples_settled_total{outcome="inserted",worker="1"} 10.0
clarify_connector_samples_settled_total{outcome="inserted",worker="2"} 20.0
# TYPE clarify_connector_kafka_received_total counter
clarify_connector_kafka_received_total{source="k",worker="1"} 3.0
clarify_connector_kafka_received_total{source="k",worker="2"} 4.0
# TYPE clarify_connector_insert_requests_total counter
clarify_connector_insert_requests_total{integration="default",worker="1"} 1.0
clarify_connector_insert_requests_total{integration="plant-b",worker="2"} 2.0
# TYPE clarify_connector_integration_samples_total counter
clarify_connector_integration_samples_total{integration="plant-b",worker="2"} 5.0
# TYPE clarify_connector_density_ratio gauge
clarify_connector_density_ratio{integration="plant-b",worker="1"} 0.5
clarify_connector_density_ratio{integration="plant-b",worker="2"} 0.7
# TYPE clarify_connector_oldest_sample_seconds gauge
clarify_connector_oldest_sample_seconds{integration="plant-b",worker="1"} 1.5
clarify_connector_oldest_sample_seconds{integration="plant-b",worker="2"} 0.5
# TYPE clarify_connector_time_to_loss_seconds gauge
clarify_connector_time_to_loss_seconds{cause="retention",source="k",worker="1"} +Inf
clarify_connector_time_to_loss_seconds{cause="retention",source="k",worker="2"} 600.0
"""


class Pages:
    """Stands for the pages of a connector with two workers and two integrations."""

    def __init__(self) -> None:
        self.metrics = OF_WORKERS

    def text(self, page: str) -> tuple[int, str]:
        assert page == "/metrics"
        return 200, self.metrics

    def json(self, page: str) -> tuple[int, dict[str, object]]:
        if page == "/ledger":
            return 503, {"error": "database is locked"}
        return 503, {"problems": ["worker 2: away"], "notices": []}


def test_workers_are_added_up_and_integrations_are_apart() -> None:
    pages, now = Pages(), 100.0
    reader = TopReader(pages, lambda: now)  # type: ignore[arg-type]
    reader.read()
    pages.metrics = OF_WORKERS.replace(
        'outcome="inserted",worker="1"} 10', 'outcome="inserted",worker="1"} 50'
    ).replace('source="k",worker="2"} 4', 'source="k",worker="2"} 8')
    now = 102.0
    found = reader.read()
    assert (found.ready, found.problems, found.ledger_trouble) == (False, ["worker 2: away"], "database is locked")
    assert found.rates.samples_out == 20.0
    (source,) = found.sources
    assert (source.messages_per_second, source.loss_seconds, source.loss_cause) == (2.0, 600.0, "retention")
    default, other = found.integrations
    assert (default.name, other.name, other.density, other.oldest_seconds) == ("default", "plant-b", 0.6, 1.5)
    assert Metrics(OF_WORKERS).by("samples_settled_total", "outcome") == {"inserted": 30.0}
    pages.metrics = OF_WORKERS  # a worker was restarted: no rate is negative
    now = 104.0
    assert reader.read().rates == Rates()
