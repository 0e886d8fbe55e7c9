"""The items that a mapping wants: for the signals of earlier runs, and for those of a capture. Uses no network.

The state has the origin (source, topic, path) of each signal that the connector has had. Mostly the rules say with the
origin alone what they want. If a template needs the content of a message, only a message of a capture can tell.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connector import ConnectorError
from connector.config.model import Config
from connector.formats.format import SchemaUnavailableError
from connector.mapping.mapper import Mapper
from connector.mapping.signals.naming import OTHER_IDENTITY
from connector.metadata.book import MetadataKind, MetadataStatus, read_lines
from connector.records import SignalMetadata, of_integration
from connector.runtime.assembly import build_mapper
from connector.runtime.state_dir import state_files
from connector.state.state import Memory, read_memory
from connector.try_out.capture import Taken

_WITHOUT_ORIGIN: Final = "its origin is not in the state: several topics share it, or its source is gone"


class NoSignalsError(ConnectorError):
    """Nothing says which signals there are; the text has the remedy."""


@dataclass(slots=True)
class WantedItems:
    """The signals that a mapping publishes."""

    signals: dict[str, SignalMetadata] = field(default_factory=dict)
    """Input ID → metadata, with an item, as the mapping wants it."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Input ID → the reason why only a message can tell what the mapping wants."""
    settled: dict[str, str] = field(default_factory=dict)
    """Input ID → the digest of the metadata that was saved, or that Clarify has rejected."""
    unreadable: int = 0
    """Number of messages of the capture of which a part, or the whole, is no sample."""


def wanted_items(config: Config, integration: str, capture: Iterable[Taken] | None, name: str = "") -> WantedItems:
    """Returns the items that the mapping wants for the signals of the integration.

    `name` is the name that its input IDs have before them in the state, empty for the integration of `clarify` itself.

    Raises `NoSignalsError` without a state and without a capture, and `ConnectorError` as `build_mapper`.
    """
    files = state_files(config.state_dir)
    if not files and capture is None:
        raise NoSignalsError(
            f"{config.state_dir} has no state: the connector has not run with this state_dir, so nothing says which "
            "signals there are; name a capture of their messages: --input FILE (clarify-connector record makes it)"
        )
    wanted = WantedItems()
    not_published: set[str] = set()
    mappers = []
    try:
        memories = [read_memory(file) for file in files] or [Memory()]
        for memory in memories:
            mapper = build_mapper(
                config,
                memory.claims,
                memory.states,
                memory.births,
                schema_patience=0,
                descriptions=memory.descriptions,
            )
            mappers.append(mapper)
            _recall(mapper, memory, wanted, not_published, name)
        if capture is not None:
            _hear(config, mappers[0], capture, wanted, name)
        for file in files:
            _read_book(file, integration, wanted, not_published)
    except sqlite3.Error as error:
        raise NoSignalsError(f"the state in {config.state_dir} cannot be read: {error}") from None
    return wanted


def _recall(mapper: Mapper, memory: Memory, wanted: WantedItems, not_published: set[str], name: str) -> None:
    moved: dict[str, tuple[str, ...]] = {}
    places: set[tuple[str, ...]] = set()
    for written, origin in memory.claims.items():
        integration, claimed = of_integration(written)
        if integration != name:
            continue
        recalled = mapper.recall(written, origin)
        if recalled is not None and recalled.why_unknown == OTHER_IDENTITY:
            moved[claimed] = origin[:3]
        elif recalled is not None and recalled.why_unknown:
            wanted.unknown[claimed] = recalled.why_unknown
        else:
            not_published.add(claimed)
            if recalled is not None:
                places.add(origin[:3])
                if recalled.metadata is not None and recalled.metadata.item is not None:
                    wanted.signals[of_integration(recalled.input_id)[1]] = recalled.metadata
    for claimed, place in moved.items():
        if place in places:  # the signal has its input ID of today already
            not_published.add(claimed)
        else:
            wanted.unknown[claimed] = OTHER_IDENTITY


def _hear(config: Config, mapper: Mapper, capture: Iterable[Taken], wanted: WantedItems, name: str) -> None:
    """Map the messages of the capture; what they tell has precedence."""
    names = [section.name for section in config.sources]
    for taken in capture:
        source = taken.source if taken.source in names else names[0]
        try:
            wanted.unreadable += bool(mapper.map(source, taken.record).rejects)
        except SchemaUnavailableError:
            wanted.unreadable += 1
        for written, metadata in mapper.take_discovered():
            integration, input_id = of_integration(written)
            if integration != name:
                continue
            wanted.unknown.pop(input_id, None)
            if metadata.item is not None:
                wanted.signals[input_id] = metadata
            else:
                wanted.signals.pop(input_id, None)


def _read_book(file: Path, integration: str, wanted: WantedItems, not_published: set[str]) -> None:
    for line in read_lines(file, tuple(MetadataStatus)):
        if line.integration != integration:
            continue
        key = line.input_id
        if line.kind is MetadataKind.SIGNAL:
            if line.status is not MetadataStatus.WAITING:
                wanted.settled[key] = line.digest
        elif key not in wanted.signals and key not in not_published:
            wanted.unknown.setdefault(key, _WITHOUT_ORIGIN)
