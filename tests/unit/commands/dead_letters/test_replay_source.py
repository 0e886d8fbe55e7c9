"""The source of a replay keeps the promises of connector/sources/source.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from connector.commands.dead_letters.replay_source import RecordPosition, ReplaySource
from connector.conformance.dead_letters import a_letter
from connector.conformance.sources import SourceConformance, Stage
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.ledger.source_file import SourceFile
from connector.sources.mqtt.section import MqttSection


class ReplayStage(Stage):
    """Dead letters of a source; before each run those are taken out that the run before has settled."""

    finite = True
    keeps_ledger = False

    def __init__(self, folder: Path) -> None:
        self.letters = SqliteLetters(folder / "letters.sqlite", 10**9)
        self.section = MqttSection.model_validate({"type": "mqtt", "url": "mqtt://127.0.0.1:1", "topics": ["t"]})
        self._settled: list[RecordPosition] = []
        self._next = 1

    def publish(self, payloads: Sequence[bytes]) -> None:
        self.letters.add([a_letter(self._next + i, payload) for i, payload in enumerate(payloads)])
        self._next += len(payloads)

    def open(self, file: SourceFile) -> ReplaySource:
        file.close()
        self.letters.forget([letter.key for place in self._settled for letter in self.letters.of_record(*place)])
        self._settled.clear()
        return ReplaySource("mqtt", self.letters, self._settled.extend)


class TestReplay(SourceConformance):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[ReplayStage]:
        stage = ReplayStage(tmp_path)
        yield stage
        stage.letters.close()
