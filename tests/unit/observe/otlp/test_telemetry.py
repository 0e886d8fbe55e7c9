"""Telemetry to a collector that works, is away, is slow, or refuses: nothing waits for it, and nothing is hidden."""

from __future__ import annotations

import io
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from structlog.testing import capture_logs

from connector.config.otlp import OtlpSection
from connector.observe.logs import LONGEST_VALUE, configure_logs
from connector.observe.otlp.collector import Collector, NotSentError
from connector.observe.otlp.messages import logs_request, resource_of
from connector.observe.otlp.telemetry import MOST_LINES, MOST_SPANS, Telemetry, running
from connector.pipeline.traces import Delivery
from connector.settings import Referenced, Secret, SettingsError
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.ports import free_port
from tests.secrets_used import SETTING, WRONG
from tests.waiting import wait_until

SECONDS = 20.0
DELIVERY = Delivery("plant-a", 10, 20, 3, 1, 3, 99, 2, 1, 3, 0, "", finished=True, contexts=[], cut=0)

_log = structlog.get_logger(__name__)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as found:
        yield found


def telemetry_for(endpoint: str, **more: Any) -> Telemetry:
    settings = {"endpoint": endpoint, "interval": "100ms", "timeout": "2s", **more}
    return Telemetry(OtlpSection.model_validate(settings), {"service.name": "clarify-connector"})


def said(out: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, out.getvalue().splitlines()) if line["event"] == event]


def families() -> Iterator[Metric]:
    counter = CounterMetricFamily("x_messages", "Messages", labels=["outcome"])
    counter.add_metric(["inserted"], 7)
    counter.add_metric(["filtered"], 2)
    yield counter
    yield GaugeMetricFamily("x_oldest_sample_seconds", "Age", 1.5)
    yield GaugeMetricFamily("x_no_samples_yet", "Nothing", labels=["a"])
    yield InfoMetricFamily("x", "The running version", {"version": "1.0"})
    histogram = HistogramMetricFamily("x_delay_seconds", "Delay", labels=["source"])
    histogram.add_metric(["mqtt"], [("0.1", 3), ("1.0", 5), ("+Inf", 9)], 12.5)
    histogram.add_metric(["kafka"], [("0.1", 0), ("1.0", 1), ("+Inf", 1)], 0.5)
    yield histogram


def test_metrics_have_the_names_and_values_of_the_page(receiver: OtlpReceiver) -> None:
    begun = time.time_ns()
    telemetry = telemetry_for(receiver.endpoint, send=["metrics"], resource={"service.namespace": "plant-a"})
    telemetry.start()
    telemetry.measure(families)
    wait_until(receiver.metrics, SECONDS, "metrics", every=0.02)
    telemetry.close()
    found = receiver.metrics()
    assert set(found) == {"x_messages_total", "x_oldest_sample_seconds", "x_info", "x_delay_seconds"}
    total = found["x_messages_total"].sum
    assert {attributes(point)["outcome"]: point.as_double for point in total.data_points} == {
        "inserted": 7.0,
        "filtered": 2.0,
    }
    assert (total.is_monotonic, total.aggregation_temporality) == (True, 2), "cumulative"
    assert begun <= total.data_points[0].start_time_unix_nano < total.data_points[0].time_unix_nano <= time.time_ns()
    age = found["x_oldest_sample_seconds"]
    assert (age.unit, age.description, age.gauge.data_points[0].as_double) == ("s", "Age", 1.5)
    assert attributes(found["x_info"].gauge.data_points[0]) == {"version": "1.0"}
    mqtt, kafka = found["x_delay_seconds"].histogram.data_points
    assert (list(mqtt.bucket_counts), list(mqtt.explicit_bounds)) == ([3, 2, 4], [0.1, 1.0])
    assert (mqtt.count, mqtt.sum, attributes(mqtt)) == (9, 12.5, {"source": "mqtt"})
    assert (list(kafka.bucket_counts), kafka.count, kafka.sum) == ([0, 1, 0], 1, 0.5)
    assert receiver.resources()[0] == {"service.name": "clarify-connector", "service.namespace": "plant-a"}


