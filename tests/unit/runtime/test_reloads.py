"""When a reload begins: a signal, a request, a changed file that has stayed the same for one look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connector import ConnectorError
from connector.config.model import Config
from connector.pipeline.notices import Notices
from connector.runtime.reload import Changes
from connector.runtime.reloads import FileWatch, ReloadRequest, Reloads, reload_files
from tests.scripted import Clock


class Process:
    """A process with its reloads; what would be applied is noted."""

    def __init__(self, folder: Path, *, watches: bool | None) -> None:
        self.file = folder / "connector.yaml"
        self.file.write_text("1")
        self.clock, self.notices, self.signals = Clock(), Notices(), 0
        self.used: list[str] = []
        self.error: Exception | None = None
        self.asker, files = reload_files(folder), reload_files(folder)
        self.reloads = Reloads(
            self.file, FileWatch(lambda: [self.file]), self.load, self.use, files, self.notices, watches=watches,
            signals=lambda: self.signals, clock=self.clock,
        )  # fmt: skip

    def load(self) -> Any:
        return SimpleNamespace(text=self.file.read_text(), reload="watch")

    def use(self, config: Config, _: Callable[[], bool]) -> Changes:
        if self.error is not None:
            raise self.error
        self.used.append(config.text)  # type: ignore[attr-defined]
        return Changes([], [], [], 1, mapping=True)

    def look(self, seconds: float = 1.0) -> list[str]:
        self.clock.now += seconds
        self.reloads.look()
        if self.reloads.thread is not None:
            self.reloads.thread.join(20)
        return self.used


def test_signals_and_requests_are_answered_and_a_file_is_read_when_it_has_stayed_the_same(tmp_path: Path) -> None:
    process = Process(tmp_path, watches=True)
    assert process.look() == []
    process.file.write_text("two")
    assert process.look() == [], "it may be in the middle of a change"
    assert process.look() == ["two"]
    assert process.look() == ["two"]
    process.signals += 2
    assert process.look(0.1) == ["two"] * 2
    assert process.look(0.1) == ["two"] * 2, "several signals are one reload"
    process.asker.ask(ReloadRequest())
    assert process.look(0.1) == ["two"] * 3
    answer = process.asker.told()
    assert answer is not None
    assert (answer.done, answer.lines) == (True, ["1 source unchanged: not touched", "mapping: changed"])


@pytest.mark.parametrize("error", [ConnectorError("line one\nline two"), RuntimeError("a bug")])
def test_what_is_refused_is_a_notice_until_a_file_is_used(tmp_path: Path, error: Exception) -> None:
    process = Process(tmp_path, watches=False)
    process.error = error
    process.asker.ask(ReloadRequest())
    process.look()
    answer = process.asker.told()
    assert answer is not None
    assert not answer.done
    (notice,) = process.notices.shown()
    assert (notice.kind, notice.subject) == ("reload_refused", str(process.file))
    assert notice.text.endswith(": the configuration in use stays, as a whole")
    process.error = None
    process.signals += 1
    assert process.look() == ["1"]
    assert process.notices.shown() == []


def test_a_worker_never_watches_and_nothing_begins_when_the_connector_stops(tmp_path: Path) -> None:
    process = Process(tmp_path, watches=None)
    process.signals += 1
    assert process.look() == ["1"]
    process.file.write_text("two")
    assert [process.look() for _ in range(3)] == [["1"]] * 3
    process.reloads.close(20)
    process.signals += 1
    assert process.look() == ["1"]
