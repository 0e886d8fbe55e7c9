"""Sources and the mapper as a configuration describes them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from connector import __version__
from connector.clarify import Api, Credentials, Timeouts
from connector.config.model import Config
from connector.dead_letters.writer import DeadLetterWriter
from connector.formats.sparkplug.topic import Owner
from connector.ledger.source_file import SourceFile
from connector.mapping.mapper import Mapper
from connector.mapping.signals.input_ids import Origin
from connector.mapping.signals.shared_topics import SharedTopic
from connector.runtime.state_dir import SHARED_TOPICS_NOTE, StartError, open_log_file
from connector.sources.section import SourceSection
from connector.sources.source import Source
from connector.state.state import Memory, State, read_note

_CLOSE_SECONDS: Final = 5.0


def build_mapper(
    config: Config,
    claims: Mapping[str, Origin],
    states: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    births: Mapping[str, Iterable[tuple[Owner, bytes]]] = MappingProxyType({}),
) -> Mapper:
    """The mapper that the configuration describes. `claims`, `states` and `births` are what earlier runs remembered.
    Raises `SettingsError` for a file of a format that cannot be used, `StartError` for a folder that cannot."""
    try:
        folder = config.state_dir / "schemas"
        registries = {name: section.build(name, folder) for name, section in config.schema_registries.items()}
        rules = config.rules(registries)
    except OSError as error:
        raise StartError(f"{error.filename or config.state_dir}: {error.strerror or error}") from None
    return Mapper(
        rules,
        claims=claims,
        states=states,
        births=births,
        match_all=config.mapping.match == "all",
        clock_warning_us=round(config.mapping.clock_warning * 1_000_000),
        sources={source.name for source in config.sources},
        unmatched=config.mapping.unmatched,
        bounds=config.time_bounds(),
        max_payload_bytes=config.mapping.max_payload,
        max_values=config.mapping.max_values,
        max_claims=config.signals.guard().most_claims,
        on_identity=config.signals.on_identity,
        without_retained={source.name for source in config.sources if not source.takes_retained},
    )


def mapper_with(config: Config, memory: Memory) -> Mapper:
    """The mapper that the configuration describes, with the facts that a connector remembers. Raises as
    `build_mapper`."""
    return build_mapper(config, memory.claims, memory.states, memory.births)


def message_bytes(config: Config) -> int:
    """The longest payload that is needed whole, in bytes: a longer one is neither mapped nor kept in a dead letter."""
    return max(config.mapping.max_payload, config.dead_letters.max_payload)


def open_client(config: Config) -> Api:
    """The client of Clarify's API; no network yet. Raises `CredentialsError`."""
    section = config.clarify
    return Api(
        Credentials.load(section.credentials, allow_insecure=section.allow_insecure),
        timeout=Timeouts(read=section.timeout, write=section.timeout),
        verify=section.ca_file,
        user_agent=f"clarify-connector/{__version__}",
    )


def shared_topics(file: Path) -> list[SharedTopic]:
    """The topics that several things share, as earlier runs found out."""
    note = read_note(file, SHARED_TOPICS_NOTE)
    found = [] if note is None else json.loads(note.text)
    return [
        SharedTopic(one["source"], one["topic"], tuple(one["fields"]), tuple(one["examples"]), one["why"])
        for one in found
    ]


MakeSource: TypeAlias = Callable[[SourceSection, SourceFile], Source]
"""Makes the source of a section, with its journal and ledger."""


def open_sources(config: Config, make: MakeSource | None, opened: ExitStack) -> list[Source]:
    """All sources of the configuration; no network yet. `make` makes another source of a section than its own kind.
    `opened` is told how to close them. Raises `ConnectorError`."""
    needed = message_bytes(config)
    sources = []
    for section in config.sources:
        file = open_log_file(config, section.name)
        try:
            source = make(section, file) if make else section.open(file, needed)
        except BaseException:
            file.close()
            raise
        opened.callback(source.close, _CLOSE_SECONDS)
        sources.append(source)
    return sources


def open_state(file: Path) -> State:
    """What a connector remembers beside its journals. Raises `StartError`."""
    with _files_that_can_be_used(file):
        return State(file)


def open_dead_letters(config: Config) -> DeadLetterWriter:
    """The writer of dead letters; no network yet. Raises `SettingsError` or `StartError`."""
    section = config.dead_letters
    with _files_that_can_be_used(config.state_dir):
        store = section.open(config.state_dir)
    return DeadLetterWriter(
        store, max_payload=section.max_payload, configuration=config.mapping.digest, version=__version__
    )


@contextmanager
def _files_that_can_be_used(file: Path) -> Iterator[None]:
    """A file that cannot be used is a `StartError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise StartError(f"{file} cannot be used: {error}; is the disk full or read-only?") from None
    except OSError as error:
        raise StartError(f"{error.filename or file} cannot be used: {error.strerror or error}") from None
