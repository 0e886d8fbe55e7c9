"""Reads PUBLISH packets out of the bytes that were read ahead, many in one pass. No I/O.

A whole packet of QoS 0 or 1 whose topic matches a subscription is read here. Any other packet stays where it is, and
`bounded_client.py` reads the packet alone: other kinds of packets, QoS 2, packets that are incomplete, longer than
wanted or against a rule, and topics or properties that make a message no data. So the rules stand in one place,
`agreement.py`, and both ways give the same records.

Publishers repeat their topics and most of their properties. So the text of a topic, and the headers of a piece of
properties, are looked up by their bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from connector.records import Record
from connector.sources.journal.journal import HEADER_OVERHEAD
from connector.sources.mqtt.agreement import Agreement
from connector.sources.mqtt.packets import BreachError, read_properties, read_topic

_KNOWN: Final = 50_000
"""The most topics, or pieces of properties, that are remembered. A publisher chooses how many there are."""
_KNOWN_BYTES: Final = 1024
"""The longest topic or piece of properties that is remembered, in bytes."""

_Value = TypeVar("_Value")


class Bulk(NamedTuple):
    """The messages of one pass."""

    records: list[Record]
    mids: list[int]
    """The packet ids of the QoS 1 messages in `records`, in order."""
    end: int
    """The place of the first byte that was not read."""
    size: int
    """About the bytes of memory that the records take."""
    too_early: int
    """The number of messages that the broker sent beyond the Receive Maximum."""


class BulkReader:
    """Reads the messages of one connection. For the thread that owns the connection."""

    def __init__(self, agreement: Agreement, *, v5: bool, most_bytes: int) -> None:
        """Packets that are longer than `most_bytes` are not read here."""
        self._agreement = agreement
        self._v5 = v5
        self._most = most_bytes
        self._topics: dict[bytes, str] = {}
        self._headers: dict[bytes, tuple[tuple[str, str], ...]] = {}

    # One loop, since a call for each message would cost more than the loop.
    def read(self, data: bytes, at: int, most_bytes: int, first_us: int) -> Bulk:  # noqa: C901, PLR0912, PLR0915
        """Read the packets from the place `at` on, until the records take about `most_bytes` of memory.

        The first record gets the time `first_us`, in µs; each further record gets a time that is 1 µs later. Two
        messages of one topic must never have the same time of arrival: Clarify would keep only one of the two.
        """
        records: list[Record] = []
        mids: list[int] = []
        add, note = records.append, mids.append
        topics, headers_of, in_flight = self._topics, self._headers, self._agreement.in_flight
        v5, most = self._v5, self._most
        room = self._agreement.room
        end, size, around = len(data), 0, 1 if v5 else 0
        while end - at >= 5 and size < most_bytes:  # the shortest message has 5 bytes
            first = data[at]
            if first >> 4 != 3 or first & 4:
                break
            length, start = data[at + 1], at + 2
            if length & 0x80:
                length = length & 0x7F | data[start] << 7
                start += 1
                if length & 0x4000:
                    length = length & 0x3FFF | data[start] << 14
                    start += 1
                    if length & 0x200000:  # 2 MiB or more
                        break
            stop = start + length
            if stop > end or length < 3 or length > most:
                break
            here = start + 2
            there = here + (data[start] << 8 | data[start + 1])
            if there + (first & 2) + around > stop:  # no room for the packet id and the length of the properties
                break
            raw = data[here:there]
            topic = topics.get(raw) or self._topic(raw)
            if topic is None:
                break
            mid = 0
            if first & 2:
                mid = data[there] << 8 | data[there + 1]
                if not mid or mid in in_flight or room <= 0:
                    break
                there += 2
            headers: tuple[tuple[str, str], ...] = ()
            if v5:
                length = data[there]
                there += 1
                if length:
                    if length & 0x80:
                        if there >= stop or data[there] & 0x80:  # 16 KiB or more
                            break
                        length = length & 0x7F | data[there] << 7
                        there += 1
                    raw = data[there : there + length]
                    there += length
                    if there > stop:
                        break
                    known = headers_of.get(raw)
                    if known is None:
                        known = self._read_headers(raw)
                        if known is None:
                            break
                        size += HEADER_OVERHEAD * len(known)  # further messages share them
                    headers = known
            if mid:
                in_flight.add(mid)
                note(mid)
                room -= 1
            add(Record(topic, data[there:stop], first_us, None, headers, first & 1 == 1))
            first_us += 1
            size += stop - at
            at = stop
        return Bulk(records, mids, at, size, self._agreement.took(len(mids)))

    def _topic(self, raw: bytes) -> str | None:
        """The topic; None if messages with this topic are no data."""
        topic, problem = read_topic(raw)
        if not topic or problem or not self._agreement.wants(topic):
            return None
        _remember(self._topics, raw, topic)
        return topic

    def _read_headers(self, raw: bytes) -> tuple[tuple[str, str], ...] | None:
        """The headers; None if messages with these properties break a rule or are no data."""
        try:
            headers, left_out = read_properties(raw)
        except BreachError:
            return None
        if left_out:
            return None
        _remember(self._headers, raw, headers)
        return headers


def _remember(known: dict[bytes, _Value], raw: bytes, value: _Value) -> None:
    if len(raw) <= _KNOWN_BYTES:
        if len(known) >= _KNOWN:
            known.clear()
        known[raw] = value
