"""The settings that the shape of a payload needs: for lists of named items, rows of a table, and words for states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from connector.mapping.documents.field_names import meaning
from connector.mapping.documents.item_names import name_elements
from connector.mapping.rules.compiler.values import conversion_of
from connector.mapping.rules.signal_fields import SignalFields
from connector.mapping.rules.values import DECIMAL_TEXT, LIMIT, Conversion, ValueRejectedError
from connector.mapping.time.times import is_possible_time_name, is_time_name, looks_like_moment, looks_like_time
from connector.mapping.time.zones import TimeError, zone_of

_MAX_DEPTH: Final = 6
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STATE_WORDS: Final = (
    ("OFF", "ON"), ("CLOSED", "OPEN"), ("STOP", "RUN"), ("STOPPED", "RUNNING"), ("FALSE", "TRUE"), ("NO", "YES"),
    ("OFFLINE", "ONLINE"), ("DISABLED", "ENABLED"), ("INACTIVE", "ACTIVE"), ("IDLE", "BUSY"), ("LOW", "HIGH"),
    ("MANUAL", "AUTO"), ("UNLOCKED", "LOCKED"), ("AWAY", "HOME"), ("FAULT", "OK"), ("ALARM", "NORMAL"),
)  # fmt: skip
_WORDS: Final = frozenset(word for pair in _STATE_WORDS for word in pair) | {
    "STANDBY", "STARTING", "STOPPING", "PAUSED", "ERROR", "WARNING", "HEATING", "COOLING", "MAINTENANCE", "SETUP",
    "READY", "UNKNOWN", "HOLD", "ABORTED", "EXECUTE", "COMPLETE", "RESETTING",
}  # fmt: skip
_MOST_STATES: Final = 12
_WRITTEN: Final[tuple[tuple[re.Pattern[str], Mapping[str, object]], ...]] = (
    (re.compile(r"\d\s*[°%]|\d [A-Za-zµΩ]"), {"strip_unit": True}),
    (re.compile(r"\d\s*[°%]|\d [A-Za-zµΩ]"), {"strip_unit": True, "number": "auto"}),
    (re.compile(r"^[+-]?[\d\s'.]*[.,]\d+$"), {"number": "auto"}),
    (re.compile(r"^0x", re.IGNORECASE), {"number": "hex"}),
    (re.compile(r"^[+-]?(P|\d+\s*(d|T|\.\d\d:))", re.ASCII), {"number": "duration"}),
)
"""(texts that are nothing else, the settings that read them); `08:00:00` may be a time of day, and is not here."""
_FRACTIONS: Final = {
    "nanosec": "ns", "nsec": "ns", "nanos": "ns", "nanoseconds": "ns", "usec": "us", "micros": "us",
    "microseconds": "us", "millis": "ms", "msec": "ms", "milliseconds": "ms",
}  # fmt: skip
_PARTS: Final = {"ns": 10**9, "us": 10**6, "ms": 1000}


def items_rule(documents: Sequence[object]) -> dict[str, object] | None:
    """Returns the settings that take the items of a list one by one; None for any other shape.

    The documents must have exactly one list. The items of the list are objects with a field for the name, or rows with
    a time.
    """
    found = {path: elements for document in documents[:20] for path, elements in _lists(document, "", 0)}
    if len(found) != 1:
        return None
    ((path, elements),) = found.items()
    if any(type(element) is list for element in elements):
        return _rows(path, elements, documents)
    naming = name_elements(elements, lambda item: any(map(is_time_name, item)))
    if naming is None or naming.timed or not all(name.parts for name in naming.names):
        return None
    fields = {name.keys for name in naming.names}
    if len(fields) != 1 or len(keys := fields.pop()) != 1 or not _PLAIN_KEY.fullmatch(keys[0]):
        return None
    return {"iterate": path or "@", "item_name": keys[0]}


def elements_at(documents: Sequence[object], path: str) -> list[object]:
    """Returns the items of all lists at `path` in the documents."""
    return [
        element
        for document in documents
        for at, found in _lists(document, "", 0)
        if (at or "@") == path
        for element in found
    ]


def _lists(node: object, path: str, depth: int) -> Iterator[tuple[str, list[object]]]:
    """Yields (path, list) for each list of objects or of lists that is in no other list."""
    if isinstance(node, list):
        if any(isinstance(element, dict | list) for element in node):
            yield path, node
    elif isinstance(node, dict) and depth < _MAX_DEPTH:
        for key, value in node.items():
            if _PLAIN_KEY.fullmatch(str(key)):
                yield from _lists(value, f"{path}.{key}" if path else str(key), depth + 1)


def _rows(path: str, rows: list[object], documents: Sequence[object]) -> dict[str, object] | None:
    first = rows[0] if rows else None
    if not isinstance(first, list) or any(not isinstance(row, list) or len(row) != len(first) for row in rows):
        return None
    times = [column for column in range(len(first)) if all(looks_like_time(row[column]) for row in rows)]  # type: ignore[index]
    if len(times) != 1:
        return None
    names = _columns(documents, len(first))
    values = {
        names[column]: {"path": f"[{column}]"}
        for column in range(len(first))
        if column != times[0] and any(isinstance(row[column], int | float) for row in rows)  # type: ignore[index]
    }
    return {"iterate": path or "@", "time": f"[{times[0]}]", "values": values, "other_values": "filter"}


def _columns(documents: Sequence[object], width: int) -> list[str]:
    """Returns the names of a table's columns: a list of `width` texts in a document, else `value0`, `value1`…"""
    for document in documents:
        left = [document]
        for node in left:  # the list grows in the loop
            if isinstance(node, dict):
                left += node.values()
            elif isinstance(node, list):
                if len(node) == width and all(isinstance(cell, str) and _PLAIN_KEY.fullmatch(cell) for cell in node):
                    return [str(cell) for cell in node]
                left += node
    return [f"value{column}" for column in range(width)]


