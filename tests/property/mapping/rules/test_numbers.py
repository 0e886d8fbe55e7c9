"""Numbers as people and controllers write them, against `int`, `decimal` and `datetime`: each text is read as its
writer meant it, or not at all."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal, localcontext

from hypothesis import example, given
from hypothesis import strategies as st

from connector.mapping.rules.numbers import NOTATIONS, AmbiguousError, declared
from connector.mapping.rules.scaling import scaling
from connector.mapping.rules.values import FILTERED, Conversion, ValueRejectedError
from tests.property.fuzz import FUZZ

SPACES = [" ", "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}", "\N{THIN SPACE}", "\N{FIGURE SPACE}"]
signs = st.sampled_from(["", "-", "+"])
wholes = st.integers(0, 10**15)
fractions = st.text("0123456789", max_size=6)
floats = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.integers(0, 8).flatmap(lambda places: st.decimals(-(10**9), 10**9, places=places)).map(float)


def _grouped(whole: int, thousands: str) -> str:
    return f"{whole:,}".replace(",", thousands)


@given(
    signs, wholes, fractions, st.sampled_from([*((",", one) for one in (".", "'", *SPACES)), (".", ","), (".", "'")])
)
@example("", 1234, "5", (",", "\N{NARROW NO-BREAK SPACE}"))
@example("", 1, "234", (",", "."))
def test_separators_are_told_apart_or_the_text_is_refused(
    sign: str, whole: int, fraction: str, separators: tuple[str, str]
) -> None:
    decimal, thousands = separators
    text = sign + _grouped(whole, thousands) + (decimal + fraction if fraction else "")
    right = float(f"{sign}{whole}.{fraction}")
    by_declaration = declared(decimal, " " if thousands in SPACES else thousands)(text)
    assert by_declaration == right
    try:
        found = NOTATIONS["auto"](text)
    except AmbiguousError:
        assert len([char for char in text if char in ",."]) == 1
        return
    # one dot and three digits: the text is a number of JSON, and stays one
    assert found == (float(text) if thousands == "." and text.count(".") == 1 and decimal not in text else right)


@given(st.integers(-(2**64 - 1), 2**64 - 1))
def test_integers_are_read_in_every_notation_of_their_base(number: int) -> None:
    sign, size = "-" if number < 0 else "", abs(number)
    for text in (f"{size:x}", f"{size:#X}", f"{size:x}h", f"16#{size:X}", f"{size:04x}"):
        assert NOTATIONS["hex"](sign + text) == number
    for text in (f"{size:o}", f"{size:#o}", f"0{size:o}"):
        assert NOTATIONS["octal"](sign + text) == number
    for text in (f"{size:b}", f"{size:#b}", f"{size:b}b"):
        assert NOTATIONS["binary"](sign + text) == number


@given(st.integers(-(2**200), 2**200), st.integers(0, 9))
@example(2150, 2)
def test_bytes_in_base64_are_the_decimal_that_they_were_made_of(unscaled: int, scale: int) -> None:
    raw = unscaled.to_bytes((unscaled.bit_length() + 8) // 8, "big", signed=True)
    conversion = Conversion(notation=NOTATIONS["base64"], scale=float(Decimal(1).scaleb(-scale)))
    with localcontext(prec=100):
        exact = float(Decimal(unscaled).scaleb(-scale))
    assert float(conversion.apply(base64.b64encode(raw).decode(), lambda _: 0)) == exact


@given(st.timedeltas(timedelta(0), timedelta(days=10_000)))
def test_durations_are_read_as_python_iso_8601_net_and_tasmota_write_them(length: timedelta) -> None:
    hours, rest = divmod(length.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{length.microseconds:06}"
    clock = f"{hours:02}:{minutes:02}:{seconds:02}{fraction}"
    texts = [
        f"{length.days}d {clock}",
        f"{length.days} days, {clock}",
        f"{length.days}T{clock}",
        f"{length.days}.{clock}",
        f"P{length.days}DT{hours}H{minutes}M{seconds}{fraction}S",
        f"{length.days}d{hours}h{minutes}m{seconds}{fraction}s",
        f"{length.days * 24 + hours}:{minutes:02}:{seconds:02}{fraction}",
        str(length),
    ]
    right = float(Decimal(length // timedelta(microseconds=1)).scaleb(-6))
    assert [NOTATIONS["duration"](text) for text in texts] == [right] * len(texts)
    assert NOTATIONS["duration"]("-" + texts[0]) == -right


@given(
    value=floats | decimals | st.integers(-(2**63), 2**64) | st.booleans(),
    scale=st.sampled_from([0.1, 0.01, 0.001, 1.8, 10.0, 1 / 3, 1e-9, 3.6]) | floats.filter(bool),
    offset=st.sampled_from([0.0, -40.0, 32.0, 273.15]) | floats,
)
@example(value=12, scale=0.1, offset=0.0)
@example(value=0.3, scale=0.1, offset=-0.03)
@example(value=562949953.421311, scale=0.1, offset=0.0)  # 2^49 millionths
@example(value=900719.925474, scale=9999.0, offset=0.1)  # the product is near to 2^53
def test_a_scaled_value_is_the_number_nearest_to_the_exact_one(value: float, scale: float, offset: float) -> None:
    with localcontext(prec=2000):
        exact = Decimal(repr(value + 0 if isinstance(value, bool) else value)) * Decimal(repr(scale)) + Decimal(
            repr(offset)
        )
        assert abs(scaling(scale, offset)(value)) == abs(float(exact))  # with -0.0 for 0


@FUZZ
@given(
    text=st.text(max_size=30)
    | st.lists(st.sampled_from([*"0123456789abcdfhxPTDHMSW#$+-.,:' <>=", *SPACES]), max_size=30).map("".join),
    conversion=st.builds(
        Conversion,
        notation=st.sampled_from([*NOTATIONS.values(), declared(",", "."), declared(".", " ")]),
        strip_unit=st.booleans(),
        limit=st.sampled_from(["reject", "value", "drop"]),
        scale=st.sampled_from([1.0, 0.1]),
    ),
)
def test_fuzz_texts_of_numbers(text: str, conversion: Conversion) -> None:
    learn: Callable[[str], int] = lambda _: 0  # noqa: E731
    try:
        number = conversion.apply(text, learn)
    except ValueRejectedError:
        return
    assert number == FILTERED or isinstance(number, int | float)
    if number != FILTERED:
        assert any(char.isalnum() for char in text)
