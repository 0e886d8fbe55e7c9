"""The store of dead letters in a Kafka topic, without brokers."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from confluent_kafka import KafkaError

from connector.conformance.dead_letters import a_letter
from connector.dead_letters.broker_sections import KafkaLettersSection
from connector.dead_letters.kafka_store import KafkaLetters
from connector.dead_letters.store import DeadLettersError
from tests.kafka_fatal import make_fatal
from tests.ports import free_port


def test_a_broken_certificate_file_is_said_and_tried_again(tmp_path: Path) -> None:
    """A fatal error needs another producer, which a broken file does not give."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    whole = file.read_bytes()
    section = {"type": "kafka", "bootstrap_servers": f"127.0.0.1:{free_port()}", "topic": "t", "timeout": "1s"}
    store = KafkaLetters(KafkaLettersSection.model_validate(section | {"tls": {"ca_file": file}}))
    assert store._producer is not None
    file.write_text("no certificate")
    make_fatal(store._producer, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "made by a test")
    with pytest.raises(DeadLettersError, match="made by a test"):
        store.add([a_letter(1)])
    for use in (lambda: store.add([a_letter(1)]), lambda: store.forget(["x"]), lambda: list(store.read())):
        with pytest.raises(DeadLettersError, match="no certificate or crl found"):
            use()
    assert "mend the files" in "".join(store.problems())
    file.write_bytes(whole)
    with pytest.raises(DeadLettersError, match="no acknowledgement"):
        store.add([a_letter(1)])
    store.close()
