"""The timeline of one node or device: its births and deaths in order, so that a record can be read a second time.

After a crash the records since the last commit are read again, and the stored timeline is newer than these records. In
between, the node may have given its aliases other meanings. So the timeline keeps the last few births and deaths, not
only the last one. Each birth or death is kept with the arrival time of its record, which is the same when the record is
read again. A table that several births repeat is kept once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from connector.formats.sparkplug.births import MetricBirth, MetricTable

MAX_EPOCHS: Final = 16
"""The most births and deaths of one node or device that are kept."""
_VERSION: Final = 1


class Epoch:
    """The time from one birth or death to the next."""

    __slots__ = ("bd_seq", "from_us", "session", "table")

    def __init__(self, from_us: int, session: int, table: MetricTable | None, bd_seq: int | None = None) -> None:
        self.from_us = from_us
        """The arrival time of the record that began the epoch."""
        self.session = session
        """For a device: `from_us` of the node's epoch to which this epoch belongs; 0 if the node's epoch is unknown.

        Always 0 for a node.
        """
        self.table = table
        """The metrics of the birth; None after a death."""
        self.bd_seq = bd_seq
        """The `bdSeq` of a node's birth or death; None without one."""


class _SavedEpoch(msgspec.Struct, array_like=True, gc=False):
    from_us: int
    session: int
    table: int
    """The index of the table of the epoch; -1 for no table."""
    bd_seq: int | None


class _SavedTable(msgspec.Struct, array_like=True, gc=False):
    births: list[MetricBirth]
    definitions: dict[str, list[MetricBirth]]


class _Saved(msgspec.Struct, array_like=True, gc=False):
    version: int
    epochs: list[_SavedEpoch]
    tables: list[_SavedTable]
    lost: int
    lost_us: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Saved).decode


class Timeline:
    """The epochs of one node or device, oldest first."""

    __slots__ = ("epochs", "lost", "lost_us")

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.lost = 0
        """For a node: the number of messages that never reached the connector."""
        self.lost_us = 0
        """The arrival time of the record before which a loss was last counted."""

    def last(self) -> Epoch | None:
        """The newest epoch; None if there is none."""
        return self.epochs[-1] if self.epochs else None

    def at(self, time_us: int) -> Epoch | None:
        """The epoch in force at this time of arrival; None if there is none."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.from_us <= time_us), None)

    def began_at(self, time_us: int) -> Epoch | None:
        """The epoch that was begun by a record of exactly this arrival; None if there is none."""
        return next((epoch for epoch in self.epochs if epoch.from_us == time_us), None)

    def add(self, epoch: Epoch) -> None:
        """Add an epoch at its place by time; epochs beyond `MAX_EPOCHS` are dropped, and equal tables are shared."""
        place = len(self.epochs)
        while place and self.epochs[place - 1].from_us > epoch.from_us:
            place -= 1
        table = epoch.table
        if table is not None:
            epoch.table = next((known for known in self.tables() if known.same_as(table)), table)
        self.epochs.insert(place, epoch)
        del self.epochs[:-MAX_EPOCHS]

    def tables(self) -> list[MetricTable]:
        """Every distinct table."""
        return list({id(epoch.table): epoch.table for epoch in self.epochs if epoch.table is not None}.values())

    def metrics(self) -> int:
        """How many metrics are remembered."""
        return sum(map(len, self.tables()))

    def forget_past(self) -> None:
        """Keep only the newest epoch."""
        del self.epochs[:-1]

    def to_bytes(self) -> bytes:
        """The whole timeline, for `from_bytes`."""
        tables = self.tables()
        number = {id(table): index for index, table in enumerate(tables)}
        return _encode(
            _Saved(
                _VERSION,
                [
                    _SavedEpoch(epoch.from_us, epoch.session, number.get(id(epoch.table), -1), epoch.bd_seq)
                    for epoch in self.epochs
                ],
                [_SavedTable(table.births(), table.definitions) for table in tables],
                self.lost,
                self.lost_us,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Timeline:
        """The timeline that `to_bytes` wrote. Raises ValueError for other bytes."""
        try:
            saved = _decode(data)
        except msgspec.MsgspecError as error:
            raise ValueError(f"the remembered births cannot be read: {error}") from None
        if saved.version != _VERSION:
            raise ValueError(f"version {saved.version} of the remembered births is not known")
        tables: list[MetricTable] = [MetricTable(table.births, table.definitions) for table in saved.tables]
        found = cls()
        found.lost, found.lost_us = saved.lost, saved.lost_us
        for epoch in saved.epochs:
            if epoch.table >= len(tables):
                raise ValueError("the remembered births are not complete")
            table = tables[epoch.table] if epoch.table >= 0 else None
            found.epochs.append(Epoch(epoch.from_us, epoch.session, table, epoch.bd_seq))
        return found


def latest(timelines: Iterable[Timeline]) -> int:
    """The arrival time of the newest record that any of these timelines remembers; 0 if there is none."""
    return max((max(line.lost_us, line.epochs[-1].from_us if line.epochs else 0) for line in timelines), default=0)
