"""Arbitrary answers: the outcome is always one of the policy's. `FUZZ_EXAMPLES=100000` looks longer, and
`python -m benchmarks.hostile_answers` longer still."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.exchange.network import BoundedNetwork
from tests.hostile.answers import CLIENTS, DATA_FRAME, Trial
from tests.property.fuzz import FUZZ

fuzz = settings(FUZZ, suppress_health_check=[HealthCheck.function_scoped_fixture])
clients = st.integers(0, CLIENTS - 1)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    found = Trial(tmp_path_factory.mktemp("schemas"))
    yield found
    found.close()


@fuzz
@given(st.integers(0, 2**63))
def test_an_answer_near_to_a_proper_one_is_an_outcome_of_the_policy(trial: Trial, seed: int) -> None:
    trial.run(seed)


@fuzz
@given(clients, st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_any_bytes_are_an_outcome_of_the_policy(trial: Trial, client: int, said: list[bytes]) -> None:
    trial.meet(client, said)


@fuzz
@given(clients, st.integers(200, 599), st.lists(st.tuples(st.text(), st.binary()), max_size=5), st.binary())
def test_any_headers_and_body_are_an_outcome_of_the_policy(
    trial: Trial, client: int, status: int, headers: list[tuple[str, bytes]], body: bytes
) -> None:
    lines = [name.encode(errors="replace") + b": " + value + b"\r\n" for name, value in headers]
    trial.meet(client, [b"HTTP/1.1 %d X\r\n" % status, *lines, b"\r\n", body])


def test_proper_answers_come_through(trial: Trial) -> None:
    """The network of these tests carries an answer, so that the other tests see more than its failures."""
    body = b'{"id":1000000000,"result":{"signalsByInput":{"a":{"id":"b","created":true}}}}'
    assert trial.meet(0, [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]) == "fine"
    assert {trial.run(seed) for seed in range(500)} >= {"Retryable", "Refused", "NotAllowed"}


def test_the_network_of_these_tests_is_not_replaced(trial: Trial) -> None:
    assert isinstance(trial.network, BoundedNetwork)


@pytest.mark.parametrize("data", [b'["a"]', b"[[]]", b"[null]", b'[{"times":[],"series":{}},1]'])
def test_a_list_of_anything_but_frames_is_no_answer(trial: Trial, data: bytes) -> None:
    """Seed 1203443 found it."""
    body = b'{"id":1000000000,"result":{"meta":{},"data":%b}}' % data
    said = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]
    assert trial.meet(DATA_FRAME, said) == "Retryable"
