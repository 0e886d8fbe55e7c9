"""What a crash leaves in the log: its traceback, and nothing of what was in the variables at that moment."""

from __future__ import annotations

import errno
import io
import json
import re
import subprocess
import sys
import threading

import pytest
import structlog

from connector.observe.logs import configure_logs

MARK = "marked-secret-7f3a"


def token_request(secret: str) -> None:
    form = {"client_secret": secret, "nested": [secret]}
    raise OverflowError(f"{len(form)} fields")


def renewal(secret: str) -> None:
    held = secret.encode()
    try:
        token_request(secret)
    except OverflowError as error:
        raise LookupError(f"{len(held)} bytes") from error


def crash(kind: str) -> None:
    secret = MARK
    if kind == "plain":
        token_request(secret)
    elif kind == "cause":
        renewal(secret)
    elif kind == "context":
        try:
            token_request(secret)
        except OverflowError:
            token_request(secret + "!")
    else:
        errors = []
        for attempt in (token_request, renewal):
            try:
                attempt(secret)
            except (OverflowError, LookupError) as error:
                errors.append(error)
        raise ExceptionGroup("several", errors)


@pytest.mark.parametrize("kind", ["plain", "cause", "context", "group"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_logged_without_local_variables(form: str, kind: str) -> None:
    out = io.StringIO()
    configure_logs("info", form, out)
    try:
        crash(kind)
    except Exception:  # noqa: BLE001 - as the threads of the connector do
        structlog.get_logger().exception("it_crashed")
    said = out.getvalue()
    assert MARK not in said
    for wanted in ("it_crashed", "OverflowError", "2 fields", "token_request", "crash", "test_logs.py"):
        assert wanted in said
    if kind in ("cause", "group"):
        assert "LookupError" in said
        assert "renewal" in said
    if form == "json":
        assert all(json.loads(line)["exception"] for line in said.splitlines())


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_of_another_thread_too(form: str) -> None:
    out = io.StringIO()
    configure_logs("info", form, out, worker=2)

    def work() -> None:
        try:
            crash("cause")
        except LookupError as error:
            structlog.get_logger().error("it_crashed", exc_info=error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert MARK not in out.getvalue()
    assert "renewal" in out.getvalue()


def test_commands_that_do_not_set_up_logging_log_no_local_variables_either() -> None:
    """structlog's own default shows them where rich is installed, as it is with the demo."""
    program = f"""
import click, structlog
from connector.commands.cli import main

@main.command()
def crash():
    secret = "".join({list(MARK)!r})
    try:
        raise OverflowError("2 fields")
    except OverflowError:
        structlog.get_logger().exception("it_crashed")

main(["crash"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert MARK not in done.stdout + done.stderr
    assert "OverflowError: 2 fields" in done.stderr
    assert not done.stdout


def test_a_line_that_cannot_be_written_ends_nothing_and_the_next_one_may_be() -> None:
    class Terminal(io.StringIO):
        is_closed = True

        def write(self, text: str) -> int:
            if self.is_closed:
                raise OSError(errno.EIO, "Input/output error")
            return super().write(text)

    out = Terminal()
    configure_logs("info", "text", out)
    structlog.get_logger().warning("nobody_sees_it")
    out.is_closed = False
    structlog.get_logger().warning("somebody_sees_it")
    assert "nobody_sees_it" not in out.getvalue()
    assert "somebody_sees_it" in out.getvalue()


HOSTILE = "plant\x1b[2J\r\n2026-01-01 forged\x9b1m\u2028\u202e\x7f"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_topic_forges_no_line_and_gives_a_terminal_no_orders(form: str) -> None:
    out = io.StringIO()
    configure_logs("info", form, out)
    log = structlog.get_logger()
    log.warning("it_happened", topic=HOSTILE, topics=[HOSTILE], error=ValueError(HOSTILE), by={HOSTILE: 1})
    log.warning(HOSTILE)
    assert len([line for line in out.getvalue().rstrip("\n").split("\n") if not line.startswith("  ")]) == 2
    assert not {char for char in out.getvalue() if not char.isprintable()} - {"\n"}
    assert "forged" in out.getvalue()


def quote(topic: str) -> None:
    raise ValueError(topic)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_that_quotes_a_topic_forges_no_line(form: str) -> None:
    out = io.StringIO()
    configure_logs("info", form, out)
    try:
        quote(HOSTILE)
    except ValueError:
        structlog.get_logger().exception("it_crashed")
    assert not {char for char in out.getvalue() if not char.isprintable()} - {"\n"}
    assert not [line for line in out.getvalue().split("\n") if line.startswith("2026-01-01")]
    assert "forged" in out.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_text_fits_the_screen_where_it_can(is_terminal: bool) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    out = Screen()
    configure_logs("info", "text", out)
    structlog.get_logger().warning("it_happened", **{f"field_{i}": f"some words {i}" for i in range(20)}, z="y" * 130)
    structlog.get_logger().warning("it_happened", topic="t")
    said = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    *lines, long, short, end = said.split("\n")
    assert {len(line) > 90 and len(line) <= 120 for line in lines[:-1]} == {True}
    assert [line.startswith("  ") for line in lines] == [False] + [True] * (len(lines) - 1)
    assert (long, end) == ("  z=" + "y" * 130, "")
    assert short.endswith("it_happened topic=t")
    assert "\0" not in said
    assert " ".join(line.strip() for line in lines).count("some words") == 20
