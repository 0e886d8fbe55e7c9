"""A message of a look, cut to a readable size, and what the message has become."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connector.mapping.time.times import format_time
from connector.records import FILTERED_BECAUSE, Chunk, Mapped, Part, Record, Reject, Rows, Sample, of_integration

PAYLOAD_BYTES: Final = 2048
"""The bytes of a payload that are shown."""
_SAMPLES: Final = 50
_REJECTS: Final = 10
_TEXT: Final = 500
"""The characters of a topic, a key or a text of a reject that are shown."""


@dataclass(frozen=True, slots=True)
class Tapped:
    """A message, cut to a readable size, and what it has become."""

    number: int
    """The time at which it was taken in, in µs since the epoch; rising within a process."""
    source: str
    partition: str
    position: int
    record: Record
    """The message, with `PAYLOAD_BYTES` of its payload at most."""
    payload_bytes: int
    samples: list[Sample]
    samples_in_all: int
    rejects: list[Reject]
    rejects_in_all: int
    filtered: int
    """The number of values left out on purpose."""
    why: str
    """The reason why the whole message was left out, as in `Mapped.why`; else empty."""

    def as_json(self) -> dict[str, object]:
        """Returns the message as JSON data; times are text as in RFC 3339."""
        record, payload = self.record, self.record.payload
        found: dict[str, object] = {
            "number": self.number,
            "source": self.source,
            "topic": record.topic,
            "partition": self.partition,
            "position": self.position,
            "time": _time(record.time_us),
            "retained": record.retained,
            "payload": None,
            "payload_bytes": self.payload_bytes,
        }
        if record.key is not None:
            found["key"] = record.key.decode(errors="backslashreplace")
        if payload is not None:
            cut = len(payload) < self.payload_bytes
            try:
                found["payload"] = codecs.getincrementaldecoder("utf-8")().decode(payload, final=not cut)
            except UnicodeDecodeError:
                del found["payload"]
                found["payload_hex"] = payload.hex()
        found["samples"] = [_sample(sample) for sample in self.samples]
        found["samples_in_all"] = self.samples_in_all
        found["rejects"] = [
            {"reason": one.reason, "path": one.path, "value": one.value, "message": one.message}
            | ({"input": one.input_id} if one.input_id else {})
            for one in self.rejects
        ]
        found["rejects_in_all"] = self.rejects_in_all
        found["values_left_out"] = self.filtered
        found["left_out_because"] = FILTERED_BECAUSE.get(self.why, self.why) or None
        return found


def _time(time_us: int) -> str | int:
    """A time as text; a time outside the calendar as it came, since a producer may stamp any number."""
    try:
        return format_time(time_us)
    except OverflowError:
        return time_us


def _sample(sample: Sample) -> dict[str, object]:
    integration, input_id = of_integration(sample[0])
    found: dict[str, object] = {"input": input_id, "time": format_time(sample[1]), "value": sample[2]}
    return {**found, "integration": integration} if integration else found


def outcomes(parts: Sequence[Part], chosen: Sequence[int]) -> dict[int, list[Mapped]]:
    """Returns the place of a record in its chunk → what it has become, for the chosen records."""
    found: dict[int, list[Mapped]] = {index: [] for index in chosen}
    for index, part in parts:
        if type(part) is not Rows:
            if index in found:
                found[index].append(part)
            continue
        for place, mapped in part.one_by_one(found.__contains__):
            found[place].append(mapped)
    return found


def tapped(
    number: int, chunk: Chunk, index: int, outcome: Sequence[Mapped], takes: Callable[[str], bool] | None
) -> Tapped:
    """Returns a message of a chunk, cut; `takes` tells which input IDs are shown (None: all)."""
    record = chunk.records[index]
    samples = [sample for part in outcome for sample in part.samples]
    rejects = [reject for part in outcome for reject in part.rejects]
    wanted = samples if takes is None else [sample for sample in samples if takes(sample[0])]
    payload = record.payload
    return Tapped(
        number,
        chunk.source,
        chunk.partition,
        chunk.positions[index],
        Record(
            record.topic[:_TEXT],
            None if payload is None else bytes(payload[:PAYLOAD_BYTES]),
            record.time_us,
            key=None if record.key is None else record.key[:_TEXT],
            retained=record.retained,
        ),
        len(payload or b""),
        wanted[:_SAMPLES],
        len(samples),
        [
            Reject(
                reject.reason,
                reject.message[:_TEXT],
                reject.path and reject.path[:_TEXT],
                reject.value and reject.value[:_TEXT],
                reject.input_id,
            )
            for reject in rejects[:_REJECTS]
        ],
        len(rejects),
        sum(part.filtered for part in outcome),
        next((part.why for part in outcome if part.why), ""),
    )
