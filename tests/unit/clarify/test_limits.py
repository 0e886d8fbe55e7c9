"""The patterns of the API's keys and IDs."""

from __future__ import annotations

import pytest

from connector.clarify import INPUT_ID, limits


@pytest.mark.parametrize("key", ["a", "plant/line-1/t_1", "a:b.c#d+e", "#", "Z9", "x" * 128])
def test_input_ids_that_the_api_takes(key: str) -> None:
    assert INPUT_ID.match(key)


@pytest.mark.parametrize("key", ["", "x" * 129, "a b", "a%b", "é", "a[1]", "a\n", "ab\\c", "٣"])
def test_input_ids_that_the_api_refuses(key: str) -> None:
    assert not INPUT_ID.match(key)


def test_a_client_waits_longer_than_the_server() -> None:
    from connector.clarify import Timeouts

    assert Timeouts().read > limits.TOTAL_SECONDS
