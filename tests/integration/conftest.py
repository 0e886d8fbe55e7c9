"""The fixtures that most integration tests share."""

from __future__ import annotations

from tests.sandbox_server import sandbox_fixture

sandbox = sandbox_fixture()
"""A sandbox of each test's own, with the settings of the real Clarify. Modules that need others name theirs."""
