"""Requests by files: an answer is only for its asker, files are for their owner, and a supervisor hands requests on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from connector.observe.log_level import LogLevelAnswer, LogLevelRequest, LogLevels, log_level_files
from connector.observe.logs import configure_logs
from connector.runtime.requests import HandedOn


def test_an_answer_is_for_its_asker_alone(tmp_path: Path) -> None:
    one, two, connector = (log_level_files(tmp_path) for _ in range(3))
    one.ask(LogLevelRequest("debug", 60))
    assert connector.asked() == LogLevelRequest("debug", 60)
    assert connector.asked() is None, "a request is taken once"
    two.ask(LogLevelRequest("error"))
    connector.tell(LogLevelAnswer("info"))  # late, to the first
    assert (one.told(), two.told()) == (LogLevelAnswer("info", []), None)
    assert connector.asked() == LogLevelRequest("error")
    connector.tell(LogLevelAnswer("warning"))
    assert (one.told(), two.told()) == (None, LogLevelAnswer("warning", []))


def test_the_files_are_for_their_owner_and_those_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    asker, connector = log_level_files(tmp_path), log_level_files(tmp_path)
    asker.ask(LogLevelRequest("debug"))
    connector.tell(LogLevelAnswer("info"))
    assert {(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {
        ("log-level.request", 0o600),
        ("log-level.answer", 0o600),
    }
    connector.clear()
    assert connector.asked() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "[]", '{"id": "1"}', '{"id": "1", "unknown": 1}', "\x00"])
def test_an_unreadable_request_is_logged_and_gone(tmp_path: Path, content: str) -> None:
    (tmp_path / "log-level.request").write_text(content)
    connector = log_level_files(tmp_path)
    with structlog.testing.capture_logs() as log:
        assert connector.asked() is None
        assert connector.asked() is None
    assert [line["event"] for line in log] == ["request_unreadable"]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said() -> Iterator[Callable[[], list[str]]]:
    """Writes a line of each level, and returns the levels that are in the log."""
    out = io.StringIO()
    configure_logs("info", "json", out)

    def say() -> list[str]:
        out.seek(0)
        out.truncate()
        for level in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger(), level)("it_happened")
        return [json.loads(line)["level"] for line in out.getvalue().splitlines()]

    yield say
    configure_logs("info", "text")


def test_the_level_changes_for_a_time(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    clock, asker = Clock(), log_level_files(tmp_path)
    levels = LogLevels(log_level_files(tmp_path), "info", clock=clock)
    asker.ask(LogLevelRequest("debug", 600))
    levels.look()
    assert asker.told() == LogLevelAnswer("info", [])
    assert said() == ["debug", "info", "warning", "error"]
    clock.now += 599
    levels.look()
    assert "debug" in said()
    clock.now += 1
    levels.look()
    assert said() == ["info", "warning", "error"]
    asker.ask(LogLevelRequest("error"))
    levels.look()
    clock.now += 1e6
    levels.look()
    assert said() == ["error"]


@pytest.mark.usefixtures("said")
def test_a_supervisor_names_the_workers_that_do_not_answer(tmp_path: Path) -> None:
    clock, asker = Clock(), log_level_files(tmp_path)
    files = {number: log_level_files(tmp_path / str(number), of_worker=True) for number in (1, 2)}
    for number in files:
        (tmp_path / str(number)).mkdir()
    first = LogLevels(log_level_files(tmp_path / "1", of_worker=True), "info")
    supervisor = LogLevels(log_level_files(tmp_path), "info", HandedOn(files, clock), clock)
    asker.ask(LogLevelRequest("debug"))
    supervisor.look()
    first.look()
    supervisor.look()
    assert asker.told() is None
    clock.now += 5
    supervisor.look()
    assert asker.told() == LogLevelAnswer("info", [2])
