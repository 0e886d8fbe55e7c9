"""The section of the store `letter_folder`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from connector.dead_letters.section import DeadLettersSection

if TYPE_CHECKING:
    from clarify_connector_spool.store import LetterFolder


class LetterFolderSection(DeadLettersSection):
    """A folder with a JSON file for each dead letter."""

    type: Literal["letter_folder"] = Field(description="Kept in a folder, a JSON file each.")
    path: Path = Field(description="The folder.")

    def open(self, folder: Path) -> LetterFolder:
        """The folder, made if need be."""
        from clarify_connector_spool.store import LetterFolder

        return LetterFolder(self.path)

    def open_readable(self, folder: Path) -> LetterFolder | None:
        """The folder, if it is there."""
        return self.open(folder) if self.path.is_dir() else None
