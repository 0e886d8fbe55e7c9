"""The section on dead letters: where letters are kept, how many, and the policy for a full store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from connector.brokers.findings import Examination, Look, ok
from connector.settings import Bytes, Destination, Section

if TYPE_CHECKING:
    from connector.dead_letters.file_store import FileLetters
    from connector.dead_letters.sqlite_store import SqliteLetters
    from connector.dead_letters.store import DeadLetterStore, ReadableStore

WhenFull: TypeAlias = Literal["discard_oldest", "stop"]
SQLITE_FILE: Final = "dead-letters.sqlite"
FILES_FOLDER: Final = "dead-letters"
"""The names in `state_dir` of the file and of the folder, unless the section says otherwise."""
_LEAST_TO_STOP: Final = 32 * 1024**2
"""The smallest bound, in bytes, of a store with `when_full: stop`: more than is ever written to a store at once."""


class DeadLettersSection(Section):
    """The base of the sections of all kinds of stores.

    A kind of store is a subclass. Its fields are the settings. Its methods answer the connector's questions about the
    kind. The methods import the libraries of the kind themselves, so that only a store that is used loads its
    libraries.
    """

    type: str = Field(description="The kind of store.")

    max_payload: Bytes = Field(
        default="512KiB",  # type: ignore[assignment]
        ge=1024,
        le=64 * 1024**2,
        description="Longer payloads, keys and headers are cut; length and SHA-256 of the payload are kept. A letter "
        "that was cut cannot be replayed.",
    )

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → file, for the files that the section names. `check` looks whether the files exist."""
        return {}

    @property
    def warnings(self) -> list[str]:
        """Warnings for people about settings that work and are not wise."""
        return []

    @property
    def destination(self) -> Destination | None:
        """The place where letters are published, if a source could read them there; else None."""
        return None

    @property
    def why_unreadable(self) -> str | None:
        """Why letters cannot be read from the store, with a remedy, for people; None if letters can be read."""
        return None

    def examine(self, asked: Examination) -> Look:
        """Look at the store, for `doctor`: connect, and write nothing. The default connects to nothing."""
        del asked
        yield ok("store", f"{self.type}: in files of this machine")
        return True

    def for_worker(self, worker: int) -> Self:
        """The section for worker number `worker`, counted from 1."""
        del worker
        return self

    def open(self, folder: Path) -> DeadLetterStore:
        """The store, without using the network yet. Raises OSError, ValueError or sqlite3.Error.

        `folder` is the `state_dir`.
        """
        raise NotImplementedError

    def open_readable(self, folder: Path) -> ReadableStore | None:
        """The store of the connector or worker whose state is in `folder`. Raises the errors of `open`.

        None if the store has no letters there yet, or if its letters cannot be read.
        """
        raise NotImplementedError


class SqliteLettersSection(DeadLettersSection):
    """An SQLite file in state_dir: the default."""

    type: Literal["sqlite"] = Field(default="sqlite", description="Kept in an SQLite file in state_dir.")
    max_bytes: Bytes = Field(
        default="256MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        description="How much is kept.",
    )
    when_full: WhenFull = Field(
        default="discard_oldest",
        description="At the bound: discard the oldest, counted and logged; or stop taking data in until there is room.",
    )

    @model_validator(mode="after")
    def _room_for_some(self) -> SqliteLettersSection:
        if self.when_full == "stop" and self.max_bytes < max(_LEAST_TO_STOP, 8 * self.max_payload):
            raise ValueError(
                "max_bytes must be at least 32MiB, and eight times max_payload, with when_full: stop: what is written "
                "at once would never fit otherwise"
            )
        return self

    def open(self, folder: Path) -> SqliteLetters:
        """The store in the file in `folder`."""
        from connector.dead_letters.sqlite_store import SqliteLetters  # noqa: PLC0415 - loaded where it is used

        return SqliteLetters(folder / SQLITE_FILE, self.max_bytes, self.when_full)

    def open_readable(self, folder: Path) -> SqliteLetters | None:
        """The store in the file in `folder`; None without the file."""
        return self.open(folder) if (folder / SQLITE_FILE).exists() else None


class FileLettersSection(DeadLettersSection):
    """Files of newline-delimited JSON, one letter a line: for log collectors, jq and editors."""

    type: Literal["file"] = Field(description="Kept in files of newline-delimited JSON.")
    path: Path | None = Field(
        default=None,
        description="The folder of the files. Default: `dead-letters` in state_dir.",
        examples=["/var/log/clarify-connector/dead-letters"],
    )
    max_file_bytes: Bytes = Field(
        default="32MiB",  # type: ignore[assignment]
        ge=64 * 1024,
        description="A file that has grown to this size is closed, and a new one is begun.",
    )
    max_files: int = Field(default=8, ge=2, le=10_000, description="How many files are kept.")
    when_full: WhenFull = Field(
        default="discard_oldest",
        description="With so many files: discard the oldest, counted and logged; or stop taking data in until some are "
        "dropped, replayed, or moved away.",
    )

    @model_validator(mode="after")
    def _room_for_some(self) -> FileLettersSection:
        if self.max_file_bytes < 2 * self.max_payload:
            raise ValueError("max_file_bytes must be at least twice max_payload: a letter is one line of one file")
        if self.when_full == "stop" and self.max_file_bytes * self.max_files < _LEAST_TO_STOP:
            raise ValueError(
                "max_file_bytes times max_files must be at least 32MiB with when_full: stop: what is written at once "
                "would never fit otherwise"
            )
        return self

    def open(self, folder: Path) -> FileLetters:
        """The store in the folder of files."""
        from connector.dead_letters.file_store import FileLetters  # noqa: PLC0415 - loaded where it is used

        return FileLetters(self.path or folder / FILES_FOLDER, self.max_file_bytes, self.max_files, self.when_full)

    def open_readable(self, folder: Path) -> FileLetters | None:
        """The store in the folder of files; None without the folder."""
        return self.open(folder) if (self.path or folder / FILES_FOLDER).is_dir() else None
