"""Payloads inside fields: whatever is in them, every value is accounted for, and a bad field costs only itself."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from connector.formats.catalogue import build_format
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.records import Record
from tests.property.fuzz import FUZZ
from tests.property.mapping.promises import ARRIVAL, check_promises, keys, leaves, trees, values_of

_WRITTEN: Final = {
    ("text",): lambda content: content.decode("utf-8", "surrogateescape"),
    ("base64",): lambda content: base64.b64encode(content).decode(),
    ("hex",): lambda content: content.hex(),
    ("bytes",): list,
    ("base64", "gzip"): lambda content: base64.b64encode(gzip.compress(content)).decode(),
    ("base64", "hex", "zlib"): lambda content: base64.b64encode(zlib.compress(content).hex().encode()).decode(),
}
MAX = 64 * 1024


def _mapper(encodings: tuple[str, ...]) -> Mapper:
    rule = {"topic": "t", "decode": [{"path": "l[].p", "encoding": list(encodings)}], "input": "{path}"}
    section = RuleSection.model_validate(rule)
    return Mapper([compile_rule(section, build_format)], max_payload_bytes=MAX)


MAPPERS: Final = {encodings: _mapper(encodings) for encodings in _WRITTEN}


@FUZZ
@given(value=trees(keys), encodings=st.sampled_from(list(_WRITTEN)))
def test_every_leaf_in_a_field_is_a_sample_a_reject_or_filtered(value: object, encodings: tuple[str, ...]) -> None:
    content = json.dumps(value).encode()
    fields = [{"id": "a", "p": _WRITTEN[encodings](content)}, {"id": "b", "n": 7}]
    record = Record("t", json.dumps({"l": fields}).encode(), ARRIVAL)
    mapper = MAPPERS[encodings]
    mapped = mapper.map("mqtt", record)
    check_promises(mapped, record)
    assert ("l.b.n", ARRIVAL, 7) in mapped.samples
    assert values_of(mapped) == leaves([value, "a", "b", 7])
    assert mapper.map("mqtt", record) == mapped


@FUZZ
@given(
    content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.just(b"[" * 5_000),
    field=st.none() | st.text(max_size=60) | trees(keys),
    encodings=st.sampled_from(list(_WRITTEN)),
    cut=st.integers(0, 100),
)
def test_fuzz_fields(content: bytes, field: object, encodings: tuple[str, ...], cut: int) -> None:
    written = _WRITTEN[encodings](content)
    fields = [{"id": "a", "p": field}, {"id": "b", "p": written}, {"id": "c", "p": written[:cut]}, {"id": "d", "n": 7}]
    record = Record("t", json.dumps({"l": fields}).encode(), ARRIVAL)
    mapped = MAPPERS[encodings].map("mqtt", record)
    check_promises(mapped, record)
    assert ("l.d.n", ARRIVAL, 7) in mapped.samples
