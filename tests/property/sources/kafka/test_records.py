"""A batch of messages becomes what its messages become one by one."""

from __future__ import annotations

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.sources.kafka.records import to_records

KINDS = TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE
NAMES = st.sampled_from(["traceparent", "a"])


@settings(max_examples=60, deadline=None)
@given(
    messages=st.lists(
        st.builds(
            Message,
            topic=st.just("t"),
            value=st.none() | st.binary(max_size=3),
            key=st.none() | st.binary(max_size=3),
            headers=st.none() | st.lists(st.tuples(NAMES, st.sampled_from([b"x", b"\xff"])), max_size=2),
            timestamp=st.sampled_from([(KINDS[0], 5), (KINDS[0], 5), (KINDS[1], 7), (KINDS[0], -1), (KINDS[2], 0)]),
        ),
        min_size=1,
        max_size=4,
    ),
    record_time=st.booleans(),
)
def test_a_batch_becomes_what_its_messages_become(messages: list[Message], record_time: bool) -> None:
    together = to_records("t", messages, 9, record_time=record_time)
    assert together == [
        record for message in messages for record in to_records("t", [message], 9, record_time=record_time)
    ]
