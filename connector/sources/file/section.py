"""The section of a file or standard input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from connector.settings import STDIN, Bytes, SourceName
from connector.sources.section import SourceSection

if TYPE_CHECKING:
    from connector.ledger.source_file import SourceFile
    from connector.sources.file.source import FileSource


class FileSection(SourceSection):
    """A file, or standard input, of newline-delimited records: read once, to its end."""

    metric_help: ClassVar[Mapping[str, str]] = {
        "file_lines_total": "Lines read",
        "file_bytes_total": "Bytes read, lines that were settled before included",
        "file_finished": "1 when the end was reached",
    }
    type: Literal["file"] = Field(description="This source is a file or standard input.")
    name: SourceName = Field(default="file", description="A name for logs, metrics, the ledger and its file. Keep it.")
    path: Path = Field(
        description="The file. `-` is standard input, which cannot be read again: at a crash, lines that were read and "
        "not sent are lost."
    )
    records: Literal["payload", "record"] = Field(
        default="payload",
        description="The content of a line: the payload of a message with the topic `topic` (`payload`), or a whole "
        "record as a JSON object (`record`). Such an object has `topic`, and `payload` (JSON), `payload_text` or "
        "`payload_base64`; it may have `time` (RFC 3339 or Unix time), `key`, `headers` and more. `clarify-connector "
        "record` writes such lines; docs/try-out.md describes them.",
    )
    topic: str | None = Field(
        default=None, min_length=1, description="The topic of all lines, with `records: payload`.", examples=["plant/3"]
    )
    max_line: Bytes = Field(
        default="4MiB",  # type: ignore[assignment]
        ge=1024,
        description="Longer lines become dead letters.",
    )

    @field_validator("path")
    @classmethod
    def _not_stdin_by_accident(cls, value: Path) -> Path:
        if value.name == "":
            raise ValueError("must be a file, or - for standard input")
        return value

    @model_validator(mode="after")
    def _topic_where_needed(self) -> FileSection:
        if self.records == "payload" and not self.topic:
            raise ValueError("records: payload needs a topic for its lines; or set records: record")
        if self.records == "record" and self.topic:
            raise ValueError("with records: record every line names its own topic; remove topic")
        return self

    @property
    def is_stdin(self) -> bool:
        """Whether the source reads standard input."""
        return self.path == STDIN

    @property
    def address(self) -> str:
        """The path of the file, or `standard input`, for people."""
        return "standard input" if self.is_stdin else str(self.path)

    @property
    def files(self) -> dict[str, Path | None]:
        """The file of the setting `path`; None for standard input."""
        return {"path": None if self.is_stdin else self.path}

    def open(self, file: SourceFile, message_bytes: int) -> FileSource:  # noqa: ARG002 - max_line bounds the lines
        """Returns the source that reads the file."""
        from connector.sources.file.source import FileSource  # noqa: PLC0415 - loaded only if it is used

        return FileSource(self, file)
