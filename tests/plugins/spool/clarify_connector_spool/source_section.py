"""The section of the source `spool`. Light: every start of the connector imports this module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from connector.settings import SourceName
from connector.sources.section import SourceSection

if TYPE_CHECKING:
    from clarify_connector_spool.source import SpoolSource
    from connector.ledger.source_file import SourceFile


class SpoolSection(SourceSection):
    """A folder into which files are dropped: each line is a message, in the order of the files' names."""

    metric_help: ClassVar[Mapping[str, str]] = {
        "spool_lines_total": "Lines read",
        "spool_files_begun": "Files that are not settled yet",
    }

    type: Literal["spool"] = Field(description="This source is a folder of files.")
    name: SourceName = Field(default="spool", description="A name for logs, metrics, the ledger and its file. Keep it.")
    path: Path = Field(
        description="The folder. Write a file elsewhere and rename it into the folder when it is complete, under a "
        "name of its own. It is removed when all of it is settled."
    )
    topic: str = Field(min_length=1, description="The topic of all lines.", examples=["plant/boiler"])

    @property
    def address(self) -> str:
        """Where the source is, for people."""
        return str(self.path)

    def check(self) -> list[str]:
        """The folder must be there."""
        if not self.path.is_dir():
            raise ValueError(f"source {self.name}: path: there is no folder {self.path}")
        return []

    def open(self, file: SourceFile, message_bytes: int) -> SpoolSource:
        """The reader of the folder."""
        from clarify_connector_spool.source import SpoolSource

        return SpoolSource(self, file, message_bytes)