def test_a_line_of_the_log_is_within_its_bounds_and_shows_no_variables(receiver: OtlpReceiver) -> None:
    def crash(secret: str) -> None:
        raise LookupError(f"{len(secret)} characters")

    telemetry = telemetry_for(receiver.endpoint, send=["logs"], headers={"api-key": SETTING})
    out = io.StringIO()
    configure_logs("info", "text", out, also=telemetry.log)
    telemetry.start()
    _log.debug("not_said")
    _log.info("said", topic="a\nb\ud800", values=3, share=0.5, ready=True, inputs=["x"] * 3, long="y" * 9_999)
    try:
        crash(SETTING)
    except LookupError:
        _log.exception("crashed")
    for _ in range(99):
        _log.warning("many")
    wait_until(lambda: len(receiver.logs()) >= 62, SECONDS, "all lines", every=0.02)
    telemetry.close()
    line, crashed, *many = receiver.logs()
    assert (line.body.string_value, line.event_name, line.severity_text) == ("said", "said", "INFO")
    assert abs(line.time_unix_nano - time.time_ns()) < 60e9
    found = attributes(line)
    assert (found["values"], found["share"], found["ready"]) == (3, 0.5, True)
    assert (found["topic"], found["inputs"]) == ("a\nb\\ud800", '["x", "x", "x"]')
    assert found["long"].startswith("y" * LONGEST_VALUE + "…")
    assert attributes(crashed)["exception.type"] == "LookupError"
    assert f"{len(SETTING)} characters" in attributes(crashed)["exception.stacktrace"]
    assert SETTING not in str(receiver.taken)
    assert len(many) == 60, "as many as in the log itself"
    assert receiver.requests[0][1]["api-key"] == SETTING


def test_a_collector_that_is_away_costs_no_memory_and_one_line() -> None:
    port, out = free_port(), io.StringIO()
    telemetry = telemetry_for(f"http://127.0.0.1:{port}", send=["logs", "traces"])
    configure_logs("info", "json", out)
    telemetry.start()
    take = telemetry.log
    assert take is not None
    wait_until(lambda: counts(telemetry)["failures", "logs"] > 0 or take({"event": "first"}), SECONDS, "a failure")
    begun = time.monotonic()
    for n in range(3 * MOST_LINES):
        take({"event": "line", "level": "info", "n": n})
    for _ in range(2 * MOST_SPANS):
        telemetry.delivered(DELIVERY)
    assert time.monotonic() - begun < 5, "nothing waited for the collector"
    wait_until(lambda: len(said(out, "telemetry_not_sent")) == 2, SECONDS, "a line for each signal", every=0.02)
    assert counts(telemetry)["dropped", "logs"] >= 2 * MOST_LINES
    assert counts(telemetry)["dropped", "traces"] >= MOST_SPANS
    failed = said(out, "telemetry_not_sent")[0]
    assert failed["endpoint"] == f"http://127.0.0.1:{port}/v1/logs"
    assert "refused" in failed["reason"]
    assert "observe.otlp.endpoint" in failed["remedy"]
    wait_until(lambda: counts(telemetry)["failures", "logs"] > 1, SECONDS, "another try", every=0.02)
    assert len(said(out, "telemetry_not_sent")) == 2, "no line for each try"

    with OtlpReceiver(port) as receiver:
        wait_until(lambda: len(receiver.logs()) == MOST_LINES, SECONDS, "the newest lines", every=0.02)
        wait_until(lambda: len(receiver.spans()) == MOST_SPANS, SECONDS, "the newest spans", every=0.02)
        wait_until(lambda: len(said(out, "telemetry_works_again")) == 2, SECONDS, "a line for each", every=0.02)
        telemetry.close()
    assert [attributes(line)["n"] for line in receiver.logs()] == list(range(2 * MOST_LINES, 3 * MOST_LINES))
    again = {line["signal"]: line["items_dropped"] for line in said(out, "telemetry_works_again")}
    assert (again["logs"] >= 2 * MOST_LINES, again["traces"]) == (True, MOST_SPANS)
    assert len({(span.trace_id, span.span_id) for span in receiver.spans()}) == MOST_SPANS


