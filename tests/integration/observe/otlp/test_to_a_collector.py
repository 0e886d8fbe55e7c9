"""The connector as users run it, with real brokers: a publisher's context comes out of its collector as a link."""

from __future__ import annotations

import json
import time
from pathlib import Path

from confluent_kafka import Producer
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess
from tests.integration.kafka_topics import kafka_source
from tests.kafka_brokers import KafkaBroker, need_real
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secrets_used import SETTING
from tests.waiting import wait_until

sandbox = sandbox_fixture(requests_per_second=100)

MQTT_TRACE, KAFKA_TRACE = "11" * 16, "22" * 16


def publish_to_mqtt(port: int, topic: str, parent: str) -> None:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("unit", "bar"), ("traceparent", parent)]
    client.publish(topic, b'{"v": 1}', qos=1, properties=properties).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def test_metrics_logs_and_traces_of_two_workers(kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path) -> None:
    topic = f"otlp-{time.time_ns()}"
    need_real(kafka).create_topic(topic, 2)
    with OtlpReceiver() as receiver, Mosquitto() as broker:
        observe = (
            f"  otlp: {{endpoint: '{receiver.endpoint}', headers: {{api-key: {SETTING}}}, interval: 200ms, "
            "resource: {service.namespace: plant}}\n"
        )
        source = kafka_source(kafka, topic) + f"  - {{type: mqtt, url: 'mqtt://127.0.0.1:{broker.port}', topics: [m]}}"
        more = "workers: 2\ndelivery: {requests_per_second: 20, max_delay: 100ms}"
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, more, observe=observe)
        with connector.start():
            publish_to_mqtt(broker.port, "m", f"00-{MQTT_TRACE}-{'33' * 8}-01")
            producer = Producer({"bootstrap.servers": kafka.bootstrap})
            for n in range(20):
                parent = f"00-{KAFKA_TRACE}-{n + 1:016x}-01".encode()
                producer.produce(
                    topic,
                    json.dumps({"ts": 1_790_000_000 + n, "v": n}),
                    headers=[("traceparent", parent)],
                    partition=n % 2,
                )
            assert producer.flush(30) == 0

            def linked() -> set[tuple[str, str]]:
                return {(link.trace_id.hex(), link.span_id.hex()) for span in receiver.spans() for link in span.links}

            wanted = {(MQTT_TRACE, "33" * 8)} | {(KAFKA_TRACE, f"{n + 1:016x}") for n in range(20)}
            wait_until(lambda: linked() == wanted, 60, lambda: f"a link to each: {linked()}\n{connector.log()}")
            assert connector.stop() == 0, connector.log()
        assert "telemetry_not_sent" not in connector.log()
        assert "Traceback" not in connector.log()
        assert connector.log().count("telemetry_settings") == 1, "its key goes over http"

        spans = receiver.spans()
        assert {span.name for span in spans} == {"insert frame"}
        found = [attributes(span) for span in spans]
        assert {one["clarify_connector.outcome"] for one in found} == {"inserted"}
        assert sum(one["clarify_connector.samples"] for one in found) == 21
        assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in spans)
        assert all(one["clarify_connector.attempts"] == 1 for one in found)
        assert {one["clarify_connector.worker"] for one in receiver.resources()} == {"1", "2", "supervisor"}
        assert {one["service.namespace"] for one in receiver.resources()} == {"plant"}
        assert len({one["service.instance.id"] for one in receiver.resources()}) == 3, "two workers and the supervisor"
        events = [line.event_name for line in receiver.logs()]
        assert (events.count("started"), events.count("stopped")) == (3, 3), "also the last line"
        assert {headers["api-key"] for _, headers in receiver.requests} == {SETTING}

        assert sum(inserted_by_worker(receiver).values()) == 21, "the last report is after the last insert"


def inserted_by_worker(receiver: OtlpReceiver) -> dict[str, float]:
    """Worker → messages that it has inserted, by its last report."""
    found = {}
    for request in receiver.taken:
        if isinstance(request, ExportMetricsServiceRequest):
            (resource,) = request.resource_metrics
            counts = [
                point.as_double
                for metric in resource.scope_metrics[0].metrics
                if metric.name == "clarify_connector_messages_settled_total"
                for point in metric.sum.data_points
                if attributes(point)["outcome"] == "inserted"
            ]
            found[attributes(resource.resource)["service.instance.id"]] = sum(counts)
    return found
