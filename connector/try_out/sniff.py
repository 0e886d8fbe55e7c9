"""Recognises a payload: the compression, the format, and the documents of a readable payload."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Final

import cbor2
import lz4.frame
import msgspec
import orjson
from backports import zstd

from connector.formats.format import BadDocument, Documents, PayloadError
from connector.formats.section import FormatSection
from connector.formats.text.characters import decode_text
from connector.formats.text.json_payload import JsonFormat
from connector.formats.text.sections import (
    GraphiteFormatSection,
    KeyValueFormatSection,
    PrometheusFormatSection,
    XmlFormatSection,
)
from connector.mapping.documents.decode_hints import Packed, unpacked

_MAX_UNPACKED: Final = 4 * 1024 * 1024
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_NUMBER_WITH_UNIT: Final = re.compile(r"\s*[+-]?\d+([.,]\d+)?\s*[^\d\s.,;|:][^\d,;|:\t\r\n]{0,9}\s*")
_FIELD: Final = r"[^\s=,]+=(\"[^\"]*\"|[^\s,\"]+)"
_INFLUX: Final = re.compile(rf"[^\s,=#{{\[][^\s,=]*(,[^\s=,]+=[^\s=,]+)* {_FIELD}(,{_FIELD})*( -?\d+)?")
_STATES: Final = ("on", "off", "true", "false", "open", "closed", "online", "offline")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+")
_GRAPHITE: Final = re.compile(
    r"[^\s,;=]+(\.[^\s,;=]+|(;[^\s,;=]+=[^\s;]+)+) [+-]?\d+(\.\d*)?([eE][+-]?\d+)? (\d{9,13}|-1)"
)
_PROMETHEUS: Final = re.compile(r"# (TYPE [^\s]+ (counter|gauge|histogram|summary|untyped|unknown)|HELP [^\s]+ .*)")
_LABELLED: Final = re.compile(r'[A-Za-z_:][\w:]*\{([A-Za-z_]\w*="[^"]*",?)+\} \S+( \d+(\.\d+)?)?', re.ASCII)
_PAIR: Final = r"[A-Za-z_][\w.\-]*\s*{sign}\s*(\"[^\"]*\"|[^\s{between}={sign}\"]*)"
_PAIRS: Final = tuple(
    (name, sign, re.compile(f"{pair}({joint}{pair})+({joint})?"))
    for sign in "=:"
    for name, joint in (("space", r"[ \t]+"), *((mark, rf"\s*[{mark}]\s*") for mark in (";", ",", "&", "|")))
    for pair in (_PAIR.format(sign=sign, between="" if name == "space" else name),)
)
"""(separator, sign between key and value, pattern of a line of such pairs), the likeliest first."""
_DELIMITERS: Final = (";", "\t", ",")
"""The order counts: if another delimiter divides all rows, a comma belongs to a decimal number or to a text."""
_LINES_LOOKED_AT: Final = 20
_LONGEST_LINE: Final = 4096
_WITH_UNIT: Final = re.compile(r"[+-]?\d+(?:[.,]\d+)?\s?(?:°[CF]?|%|[A-Za-zµΩ]{1,3})")


@dataclass(frozen=True, slots=True)
class Sniffed:
    """The probable content of a payload."""

    format: str
    """`json`, `ndjson`, `xml`, `number`, `number_with_unit`, `decimal_comma`, `text`, `state`, `csv`, `influx`,
    `prometheus`, `graphite`, `key_value`, `messagepack`, `cbor`, `binary`, `empty`."""
    compression: str = "none"
    documents: tuple[object, ...] = ()
    """The decoded documents, if the format is known: trees of objects, lists and values."""
    delimiter: str = ","
    """The delimiter of CSV, or what stands between pairs, as in the format `key_value`."""
    header: bool = True
    """Whether the first row of CSV names the columns."""
    options: tuple[tuple[str, object], ...] = ()
    """(name, value) of each setting that the format JSON needs: `lenient`, `encoding`."""
    decode: tuple[Packed, ...] = ()
    """The fields that hold payloads in their texts; `documents` have them decoded."""
    assign: str = "="
    """What stands between a key and its value in `key_value`."""


def sniff(payload: bytes) -> Sniffed:
    """Returns the probable content of one payload. Never raises an error."""
    if not payload.strip():
        return Sniffed("empty")
    compression, content = _unpacked(payload)
    found = replace(_xml(content) or _of_text(content) or _of_bytes(content), compression=compression)
    if found.format not in ("json", "ndjson", "messagepack", "cbor", "text"):
        return found
    decoded = [unpacked(document) for document in found.documents]
    steps = tuple(dict.fromkeys(step for _, steps in decoded for step in steps))
    return replace(found, documents=tuple(document for document, _ in decoded), decode=steps) if steps else found


def _unpacked(payload: bytes) -> tuple[str, bytes]:
    """Returns (compression, content, cut to `_MAX_UNPACKED` bytes); the payload itself if not compressed."""
    for name, begins, unpack in _COMPRESSIONS:
        if begins(payload):
            try:
                content = unpack(payload)
            except Exception:  # noqa: BLE001, S112 - not compressed after all; each library has other errors
                continue
            if content:
                return name, content
    return "none", payload


def _inflated(bits: int) -> Callable[[bytes], bytes]:
    return lambda payload: zlib.decompressobj(bits).decompress(payload, _MAX_UNPACKED)


_COMPRESSIONS: Final[tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], bytes]], ...]] = (
    ("gzip", lambda data: data.startswith(b"\x1f\x8b"), _inflated(31)),
    ("zstd", lambda data: data.startswith(b"\x28\xb5\x2f\xfd"),
     lambda data: zstd.ZstdFile(BytesIO(data)).read(_MAX_UNPACKED)),
    ("lz4", lambda data: data.startswith(b"\x04\x22\x4d\x18"),
     lambda data: lz4.frame.LZ4FrameDecompressor().decompress(data, _MAX_UNPACKED)),
    ("zlib", lambda data: data[0] == 0x78 and len(data) > 2 and int.from_bytes(data[:2]) % 31 == 0, _inflated(15)),
)  # fmt: skip


def _of_text(content: bytes) -> Sniffed | None:
    if (found := _of_json(content)) is not None:
        return found
    text = _text(content)
    if not text:
        return None if text is None or content.strip() else Sniffed("empty")
    if _NUMBER.fullmatch(text):
        return Sniffed("number", documents=(float(text),))
    try:
        return Sniffed("json", documents=(orjson.loads(text),))
    except orjson.JSONDecodeError:
        pass
    return _of_lines(text.splitlines()) or _words(text)


def _text(content: bytes) -> str | None:
    """Returns the text without spaces around it; None if the content is no text."""
    try:
        text = decode_text(content)
    except PayloadError:
        return None
    return None if any(ord(char) < 0x20 and char not in "\t\r\n" for char in text[:1000]) else text.strip()


def _of_json(content: bytes) -> Sniffed | None:
    """Recognises objects and lists, also with the faults that the connector overlooks or can be told to."""
    forms: tuple[tuple[JsonFormat, tuple[tuple[str, object], ...]], ...] = (
        (JsonFormat(), ()),
        (JsonFormat(lenient=True), (("lenient", True),)),
        (JsonFormat(encoding="cp1252"), (("encoding", "cp1252"),)),
    )
    for form, options in forms:
        try:
            document = form.decode(content)
        except PayloadError:
            continue
        if isinstance(document, dict | list):
            return Sniffed("json", documents=(document,), options=options)
    return None


def _of_lines(lines: list[str]) -> Sniffed | None:
    if any(len(line) > _LONGEST_LINE for line in lines[:_LINES_LOOKED_AT]):
        return None
    if _NUMBER_WITH_UNIT.fullmatch(lines[0]) and len(lines) == 1:  # 21,5 °C is no row of two cells
        return None
    if len(lines) == 1 and _DECIMAL_COMMA.fullmatch(lines[0]):  # and 55,5 is no such row either
        return Sniffed("decimal_comma", documents=(lines[0],))
    return (
        _ndjson(lines) or _graphite(lines) or _prometheus(lines) or _influx(lines) or _key_value(lines) or _csv(lines)
    )


def _xml(content: bytes) -> Sniffed | None:
    if b"<" not in content[:200] or content.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")[:1] != b"<":
        return None
    return _read(XmlFormatSection(type="xml"), content)


def _graphite(lines: list[str]) -> Sniffed | None:
    some = [line.strip() for line in lines[:_LINES_LOOKED_AT] if line.strip()]
    if not some or not all(map(_GRAPHITE.fullmatch, some)):
        return None
    return _read(GraphiteFormatSection(type="graphite"), "\n".join(some).encode())


def _prometheus(lines: list[str]) -> Sniffed | None:
    some = [line.strip() for line in lines[:_LINES_LOOKED_AT] if line.strip()]
    if not any(_PROMETHEUS.match(line) or _LABELLED.fullmatch(line) for line in some):
        return None
    return _read(PrometheusFormatSection(type="prometheus"), "\n".join(some).encode())


def _key_value(lines: list[str]) -> Sniffed | None:
    some = [line.strip() for line in lines[:_LINES_LOOKED_AT] if line.strip()]
    for separator, sign, pattern in _PAIRS:
        if some and all(map(pattern.fullmatch, some)):
            section = KeyValueFormatSection.model_validate(
                {"type": "key_value", "separator": separator, "assign": sign}
            )
            found = _read(section, "\n".join(some).encode())
            if found is not None and any(map(_has_number, found.documents)):
                return replace(found, delimiter=separator, assign=sign)
    return None


def _has_number(document: object) -> bool:
    return isinstance(document, dict) and any(
        type(value) in (int, float) or (type(value) is str and _WITH_UNIT.fullmatch(value) is not None)
        for value in document.values()
    )


def _read(section: FormatSection, content: bytes) -> Sniffed | None:
    """Returns the documents of a payload in this format; None if it cannot be read without a mistake."""
    try:
        found = section.build().decode(content)
    except PayloadError:
        return None
    documents = tuple(found) if isinstance(found, Documents) else (found,)
    if any(isinstance(document, BadDocument) for document in documents):
        return None
    return Sniffed(section.type, documents=documents)


def _ndjson(lines: list[str]) -> Sniffed | None:
    if len(lines) < 2:
        return None
    try:
        documents = tuple(orjson.loads(line) for line in lines if line.strip())
    except orjson.JSONDecodeError:
        return None
    return Sniffed("ndjson", documents=documents) if all(isinstance(found, dict) for found in documents) else None


def _influx(lines: list[str]) -> Sniffed | None:
    some = [line for line in lines[:_LINES_LOOKED_AT] if line.strip() and not line.startswith("#")]
    if not some or not all(_INFLUX.fullmatch(line) for line in some):
        return None
    documents = []
    for line in some:
        measurement, *fields = re.split(r"(?<!\\) ", line)
        values = dict(part.split("=", 1) for part in fields[0].split(",") if "=" in part)
        documents.append({"measurement": measurement.split(",")[0], "fields": values})
    return Sniffed("influx", documents=tuple(documents))


def _csv(lines: list[str]) -> Sniffed | None:
    some = [line for line in lines[:_LINES_LOOKED_AT] if line.strip()]
    for delimiter in _DELIMITERS:
        rows = [[cell.strip().strip('"') for cell in line.split(delimiter)] for line in some]
        columns = len(rows[0])
        if columns < 2 or any(len(row) != columns for row in rows):
            continue
        header = len(rows) > 1 and not any(_is_number(cell, delimiter) for cell in rows[0])
        body = rows[1:] if header else rows
        if not any(_is_number(cell, delimiter) for row in body for cell in row):
            continue
        names = rows[0] if header else [f"column{number}" for number in range(1, columns + 1)]
        documents = tuple(dict(zip(names, row, strict=True)) for row in body)
        return Sniffed("csv", documents=documents, delimiter=delimiter, header=header)
    return None


def _is_number(cell: str, delimiter: str) -> bool:
    return _NUMBER.fullmatch(cell if delimiter == "," else cell.replace(",", ".")) is not None


def _words(text: str) -> Sniffed:
    if text.lower() in _STATES:
        return Sniffed("state", documents=(text,))
    if _NUMBER_WITH_UNIT.fullmatch(text):
        return Sniffed("number_with_unit", documents=(text,))
    return Sniffed("text", documents=(text,))


def _of_bytes(content: bytes) -> Sniffed:
    """Recognises MessagePack and CBOR only if the payload is an object or a list of objects.

    Almost any bytes are a single value of MessagePack or CBOR.
    """
    for name, decode in (("messagepack", msgspec.msgpack.decode), ("cbor", _cbor)):
        try:
            document = decode(content)
        except Exception:  # noqa: BLE001, S112 - the payload has another format
            continue
        if isinstance(document, dict) and document and all(isinstance(key, str) for key in document):
            return Sniffed(name, documents=(document,))
        if isinstance(document, list) and document and all(isinstance(item, dict) for item in document):
            return Sniffed(name, documents=(document,))
    return Sniffed("binary")


def _cbor(content: bytes) -> object:
    stream = BytesIO(content)
    document: object = cbor2.load(stream)
    if stream.read(1):
        raise ValueError("something stands behind the document")
    return document
