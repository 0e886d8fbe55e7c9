"""SenML (RFC 8428): a pack of records → resolved records, each with its full name, absolute time and no base fields.

Base fields (`bn`, `bt`, `bu`, `bv`, `bs`, `bver`) hold from their record on (section 4.1). The full name is the base
name and the record's name. The time is the sum of the base time and the record's time; a sum below 2^28 is relative to
now, for which the time of arrival is used (4.5.3). The base value is added to the value, and the base sum to the sum
(4.5.4); a record may have a sum without a value. `u` is the record's unit, or else the base unit.

Example 5.1.3 of the RFC gives humidity, longitude and latitude one name, and tells them apart by the unit alone. As
values of one signal, they would replace each other. So in two cases the unit becomes a part of the name (`name/lon`):
if a record without its own name has another unit than the base unit, and for each further unit of a name in one pack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connector.formats.format import PayloadError
from connector.mapping.rules.paths import MISSING, Path
from connector.records import Reason

_RELATIVE_BELOW: Final = 2**28
_VERSION: Final = 10
_BASE: Final = ("bn", "bt", "bu", "bv", "bs", "bver")
_MOST_BITS: Final = 1000
"""The most bits of a whole number; sums of such numbers are within the range of a float."""
_VALUES: Final = ("v", "vs", "vb", "vd")
_TEXTS: Final = ("bn", "bu", "n", "u")
_NUMBERS: Final = ("bt", "bv", "bs", "t", "v", "s")
_CBOR_LABELS: Final = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
"""RFC 8428, table 4."""
_LABELS: Final = {str(number): name for number, name in _CBOR_LABELS.items()}


def resolve(document: object, arrival_us: int) -> object:
    """Returns the resolved records of a pack; `arrival_us` is in µs since 1970. Raises `PayloadError`."""
    records = [document] if isinstance(document, dict) else document
    if not isinstance(records, list):
        raise PayloadError(Reason.WRONG_STRUCTURE, "no SenML pack: a pack is an array of records")
    base: dict[str, object] = {}
    units: dict[str, object] = {}
    resolved: list[object] = []
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise PayloadError(Reason.WRONG_STRUCTURE, f"no SenML pack: record {number} is no object")
        fields = {_LABELS.get(str(key), str(key)): value for key, value in record.items()}
        _check(fields, number)
        base.update({key: fields[key] for key in _BASE if key in fields})
        own = {key: value for key, value in fields.items() if key not in _BASE}
        if own:  # a record with only base fields gives no value
            resolved.append(_resolved(own, base, units, number, arrival_us))
    return resolved


def resolve_at(path: Path) -> Callable[[object, int], object]:
    """Returns `resolve` for payloads that are a pack, or an object with a pack at `path`, a plain path.

    In place of the pack, such an object has the resolved records.
    """

    def prepare(document: object, arrival_us: int) -> object:
        if not isinstance(document, dict):
            return resolve(document, arrival_us)
        pack = path.find(document)
        if pack is MISSING or pack is None:
            return document
        return _with_part(document, path.parts, resolve(pack, arrival_us))

    return prepare


def _with_part(node: object, parts: tuple[str, ...], part: object) -> object:
    """Returns the node with another part at the place that `lookup` finds."""
    if not parts:
        return part
    if isinstance(node, dict):
        key, rest = (parts[0], parts[1:]) if parts[0] in node else (".".join(parts), ())
        return {**node, key: _with_part(node[key], rest, part)}
    assert isinstance(node, list)  # noqa: S101 - the part was found there
    at = int(parts[0])
    return [*node[:at], _with_part(node[at], parts[1:], part), *node[at + 1 :]]


def _check(fields: dict[str, object], number: int) -> None:
    version = fields.get("bver", _VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version <= _VERSION:
        raise _wrong(number, f"version (bver) {version!r:.40} is not known; known is {_VERSION} and below")
    unknown = [key for key in fields if key.endswith("_")]
    if unknown:  # section 4.4: a reader that does not understand such a field must reject the pack
        raise _wrong(number, f"field {unknown[0]!r:.40} must be understood, since its name ends in _, and is not known")
    for key in _NUMBERS:
        value = fields.get(key, 0)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _wrong(number, f"{key} is no number ({value!r:.40})")
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise _wrong(number, f"{key} is a number of {value.bit_length()} bits, more than can be stored")
    for key in _TEXTS:
        if not isinstance(fields.get(key, ""), str):
            raise _wrong(number, f"{key} is no text ({fields[key]!r:.40})")
    values = [key for key in _VALUES if key in fields]
    if len(values) > 1:
        raise _wrong(number, f"the record has several values ({', '.join(values)}); one is allowed")


def _resolved(
    record: dict[str, object], base: dict[str, object], units: dict[str, object], number: int, arrival_us: int
) -> dict[str, object]:
    found = {key: value for key, value in record.items() if key != "ut"}
    unit = record.get("u", base.get("bu"))
    found["n"] = _name(record, base, unit, units, number)
    time = _number(base.get("bt")) + _number(record.get("t"))
    found["t"] = arrival_us / 1e6 + time if time < _RELATIVE_BELOW else time
    if not record.keys() & {"vs", "vb", "vd"}:
        for key in ("v", "s"):
            if key in record or "b" + key in base:
                found[key] = _number(record.get(key)) + _number(base.get("b" + key))
    if unit is not None:
        found["u"] = unit
    return found


def _name(
    record: dict[str, object], base: dict[str, object], unit: object, units: dict[str, object], number: int
) -> str:
    """Returns the full name of a record; `units` has the first unit of each name so far."""
    name = f"{base.get('bn', '')}{record.get('n', '')}"
    if not name:
        raise _wrong(number, "the record has no name: neither n nor bn")
    if unit is None:
        return name
    other_than_base = not record.get("n") and unit != base.get("bu", unit)
    return f"{name}/{unit}" if other_than_base or units.setdefault(name, unit) != unit else name


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


def _wrong(number: int, what: str) -> PayloadError:
    return PayloadError(Reason.WRONG_STRUCTURE, f"SenML record {number}: {what}")
