"""Every error code of the client is sorted by what to do, in the forms in which the client delivers it."""

from __future__ import annotations

from collections import Counter

import pytest
from confluent_kafka import KafkaError

from connector.brokers.kafka_errors import ROWS, Action, Row, judge

CODES = {
    name: code
    for name in dir(KafkaError)
    if name.lstrip("_").isupper() and isinstance(code := getattr(KafkaError, name), int)
}


def fatal(code: int) -> KafkaError:
    """As librdkafka gives it in place of a record: the cause is in the text alone, and `fatal()` is False."""
    cause = KafkaError(code).str()
    error = KafkaError(KafkaError._FATAL, f"Fatal error: {cause}: ConsumerGroupHeartbeat fatal error: {cause}")
    assert not error.fatal()
    return error


def test_every_code_of_the_client_is_in_one_row() -> None:
    """A failure after an upgrade of librdkafka: put each new code into the row that says what to do about it."""
    sorted_codes = Counter(code for row in ROWS for code in row.codes)
    assert sorted(name for name, code in CODES.items() if code not in sorted_codes) == []
    assert [code for code, rows in sorted_codes.items() if rows > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: KafkaError(row.codes[0]).name())
def test_a_row_is_found_by_errors_that_pass_and_by_fatal_ones(row: Row) -> None:
    for code in set(row.codes) - {KafkaError._FATAL, KafkaError.NO_ERROR}:
        found = judge(KafkaError(code))
        assert (found.action, found.fatal, found.code) == (row.action, False, code)
        assert row.remedy in found.text
        found = judge(fatal(code))
        assert (found.fatal, found.code, found.remedy) == (True, code, row.remedy)
        assert found.action is (Action.JOIN_ANEW if row.action is Action.GO_ON else row.action)
        flagged = judge(KafkaError(code, None, True))
        assert (flagged.fatal, flagged.code, flagged.action) == (True, code, found.action)


def test_each_row_for_a_person_has_a_remedy() -> None:
    assert [row for row in ROWS if row.action is Action.PERSON and not row.remedy] == []


def test_a_code_in_no_row_passes_and_a_fatal_one_is_a_reason_to_join_anew() -> None:
    unknown = max(CODES.values()) + 1
    assert judge(KafkaError(unknown)).action is Action.GO_ON
    assert judge(KafkaError(unknown, None, True)).action is Action.JOIN_ANEW
    found = judge(KafkaError(KafkaError._FATAL, "Fatal error: Broker: Something new: by the coordinator"))
    assert (found.action, found.fatal) == (Action.JOIN_ANEW, True)
    assert "Something new" in found.text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("Disconnected: connecting to a PLAINTEXT broker listener? (after 4ms in state SSL_HANDSHAKE)", "no TLS"),
        ("Disconnected: SSL connection closed by peer (after 0ms in state SSL_HANDSHAKE)", "no TLS"),
        ("Receive failed: ssl/tls alert bad certificate: SSL alert number 42", "tls.cert_file"),
        ("Receive failed: ssl/tls alert certificate expired: SSL alert number 45", "our certificate has expired"),
        ("handshake failed: broker's supported mechanisms:  (after 1ms in state AUTH_HANDSHAKE)", "remove sasl"),
        ("Receive failed: Invalid response size 1213486160 (0..100000000): increase it", "speaks HTTP"),
    ],
)
def test_words_of_librdkafka_say_more_than_the_code(text: str, remedy: str) -> None:
    assert remedy in judge(KafkaError(KafkaError._TRANSPORT, text)).remedy
