"""The command `tap`: shows the messages of a running connector, and what they become."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from connector.commands.configuration import CONFIG
from connector.commands.live.pages import RunningPages
from connector.commands.try_out.options import duration_option, interrupted_by
from connector.dead_letters.remedies import remedy
from connector.terminal.text import say, say_json

_EVERY_SECONDS: Final = 0.5
_PAYLOAD: Final = 400
"""The characters of a payload in the output for people; --json has up to 2 KiB."""
_TELL_SECONDS: Final = 5.0


@click.command()
@CONFIG
@click.option("--topic", metavar="FILTER", default="", help="Only topics like plant/+/press, plant/# or *press*.")
@click.option(
    "--input-id",
    "input_id",
    metavar="PATTERN",
    default="",
    help="Only messages with such an input ID, and only these samples; * and ? as in a shell.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object in a line for each message.")
@click.option(
    "--for", "seconds", metavar="DURATION", callback=duration_option, help="End after this long, such as 30s."
)
@click.option("--limit", type=click.IntRange(1), help="End after this number of messages.")
def tap(config: Path, topic: str, input_id: str, as_json: bool, seconds: float | None, limit: int | None) -> None:
    """Show messages of the running connector of CONFIG, and what they become.

    Each message has its samples, and the values that are rejected or left out, with the reason. Nothing is disturbed:
    the connector shows its messages while the command asks, and a part of them where very many come. Ctrl-C ends the
    command. The exit status is 1 if no message came.
    """
    pages = RunningPages(config)
    look = _Look(pages, {name: text for name, text in (("topic", topic), ("input_id", input_id)) if text})
    stop = threading.Event()
    with interrupted_by(stop):
        look.begin()
        say(f"looking at the connector on {pages.listen}; Ctrl-C ends", err=True)
        for message in look.messages(stop, seconds, limit):
            if as_json:
                say_json(message)
            else:
                _write(message)
    say(look.account(), err=True)
    if not look.shown:
        _, said = pages.json("/readyz")
        why = [f"the connector says: {problem}" for problem in said.get("problems", ())]
        raise click.ClickException(
            "; ".join(
                ["no such message came; is the filter right? clarify-connector top CONFIG shows what comes", *why]
            )
        )


class _Look:
    """The questions to the page /tap, one after the other."""

    def __init__(self, pages: RunningPages, filters: Mapping[str, str]) -> None:
        self._pages = pages
        self._filters = filters
        self._next = 0
        self._before: dict[str, int] = {}
        self._seen = dict.fromkeys(("came", "looked_at", "matching"), 0)
        self._told = self._told_at = 0.0
        self.shown = 0

    def begin(self) -> None:
        """Ask for the first time. Raises NoPageError, and click.ClickException if the page refuses the question."""
        answer = self._ask({})
        self._next, self._before = answer["next"], answer["seen"]

    def messages(self, stop: threading.Event, seconds: float | None, limit: int | None) -> Iterator[dict[str, Any]]:
        """Yield messages until `seconds` are over, `limit` messages are shown, or `stop` is set."""
        until = None if seconds is None else time.monotonic() + seconds
        while not stop.is_set():
            left = _EVERY_SECONDS if until is None else min(_EVERY_SECONDS, until - time.monotonic())
            if left <= 0:
                return
            stop.wait(left)
            answer = self._ask({"after": self._next})
            self._next = answer["next"]
            self._count(answer["seen"])
            for message in answer["messages"]:
                self.shown += 1
                yield message
                if self.shown == limit:
                    return
            self._tell()

    def _ask(self, more: Mapping[str, object]) -> dict[str, Any]:
        status, answer = self._pages.json("/tap", {**self._filters, **more})
        if status != 200:
            raise click.ClickException(str(answer.get("error")))
        for trouble in answer.get("silent", ()):
            say(str(trouble), err=True)
        return answer

    def _count(self, seen: Mapping[str, int]) -> None:
        for name in self._seen:
            self._seen[name] += max(0, seen[name] - self._before[name])  # a worker that was restarted begins at 0
        self._before = dict(seen)

    def _tell(self) -> None:
        """Say now and then that only a part is shown."""
        if self._seen["matching"] > self.shown and time.monotonic() > self._told_at:
            self._told_at = time.monotonic() + _TELL_SECONDS
            say(f"{self.account()}; --topic and --input-id choose", err=True)

    def account(self) -> str:
        """Return, for people, how many of the messages were shown."""
        came, looked_at, matching = self._seen.values()
        of = f"{self.shown} of {max(matching, self.shown)} messages shown"
        if looked_at < came:
            return f"{of}; {came - looked_at} of {came} came too fast to look at"
        return of if came == matching else f"{of}, of {came} that came"


def _write(message: Mapping[str, Any]) -> None:
    worker = f"worker {message['worker']}: " if "worker" in message else ""
    kept = " (retained)" if message["retained"] else ""
    key = f", key {message['key']}" if "key" in message else ""
    at = f"{message['partition']} at {message['position']}" if message["partition"] else f"at {message['position']}"
    say(f"{worker}{message['source']}: {message['topic']}{kept}  [{at}{key}, {message['time']}]")
    say(f"    {_payload(message)}")
    for sample in message["samples"]:
        where = f"{sample['integration']}: " if "integration" in sample else ""
        say(f"  → {where}{sample['input']}  {sample['time']}  {sample['value']:.15g}")
    for reject in message["rejects"]:
        what = " ".join(f"{name} {reject[name]}" for name in ("path", "input", "value") if reject.get(name) is not None)
        say(f"  ✗ {reject['reason']}{f' ({what})' if what else ''}: {reject['message']}")
        say(f"    {remedy(reject['reason'])}")
    _more(len(message["samples"]), message["samples_in_all"], "samples")
    _more(len(message["rejects"]), message["rejects_in_all"], "rejects")
    if message["left_out_because"]:
        say(f"  · left out: {message['left_out_because']}")
    elif message["values_left_out"]:
        n = message["values_left_out"]
        say(f"  · {n} {'value' if n == 1 else 'values'} left out, as the mapping says")


def _payload(message: Mapping[str, Any]) -> str:
    size = message["payload_bytes"]
    if "payload_hex" in message:
        return f"{size} bytes: {message['payload_hex'][:_PAYLOAD]}{'…' if size * 2 > _PAYLOAD else ''}"
    text = message["payload"]
    if text is None:
        return "(no payload)"
    if len(text) > _PAYLOAD or len(text.encode()) < size:
        return f"{text[:_PAYLOAD]}… ({size} bytes)"
    return str(text) or "(empty)"


def _more(shown: int, of: int, what: str) -> None:
    if shown < of:
        say(f"  … {shown} of {of} {what} shown")
