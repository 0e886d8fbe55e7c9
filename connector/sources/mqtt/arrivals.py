"""The messages of one turn of the network loop, as records with their times of arrival. No I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from connector.records import Record
from connector.sources.journal.journal import HEADER_OVERHEAD
from connector.sources.mqtt.bulk import Bulk
from connector.sources.mqtt.departure import Departure
from connector.sources.mqtt.packets import Publish

_SET_BACK_US: Final = 1_000_000
"""If the clock is behind the last message by this many microseconds, the clock was set back."""


@dataclass(slots=True)
class Received:
    """The messages that one turn of the network loop read."""

    records: list[Record] = field(default_factory=list)
    mids: list[int] = field(default_factory=list)
    """The packet ids of the QoS 1 messages in `records`, in order."""
    unwanted: int = 0
    """The number of messages with a forbidden topic or property, or with a topic that matches no subscription."""
    too_early: int = 0
    """The number of messages that the broker sent beyond the Receive Maximum."""
    size: int = 0
    """About the bytes of memory that the records take."""
    rested: bool = False
    """Whether the messages have waited for one another already, at the end of a rest (see `rest.py`)."""


class Arrivals:
    """Collects the messages of a connection. For the thread that owns the connection."""

    def __init__(self, departure: Departure) -> None:
        """`departure` counts the messages."""
        self._departure = departure
        self._last_us = 0
        """The time of arrival of the last message, in µs."""
        self.turn = Received()

    def time_us(self) -> int:
        """The time of arrival of the next message, in µs: later than the time of each message before.

        Several messages of a turn may come within a microsecond. If the clock was set back, its time counts.
        """
        now, next_us = time.time_ns() // 1000, self._last_us + 1
        return next_us if now < next_us < now + _SET_BACK_US else now

    def add_bulk(self, bulk: Bulk) -> None:
        """Add messages that were read in one pass."""
        records, mids, turn = bulk.records, bulk.mids, self.turn
        if records:
            self._last_us = records[-1].time_us
        turn.records += records
        turn.mids += mids
        turn.too_early += bulk.too_early
        turn.size += bulk.size
        self._departure.came += len(records)
        self._departure.to_acknowledge += len(mids)

    def add(self, message: Publish, *, cut_from: int | None, too_early: bool) -> None:
        """Add a message that was read alone.

        `cut_from` is the full length of a message of which only the beginning was kept, in bytes, else None.
        """
        turn, problem = self.turn, message.problem
        topic, payload, headers = message.topic, message.payload, message.headers
        if cut_from is not None:
            problem = _too_long(cut_from, len(payload))
        self._last_us = self.time_us()
        turn.records.append(Record(topic, payload, self._last_us, None, headers, message.retain, problem=problem))
        if message.qos:
            turn.mids.append(message.mid)
            turn.too_early += too_early
            self._departure.to_acknowledge += 1
        self._departure.came += 1
        turn.unwanted += bool(message.problem)
        turn.size += len(payload) + len(topic)
        turn.size += sum(HEADER_OVERHEAD + len(name) + len(value) for name, value in headers)

    def take(self) -> Received:
        """The messages of this turn; the next turn begins."""
        taken, self.turn = self.turn, Received()
        return taken


def _too_long(length: int, kept: int) -> str:
    return (
        f"the message has {length} bytes, and only the first {kept} of its payload were kept: the message is longer "
        "than any payload may be (mapping.max_payload; dead_letters.max_payload bounds the part that is kept)"
    )
