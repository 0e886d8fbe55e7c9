"""The suite of the sources lets a small source pass that keeps all promises, and finds each promise that is broken."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from connector.conformance import sources, waiting
from connector.conformance.sources import SourceConformance, Stage
from connector.ledger.account import Commit, SettledRange
from connector.ledger.source_file import SourceFile
from connector.records import Chunk, Record
from connector.sources.section import SourceSection
from connector.sources.source import Reread, Source, SourceFinishedError
from tests.secrets_used import SETTING as SECRET


class ListSection(SourceSection):
    """A list of lines."""

    type: Literal["list"] = Field(default="list", description="This source is a list.")
    name: str = Field(default="list", description="Its name.")

    @property
    def address(self) -> str:
        """Where it is."""
        return "memory"


class ListSource(Source):
    """Lines in a list, in chunks of 100. `fault` names the promise that it breaks."""

    def __init__(self, log: list[bytes], file: SourceFile, fault: str) -> None:
        self.name = "another" if fault == "name" else "list"
        self._log = log
        self._file = file
        self._fault = fault
        self._settled = self._next = max((found.next for found in file.ledger.ranges("list")), default=0)
        self._shift = self._next if fault == "positions from 1 in each run" else 0
        self._stopped = self._closed = False
        self._given = 0
        self._threads = [threading.Thread(target=self._end.wait, daemon=True)] if fault == "thread" else []

    _end = threading.Event()
    """Ends the threads that the source with the fault leaves behind."""

    def start(self, handover: Any) -> None:
        for thread in self._threads:
            thread.start()

    def poll(self, timeout: float) -> Chunk | None:
        if self._stopped and self._fault != "stop_reading":
            return None
        if self._fault == "finished" and self._next == len(self._log):
            raise SourceFinishedError
        lines = self._log[self._next : self._next + 100]
        if not lines:
            return None
        first, self._next = self._next, self._next + len(lines)
        self._given += 1
        if self._fault == "a record is lost" and self._given == 2:
            lines[7] = lines[8]
        if self._fault == "a chunk comes twice" and self._given == 2:
            self._next = first
        if self._fault == "order":
            lines.reverse()
        positions: Sequence[int] = range(first - self._shift, first - self._shift + len(lines))
        if self._fault == "positions fall":
            positions = list(reversed(positions))
        return Chunk("list", "list", positions, [Record("t", line, 1) for line in lines])

    def hold(self) -> None:
        if self._fault == "hold" and self._next < len(self._log):
            self._next += 1

    def commit(self, commit: Commit) -> None:
        end = commit.position + self._shift + 1
        if self._fault == "commits all that was polled":
            end = self._next
        if self._fault == "never commits" or end <= self._settled:
            return
        tallies = {} if self._fault == "account" else commit.tallies
        self._file.ledger.add_ranges(
            [SettledRange("list", self._settled, end, end - self._settled)],
            [Commit(commit.source, commit.partition, commit.position, tallies)],
        )
        self._settled = end

    def read_again(self, partition: str, positions: Sequence[int], max_bytes: int) -> Reread:
        if self._fault == "read_again raises":
            return Reread({p: Record("t", self._log[p], 1) for p in positions}, len(positions))
        found = {p: Record("t", self._log[p], 2) for p in positions if p < len(self._log)}
        if self._fault == "reads another again":
            found = {p: Record("t", self._log[0], 2) for p in found}
        if self._fault == "looks for none":
            return Reread({}, 0, "it is gone")
        return Reread(found, len(positions), "" if self._fault == "no reason" else "it is gone")

    def stop_reading(self) -> None:
        self._stopped = True

    def close(self, timeout: float) -> None:
        if self._fault == "close twice" and self._closed:
            raise RuntimeError("closed")
        self._closed = True
        self._file.close()

    def problems(self) -> list[str]:
        if self._fault == "a secret" and self._stopped:
            return [f"refused: {SECRET}"]
        return [""] if self._fault == "a problem without text" and self._stopped else []

    def gauges(self) -> dict[str, float]:
        found: dict[str, float] = {"list_given": self._given}
        if self._fault == "a metric comes and goes" and self._given:
            found["list_other"] = 1
        if self._fault == "a metric is no number":
            found["list_given"] = float("nan")
        return found


class ListStage(Stage):
    secrets = (SECRET,)

    def __init__(self, fault: str = "") -> None:
        self.section = ListSection()
        self._log: list[bytes] = []
        self._fault = fault

    def publish(self, payloads: Sequence[bytes]) -> None:
        self._log += payloads

    def open(self, file: SourceFile) -> Source:
        return ListSource(self._log, file, self._fault)


class TestList(SourceConformance):
    @pytest.fixture
    def stage(self) -> ListStage:
        return ListStage()


ALL_COME = "test_all_messages_come_once_and_in_order"
RESTART = "test_after_a_restart_only_what_was_not_committed_comes_again"
NEW = "test_new_messages_come_after_a_restart_and_each_has_a_place_of_its_own"
REREAD = "test_records_can_be_read_again_until_they_are_committed"
ASKED = "test_at_any_time_it_can_be_asked_how_it_is"


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("name", ALL_COME),
        ("finished", ALL_COME),
        ("a record is lost", ALL_COME),
        ("a chunk comes twice", ALL_COME),
        ("order", ALL_COME),
        ("positions fall", ALL_COME),
        ("hold", "test_a_source_that_is_held_gives_nothing_and_stays_alive"),
        ("stop_reading", "test_after_stop_reading_only_what_was_taken_in_still_comes"),
        ("commits all that was polled", RESTART),
        ("never commits", RESTART),
        ("account", RESTART),
        ("positions from 1 in each run", NEW),
        ("read_again raises", REREAD),
        ("reads another again", REREAD),
        ("looks for none", REREAD),
        ("no reason", REREAD),
        ("close twice", "test_a_source_can_be_closed_twice_and_without_a_start"),
        ("thread", "test_its_threads_end_with_it"),
        ("a secret", ASKED),
        ("a problem without text", ASKED),
        ("a metric comes and goes", ASKED),
        ("a metric is no number", ASKED),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_source_that_breaks_a_promise_does_not_pass(
    fault: str, test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sources, waiting):
        monkeypatch.setattr(module, "PATIENCE", 1.0)
    monkeypatch.setattr(ListSource, "_end", threading.Event())
    suite = SourceConformance()
    getattr(suite, test)(ListStage(), tmp_path / "good.sqlite", {})
    with pytest.raises((AssertionError, RuntimeError)):
        getattr(suite, test)(ListStage(fault), tmp_path / "bad.sqlite", {})
    ListSource._end.set()
