"""The types that flow: a record comes out of a log, becomes samples or rejects, and is settled.

Times are integers: microseconds since the Unix epoch, UTC. Clarify stores microseconds.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import repeat
from typing import Final, Self, TypeAlias, final, overload

import msgspec

FIRST_US: Final = -62_135_596_800_000_000
LAST_US: Final = 253_402_300_799_999_999
"""The last moment of the calendar, in µs: 9999-12-31T23:59:59.999999Z. `FIRST_US` is 0001-01-01T00:00:00Z."""


class TimeKind(IntEnum):
    """The event that the time of a record stands for."""

    ARRIVAL = 0
    """The connector received the record."""
    CREATED = 1
    """The producer made the record (Kafka's CreateTime)."""
    APPENDED = 2
    """The broker appended the record to the log (Kafka's LogAppendTime)."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message, unchanged from the source. The journal stores records in exactly this shape."""

    topic: str
    payload: bytes | None
    """None is a tombstone of Kafka: the mark that the value of this key is deleted."""
    time_us: int
    """The time of arrival (MQTT), or the timestamp of the broker or producer (Kafka), in µs. A producer may stamp any
    number: also a number beyond 64 bits, or a time outside the calendar."""
    key: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    retained: bool = False
    time_kind: int = TimeKind.ARRIVAL
    received_us: int = 0
    """The time when the connector read the record, in µs, if that time differs from `time_us`; else 0."""
    problem: str = ""
    """The reason why the source could not make a proper record: the record becomes a dead letter. Empty otherwise."""


@final
class AlikeRecords(Sequence[Record]):
    """Records of one topic that were received together, by column: a `Record` is made only where somebody asks for it.

    No record is retained, and none has a problem.
    """

    __slots__ = ("headers", "keys", "payloads", "received_us", "time_kind", "times_us", "topic")

    def __init__(
        self,
        topic: str,
        payloads: Sequence[bytes | None],
        times_us: Sequence[int],
        keys: Sequence[bytes | None],
        headers: Sequence[tuple[tuple[str, str], ...]],
        time_kind: int,
        received_us: int,
    ) -> None:
        """`time_kind` and `received_us` are those of every record, the other columns have one entry for each."""
        self.topic = topic
        self.payloads = payloads
        self.times_us = times_us
        self.keys = keys
        self.headers = headers
        self.time_kind = time_kind
        self.received_us = received_us

    def __len__(self) -> int:
        return len(self.payloads)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> AlikeRecords: ...
    def __getitem__(self, at: int | slice) -> Record | AlikeRecords:
        found = self.payloads[at], self.times_us[at], self.keys[at], self.headers[at]
        if isinstance(at, slice):
            return AlikeRecords(self.topic, *found, self.time_kind, self.received_us)  # type: ignore[arg-type]
        return Record(self.topic, *found, False, self.time_kind, self.received_us)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Record]:
        columns = self.payloads, self.times_us, self.keys, self.headers
        return map(
            Record, repeat(self.topic), *columns, repeat(False), repeat(self.time_kind), repeat(self.received_us)
        )

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one partition, from one poll: the unit of bookkeeping."""

    source: str
    partition: str
    positions: Sequence[int]
    """One position for each record, rising. Where the log has holes, the positions have holes, too."""
    records: Sequence[Record]
    durable_us: int = 0
    """The time at which the records became durable, in µs; 0 if they were durable before they were received."""

    def topics(self) -> list[str]:
        """Returns the topic of each record."""
        records = self.records
        if isinstance(records, AlikeRecords):
            return [records.topic] * len(records)
        return [record.topic for record in records]


Sample: TypeAlias = tuple[str, int, float]
"""(input ID, time in µs, number): one value in Clarify. For another integration than the default one, the input ID is
written as by `at_integration`."""


_AT: Final = "|"
"""Stands between the name of an integration and an input ID; no input ID and no name has it."""


def at_integration(integration: str, input_id: str) -> str:
    """Returns the input ID as the connector writes it beside input IDs of other integrations: `plant-a|temperature`.

    The input IDs of the default integration, whose `integration` is empty here, stand alone.
    """
    return f"{integration}{_AT}{input_id}" if integration else input_id


def of_integration(written: str) -> tuple[str, str]:
    """Returns (integration, input ID) of what `at_integration` has written; the default integration is empty."""
    integration, at, input_id = written.partition(_AT)
    return (integration, input_id) if at else ("", written)


_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Reason(StrEnum):
    """The reason why a record, or one value of a record, became no sample: a word of small letters, digits and `_`.

    The members are the reasons of the connector itself. A format of another package may have further reasons:
    `Reason("invalid_telegram")` makes a reason, and equal words give the same object. Raises `ValueError` for any text
    that is no such word.
    """

    MALFORMED_RECORD = "malformed_record"
    EMPTY_PAYLOAD = "empty_payload"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"
    INVALID_TEXT = "invalid_text"
    INVALID_ROW = "invalid_row"
    INVALID_LINE_PROTOCOL = "invalid_line_protocol"
    INVALID_LINE = "invalid_line"
    INVALID_XML = "invalid_xml"
    INVALID_MESSAGEPACK = "invalid_messagepack"
    INVALID_CBOR = "invalid_cbor"
    INVALID_BINARY = "invalid_binary"
    INVALID_AVRO = "invalid_avro"
    INVALID_PROTOBUF = "invalid_protobuf"
    INVALID_COMPRESSION = "invalid_compression"
    DECOMPRESSED_TOO_LARGE = "decompressed_too_large"
    NO_SCHEMA_ID = "no_schema_id"
    SCHEMA_NOT_FOUND = "schema_not_found"
    SCHEMA_UNAVAILABLE = "schema_unavailable"
    SCHEMA_UNUSABLE = "schema_unusable"
    SCHEMA_VIOLATED = "schema_violated"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    TOO_MANY_VALUES = "too_many_values"
    TOO_EXPENSIVE = "too_expensive"
    NO_NUMERIC_VALUE = "no_numeric_value"
    NOT_FINITE = "not_finite"
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_STATE = "unknown_state"
    UNKNOWN_TAG = "unknown_tag"
    UNKNOWN_INTEGRATION = "unknown_integration"
    BAD_QUALITY = "bad_quality"
    WRONG_STRUCTURE = "wrong_structure"
    DUPLICATE_KEY = "duplicate_key"
    TIME_UNREADABLE = "time_unreadable"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    NO_RULE = "no_rule"
    NO_IDENTITY = "no_identity"
    SIGNAL_HELD = "signal_held"
    SIGNAL_REJECTED = "signal_rejected"
    INSERT_REJECTED = "insert_rejected"
    INVALID_SPARKPLUG = "invalid_sparkplug"
    DATA_BEFORE_BIRTH = "data_before_birth"
    UNKNOWN_ALIAS = "unknown_alias"
    TYPE_MISMATCH = "type_mismatch"
    NO_VALUE = "no_value"
    TOO_MANY_METRICS = "too_many_metrics"
    MAPPING_FAILED = "mapping_failed"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not (isinstance(value, str) and _REASON.fullmatch(value)):
            return None  # the enum then raises ValueError
        found = str.__new__(cls, value)
        found._name_, found._value_ = value.upper(), value
        cls._value2member_map_[value] = found
        return found


@dataclass(frozen=True, slots=True)
class Reject:
    """A record (`path` is None) or one value of a record that became no sample, with the reason."""

    reason: Reason
    message: str
    """A text for the person who reads the dead letter: the fault and the remedy."""
    path: str | None = None
    value: str | None = None
    """The value as text; None if the reject has no value."""
    input_id: str | None = None
    """The input ID of a sample that Clarify did not take; None if the connector itself rejected the value."""
    time_us: int | None = None
    """The time of the same sample, in µs; None if the connector itself rejected the value."""
    rule: int | None = None
    """The number of the mapping rule that took the record, counted from 0; None if no rule is known."""


FILTERED_BECAUSE: Final = {
    "skipped": "a rule says skip",
    "no_rule": "no rule takes the record",
    "metadata": "a message that describes signals, for a rule with describes",
    "retained": "a retained message, which the source leaves out",
    "deleted": "a tombstone of Kafka, which deletes and measures nothing",
    "cleared": "an empty payload, which clears a retained message",
    "null": "nothing but null, empty lists and empty objects",
    "unavailable": "nothing but words for no value, such as unavailable",
    "text": "nothing but text, which the rule leaves out",
    "bad_quality": "the quality is not good, and the rule drops such values",
    "thinned": "the rule thins the values out",
    "left_out": "the rule leaves out every value",
}
"""The reasons why a whole record is left out on purpose: the word in metrics and notices → the meaning."""


class Mapped(msgspec.Struct, gc=False):
    """The outcome of one record. Every value of the record is in exactly one of `samples`, `rejects`, `filtered`."""

    samples: list[Sample] = []
    rejects: list[Reject] = []
    filtered: int = 0
    """The number of values left out on purpose (text beside numbers, nulls, values that a rule skips)."""
    skipped: bool = False
    """Whether the whole record was left out on purpose: a rule skips the record, or no rule takes the record."""
    why: str = ""
    """A key of `FILTERED_BECAUSE`, if the record gave neither a sample nor a reject. Empty otherwise."""


@final
class Rows:
    """The outcome of records of one shape: each record is a row with one time and one value for each of `inputs`.

    Most records have the shape of other records. So the bookkeeping costs a step for each row, and not for each value.
    """

    __slots__ = ("filtered", "indexes", "inputs", "packed", "times")

    def __init__(self, inputs: tuple[str, ...], filtered: int) -> None:
        self.inputs = inputs
        self.filtered = filtered
        """The number of values left out on purpose, in each record."""
        self.indexes: list[int] = []
        """The index of each record in the chunk, rising."""
        self.times: list[int] = []
        """The time of each row, in µs."""
        self.packed: list[bytes] = []
        """The values, row after row, in pieces of one or more rows; the values of a row are in the order of the inputs,
        as 64-bit floats in the byte order of the machine."""

    def values(self) -> array[float]:
        """Returns all values, row after row; the values of a row are in the order of the inputs."""
        return array("d", b"".join(self.packed))

    def one_by_one(self, wanted: Callable[[int], bool] = lambda _: True) -> list[tuple[int, Mapped]]:
        """Returns (index in the chunk, outcome) for each record for whose index `wanted` returns True."""
        found, width, every = [], len(self.inputs), self.values()
        for row, (index, time_us) in enumerate(zip(self.indexes, self.times, strict=True)):
            if wanted(index):
                values = every[row * width : (row + 1) * width]
                samples: list[Sample] = [
                    (input_id, time_us, value) for input_id, value in zip(self.inputs, values, strict=True)
                ]
                found.append((index, Mapped(samples, [], self.filtered)))
        return found


Part: TypeAlias = tuple[int, Mapped | Rows]
"""(index of the first record in the chunk, outcome) of one record, or of several records of one shape. In the parts of
a chunk, the samples of each input are in the order of the records."""


class Overwrite(StrEnum):
    """The treatment of an item that exists already."""

    UNEDITED = "unedited"
    """The item is updated, unless somebody else has changed the item since the connector did."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """The item that a signal is published as; None stands for the attribute of the signal."""

    name: str | None
    description: str | None
    labels: tuple[tuple[str, tuple[str, ...]], ...] | None
    visible: bool
    overwrite: Overwrite


@dataclass(frozen=True, slots=True)
class SignalMetadata:
    """All metadata that the mapping wants for a signal: a save resets every attribute that is left out."""

    name: str
    description: str = ""
    unit: str = ""
    value_type: str = "numeric"
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    enum_values: tuple[tuple[str, str], ...] = ()
    sample_interval: str | None = None
    """ISO 8601 duration."""
    gap_detection: str | None = None
    """ISO 8601 duration."""
    annotations: tuple[tuple[str, str], ...] = ()
    saved: bool = True
    """Whether the mapping sets any metadata of the signal. If False, the metadata in Clarify stays unchanged."""
    item: ItemMetadata | None = None
    """The item that the signal is published as; None if the signal is not published."""
