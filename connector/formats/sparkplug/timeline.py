"""The births and deaths of one node or device in their order, so that a record that is read again is read as it was.

After a crash the records since the last commit come once more, and the state that was saved is newer than they are: a
node may have given its aliases other meanings in between. So not only the last birth is kept, but the last few, each
with the time at which its record arrived, which the journal gives back as it was. A table that a birth repeats is kept
once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from connector.formats.sparkplug.births import MetricBirth, MetricTable

KEPT: Final = 16
"""Births and deaths of one node or device."""
_VERSION: Final = 1


class Epoch:
    """From one birth or death to the next."""

    __slots__ = ("bd_seq", "from_us", "session", "table")

    def __init__(self, from_us: int, session: int, table: MetricTable | None, bd_seq: int | None = None) -> None:
        self.from_us = from_us
        """When the record that began it arrived."""
        self.session = session
        """Of a device: the epoch of its node that it belongs to, by its `from_us`; 0 where the node's is not known."""
        self.table = table
        """None after a death."""
        self.bd_seq = bd_seq


class _SavedEpoch(msgspec.Struct, array_like=True, gc=False):
    from_us: int
    session: int
    table: int
    """Which of the tables; -1 for none."""
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
        """Of a node: messages that never reached us."""
        self.lost_us = 0
        """Arrival of the record before which a loss was last counted."""

    def last(self) -> Epoch | None:
        """The one in force."""
        return self.epochs[-1] if self.epochs else None

    def at(self, time_us: int) -> Epoch | None:
        """The one in force when a record arrived at this time."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.from_us <= time_us), None)

    def began_at(self, time_us: int) -> Epoch | None:
        """The one that a record which arrived at exactly this time began."""
        return next((epoch for epoch in self.epochs if epoch.from_us == time_us), None)

    def add(self, epoch: Epoch) -> None:
        """Put it into its place by time, and forget the oldest beyond `KEPT`. A table like the one before is shared."""
        place = len(self.epochs)
        while place and self.epochs[place - 1].from_us > epoch.from_us:
            place -= 1
        table = epoch.table
        if table is not None:
            epoch.table = next((known for known in self.tables() if known.same_as(table)), table)
        self.epochs.insert(place, epoch)
        del self.epochs[:-KEPT]

    def tables(self) -> list[MetricTable]:
        """Every table once."""
        return list({id(epoch.table): epoch.table for epoch in self.epochs if epoch.table is not None}.values())

    def metrics(self) -> int:
        """How many metrics it remembers."""
        return sum(map(len, self.tables()))

    def forget_past(self) -> None:
        """Keep what is in force alone, without the metrics of the dead."""
        del self.epochs[:-1]

    def to_bytes(self) -> bytes:
        """All of it, to be read by `from_bytes`."""
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
        """What `to_bytes` wrote; raises ValueError for anything else."""
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
    """When the last record that any of them remembers arrived."""
    return max((max(line.lost_us, line.epochs[-1].from_us if line.epochs else 0) for line in timelines), default=0)
