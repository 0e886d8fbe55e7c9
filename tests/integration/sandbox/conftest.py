"""The fixtures that tests of the sandbox share."""

from __future__ import annotations

import pytest


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """An input key of this test's own."""
    return "".join(letter if letter.isalnum() else "/" for letter in request.node.name)
