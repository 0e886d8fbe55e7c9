"""Sources and the mapper as a configuration describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from connector import __version__
from connector.config.model import Config
from connector.dead_letters.writer import DeadLetterWriter
from connector.formats.sparkplug.host import Owner
from connector.mapping.mapper import Mapper
from connector.mapping.signals.input_ids import Origin
from connector.runtime.state_dir import StartError
from connector.state.state import Memory


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
        without_retained={source.name for source in config.sources if not source.takes_retained},
    )


def mapper_with(config: Config, memory: Memory) -> Mapper:
    """The same, with what a running connector remembers."""
    return build_mapper(config, memory.claims, memory.states, memory.births)


def message_bytes(config: Config) -> int:
    """The longest payload that is needed whole, in bytes: a longer one is neither mapped nor kept in a dead letter."""
    return max(config.mapping.max_payload, config.dead_letters.max_payload)


def open_dead_letters(config: Config) -> DeadLetterWriter:
    """The writer of dead letters; no network yet. Raises OSError, ValueError or sqlite3.Error."""
    section = config.dead_letters
    return DeadLetterWriter(
        section.open(config.state_dir),
        max_payload=section.max_payload,
        configuration=config.mapping.digest,
        version=__version__,
    )
