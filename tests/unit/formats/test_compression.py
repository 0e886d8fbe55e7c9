"""Compression around a format: what comes out is what went in, is bounded, and is whole."""

from __future__ import annotations

import gzip
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from shutil import which

import lz4.frame
import pytest
from backports import zstd

from connector.formats.compression import Compressed, decompressed, recognise
from connector.formats.format import PayloadError
from connector.formats.text.json_payload import JsonFormat
from connector.formats.text.text import TextFormat
from connector.records import Reason

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
}
KINDS = list(COMPRESS)
DATA = bytes(range(256)) * 1000
MAX = 1024 * 1024


def refused(payload: bytes, kind: str, max_bytes: int = MAX) -> PayloadError:
    with pytest.raises(PayloadError) as error:
        decompressed(payload, kind, max_bytes)
    return error.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_what_was_compressed_comes_out(kind: str, data: bytes) -> None:
    assert decompressed(COMPRESS[kind](data), kind, len(DATA)) == data
    assert recognise(COMPRESS[kind](data)) == kind


@pytest.mark.parametrize("program", ["gzip", "zstd", "lz4"])
def test_what_the_command_line_tools_write(program: str) -> None:
    found = which(program)
    if found is None:
        pytest.skip(f"there is no {program} on this machine")
    packed = subprocess.run([found, "-c"], input=DATA, capture_output=True, check=True, timeout=30).stdout
    assert decompressed(packed, program, MAX) == DATA


@pytest.mark.parametrize("kind", KINDS)
def test_the_format_inside_sees_the_plain_payload(kind: str) -> None:
    for declared in (kind, "auto"):
        assert Compressed(JsonFormat(), declared, MAX).decode(COMPRESS[kind](b'{"a": 1}')) == {"a": 1}


def test_auto_leaves_what_is_not_compressed_as_it_is() -> None:
    assert Compressed(JsonFormat(), "auto", MAX).decode(b'{"a": 1}') == {"a": 1}
    assert Compressed(TextFormat(), "auto", MAX).decode(b"x^2 is a text") == "x^2 is a text"
    with pytest.raises(PayloadError) as error:
        Compressed(TextFormat(), "auto", MAX).decode(b"")
    assert error.value.reason is Reason.EMPTY_PAYLOAD


def test_what_is_compressed_twice_stays_compressed_once() -> None:
    twice = gzip.compress(gzip.compress(b'{"a": 1}'))
    with pytest.raises(PayloadError) as error:
        Compressed(JsonFormat(), "auto", MAX).decode(twice)
    assert error.value.reason is Reason.NOT_UTF8


@pytest.mark.parametrize("kind", ["gzip", "zstd", "lz4"])
def test_several_pieces_are_one_payload(kind: str) -> None:
    pack = COMPRESS[kind]
    assert decompressed(pack(b"one ") + pack(b"") + pack(b"two"), kind, MAX) == b"one two"
    assert refused(pack(b"") * 2000, kind).reason is Reason.INVALID_COMPRESSION


def test_zeros_behind_gzip_mean_nothing() -> None:
    assert decompressed(gzip.compress(b"x") + b"\0" * 100, "gzip", MAX) == b"x"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_and_truncated_payloads_are_refused(kind: str) -> None:
    packed = COMPRESS[kind](DATA)
    for damaged in (packed[:-1], packed[: len(packed) // 2], packed[:3], packed + b"x", b"garbage"):
        assert refused(damaged, kind).reason is Reason.INVALID_COMPRESSION
    assert refused(b"", kind).reason is Reason.EMPTY_PAYLOAD


@pytest.mark.parametrize("kind", ["gzip", "zstd", "lz4"])
def test_a_truncated_payload_is_refused_with_auto_too(kind: str) -> None:
    with pytest.raises(PayloadError) as error:
        Compressed(JsonFormat(), "auto", MAX).decode(COMPRESS[kind](DATA)[:-1])
    assert error.value.reason is Reason.INVALID_COMPRESSION


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_refused_before_it_takes_memory(kind: str) -> None:
    bomb = COMPRESS[kind](b"\0" * 20 * MAX)
    for declared in (kind, "auto"):
        tracemalloc.start()
        try:
            with pytest.raises(PayloadError) as error:
                Compressed(JsonFormat(), declared, MAX).decode(bomb)
            assert tracemalloc.get_traced_memory()[1] < 4 * MAX
        finally:
            tracemalloc.stop()
        assert error.value.reason is Reason.DECOMPRESSED_TOO_LARGE
        assert str(MAX) in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_exact(kind: str) -> None:
    packed = COMPRESS[kind](DATA)
    assert len(decompressed(packed, kind, len(DATA))) == len(DATA)
    assert refused(packed, kind, len(DATA) - 1).reason is Reason.DECOMPRESSED_TOO_LARGE


def test_a_zstd_window_of_a_gigabyte_is_refused() -> None:
    # RFC 8878, 3.1.1.1: magic number, frame header descriptor, window descriptor (2**30), an empty last block
    assert refused(b"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00", "zstd").reason is Reason.INVALID_COMPRESSION
