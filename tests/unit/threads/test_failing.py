"""A failure that repeats is logged at once, then ever more rarely; and its end is logged."""

from __future__ import annotations

import structlog

from connector.threads.failing import RepeatedFailure
from tests.scripted import Clock


def test_lines_become_rare_and_the_end_is_said() -> None:
    clock = Clock()
    failing = RepeatedFailure("write_failed", "written_again", clock)
    begin = clock.now
    with structlog.testing.capture_logs() as log:
        failing.works()
        for second in range(3600):
            clock.now = begin + second
            failing.failed(f"disk full: {second} bytes left", file="f")
        failing.works(file="f")
        failing.works(file="f")
    failures = [line for line in log if line["event"] == "write_failed"]
    seconds = [int(str(line["reason"]).split()[2]) for line in failures]
    assert seconds == [0, 30, 90, 210, 450, 930, 1530, 2130, 2730, 3330]
    assert log[len(failures) :] == [
        {"event": "written_again", "log_level": "info", "file": "f", "failures": 3600, "after_seconds": 3599}
    ]
    assert failures[-1]["failures"] == 3331


def test_another_reason_is_news_and_so_is_the_next_failure() -> None:
    clock = Clock()
    failing = RepeatedFailure("write_failed", "written_again", clock)
    with structlog.testing.capture_logs() as log:
        failing.failed("disk full")
        failing.failed("read-only")
        failing.works()
        failing.failed("read-only")
    assert [line["event"] for line in log] == ["write_failed", "write_failed", "written_again", "write_failed"]
