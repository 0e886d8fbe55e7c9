"""The fixtures that tests of the sandbox share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.sandbox.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store in memory."""
    with Store.open(None) as store:
        yield store
