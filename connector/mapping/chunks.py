"""Chunks → parts. Most records are flat objects like the record before, and become rows, without objects for each.

The mapper maps all other records one by one; both ways give the same samples. The rows of a topic have records from the
whole chunk, even if records of other topics stand between them. The rows end at the first record of the topic that is
no row, so that the samples of an input stay in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
import structlog

from connector.formats.format import SchemaUnavailableError
from connector.formats.text.json_payload import may_repeat_keys
from connector.mapping.at_once import NOT_PLAIN, rows_at_once, topic_of
from connector.mapping.documents.decoded import NOT_DECODED
from connector.mapping.documents.known_lists import variant_of
from connector.mapping.documents.shapes import Flat
from connector.mapping.mapper import Mapper
from connector.mapping.plans import Plan
from connector.records import Mapped, Part, Reason, Record, Reject, Rows

_MAPPED_AT_ONCE: Final = 100_000
"""Values of a chunk after which mapping stops until they are taken in: a small record may have thousands of values."""

_RUN: Final = 256
"""The most records that are mapped at once: their documents stay in the caches of the processor."""

_log = structlog.get_logger(__name__)


class ChunkMapper:
    """Maps chunks with a mapper. For one thread at a time."""

    def __init__(self, mapper: Mapper, fewest: int = 8) -> None:
        """From `fewest` records of one topic on, they are mapped at once: for less, it does not pay."""
        self._mapper = mapper
        self._fewest = fewest
        self.schema_trouble: str | None = None
        """The reason why a schema was unavailable in the last chunk, which was not mapped to its end; else None."""

    def map(self, source: str, records: Sequence[Record]) -> tuple[int, list[Part]]:
        """(number of records that were mapped, their parts).

        Mapping stops before a record whose schema is unavailable now, or after a record with which the parts have more
        than 100,000 values.
        """
        self.schema_trouble = None
        parts: list[Part] = []
        opened: list[Flat] = []
        done = values = 0
        try:
            while done < len(records) and values <= _MAPPED_AT_ONCE and self.schema_trouble is None:
                end = min(done + _RUN, len(records))
                taken, width = self._map_run(source, records, done, end, values, parts, opened)
                done, values = done + taken, values + taken * width
                if not taken:
                    if type(records) is not list:
                        records = list(records)
                    done, values = self._map_each(source, records, done, end, values, parts, opened)
        finally:
            for flat in opened:
                flat.rows = None
        return done, parts

    def _map_run(
        self, source: str, records: Sequence[Record], start: int, end: int, values: int, parts: list[Part],
        opened: list[Flat],
    ) -> tuple[int, int]:  # fmt: skip
        """Map records at once; returns (their number, the number of values of each), or (0, 0) if that cannot be."""
        topic = topic_of(records, start, end) if end - start >= self._fewest else None
        if topic is None:
            return 0, 0
        plan = self._mapper.row_plan(source, topic)
        flat = None if plan is None else plan.flat
        if plan is None or flat is None or not flat.keys or flat.watched:
            return 0, 0
        some = records[start : min(end, start + (_MAPPED_AT_ONCE - values) // flat.width + 1)]
        found = rows_at_once(plan, flat, some, self._mapper.bounds, self._mapper.max_payload_bytes)
        if found is None:
            return 0, 0
        rows = flat.rows or _open(flat, start, parts, opened)
        rows.indexes.extend(range(start, start + len(some)))
        rows.times.extend(found[0])
        rows.packed.append(found[1])
        return len(some), flat.width

    def _map_each(  # noqa: C901, PLR0912, PLR0915 - the hot path: a function call would cost as much as its step
        self, source: str, records: Sequence[Record], start: int, end: int, values: int, parts: list[Part],
        opened: list[Flat],
    ) -> tuple[int, int]:  # fmt: skip
        """Map records one by one; returns (the index of the first one that was not mapped, the new number of values).

        `values` is the number of values before.
        """
        mapper = self._mapper
        loads, row_plan, most_bytes = orjson.loads, mapper.row_plan, mapper.max_payload_bytes
        oldest_us, newest_after_us = mapper.bounds.oldest_us, mapper.bounds.newest_after_arrival_us
        last_topic: str | None = None
        plan: Plan | None = None
        for index in range(start, end):
            record = records[index]
            if values > _MAPPED_AT_ONCE:
                return index, values
            if record.topic != last_topic:
                last_topic = record.topic
                plan = row_plan(source, last_topic)
            flat = None if plan is None else plan.flat
            payload = record.payload
            document: object = NOT_DECODED
            if payload is None or len(payload) > most_bytes or record.retained or record.problem:
                flat = None
            while flat is not None:  # so there are a plan and a payload; and an object, if values were found by key
                time_us = record.time_us
                try:
                    if document is NOT_DECODED:
                        document = loads(payload)  # type: ignore[arg-type]
                    packed = flat.pack(*flat.values(document))
                    if flat.time is not None:
                        time_us = plan.read_time(flat.time(document))  # type: ignore[union-attr]
                except NOT_PLAIN:  # the mapper maps the record, and reports its errors
                    pass
                else:
                    if (
                        (
                            payload.count(b":") == flat.all_keys  # type: ignore[union-attr]
                            or not may_repeat_keys(payload, flat.all_keys)  # type: ignore[arg-type]
                        )
                        and (
                            oldest_us <= time_us <= (record.received_us or record.time_us) + newest_after_us
                            or (flat.time is None and not record.time_kind)
                        )
                        and (flat.rest is None or flat.rest(document, payload))  # type: ignore[arg-type]
                    ):
                        rows = flat.rows or _open(flat, index, parts, opened)
                        rows.indexes.append(index)
                        rows.times.append(time_us)
                        rows.packed.append(packed)
                        values += flat.width
                        if flat.watched:
                            watch = flat.plan.watch  # type: ignore[union-attr]
                            if watch is not None and watch.left:
                                watch.left -= 1
                            else:
                                mapper.watch(flat, document, time_us)
                        if plan.clock is not None and time_us != record.time_us:  # type: ignore[union-attr]
                            plan.clock.note(record.time_us, time_us)  # type: ignore[union-attr]
                        break
                flat.rows = None
                flat = _other(plan, flat, document)  # type: ignore[arg-type]
            else:
                if plan is not None and plan.flat is not None:
                    plan.flat.rows = None  # before the mapper learns another shape
                try:
                    mapped = mapper.map(source, record, document)
                except SchemaUnavailableError as error:
                    self.schema_trouble = str(error)
                    return index, values
                except Exception as error:  # noqa: BLE001 - a poison record must not stop the records after it
                    _log.exception("mapping_failed", source=source)
                    message = f"a bug in the mapping: {error!r}; please report the bug"
                    mapped = Mapped(rejects=[Reject(Reason.MAPPING_FAILED, message)])
                parts.append((index, mapped))
                values += len(mapped.samples) + len(mapped.rejects)
        return end, values


def _open(flat: Flat, index: int, parts: list[Part], opened: list[Flat]) -> Rows:
    """Returns new rows for objects of this shape; the record at `index` is the first one."""
    rows = flat.rows = Rows(flat.inputs, flat.filtered)
    opened.append(flat)
    parts.append((index, rows))
    return rows


def _other(plan: Plan, flat: Flat, document: object) -> Flat | None:
    """Returns another known shape that fits the document, and makes it the plan's current one; None if unknown."""
    if plan.lists is not None and (type(document) is list or (type(document) is dict and not flat.keys)):
        other = plan.flats.get(variant_of(document, plan.lists) or ())
    elif type(document) is not dict or tuple(document) == flat.keys:
        return None
    else:
        other = plan.flats.get(tuple(document))
    if other is None or other is flat:
        return None
    plan.flat = other
    return other
