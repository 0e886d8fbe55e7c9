"""Whatever the bytes are: documents or a PayloadError, soon, and within memory.

Each example is a payload of Hypothesis' making and a chain of changes to a good one, so it is
`VARIANTS` inputs: `FUZZ_EXAMPLES=4000 pytest tests/property/formats/test_fuzz.py` looks at more than a million.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.conformance.formats import decoded
from tests.format_examples import EXAMPLES
from tests.property.fuzz import FUZZ

VARIANTS = 16
LONGEST_SECONDS = 10.0
"""For an input of less than a kilobyte, on a machine that does much else."""
MORE_MEMORY = 512 * 1024 * 1024
_SPLICES = (
    b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80" * 9, b"\x9b\x7f" + b"\xff" * 7, b'"', b"\\", b",", b"=", b" ",
    b"\n", b"\x1f\x8b\x08", b"\xdd\xff\xff\xff\xff", b"\xbf", b"\xc1", b"\xd8\x1c", b"\xd8\x1d\0", b"1e999", b"NaN",
)  # fmt: skip


def changed(payload: bytes, dice: random.Random) -> bytes:
    """The payload with one thing in it that is other than it was."""
    at = dice.randrange(len(payload) + 1)
    end = min(len(payload), at + dice.choice((1, 1, 2, 4, 16)))
    match dice.randrange(6):
        case 0:
            return payload[:at] + dice.randbytes(end - at) + payload[end:]
        case 1:
            return payload[:at] + payload[end:]
        case 2:
            return payload[:at] + payload[at:end] * dice.choice((2, 3, 20)) + payload[end:]
        case 3:
            return payload[:at] + dice.choice(_SPLICES) + payload[at:]
        case 4:
            return payload[:at]
        case _:
            other = dice.randrange(len(payload) + 1)
            return payload[:at] + payload[other : other + 16] + payload[end:]


def variants(payload: bytes, data: bytes, seed: int) -> Iterator[bytes]:
    """The data itself, the good payload with the data in it, and changes upon changes of the good payload."""
    dice = random.Random(seed)
    yield data
    yield payload[: dice.randrange(len(payload))] + data
    at = dice.randrange(len(payload))
    yield payload[:at] + data + payload[at:]
    current = payload
    for _ in range(VARIANTS - 3):
        current = changed(current if len(current) < 1_000 and dice.random() < 0.8 else payload, dice)
        yield current


@pytest.fixture(scope="module", autouse=True)
def _memory_is_bounded() -> Iterator[None]:
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before < MORE_MEMORY


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", EXAMPLES)
@FUZZ
@given(data=st.binary(max_size=64) | st.text(max_size=64).map(str.encode), seed=st.integers(0, 2**64 - 1))
def test_fuzz_every_format(name: str, data: bytes, seed: int) -> None:
    example = EXAMPLES[name]
    for variant in variants(example.payload, data, seed):
        started = time.monotonic()
        decoded(example, variant)
        assert time.monotonic() - started < LONGEST_SECONDS
