"""Compression around a format: gzip, zlib, zstd and LZ4 (its frame format), declared or recognised by the first bytes.

The decompressed payload is bounded: decompression stops as soon as the payload exceeds the bound, before memory runs
out. A payload may consist of several compressed pieces, one after the other, as these compressions allow. A payload
that was compressed twice is decompressed only once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from connector.formats.format import NO_NOTES, DecodingNotes, Format, HeaderReader, PayloadError
from connector.records import Reason

_PART: Final = 64 * 1024
_ZLIB_HEADS: Final = (0x01, 0x5E, 0x9C, 0xDA)
_ZLIB_BITS: Final = {"gzip": zlib.MAX_WBITS + 16, "zlib": zlib.MAX_WBITS, "deflate": -zlib.MAX_WBITS}
_MAX_PIECES: Final = 1_000
_LARGEST_ZSTD_WINDOW: Final = 23
"""8 MiB as a power of two: the window that RFC 8878, section 3.1.1.1.2, recommends every decoder to support."""


class _Decompressor(Protocol):
    """The common interface of the standard library's decompressors, and of similar ones."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed data was reached."""

    @property
    def unused_data(self) -> bytes:
        """The data after the end of the compressed data."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more compressed `data`; returns at most `max_length` decompressed bytes."""


class Compressed:
    """A format whose payloads are compressed."""

    def __init__(self, inner: Format, kind: str, max_bytes: int) -> None:
        """`kind` is gzip, zlib, zstd, lz4 or auto. No payload may become longer than `max_bytes`.

        With auto, the first bytes of a payload say how it is compressed. If they name no compression, the payload is
        taken unchanged.
        """
        self.name = inner.name
        self._inner = inner
        self._kind = kind
        self._max_bytes = max_bytes

    @property
    def notes(self) -> DecodingNotes:
        """The notes of the format inside."""
        return getattr(self._inner, "notes", NO_NOTES)

    def decode(self, payload: bytes) -> object:
        """The document of the decompressed payload, or its `Documents`. Raises `PayloadError`."""
        return self._inner.decode(self._unpacked(payload))

    def decode_with(self, payload: bytes, headers: Sequence[tuple[str, str]]) -> object:
        """As `decode`, for a format that reads headers, too."""
        unpacked = self._unpacked(payload)
        if isinstance(self._inner, HeaderReader):
            return self._inner.decode_with(unpacked, headers)
        return self._inner.decode(unpacked)

    def _unpacked(self, payload: bytes) -> bytes:
        if self._kind == "auto":
            return self._recognised(payload)
        return decompressed(payload, self._kind, self._max_bytes)

    def _recognised(self, payload: bytes) -> bytes:
        kind = recognise(payload)
        if kind is None:
            return payload
        try:
            return decompressed(payload, kind, self._max_bytes)
        except PayloadError as error:
            if kind == "zlib" and error.reason is Reason.INVALID_COMPRESSION:
                return payload  # a text may begin with an x, too
            raise


def recognise(payload: bytes) -> str | None:
    """The compression of a payload, by its first bytes; None if they name no compression."""
    if payload.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if payload.startswith(b"\x04\x22\x4d\x18"):
        return "lz4"
    if len(payload) > 2 and payload[0] == 0x78 and payload[1] in _ZLIB_HEADS:
        return "zlib"
    return None


def decompressed(payload: bytes, kind: str, max_bytes: int) -> bytes:
    """The decompressed payload; `kind` may also be deflate, which has no header.

    Raises `PayloadError` if the payload is empty or damaged, ends too early, or becomes longer than `max_bytes`.
    """
    if not payload:
        raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
    make, failures = _library(kind)
    parts: list[bytes] = []
    size = 0
    rest = payload
    for _ in range(_MAX_PIECES):
        decompressor = make()
        try:
            for part in _parts(decompressor, rest):
                size += len(part)
                if size > max_bytes:
                    raise PayloadError(
                        Reason.DECOMPRESSED_TOO_LARGE,
                        f"{len(payload)} bytes of {kind} become more than the {max_bytes} that a payload may have",
                    )
                parts.append(part)
        except failures as error:
            raise _damaged(kind, str(error)) from None
        if not decompressor.eof:
            raise _damaged(kind, "the payload ends too early")
        rest = decompressor.unused_data
        if not rest or kind == "deflate" or (kind == "gzip" and not rest.strip(b"\0")):
            return b"".join(parts)
    raise _damaged(kind, f"the payload has more than {_MAX_PIECES} pieces")


def _parts(decompressor: _Decompressor, data: bytes) -> Iterator[bytes]:
    """The decompressed data, part by part, until the end of the first piece or of the data."""
    empty = 0
    while not decompressor.eof and empty < 2:
        part = decompressor.decompress(data, _PART)
        data = b""
        empty = 0 if part else empty + 1
        yield part


def _damaged(kind: str, why: str) -> PayloadError:
    return PayloadError(Reason.INVALID_COMPRESSION, f"not {kind}, or damaged: {why}")


def _library(kind: str) -> tuple[Callable[[], _Decompressor], type[Exception] | tuple[type[Exception], ...]]:
    """(a function that makes a decompressor, the errors that it raises). The library is imported only here."""
    if kind in _ZLIB_BITS:
        return (lambda: _Zlib(_ZLIB_BITS[kind])), zlib.error
    if kind == "zstd":
        from backports import zstd  # noqa: PLC0415

        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _LARGEST_ZSTD_WINDOW}
        return (lambda: zstd.ZstdDecompressor(options=options)), zstd.ZstdError
    from lz4.frame import LZ4FrameDecompressor  # noqa: PLC0415

    return LZ4FrameDecompressor, (RuntimeError, EOFError)


class _Zlib:
    """zlib's decompressor with the interface of the others: it keeps the data that it has not read yet."""

    def __init__(self, bits: int) -> None:
        self._inner = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed data was reached."""
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        """The data after the end of the compressed data."""
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more compressed `data`; returns at most `max_length` decompressed bytes."""
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
