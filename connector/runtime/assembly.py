"""Makes the parts of a connector as the configuration describes them: mapper, sources, state, dead letters."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from connector import __version__
from connector.config.model import Config
from connector.config.read import files_in
from connector.dead_letters.writer import DeadLetterWriter
from connector.formats.schema.registry.section import PATIENCE_SECONDS
from connector.formats.sparkplug.topic import Owner
from connector.ledger.source_file import SourceFile
from connector.mapping.mapper import Mapper
from connector.mapping.signals.descriptions import Described
from connector.mapping.signals.input_ids import Origin
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.tags.read import Notation
from connector.mapping.tags.tag import TagList
from connector.runtime.state_dir import SHARED_TOPICS_NOTE, StartError, open_log_file
from connector.runtime.tag_lists import read_tag_file, stamp_of
from connector.sources.section import SourceSection
from connector.sources.source import Source
from connector.state.state import Memory, State, read_note

_CLOSE_SECONDS: Final = 5.0


class ReadMapping:
    """All that a mapper is made of, read from its files: making the mapper cannot fail any more."""

    def __init__(
        self, config: Config, schema_patience: float = PATIENCE_SECONDS, *, tag_files_needed: bool = True
    ) -> None:
        """Read the mapping that the configuration describes.

        A schema that its registry does not have is waited for during `schema_patience` (seconds). Raises
        `SettingsError` if a file of a format cannot be used, `StartError` if the folder of the schemas cannot be used,
        and `TagListError` for a tag list that cannot be used. Without `tag_files_needed`, a list whose file is missing
        is empty.
        """
        self._config = config
        self.fingerprint = fingerprint(config)
        """Tells this mapping from another one; made before the files are read, which may change meanwhile."""
        try:
            folder = config.state_dir / "schemas"
            registries = {
                name: section.build(name, folder, schema_patience) for name, section in config.schema_registries.items()
            }
            self._rules = config.rules(registries)
        except OSError as error:
            raise StartError(f"{error.filename or config.state_dir}: {error.strerror or error}") from None
        self._built_in_tags = config.mapping.built_in_tags()
        self._tags: dict[tuple[Path, Notation], TagList] = {}
        self._tags = {
            (one.file, one.notation): read_tag_file(one.file, one.notation, may_be_missing=not tag_files_needed)
            for one in self.mapper({}).tag_lists
        }
        self.describes = any(rule.describes for rule in self._rules)
        """Whether messages describe signals."""

    def mapper(
        self,
        claims: Mapping[str, Origin],
        states: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        births: Mapping[str, Iterable[tuple[Owner, bytes]]] = MappingProxyType({}),
        descriptions: Iterable[Described] = (),
        before: Mapper | None = None,
    ) -> Mapper:
        """Returns the mapper; `claims`, `states`, `births`, `descriptions` and `before` are as for `Mapper`."""
        config = self._config
        most_claims = config.signals.guard().most_claims
        mapper = Mapper(
            self._rules,
            claims=claims,
            states=states,
            births=births,
            descriptions=descriptions,
            match_all=config.mapping.match == "all",
            clock_warning_us=round(config.mapping.clock_warning * 1_000_000),
            sources={source.name for source in config.sources},
            unmatched=config.mapping.unmatched,
            bounds=config.time_bounds(),
            max_payload_bytes=config.mapping.max_payload,
            max_values=config.mapping.max_values,
            max_claims=None if most_claims is None else most_claims * len(config.clarify.names),
            on_identity=config.signals.on_identity,
            without_retained={source.name for source in config.sources if not source.takes_retained},
            built_in_tags=self._built_in_tags,
            integrations=config.clarify.names,
            before=before,
        )
        for tag_list in mapper.tag_lists:
            if (tags := self._tags.get((tag_list.file, tag_list.notation))) is not None:
                mapper.use_tags(tag_list, tags)
        return mapper


def fingerprint(config: Config) -> tuple[object, ...]:
    """Returns what is equal for two mappings only if nothing that a mapper is made of has changed.

    Files of formats, and tag lists, also those of presets, count by their inodes, sizes and times.
    """
    mapping = config.mapping
    files = [(str(file), stamp_of(file)) for file in sorted(files_in([mapping, *mapping.sections()]))]
    sources = sorted((source.name, source.takes_retained) for source in config.sources)
    return mapping.digest, config.signals, config.schema_registries, sources, config.clarify.names, files


def build_mapper(
    config: Config,
    claims: Mapping[str, Origin],
    states: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    births: Mapping[str, Iterable[tuple[Owner, bytes]]] = MappingProxyType({}),
    schema_patience: float = PATIENCE_SECONDS,
    descriptions: Iterable[Described] = (),
    *,
    tag_files_needed: bool = True,
) -> Mapper:
    """Returns the mapper that the configuration describes; raises as `ReadMapping`.

    `claims`, `states`, `births` and `descriptions` come from earlier runs.
    """
    mapping = ReadMapping(config, schema_patience, tag_files_needed=tag_files_needed)
    return mapping.mapper(claims, states, births, descriptions)


def mapper_with(config: Config, memory: Memory) -> Mapper:
    """Returns the mapper that the configuration describes, with the facts in `memory`; raises as `build_mapper`."""
    return build_mapper(config, memory.claims, memory.states, memory.births, descriptions=memory.descriptions)


def message_bytes(config: Config) -> int:
    """Returns the longest payload that is needed, in bytes; longer payloads are neither mapped nor kept whole."""
    return max(config.mapping.max_payload, config.dead_letters.max_payload)


def shared_topics(file: Path) -> list[SharedTopic]:
    """Returns the topics that several things share, as earlier runs discovered; `file` is the state file."""
    note = read_note(file, SHARED_TOPICS_NOTE)
    found = [] if note is None else json.loads(note.text)
    return [
        SharedTopic(one["source"], one["topic"], tuple(one["fields"]), tuple(one["examples"]), one["why"])
        for one in found
    ]


MakeSource: TypeAlias = Callable[[SourceSection, SourceFile], Source]
"""Makes the source of a section; the file has the source's journal and ledger."""


