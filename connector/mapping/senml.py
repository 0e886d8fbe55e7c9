"""SenML (RFC 8428): a pack of records → resolved records, each with its full name, absolute time and no base fields.

Section 4.6 of the RFC: base fields (`bn`, `bt`, `bu`, `bv`, `bs`, `bver`) hold from the record on in which they stand.
A name is the base name and the record's; a time the sum of both; below 2^28 it is relative to now, for which the time
of arrival stands. Value and sum have their base added. `u` is the record's unit, else the base unit.
"""

from __future__ import annotations

from typing import Final

from connector.formats.format import PayloadError
from connector.records import Reason

_RELATIVE_BELOW: Final = 2**28
_VERSION: Final = 10
_BASE: Final = ("bn", "bt", "bu", "bv", "bs", "bver")
_CBOR_LABELS: Final = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
"""RFC 8428, table 4."""
_LABELS: Final = {str(number): name for number, name in _CBOR_LABELS.items()}


def resolve(document: object, arrival_us: int) -> object:
    """The pack's resolved records. Raises `PayloadError` for what is no pack."""
    records = [document] if isinstance(document, dict) else document
    if not isinstance(records, list):
        raise PayloadError(Reason.WRONG_STRUCTURE, "no SenML pack: it is an array of records")
    base: dict[str, object] = {}
    resolved: list[object] = []
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise PayloadError(Reason.WRONG_STRUCTURE, f"no SenML pack: record {number} is no object")
        fields = {_LABELS.get(str(key), str(key)): value for key, value in record.items()}
        _check(fields, number)
        base.update({key: fields[key] for key in _BASE if key in fields})
        one = _resolved({key: value for key, value in fields.items() if key not in _BASE}, base, number, arrival_us)
        if one:
            resolved.append(one)
    return resolved


def _check(fields: dict[str, object], number: int) -> None:
    version = fields.get("bver", _VERSION)
    if not isinstance(version, int) or version > _VERSION:
        raise PayloadError(
            Reason.WRONG_STRUCTURE, f"SenML record {number} has version {version!r}; known is {_VERSION}"
        )
    unknown = [key for key in fields if key.endswith("_")]
    if unknown:  # section 4.4: such a field must be understood
        raise PayloadError(Reason.WRONG_STRUCTURE, f"SenML record {number}: field {unknown[0]!r} must be understood")


def _resolved(
    record: dict[str, object], base: dict[str, object], number: int, arrival_us: int
) -> dict[str, object] | None:
    if not record.keys() & {"v", "vs", "vb", "vd", "s"} and not ("n" in record and ("bv" in base or "bs" in base)):
        return None  # only base fields: it says something of the others
    for key in ("t", "v", "s"):
        bad = [value for value in (record.get(key, 0), base.get("b" + key, 0)) if not _is_number(value)]
        if bad:
            raise PayloadError(Reason.WRONG_STRUCTURE, f"SenML record {number}: {key} is no number ({bad[0]!r:.40})")
    found = {key: value for key, value in record.items() if key != "ut"}
    found["n"] = f"{base.get('bn', '')}{record.get('n', '')}"
    time = _number(base.get("bt")) + _number(record.get("t"))
    found["t"] = arrival_us / 1e6 + time if time < _RELATIVE_BELOW else time
    if not record.keys() & {"vs", "vb", "vd"}:
        for key in ("v", "s"):
            if key in record or "b" + key in base:
                found[key] = _number(record.get(key)) + _number(base.get("b" + key))
    unit = record.get("u", base.get("bu"))
    if isinstance(unit, str):
        found["u"] = unit
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
