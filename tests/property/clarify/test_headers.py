"""Headers are the server's, or anybody's in between, to choose: whatever they say, they never end what is under way."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.clarify import ClarifyError
from connector.clarify.transport import Timeouts, Transport, retry_after

NOW = datetime(2026, 5, 1, 6, tzinfo=UTC)
TEN_THOUSAND_YEARS = 10_000 * 366 * 86_400

_numbers = st.integers().map(str) | st.floats().map(str) | st.from_regex(r"[+-]?[0-9]{0,40}(\.[0-9]*)?([eE][0-9]*)?")
_clocks = st.from_regex(r"[0-9]{0,20}(:[0-9]{0,20}){0,3}", fullmatch=True)
_dates = st.lists(
    st.sampled_from(["Mon,", "Mon", "1", "31", "Jan", "Feb", "2024", "99999", "0", "GMT", "EST", ",", "-", "(c)", ""])
    | _numbers
    | _clocks
    | st.from_regex(r"[+-][0-9]{1,24}", fullmatch=True),
    max_size=9,
).map(" ".join)
values = st.text() | _numbers | _dates | st.text(alphabet="0123456789:+-, JanFebGMTonu.")


@given(values, st.none() | values)
@example("Mon, 1 Jan 2024 00:00:00 +99999999999999999999", None)
@example("Mon, 1 Jan 2024 00:00:00 GMT", "Mon, 1 Jan 2024 00:00:00 +99999999999999999999")
@example("Mon, 1 Jan 99999999999999999999 00:00:00 GMT", None)
@example("Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 1 Jan 0001 00:00:00 +2359")
@example("nan", None)
@example("inf", None)
@example("-1", None)
@example("9" * 5000, None)
@example("1e999", None)
def test_any_retry_after_is_none_or_a_number_with_bounds(value: str, date: str | None) -> None:
    found = retry_after(value, date, NOW)
    assert found is None or 0.0 <= found <= TEN_THOUSAND_YEARS


_names = st.sampled_from(
    ["Retry-After", "Date", "Location", "Set-Cookie", "traceparent", "Content-Type", "Content-Encoding", "Connection"]
)
_raw = st.binary(max_size=80) | values.map(lambda text: text.encode("utf-8", errors="replace"))


@given(
    st.sampled_from([200, 301, 302, 307, 401, 429, 503]),
    st.lists(st.tuples(_names.map(str.encode), _raw), max_size=6),
)
@example(503, [(b"Retry-After", b"Mon, 1 Jan 2024 00:00:00 +99999999999999999999")])
@example(302, [(b"Location", b"http://[::1")])
@example(302, [(b"Location", b"http://:99999999/")])
@example(301, [(b"Location", b"A:0")])
@example(200, [(b"Set-Cookie", b"\x80")])
@example(200, [(b"Set-Cookie", b"a=\xc3\xa6; Max-Age=99999999999999999999; Expires=Mon, 1 Jan 99999 00:00:00 GMT")])
def test_an_exchange_ends_with_an_answer_or_an_error_of_ours_whatever_the_headers(
    status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    network = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, content=b"{}"))
    transport = Transport(timeouts=Timeouts(), headers={}, clock=time.monotonic, transport=network)
    try:
        for _ in range(2):  # what the first one leaves behind must not harm the second
            answer = transport.post("https://clarify.example/rpc", b"{}", {}, method="x.y", stores=True)
            assert answer.status == status
            assert answer.retry_after is None or 0.0 <= answer.retry_after <= TEN_THOUSAND_YEARS
    except ClarifyError:
        return
    finally:
        transport.close()


def test_a_date_that_can_be_read_still_counts() -> None:
    assert retry_after("Fri, 01 May 2026 06:00:30 GMT", None, NOW) == pytest.approx(30.0)
