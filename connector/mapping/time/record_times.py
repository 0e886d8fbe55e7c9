"""The own time of a record: its arrival, or Kafka's timestamp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connector.mapping.documents.walk import NO_TIME, Work
from connector.mapping.rules.rules import APPEND_TIME, CREATE_TIME, RECEIVED_TIME
from connector.mapping.time.times import TimeError
from connector.records import Reason, Record, Reject, TimeKind

_OWN_TIMES: Final = {CREATE_TIME: TimeKind.CREATED, APPEND_TIME: TimeKind.APPENDED}


def record_time(record: Record, wanted: str, work: Work, check_bounds: Callable[[int, int], None]) -> int:
    """Returns the record's own time in µs, if it is of the kind `wanted` and plausible.

    Otherwise, returns `NO_TIME`; `work.no_time` then has the reason.
    """
    if wanted == RECEIVED_TIME:
        return work.arrival_us
    kind = _OWN_TIMES.get(wanted)
    if kind is not None and record.time_kind != kind:
        work.no_time = Reject(
            Reason.TIME_UNREADABLE,
            f"the record has no {wanted}: that is message.timestamp.type of its topic. Change the topic, or set "
            "time: arrival in its rule to take whichever time the record has",
        )
        return NO_TIME
    if record.time_kind:
        try:
            check_bounds(record.time_us, work.arrival_us)
        except TimeError as error:
            work.no_time = Reject(Reason.TIME_OUT_OF_RANGE, f"the record's own timestamp: {error}")
            return NO_TIME
    return record.time_us
