"""The store `letter_folder`: a JSON file for each dead letter, named by the letter's key."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from connector.dead_letters.as_json import from_json, to_json
from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.store import DeadLettersError, Gone, Told, Usage


class LetterFolder:
    """A `ReadableStore`. The same letter again replaces its file, so that there is no second one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._folder)

    def start(self) -> None:
        """There is nothing to connect to."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Each is written beside its place, made durable, and renamed into it."""
        try:
            for letter in letters:
                part = self._folder / f".{letter.key}-{os.urandom(4).hex()}"
                with part.open("wb") as file:
                    file.write(to_json(letter))
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(self._file(letter.key))
            self._make_names_durable()
        except OSError as error:
            raise DeadLettersError(f"{self._folder} cannot be written: {error.strerror}") from None

    def usage(self) -> Usage:
        """How many letters there are."""
        return Usage(kept=sum(1 for _ in self._folder.glob("*.json")))

    def problems(self) -> list[str]:
        """The folder is gone."""
        return [] if self._folder.is_dir() else [f"there is no folder {self._folder}"]

    def close(self) -> None:
        """Nothing is open."""

    def read(self, told: Told) -> Iterator[DeadLetter | Gone]:
        """In the order in which they were written."""
        files = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for done, path in enumerate(files, 1):
            try:
                yield from_json(path.read_bytes())
            except FileNotFoundError:
                yield Gone(path.stem)
            except (OSError, ValueError) as error:
                raise DeadLettersError(f"{path} cannot be read: {error}") from None
            told(done, len(files))

    def forget(self, keys: Collection[str]) -> None:
        """Their files are removed."""
        try:
            for key in keys:
                self._file(key).unlink(missing_ok=True)
            self._make_names_durable()
        except OSError as error:
            raise DeadLettersError(f"{self._folder} cannot be written: {error.strerror}") from None

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _make_names_durable(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