def states_of(documents: Sequence[object]) -> dict[str, dict[str, int]]:
    """Returns path of a field with words for states → (word → number of the state)."""
    seen: dict[str, dict[str, None]] = {}
    others: set[str] = set()
    for document in documents:
        for path, key, value in _texts(document, "", 0):
            word = value.strip()
            if word.upper() in _WORDS and not meaning(key).names:
                seen.setdefault(path, {})[word] = None
            else:
                others.add(path)
    return {
        path: _numbered(list(words))
        for path, words in seen.items()
        if path not in others and len(words) <= _MOST_STATES
    }


def numbers_of(documents: Sequence[object]) -> dict[str, dict[str, object]]:
    """Returns path of a field whose texts are certainly numbers → the settings that read them all."""
    seen: dict[str, list[str]] = {}
    for document in documents:
        for path, key, value in _texts(document, "", 0):
            known = meaning(key)
            if not (known.names or known.text_identifier or is_time_name(key) or looks_like_moment(value)):
                seen.setdefault(path, []).append(value.strip())
    found = {}
    for path, texts in seen.items():
        plain = [text for text in texts if DECIMAL_TEXT.fullmatch(text)]
        if len(plain) == len(texts) or (any("." in text for text in plain) and any("," in text for text in texts)):
            continue  # numbers already; or 1.234 beside 1.234,5, where the dot is before the thousands
        values = [limit[2] if (limit := LIMIT.fullmatch(text)) else text for text in texts]
        limits: dict[str, object] = {} if values == texts else {"limit": "value"}
        for certain, settings in (*_WRITTEN, *([(DECIMAL_TEXT, {})] if limits else [])):
            conversion = conversion_of(SignalFields.model_validate({**settings, **limits}), None)
            if conversion is not None and all(map(certain.search, values)) and _reads_all(conversion, texts):
                found[path] = {**settings, **limits}
                break
    return found


def factors_of(documents: Sequence[object]) -> dict[str, object] | None:
    """Returns the `scale` for powers of ten beside their numbers, named as in SunSpec: `W` and `W_SF`; else None."""
    objects = [document for document in documents if isinstance(document, dict)]
    factors = [
        {key for key, value in one.items() if key.endswith("_SF") and type(value) is int and key[:-3] in one}
        for one in objects
    ]
    if not factors or len(objects) < len(documents) or not all(factors):
        return None
    numbers = ({key for key, value in one.items() if type(value) in (int, float)} for one in objects)
    lacks = any({f"{key}_SF" for key in found - known} - known for found, known in zip(numbers, factors, strict=True))
    return {"path": "{path}_SF", "power_of_ten": True, **({"default": 0} if lacks else {})}


def fraction_beside(documents: Sequence[object], path: str) -> tuple[str, str] | None:
    """Returns (key, unit) of the fraction of a second beside the time at `path`; None if there is none."""
    for key, unit in _FRACTIONS.items() if "." not in path else ():
        found = [document.get(key) for document in documents if isinstance(document, dict)]
        if found and all(type(value) is int and 0 <= value < _PARTS[unit] for value in found):
            return key, unit
    return None


