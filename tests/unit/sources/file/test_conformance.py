"""The file source keeps the promises of connector/sources/source.py."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from connector.conformance.sources import SourceConformance, Stage
from connector.ledger.source_file import SourceFile
from connector.sources.file.section import FileSection
from connector.sources.file.source import FileSource


class FileStage(Stage):
    """A file that grows."""

    finite = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "data.txt"
        self._path.touch()
        self.section = FileSection.model_validate({"type": "file", "path": str(self._path), "topic": "t"})

    def publish(self, payloads: Sequence[bytes]) -> None:
        with self._path.open("ab") as file:
            file.writelines(payload + b"\n" for payload in payloads)


class StdinStage(Stage):
    """Standard input: each run has the pipe of its own."""

    finite = True
    replays = keeps_positions = rereads = False

    def __init__(self) -> None:
        self._written = b""
        self.section = FileSection.model_validate({"type": "file", "path": "-", "topic": "t"})

    def publish(self, payloads: Sequence[bytes]) -> None:
        self._written += b"".join(payload + b"\n" for payload in payloads)

    def open(self, file: SourceFile) -> FileSource:
        pipe, self._written = io.BytesIO(self._written), b""
        return FileSource(self.section, file, pipe)


class TestFile(SourceConformance):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> FileStage:
        return FileStage(tmp_path)


class TestStandardInput(SourceConformance):
    @pytest.fixture
    def stage(self) -> StdinStage:
        return StdinStage()