def open_sources(config: Config, make: MakeSource | None, opened: ExitStack) -> list[Source]:
    """Returns all sources of the configuration; uses no network yet.

    `make`, if given, makes the source of a section in place of the section's own kind. `opened` gets a call that closes
    each source. Raises `ConnectorError`.
    """
    sources = []
    for section in config.sources:
        source = open_source(config, section, make)
        opened.callback(source.close, _CLOSE_SECONDS)
        sources.append(source)
    return sources


def open_source(config: Config, section: SourceSection, make: MakeSource | None = None) -> Source:
    """Returns the source of a section; uses no network yet. `make` is as in `open_sources`. Raises `ConnectorError`."""
    file = open_log_file(config, section.name)
    try:
        return make(section, file) if make else section.open(file, message_bytes(config))
    except BaseException:
        file.close()
        raise


def open_state(file: Path) -> State:
    """Returns the state that a connector keeps beside its journals. Raises `StartError`."""
    with _files_that_can_be_used(file):
        return State(file)


def open_dead_letters(config: Config) -> DeadLetterWriter:
    """Returns the writer of dead letters; uses no network yet. Raises `SettingsError` or `StartError`."""
    section = config.dead_letters
    with _files_that_can_be_used(config.state_dir):
        store = section.open(config.state_dir)
    return DeadLetterWriter(
        store, max_payload=section.max_payload, configuration=config.mapping.digest, version=__version__
    )


@contextmanager
def _files_that_can_be_used(file: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the system into `StartError`; `file` is the name if the error has none."""
    try:
        yield
    except sqlite3.Error as error:
        raise StartError(f"{file} cannot be used: {error}; is the disk full or read-only?") from None
    except OSError as error:
        raise StartError(f"{error.filename or file} cannot be used: {error.strerror or error}") from None
