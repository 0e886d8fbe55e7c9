"""Times written and read back, in every notation, exact to the microsecond."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.mapping.time.times import TimeError, format_time, parse_time
from connector.packing.encoder import time_texts
from tests.property.fuzz import FUZZ

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
AS_TICKS = (125_911_584_000_000, 157_469_184_000_000), (630_822_816_000_000, 662_380_416_000_000)
"""Times (µs) whose nanoseconds are ticks of Windows or .NET of this century: 1973 and 1974, 1989 and 1990."""
times = st.integers(FIRST, LAST)


@settings(max_examples=200, deadline=None)
@given(time_us=times)
def test_a_time_written_is_read_back_to_the_microsecond(time_us: int) -> None:
    assert parse_time(format_time(time_us)) == time_us


@settings(max_examples=100, deadline=None)
@given(some=st.lists(times | st.integers(0, 3_000_000), max_size=20))
def test_the_frame_writes_times_like_everybody_else(some: list[int]) -> None:
    assert time_texts(some) == [format_time(time_us) for time_us in some]


@settings(max_examples=200, deadline=None)
@given(time_us=st.integers(10**14, 8 * 10**15), unit=st.sampled_from([10**6, 10**3, 1]), as_text=st.booleans())
@example(time_us=4_309_593_387_605_841, unit=1_000_000, as_text=False)
def test_epoch_numbers_of_every_unit_mean_the_same_moment(time_us: int, unit: int, as_text: bool) -> None:
    whole = time_us // unit
    number: object = str(whole) if as_text else whole
    assert parse_time(number) == whole * unit
    fraction = time_us / unit
    assert parse_time(repr(fraction) if as_text else fraction) == time_us
    if not any(least <= time_us <= most for least, most in AS_TICKS):
        assert parse_time(str(time_us * 1000 + 999) if as_text else time_us * 1000 + 999) == time_us


@FUZZ
@given(written=st.text(max_size=70) | st.floats() | st.integers() | st.none() | st.booleans())
def test_fuzz_parse_time(written: object) -> None:
    try:
        time_us = parse_time(written)
    except TimeError as error:
        said = str(error)
    else:
        assert type(time_us) is int
        assert not FIRST <= time_us <= LAST or parse_time(format_time(time_us)) == time_us
        return
    assert said.encode("utf-8")
