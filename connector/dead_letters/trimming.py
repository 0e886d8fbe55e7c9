"""The bounds of a letter: a hostile payload, key, topic, path or message is cut, and the letter says so. No I/O.

A complete record with very many rejects is kept in one letter, with the first rejects in full and the number of the
other rejects: a replay maps the whole record again. If the record is missing or was cut, the rejects are the only
trace of its values. So all rejects are kept, in as many letters as necessary.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from connector.dead_letters.letter import DeadLetter, Truncation
from connector.records import Record, Reject

MOST_REJECTS: Final = 100
_TEXT: Final = 512
"""The most characters of a path or a value; a message may have twice as many."""
_SMALL_PARTS: Final = 16 * 1024
"""The bound of a key and of all headers together in bytes, and of a topic in characters."""


def trimmed(letter: DeadLetter, max_payload: int) -> Iterator[DeadLetter]:
    """The letter within its bounds: one letter, or several letters, each with a part of the rejects.

    `max_payload` is in bytes.
    """
    record, cut = letter.record, letter.cut
    if record is not None:
        record, cut = _fitting(record, max_payload)
    topic = _cut_text(letter.topic, _SMALL_PARTS)
    rejects = tuple(map(_short, letter.rejects))
    if len(rejects) <= MOST_REJECTS and record is letter.record and topic == letter.topic:
        yield msgspec.structs.replace(letter, rejects=rejects)
        return
    if record is not None and cut is None:
        more: Counter[str] = Counter(letter.more)
        more.update(str(reject.reason) for reject in rejects[MOST_REJECTS:])
        yield msgspec.structs.replace(letter, rejects=rejects[:MOST_REJECTS], more=dict(more))
        return
    for number, part in enumerate(_parts(rejects)):
        first = number == 0
        yield msgspec.structs.replace(
            letter,
            topic=topic,
            rejects=part,
            record=record if first else None,
            cut=cut if first else None,
            missing=letter.missing if first or record is None else "they are in the first letter about this record",
            more=letter.more if first else {},
        )


def shrunk(letter: DeadLetter) -> DeadLetter | None:
    """A smaller copy of a letter that is too large for its store; None if nothing is left to cut.

    The copy has half of the payload. A letter without a payload loses its record, and all rejects but one.
    """
    record = letter.record
    if record is not None and record.payload:
        kept, cut = _fitting(record, len(record.payload) // 2)
        if letter.cut is not None and cut is not None:
            parts = tuple(dict.fromkeys((*letter.cut.parts, *cut.parts)))
            cut = Truncation(parts, letter.cut.payload_length, letter.cut.payload_sha256)
        return msgspec.structs.replace(letter, record=kept, cut=cut)
    if record is None and len(letter.rejects) == 1:
        return None
    more: Counter[str] = Counter(letter.more)
    more.update(str(reject.reason) for reject in letter.rejects[1:])
    missing = letter.missing or "the record is too large for the store of the dead letters"
    return msgspec.structs.replace(
        letter, record=None, cut=None, missing=missing, rejects=letter.rejects[:1], more=dict(more)
    )


def _parts(rejects: tuple[Reject, ...]) -> Iterator[tuple[Reject, ...]]:
    for start in range(0, len(rejects), MOST_REJECTS):
        yield rejects[start : start + MOST_REJECTS]


def _fitting(record: Record, max_payload: int) -> tuple[Record, Truncation | None]:
    payload = record.payload or b""
    changes: dict[str, object] = {}
    if len(payload) > max_payload:
        changes["payload"] = payload[:max_payload]
    if record.key is not None and len(record.key) > _SMALL_PARTS:
        changes["key"] = record.key[:_SMALL_PARTS]
    headers: list[tuple[str, str]] = []
    room = _SMALL_PARTS
    for name, value in record.headers:
        pair = _utf8(name), _utf8(value)
        room -= sum(len(text.encode()) for text in pair)
        if room < 0:
            break
        headers.append(pair)
    if tuple(headers) != record.headers:
        changes["headers"] = tuple(headers)
    topic = _cut_text(record.topic, _SMALL_PARTS)
    if topic != record.topic:
        changes["topic"] = topic
    if not changes:
        return record, None
    cut = Truncation(tuple(changes), len(payload), hashlib.sha256(payload).hexdigest())
    return msgspec.structs.replace(record, **changes), cut


def _short(reject: Reject) -> Reject:
    path = None if reject.path is None else _cut_text(reject.path, _TEXT)
    value = None if reject.value is None else _cut_text(reject.value, _TEXT)
    message = _cut_text(reject.message, 2 * _TEXT)
    if (path, value, message) == (reject.path, reject.value, reject.message):
        return reject
    return Reject(reject.reason, message, path, value, reject.input_id, reject.time_us)


def _cut_text(text: str, length: int) -> str:
    """The text with at most `length` characters.

    A text that was cut ends in a hash of the whole text, so that two texts stay different. A character that UTF-8
    cannot encode is escaped.
    """
    text = _utf8(text)
    if len(text) <= length:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: length - 9]}…{digest}"


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
