"""Sources and the mapper as a configuration describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from connector.config.model import Config, FileSection, KafkaSection, MqttSection, SourceSection
from connector.formats.sparkplug.host import Owner
from connector.ledger.source_file import SourceFile
from connector.mapping.mapper import Mapper
from connector.mapping.signals.input_ids import Origin
from connector.runtime.state_dir import StartError
from connector.sources.journal.disk import DiskJournal
from connector.sources.journal.memory import MemoryJournal
from connector.sources.mqtt.bounded_client import AROUND_PAYLOAD
from connector.sources.mqtt.source import MqttSource
from connector.sources.source import Source
from connector.state.state import Memory

_HASH_LENGTH: Final = 16


def build_mapper(
    config: Config,
    claims: Mapping[str, Origin],
    states: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    births: Mapping[str, Iterable[tuple[Owner, bytes]]] = MappingProxyType({}),
) -> Mapper:
    """The mapper that the configuration describes. `claims`, `states` and `births` are what earlier runs remembered.
    Raises `StartError` for a file of a format that cannot be used."""
    try:
        folder = config.state_dir / "schemas"
        registries = {name: section.build(name, folder) for name, section in config.schema_registries.items()}
        rules = config.rules(registries)
    except (ValueError, OSError) as error:
        raise StartError(str(error)) from None
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
        without_retained={
            source.name for source in config.sources if isinstance(source, MqttSection) and source.retained == "never"
        },
    )


def mapper_with(config: Config, memory: Memory) -> Mapper:
    """The same, with what a running connector remembers."""
    return build_mapper(config, memory.claims, memory.states, memory.births)


def message_bytes(config: Config) -> int:
    """How long a message may be to be kept whole: a longer payload is neither mapped nor kept in a dead letter."""
    return max(config.mapping.max_payload, config.dead_letters.max_payload) + AROUND_PAYLOAD


def open_source(section: SourceSection, file: SourceFile, message_bytes: int) -> Source:
    if isinstance(section, KafkaSection):
        from connector.sources.kafka.source import KafkaSource  # noqa: PLC0415 - librdkafka is loaded where it is needed

        return KafkaSource(section, file)
    if isinstance(section, FileSection):
        from connector.sources.file.source import FileSource  # noqa: PLC0415 - as above

        return FileSource(section, file)
    journal: DiskJournal | MemoryJournal
    if section.journal.storage == "disk":
        journal = DiskJournal(section.name, file, section.journal.max_bytes)
    else:
        journal = MemoryJournal(section.name, file, section.journal.max_bytes)
    return MqttSource(section, file, journal, message_bytes=message_bytes)


def mapping_hash(config: Config) -> str:
    """Tells which mapping was in force. It holds no secret: the mapping has none."""
    text = json.dumps(config.mapping.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
