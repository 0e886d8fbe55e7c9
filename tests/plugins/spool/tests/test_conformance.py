"""The kinds of this package keep the promises that the connector's own keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from clarify_connector_spool.format_section import TelegramSection
from clarify_connector_spool.source_section import SpoolSection
from clarify_connector_spool.store_section import LetterFolderSection

from connector.conformance.dead_letters import ReadablePlace, ReadableStoreConformance
from connector.conformance.formats import Example, FormatConformance
from connector.conformance.sources import SourceConformance, Stage
from connector.dead_letters.store import ReadableStore


class SpoolStage(Stage):
    """A folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "spool"
        self._folder.mkdir()
        self.section = SpoolSection(type="spool", path=self._folder, topic="plant/boiler")
        self._files = 0

    def publish(self, payloads: Sequence[bytes]) -> None:
        """In several files: the last line of a file need not be ended."""
        for start in range(0, len(payloads), 250):
            self._files += 1
            part = self._folder.parent / "part"
            part.write_bytes(b"\n".join(payloads[start : start + 250]))
            part.rename(self._folder / f"{self._files:06}.txt")


class TestSpool(SourceConformance):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> SpoolStage:
        return SpoolStage(tmp_path)


class TestTelegram(FormatConformance):
    @pytest.fixture(params=[b"$boiler,t=21.5*62", b"$K7,t=-3,p=4.25,rpm=1480*08"])
    def example(self, request: pytest.FixtureRequest) -> Example:
        return Example.of(TelegramSection(type="telegram"), request.param)


class LetterFolderPlace(ReadablePlace):
    """A folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "letters"
        self._section = LetterFolderSection(type="letter_folder", path=self._folder)

    def open(self) -> ReadableStore:
        return self._section.open(self._folder.parent)

    def fail(self) -> None:
        self._folder.rename(self._folder.with_name("away"))
        self._folder.touch()

    def mend(self) -> None:
        self._folder.unlink()
        self._folder.with_name("away").rename(self._folder)


class TestLetterFolder(ReadableStoreConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> LetterFolderPlace:
        return LetterFolderPlace(tmp_path)
