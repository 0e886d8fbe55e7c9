"""A section of the configuration → the store that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connector import __version__
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.section import (
    DeadLettersSection,
    FileLettersSection,
    KafkaLettersSection,
    MqttLettersSection,
    SqliteLettersSection,
)
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLetterStore, ReadableStore
from connector.dead_letters.writer import DeadLetterWriter

SQLITE_FILE: Final = "dead-letters.sqlite"
FILES_FOLDER: Final = "dead-letters"


def open_writer(section: DeadLettersSection, folder: Path, mapping: str) -> DeadLetterWriter:
    """The writer for this section of the configuration; no network yet. `folder` is the `state_dir`; each letter names
    the `mapping` that was in force, by its hash. Raises OSError, ValueError or sqlite3.Error."""
    return DeadLetterWriter(
        _open(section, folder), max_payload=section.max_payload, configuration=mapping, version=__version__
    )


def open_readable(section: DeadLettersSection, folder: Path) -> ReadableStore | None:
    """The store of the connector, or worker, whose state is in this folder; None where it keeps nothing there yet, or
    nothing that can be read. Raises as `open_writer`."""
    if isinstance(section, MqttLettersSection):
        return None
    if isinstance(section, KafkaLettersSection):
        return _kafka(section)
    if isinstance(section, FileLettersSection):
        return _files(section, folder) if (section.path or folder / FILES_FOLDER).is_dir() else None
    return _sqlite(section, folder) if (folder / SQLITE_FILE).exists() else None


def _open(section: DeadLettersSection, folder: Path) -> DeadLetterStore:
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
