"""The common parts of the commands: options, the progress bar, listening, and errors."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import click
from pydantic import TypeAdapter, ValidationError

from connector.observe.logs import configure_logs
from connector.settings import Seconds
from connector.sources.section import SourceSection
from connector.terminal.paths import UserPath
from connector.terminal.text import say, shown
from connector.try_out.capture import Taken, capture_size, read_capture
from connector.try_out.live import listen, taps

CONFIG = click.argument("config", type=UserPath(path_type=Path, dir_okay=False))


_SECONDS: Final[TypeAdapter[float]] = TypeAdapter(Seconds)


def duration_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of an option whose value is a duration, as in the configuration. Raises click.BadParameter."""
    try:
        return None if value is None else _SECONDS.validate_python(value)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn an error of a file into one message, and log only errors, so that the output has no lines of the log."""
    configure_logs("error", "text")
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise click.ClickException(f"{error.filename}: {error.strerror or error}") from None


def from_capture(path: Path, topic: str | None) -> Iterator[Taken]:
    """Yield the records of a capture, and show a progress bar if a person watches."""
    size = capture_size(path)
    with click.progressbar(
        length=size or 1, label=shown(f"reading {path.name}"), file=_watched(size is not None)
    ) as bar:
        yield from read_capture(path, topic, bar.update)


def from_sources(
    sections: Sequence[SourceSection],
    *,
    seconds: float | None,
    count: int | None,
    from_beginning: bool,
) -> Iterator[Taken]:
    """Yield the records of the sources from now on, and show a progress bar if a person watches.

    Ctrl-C ends the listening; the records so far count.
    """
    stop = threading.Event()
    with interrupted_by(stop):
        found = taps(sections, from_beginning=from_beginning)
        names = ", ".join(f"{section.name} ({section.address})" for section in sections if section.type != "file")
        length = round(seconds * 10) if seconds is not None else count or 1

        def show(elapsed: float, records: int) -> None:
            done = round(elapsed * 10) if seconds is not None else records
            if elapsed:
                bar.label = f"listening, {records} messages"
            bar.update(max(0, min(done, length) - bar.pos))

        say(f"listening to {names}; Ctrl-C ends the listening early", err=True)
        with click.progressbar(length=length, label="connecting", file=_watched(), show_eta=False) as bar:
            yield from listen(found, seconds=seconds, count=count, stop=stop, tick=show)


def _watched(known: bool = True) -> TextIO:
    """Return the stream for a progress bar: the standard error if `known` and if a person watches, else a buffer."""
    return sys.stderr if known and sys.stderr.isatty() else io.StringIO()


@contextmanager
def interrupted_by(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set `stop`, instead of ending the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
