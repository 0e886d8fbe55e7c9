"""How far our clock is from Clarify's, by the Date of its answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from connector.clarify.transport import Timeouts, Transport


@pytest.mark.parametrize("ahead", [0, 7200, -90])
def test_the_offset_is_that_of_the_last_answer(ahead: int) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        sent = datetime.now(UTC) - timedelta(seconds=ahead)
        return httpx.Response(200, json={}, headers={"Date": format_datetime(sent, usegmt=True)})

    transport = Transport(timeouts=Timeouts(), headers={}, clock=lambda: 0.0, transport=httpx.MockTransport(answer))
    assert transport.clock_offset is None
    transport.post("https://clarify.example.com", b"{}", {}, method="m", stores=False)
    assert transport.clock_offset == pytest.approx(ahead, abs=2)


@pytest.mark.parametrize("date", [None, "nonsense", "Mon, 99 Foo 2026 00:00:00 GMT", "x" * 5000])
def test_an_answer_without_a_date_says_nothing(date: str | None) -> None:
    headers = {} if date is None else {"Date": date}
    transport = Transport(
        timeouts=Timeouts(),
        headers={},
        clock=lambda: 0.0,
        transport=httpx.MockTransport(lambda _request: httpx.Response(200, json={}, headers=headers)),
    )
    transport.post("https://clarify.example.com", b"{}", {}, method="m", stores=False)
    assert transport.clock_offset is None