def _reads_all(conversion: Conversion, texts: list[str]) -> bool:
    try:
        return all(isinstance(conversion.apply(text, lambda _: 0), int | float) for text in texts)
    except ValueRejectedError:
        return False


def bare_states(documents: Sequence[object]) -> dict[str, int] | None:
    """Returns word → number for payloads of a single word; None if any document is no word for a state."""
    words = [document.strip() for document in documents if isinstance(document, str)]
    if not words or len(words) < len(documents) or not all(word.upper() in _WORDS for word in words):
        return None
    return _numbered(list(dict.fromkeys(words)))


def _texts(node: object, path: str, depth: int) -> Iterator[tuple[str, str, str]]:
    if not isinstance(node, dict) or depth > _MAX_DEPTH:
        return
    for key, value in node.items():
        if not _PLAIN_KEY.fullmatch(str(key)):
            continue
        at = f"{path}.{key}" if path else str(key)
        if isinstance(value, str):
            yield at, str(key), value
        else:
            yield from _texts(value, at, depth + 1)


def _numbered(words: list[str]) -> dict[str, int]:
    """Returns word → number: 0 and 1 for two words that are opposites, else numbers in the order of `words`."""
    upper = {word.upper(): word for word in words}
    for zero, one in _STATE_WORDS:
        if upper.keys() <= {zero, one}:
            other = {zero: 0, one: 1}
            return {upper.get(word, word if words[0].isupper() else word.capitalize()): n for word, n in other.items()}
    return {word: number for number, word in enumerate(words)}


def time_in_two_fields(documents: Sequence[object]) -> dict[str, str] | None:
    """Returns the `time` that joins a date and a time of day, with the zone if there is a field for zones.

    Returns None if the documents do not have exactly one date and one time of day.
    """
    objects = [document for document in documents if isinstance(document, dict)]
    if not objects:
        return None
    first = objects[0]
    dates = [key for key, value in first.items() if is_possible_time_name(key) and _is(value, r"\d{4}-\d\d-\d\d")]
    clocks = [key for key, value in first.items() if is_time_name(key) and _is(value, r"\d\d:\d\d(:\d\d(\.\d+)?)?")]
    zones = [key for key, value in first.items() if _is(value, r"Z|[+-]\d\d:?\d\d")]
    if len(dates) != 1 or len(clocks) != 1 or not all(map(_PLAIN_KEY.fullmatch, (dates[0], clocks[0], *zones[:1]))):
        return None
    zone = f"{{payload.{zones[0]}}}" if len(zones) == 1 else ""
    return {"template": f"{{payload.{dates[0]}}} {{payload.{clocks[0]}}}{zone}"}


def keys_of_times(documents: Sequence[object]) -> str | None:
    """Returns the path of the object whose keys are times, if the documents have numbers nowhere else; else None."""
    paths = {_timed_object(document, "") for document in documents}
    return paths.pop() if len(paths) == 1 else None


def _timed_object(node: object, path: str) -> str | None:
    if not isinstance(node, dict) or not node:
        return None
    if all(map(looks_like_moment, node)) and all(type(value) in (int, float) for value in node.values()):
        return path or "@"
    inner = [key for key, value in node.items() if not isinstance(value, str | None)]
    if len(inner) != 1 or not _PLAIN_KEY.fullmatch(inner[0]):
        return None
    return _timed_object(node[inner[0]], f"{path}.{inner[0]}" if path else inner[0])


def zone_field(documents: Sequence[object]) -> str | None:
    """Returns the key whose texts are time zones in all documents: `Europe/Oslo`, `+02:00`; None without such a key."""
    objects = [document for document in documents if isinstance(document, dict)]
    if not objects or len(objects) < len(documents):
        return None
    for key, value in objects[0].items():
        if _PLAIN_KEY.fullmatch(key) and _is(value, r"[A-Z][A-Za-z]+/[A-Z][A-Za-z_/]+|[+-]\d\d:?\d\d"):
            try:
                for document in objects:
                    zone_of(str(document.get(key)))
            except TimeError:
                continue
            return str(key)
    return None


def _is(value: object, pattern: str) -> bool:
    return isinstance(value, str) and not looks_like_moment(value) and re.fullmatch(pattern, value) is not None
