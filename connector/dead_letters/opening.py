"""A section of the configuration → the store that it describes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connector import __version__
from connector.config.dead_letters import (
    FileLettersSection,
    KafkaLettersSection,
    MqttLettersSection,
    SqliteLettersSection,
)
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLetterStore, ReadableStore
from connector.dead_letters.writer import DeadLetterWriter

if TYPE_CHECKING:
    from connector.config import Config

SQLITE_FILE: Final = "dead-letters.sqlite"
FILES_FOLDER: Final = "dead-letters"
_HASH_LENGTH: Final = 16


def open_writer(config: Config) -> DeadLetterWriter:
    """The writer for this configuration; no network yet. Raises OSError, ValueError or sqlite3.Error."""
    return DeadLetterWriter(
        _open(config, config.state_dir),
        max_payload=config.dead_letters.max_payload,
        configuration=mapping_hash(config),
        version=__version__,
    )


def open_readable(config: Config, folder: Path) -> ReadableStore | None:
    """The store of the connector, or worker, whose state is in this folder; None where it keeps nothing there yet, or
    nothing that can be read. Raises as `open_writer`."""
    section = config.dead_letters
    if isinstance(section, MqttLettersSection):
        return None
    if isinstance(section, KafkaLettersSection):
        return _kafka(section)
    if isinstance(section, FileLettersSection):
        return _files(section, folder) if (section.path or folder / FILES_FOLDER).is_dir() else None
    return _sqlite(section, folder) if (folder / SQLITE_FILE).exists() else None


def mapping_hash(config: Config) -> str:
    """Tells which mapping was in force. It holds no secret: the mapping has none."""
    text = json.dumps(config.mapping.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def _open(config: Config, folder: Path) -> DeadLetterStore:
    section = config.dead_letters
    if isinstance(section, FileLettersSection):
        return _files(section, folder)
    if isinstance(section, KafkaLettersSection):
        return _kafka(section)
    if isinstance(section, MqttLettersSection):
        from connector.dead_letters.mqtt_store import MqttLetters  # noqa: PLC0415 - paho is loaded where it is needed

        return MqttLetters(section)
    return _sqlite(section, folder)


def _files(section: FileLettersSection, folder: Path) -> ReadableStore:
    path = section.path or folder / FILES_FOLDER
    return FileLetters(path, section.max_file_bytes, section.max_files, section.when_full)


def _kafka(section: KafkaLettersSection) -> ReadableStore:
    from connector.dead_letters.kafka_store import KafkaLetters  # noqa: PLC0415 - librdkafka, as above

    return KafkaLetters(section)


def _sqlite(section: SqliteLettersSection, folder: Path) -> ReadableStore:
    return SqliteLetters(folder / SQLITE_FILE, section.max_bytes, section.when_full)