def test_a_slow_collector_holds_neither_the_log_nor_the_stop(receiver: OtlpReceiver) -> None:
    out = io.StringIO()
    telemetry = telemetry_for(receiver.endpoint, send=["logs"], timeout="60s")
    configure_logs("info", "json", out)
    receiver.hold.clear()
    telemetry.start()
    take = telemetry.log
    assert take is not None
    take({"event": "first"})
    wait_until(lambda: receiver.requests, SECONDS, "a request", every=0.02)
    begun = time.monotonic()
    for n in range(2 * MOST_LINES):
        take({"event": "line", "n": n})
    telemetry.close(0.2)
    assert time.monotonic() - begun < 5
    assert said(out, "telemetry_left_behind")[0]["logs"] == MOST_LINES
    assert counts(telemetry)["dropped", "logs"] == 2 * MOST_LINES, "what was on its way has no outcome"


@pytest.mark.parametrize(
    ("answer", "again", "reason", "remedy"),
    [
        ({"status": 503, "answer_headers": {"Retry-After": "7"}}, True, "503", "endpoint"),
        ({"status": 429}, True, "429", "endpoint"),
        ({"status": 401}, False, "401", "check observe.otlp.headers"),
        ({"status": 404}, False, "404", "observe.otlp.send"),
        ({"status": 302, "answer_headers": {"Location": "http://127.0.0.1:1/"}}, False, "302", "endpoint"),
        ({"answer": b"<html>", "content_type": "text/html; charset=utf-8"}, False, "web page", "endpoint"),
        ({"answer": b"\xff\xff"}, False, "no OTLP", "endpoint"),
        ({"answer": b"x" * 100_000}, True, "longer than", "endpoint"),
    ],
)
def test_an_answer_says_whether_the_same_may_be_sent_again(
    receiver: OtlpReceiver, answer: dict[str, Any], again: bool, reason: str, remedy: str
) -> None:
    for name, value in answer.items():
        setattr(receiver, name, value)
    collector = Collector(OtlpSection.model_validate({"endpoint": receiver.endpoint}))
    with pytest.raises(NotSentError, match=reason) as caught:
        collector.send("logs", logs_request([], resource_of({})), 5)
    collector.close()
    assert (caught.value.again, remedy in caught.value.remedy) == (again, True)
    assert caught.value.after == (7 if "Retry-After" in str(answer) else 0)


