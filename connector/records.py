"""The types that flow: a record comes out of a log, becomes samples or rejects, and is settled.

Times are integers: microseconds since the Unix epoch, UTC. Clarify stores microseconds.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Self, TypeAlias, final

import msgspec

FIRST_US: Final = -62_135_596_800_000_000
LAST_US: Final = 253_402_300_799_999_999
"""What a calendar has: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z."""


class TimeKind(IntEnum):
    """What a record's own time says."""

    ARRIVAL = 0
    """When it reached us."""
    CREATED = 1
    """When its producer made it (Kafka's CreateTime)."""
    APPENDED = 2
    """When the broker wrote it into its log (Kafka's LogAppendTime)."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message as its source delivered it. The journal stores it in exactly this shape."""

    topic: str
    payload: bytes | None
    """None is Kafka's tombstone: the mark that what had this key is deleted."""
    time_us: int
    """When it arrived (MQTT) or when the broker or producer stamped it (Kafka), in µs. What a producer stamps may be
    any number, also one beyond 64 bits or that no calendar has."""
    key: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    retained: bool = False
    time_kind: int = TimeKind.ARRIVAL
    received_us: int = 0
    """When it was read, in µs, where that differs from `time_us`; else 0."""
    problem: str = ""
    """Why its source could not make a proper record of it: it becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one partition, as one poll gave them: the unit of bookkeeping."""

    source: str
    partition: str
    positions: Sequence[int]
    """One position a record, rising; with holes where the log has holes."""
    records: list[Record]


Sample: TypeAlias = tuple[str, int, float]
"""(input ID, time in µs, number): what Clarify stores."""


_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Reason(StrEnum):
    """Why a record, or one value of it, became no sample: a word of small letters, digits and `_`.

    The members are the reasons of the connector itself. A format of another package may have reasons of its own:
    `Reason("invalid_telegram")` is one, and equal words are the same object.
    """

    MALFORMED_RECORD = "malformed_record"
    EMPTY_PAYLOAD = "empty_payload"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"
    INVALID_TEXT = "invalid_text"
    INVALID_ROW = "invalid_row"
    INVALID_LINE_PROTOCOL = "invalid_line_protocol"
    INVALID_MESSAGEPACK = "invalid_messagepack"
    INVALID_CBOR = "invalid_cbor"
    INVALID_BINARY = "invalid_binary"
    INVALID_AVRO = "invalid_avro"
    INVALID_PROTOBUF = "invalid_protobuf"
    INVALID_COMPRESSION = "invalid_compression"
    DECOMPRESSED_TOO_LARGE = "decompressed_too_large"
    NO_SCHEMA_ID = "no_schema_id"
    SCHEMA_NOT_FOUND = "schema_not_found"
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
            return None  # which the enum makes a ValueError
        found = str.__new__(cls, value)
        found._name_, found._value_ = value.upper(), value
        cls._value2member_map_[value] = found
        return found


@dataclass(frozen=True, slots=True)
class Reject:
    """A record (`path` is None), or one value of it, with the reason that it became no sample."""

    reason: Reason
    message: str
    """For the person who reads the dead letter: what is wrong and what to do."""
    path: str | None = None
    value: str | None = None
    """The value as text, where there is one."""
    input_id: str | None = None
    """Of a sample that Clarify did not take: its input ID,"""
    time_us: int | None = None
    """and its time, in µs."""
    rule: int | None = None
    """Which rule of the mapping took the record, counted from 0."""


FILTERED_BECAUSE: Final = {
    "skipped": "a rule says skip",
    "no_rule": "no rule takes it",
    "retained": "a retained message, which the source leaves out",
    "deleted": "a tombstone of Kafka: it deletes, and measures nothing",
    "cleared": "an empty payload: it clears a retained message",
    "null": "nothing but null, empty lists and empty objects",
    "unavailable": "nothing but words for no value, such as unavailable",
    "text": "nothing but text, which the rule leaves out",
    "bad_quality": "its quality is not good, and the rule drops such values",
    "thinned": "the rule thins its values out",
    "left_out": "the rule leaves out each of its values",
}
"""Why a whole record became nothing on purpose: the word that metrics and notices use → the meaning."""


class Mapped(msgspec.Struct, gc=False):
    """What one record became. Every value of it is in exactly one of the three."""

    samples: list[Sample] = []
    rejects: list[Reject] = []
    filtered: int = 0
    """Values left out on purpose (text beside numbers, nulls, values that a rule skips)."""
    skipped: bool = False
    """The whole record was left out on purpose: a rule skips it, or no rule takes it."""
    why: str = ""
    """Of a record that gave neither a sample nor a reject: why, in one word of `FILTERED_BECAUSE`. Empty otherwise."""


@final
class Rows:
    """What records of one shape became, which is most of them: each is a row with one time and a value for each of
    `inputs`. So what is kept for them costs something a row, and not something a value."""

    __slots__ = ("filtered", "indexes", "inputs", "packed", "times")

    def __init__(self, inputs: tuple[str, ...], filtered: int) -> None:
        self.inputs = inputs
        self.filtered = filtered
        """Values left out on purpose, in each of the records."""
        self.indexes: list[int] = []
        """Which records of their chunk they are, rising."""
        self.times: list[int] = []
        """µs, one a row."""
        self.packed: list[bytes] = []
        """The values of each row in the order of the inputs, as 64-bit floats in this machine's notation."""

    def values(self) -> array[float]:
        """Row after row, in the order of the inputs."""
        return array("d", b"".join(self.packed))

    def one_by_one(self) -> list[tuple[int, Mapped]]:
        """Each record by itself, with its index."""
        found = []
        for index, time_us, packed in zip(self.indexes, self.times, self.packed, strict=True):
            values = array("d", packed)
            samples: list[Sample] = [
                (input_id, time_us, value) for input_id, value in zip(self.inputs, values, strict=True)
            ]
            found.append((index, Mapped(samples, [], self.filtered)))
        return found


Part: TypeAlias = tuple[int, Mapped | Rows]
"""What became of a record, or of some of one shape, with the index of the (first) record in its chunk. The parts of a
chunk stand so that the samples of each input are in the order of their records."""


class Overwrite(StrEnum):
    """What becomes of an item that exists."""

    UNEDITED = "unedited"
    """It is updated unless somebody else has changed it since we did."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """What a signal is published as, where that differs from the signal."""

    name: str | None
    description: str | None
    labels: tuple[tuple[str, tuple[str, ...]], ...] | None
    visible: bool
    overwrite: Overwrite


@dataclass(frozen=True, slots=True)
class SignalMetadata:
    """What the mapping wants a signal to be called: complete, since a save resets what is left out."""

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
    """Whether the mapping says any of it; if not, what Clarify has is left alone."""
    item: ItemMetadata | None = None
    """What it is published as; None if it is not."""
