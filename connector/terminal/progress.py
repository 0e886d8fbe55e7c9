"""Progress on the terminal: a bar if the total is known, else a count; no output if no person watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click

from connector.clarify.calls import ProgressCallback


def progress_is_shown() -> bool:
    """Whether a person watches the standard error."""
    return sys.stderr.isatty()


def bar(label: str, length: int) -> click._termui_impl.ProgressBar[int]:
    """Return a progress bar on the standard error; the bar is hidden if `length` is 0 or no person watches."""
    hidden = not length or not progress_is_shown()
    return click.progressbar(length=max(1, length), label=label, file=sys.stderr, hidden=hidden)


@contextmanager
def watched(label: str, what: str) -> Iterator[ProgressCallback | None]:
    """Yield the `progress` argument for a call of the client; None if no person watches.

    The callback shows a count, and a bar as soon as the total is known. `what` is the noun for the counted things.
    """
    if not progress_is_shown():
        yield None
        return
    with ExitStack() as opened:
        shown: click._termui_impl.ProgressBar[int] | None = None

        def progress(done: int, total: int | None) -> None:
            nonlocal shown
            if shown is None and total is not None and done < total:
                click.echo("\r\033[K", err=True, nl=False)
                shown = opened.enter_context(bar(label, total))
            if shown is None:
                click.echo(f"\r{label}: {done:,} {what}", err=True, nl=False)
            else:
                shown.update(done - shown.pos)

        yield progress
    click.echo("\r\033[K", err=True, nl=False)