def test_certificates_are_those_of_the_section_and_a_mended_file_is_read_again(tmp_path: Path) -> None:
    ca, other, files = trustme.CA(), trustme.CA(), tmp_path / "tls"
    files.mkdir()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    other.cert_pem.write_to_path(str(files / "ca.pem"))
    ca.issue_cert("connector.example").private_key_and_cert_chain_pem.write_to_path(str(files / "client.pem"))
    with OtlpReceiver(tls=server) as receiver:
        tls = {"ca_file": files / "ca.pem", "cert_file": files / "client.pem"}
        collector = Collector(OtlpSection.model_validate({"endpoint": receiver.endpoint, "tls": tls}))
        with pytest.raises(NotSentError, match="certificate"):
            collector.send("logs", logs_request([], resource_of({})), 5)
        (files / "ca.pem").write_text("in the middle of a change")
        with capture_logs() as log, pytest.raises(NotSentError, match="certificate"):
            collector.send("logs", logs_request([], resource_of({})), 5)
        assert [line["event"] for line in log][:2] == ["credentials_reloaded", "credentials_not_reloaded"]
        ca.cert_pem.write_to_path(str(files / "ca.pem"))
        assert collector.send("logs", logs_request([], resource_of({})), 5) == (0, "")
        collector.close()
        assert len(receiver.taken) == 1
    (files / "ca.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=r"observe\.otlp cannot be used"):
        Collector(OtlpSection.model_validate({"endpoint": receiver.endpoint, "tls": tls}))


def test_a_changed_header_goes_with_the_next_request(receiver: OtlpReceiver, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SETTING)
    key = Secret.of(Referenced.of(SETTING, "observe.otlp.headers.api-key", file.read_text))
    section = OtlpSection.model_validate({"endpoint": receiver.endpoint, "headers": {"api-key": key}})
    sent = []
    collector = Collector(section)
    for text in (SETTING, WRONG, "a\nb"):
        file.write_text(text)
        collector.send("logs", logs_request([], resource_of({})), 5)
        sent.append({name.lower(): value for name, value in receiver.requests[-1][1].items()}["api-key"])
    collector.close()
    assert sent == [SETTING, WRONG, WRONG], "a header cannot carry the last one"


@pytest.mark.parametrize("status", [503, 400])
def test_what_may_be_sent_again_waits_and_all_else_is_counted(receiver: OtlpReceiver, status: int) -> None:
    out = io.StringIO()
    telemetry = telemetry_for(receiver.endpoint, send=["logs"])
    configure_logs("info", "json", out)
    receiver.status = status
    take = telemetry.log
    assert take is not None
    take({"event": "one"})
    telemetry.start()
    wait_until(lambda: said(out, "telemetry_not_sent"), SECONDS, "the failure", every=0.02)
    receiver.status = 200
    take({"event": "two"})
    wait_until(receiver.logs, SECONDS, "the next lines", every=0.02)
    telemetry.close()
    assert [line.event_name for line in receiver.logs()] == (["one", "two"] if status == 503 else ["two"])
    assert counts(telemetry)["dropped", "logs"] == (0 if status == 503 else 1)


def test_what_the_collector_refuses_is_counted_and_its_text_shows_no_secret(receiver: OtlpReceiver) -> None:
    out = io.StringIO()
    telemetry = telemetry_for(receiver.endpoint, send=["logs"], headers={"api-key": SETTING})
    configure_logs("info", "json", out)
    receiver.refuse(1, f"too old, for {SETTING}")
    take = telemetry.log
    assert take is not None
    take({"event": "one"})
    take({"event": "two"})
    telemetry.start()
    wait_until(lambda: said(out, "telemetry_refused"), SECONDS, "the refusal", every=0.02)
    telemetry.close()
    assert said(out, "telemetry_refused")[0]["reason"] == "too old, for …"
    assert (counts(telemetry)["sent", "logs"], counts(telemetry)["dropped", "logs"]) == (1, 1)


def test_a_fault_in_the_metrics_ends_nothing(receiver: OtlpReceiver) -> None:
    out = io.StringIO()
    telemetry = telemetry_for(receiver.endpoint, send=["metrics", "logs"])
    configure_logs("info", "json", out)
    telemetry.start()
    telemetry.measure(lambda: iter([GaugeMetricFamily("x", "", value="y")]))
    wait_until(lambda: said(out, "telemetry_failed"), SECONDS, "the fault", every=0.02)
    take = telemetry.log
    assert take is not None
    take({"event": "one"})
    wait_until(receiver.logs, SECONDS, "a line", every=0.02)
    telemetry.take_last_metrics()
    telemetry.close()
    assert telemetry.thread.ended is None


def test_the_last_metrics_are_those_before_the_close(receiver: OtlpReceiver, tmp_path: Path) -> None:
    section = OtlpSection.model_validate({"endpoint": receiver.endpoint, "interval": "1h"})
    value = [1.0]
    with running(section, tmp_path, "1") as telemetry:
        assert telemetry is not None
        telemetry.measure(lambda: iter([GaugeMetricFamily("x", "", value=value[0])]))
        wait_until(receiver.metrics, SECONDS, "the first report", every=0.02)
        value[0] = 2.0
        telemetry.take_last_metrics()
        value[0] = 3.0
    assert receiver.metrics()["x"].gauge.data_points[0].as_double == 2.0
    assert set(receiver.resources()[0]) >= {"service.name", "service.version", "service.instance.id", "host.name"}


def counts(telemetry: Telemetry) -> dict[tuple[str, str], float]:
    return {
        (family.name.removeprefix("clarify_connector_telemetry_"), sample.labels["signal"]): sample.value
        for family in telemetry.collect()
        for sample in family.samples
    }
