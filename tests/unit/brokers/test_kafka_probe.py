"""What the probe of a bootstrap server finds where nobody speaks Kafka; the real ports are in test_errors.py."""

from __future__ import annotations

import socket

import pytest

from connector.brokers.kafka_probe import why_silent
from connector.brokers.kafka_section import KafkaConnectionSection
from tests.ports import free_port


def section(*servers: str, **settings: object) -> KafkaConnectionSection:
    return KafkaConnectionSection.model_validate({"bootstrap_servers": list(servers), **settings})


@pytest.mark.parametrize("security", ["plaintext", "tls"])
def test_a_server_that_hangs_is_no_server_that_wants_a_log_in(security: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        found = why_silent(section(f"127.0.0.1:{free_port()}", where, security=security), seconds=0.2)
    assert found is not None
    assert found.startswith(f"{where} accepts connections, and does not answer")


def test_where_nobody_is_nothing_is_found() -> None:
    assert why_silent(section(f"127.0.0.1:{free_port()}", "kafka.invalid:9092"), seconds=0.2) is None
    assert why_silent(section(f"127.0.0.1:{free_port()}", tls={"ca_file": "/no/such/file"}), seconds=0.2) is None
