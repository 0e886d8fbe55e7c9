"""`clarify-connector dead-letters list | show | replay | drop CONFIG`."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from connector.clarify.iso8601 import microseconds
from connector.commands.clarify.times import read_moment_option
from connector.commands.dead_letters.selection import LetterSelection, SelectionError, read_reason, read_topic
from connector.commands.dead_letters.stores import READING_ERRORS, LettersFile, Shelf, open_shelves, settled
from connector.commands.integration import integration_in
from connector.dead_letters.as_json import as_object
from connector.dead_letters.letter import DeadLetter, time_text
from connector.dead_letters.remedies import remedy
from connector.dead_letters.store import Told
from connector.terminal.paths import UserPath
from connector.terminal.progress import progress_is_shown
from connector.terminal.tables import FORMATS, write_csv, write_json, write_table
from connector.terminal.text import say, say_json

if TYPE_CHECKING:
    from connector.commands.dead_letters.replay import Replay, ReplayResult
    from connector.config.model import Config

_COLUMNS: Final = ("id", "written", "source", "topic", "reason", "values", "bytes", "message")
_ID_LENGTH: Final = 10
_SHOWN_BYTES: Final = 4096
_SHOWN_REJECTS: Final = 20
_AT_ONCE: Final = 500
_F = TypeVar("_F", bound=Callable[..., Any])


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay or drop dead letters.

    Dead letters are messages and values that could not become samples.
    """


def _selecting(command: _F) -> _F:
    for option in (
        click.option("--until", metavar="TIME", help="Only letters written before this time."),
        click.option(
            "--since", metavar="TIME", help="Only letters written at or after this time (RFC 3339, -1h, -7d)."
        ),
        click.option("--source", "sources", multiple=True, help="Only letters of this source. Can be repeated."),
        click.option(
            "--topic",
            "topics",
            multiple=True,
            metavar="PATTERN",
            help="Only letters of these topics: plant/+/state, plant/# or plant/*. Can be repeated.",
        ),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            help="Only letters with this reason, such as invalid_json. Can be repeated.",
        ),
        click.option(
            "--id",
            "ids",
            multiple=True,
            metavar="ID",
            help="Only the letter whose ID begins with this text. Can be repeated.",
        ),
        click.option(
            "--integration", metavar="NAME", help="Only letters with a value that Clarify refused in this integration."
        ),
    ):
        command = option(command)
    return command


_CONFIG = click.argument("config", type=UserPath(path_type=Path, dir_okay=False))
_FROM_FILE = click.option(
    "--from-file",
    type=UserPath(path_type=Path, dir_okay=False, exists=True),
    help="Read letters from this file, one JSON object in each line (as mosquitto_sub prints letters).",
)


@dead_letters.command("list")
@_CONFIG
@_selecting
@_FROM_FILE
@click.option("--summary", is_flag=True, help="Show only the numbers of letters, by reason, source and topic.")
@click.option("--format", "layout", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Number of letters to show, the newest; 0 shows all.",
)
def list_(config: Path, from_file: Path | None, summary: bool, layout: str, limit: int, **wanted: Any) -> None:
    """List dead letters, the newest last."""
    selection = _selection(config, **wanted)
    counts: Counter[tuple[str, str, str]] = Counter()
    letters: deque[tuple[Shelf, DeadLetter]] = deque(maxlen=limit or None)
    n = 0
    with _shelves(config, from_file) as (_, shelves):
        for shelf in shelves:
            for letter in _all(shelf):
                if not selection.takes(letter):
                    continue
                n += 1
                if summary:
                    for reason, values in letter.reasons.items():
                        counts[reason, letter.source, letter.topic] += values
                else:
                    letters.append((shelf, letter))
    if summary:
        _write_summary(counts, n, layout)
        return
    if layout in ("json", "ndjson"):
        write_json([as_object(letter) for _, letter in letters], sys.stdout, lines=layout == "ndjson")
    else:
        rows = [_row(letter) for _, letter in letters]
        (write_csv if layout == "csv" else write_table)(_COLUMNS, rows, sys.stdout)
    if n > len(letters):
        say(f"{n - len(letters)} older ones are not shown; --limit 0 shows all", err=True)
    elif not n:
        say("no dead letters" + ("" if selection.everything else " that are meant"), err=True)


@dead_letters.command()
@_CONFIG
@click.argument("letter_id", metavar="ID")
@_FROM_FILE
@click.option("--hex", "as_hex", is_flag=True, help="Show the bytes in hexadecimal, also if the bytes are text.")
@click.option("--raw", is_flag=True, help="Print only the bytes: all bytes, unchanged.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(config: Path, letter_id: str, from_file: Path | None, as_hex: bool, raw: bool, as_json: bool) -> None:
    """Show one dead letter: origin, errors, remedies and bytes."""
    found: dict[str, DeadLetter] = {}
    with _shelves(config, from_file) as (_, shelves):
        for shelf in shelves:
            found.update((letter.key, letter) for letter in _all(shelf) if letter.key.startswith(letter_id))
    if len(found) != 1:
        what = "several letters begin" if found else "no letter begins"
        raise click.ClickException(f"{what} with {letter_id!r}; `dead-letters list` shows their IDs")
    (letter,) = found.values()
    if raw:
        if letter.record is None or letter.record.payload is None:
            raise click.ClickException(f"the letter has no bytes: {letter.missing or 'the record has none'}")
        if sys.stdout.isatty():
            raise click.ClickException(
                "--raw prints bytes that could control a terminal: redirect the output to a file"
            )
        sys.stdout.buffer.write(letter.record.payload)
    elif as_json:
        write_json(as_object(letter), sys.stdout)
    else:
        for line in _described(letter, as_hex=as_hex):
            say(line)


@dead_letters.command()
@_CONFIG
@_selecting
@_FROM_FILE
@click.option("--dry-run", is_flag=True, help="Show the result of the mapping, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option(
    "--share",
    type=click.FloatRange(0.01, 1.0),
    default=0.25,
    show_default=True,
    help="Share of delivery.requests_per_second that the replay may use. Live traffic has the rest.",
)
def replay(config: Path, from_file: Path | None, dry_run: bool, as_json: bool, share: float, **wanted: Any) -> None:
    """Send dead letters again, through the present mapping.

    The command runs beside the connector, and uses the mapping that CONFIG has now. A letter is removed when the
    letter's samples are inserted. A letter that fails again stays, with the new reason. The exit status is 1 if a
    letter is left.
    """
    from connector.commands.dead_letters.replay import Replay, ReplayResult  # noqa: PLC0415
    from connector.observe.logs import configure_logs  # noqa: PLC0415

    selection = _selection(config, **wanted)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    total = ReplayResult()
    interrupted = False
    with _shelves(config, from_file) as (loaded, shelves):
        configure_logs("warning", loaded.observe.log_format)
        for shelf in shelves:
            with _bar("reading") as told:
                job = Replay(loaded, shelf, selection, share, told)
            try:
                if dry_run:
                    with _bar("mapping") as told:
                        job.try_out(told)
                elif job.total:
                    interrupted = not _run(job, stop)
                total.merge(job.result)
            finally:
                job.close()
            if interrupted:
                break
    if as_json:
        say_json({"dry_run": dry_run, "interrupted": interrupted, **total.as_json()})
    else:
        for line in _told(total, dry_run=dry_run, kept=from_file is not None):
            say(line)
    if interrupted:
        raise click.ClickException(
            "interrupted; run the same command to continue: inserted messages are no dead letters any more"
        )
    if not total.all_succeeded:
        sys.exit(1)


@dead_letters.command()
@_CONFIG
@_selecting
@click.option("--all", "everything", is_flag=True, help="Drop all letters.")
@click.option("--yes", is_flag=True, help="Drop without a question.")
def drop(config: Path, everything: bool, yes: bool, **wanted: Any) -> None:
    """Remove dead letters for good.

    With --reason, a letter that also has another reason stays.
    """
    selection = _selection(config, **wanted)
    if selection.everything != everything:
        options = "--reason, --topic, --source, --since, --until, --id, --integration or --all"
        raise click.UsageError(f"choose letters: {options}")
    with _shelves(config, None) as (_, shelves):
        found: list[tuple[Shelf, list[str]]] = []
        partly = 0
        for shelf in shelves:
            keys = []
            for letter in _all(shelf):
                if selection.takes_all_of(letter):
                    keys.append(letter.key)
                elif selection.takes(letter):
                    partly += 1
            found.append((shelf, keys))
        n = sum(len(keys) for _, keys in found)
        if partly:
            say(f"{partly} letters stay, as each has another reason, too", err=True)
        if not n:
            say("no letter is dropped")
            return
        if not yes:
            click.confirm(f"Drop {n} letters for good?", abort=True)
        done = 0
        with _bar("dropping") as told:
            for shelf, keys in found:
                for start in range(0, len(keys), _AT_ONCE):
                    shelf.store.forget(keys[start : start + _AT_ONCE])
                    done += len(keys[start : start + _AT_ONCE])
                    told(done, n)
        say(f"{n} letters dropped")


# -- details ---------------------------------------------------------------------------------------


def _selection(
    config: Path,
    reasons: Sequence[str],
    topics: Sequence[str],
    sources: Sequence[str],
    since: str | None,
    until: str | None,
    ids: Sequence[str],
    integration: str | None,
) -> LetterSelection:
    only = None
    if integration is not None:
        from connector.config.read import load_config  # noqa: PLC0415 - `--help` needs none of it

        only = integration_in(load_config(config), integration)
    try:
        return LetterSelection(
            frozenset(map(read_reason, reasons)),
            tuple(map(read_topic, topics)),
            frozenset(sources),
            _moment(since, "--since"),
            _moment(until, "--until"),
            tuple(ids),
            only,
        )
    except SelectionError as error:
        raise click.UsageError(str(error)) from None


def _moment(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    moment: datetime = read_moment_option(text, option)
    return microseconds(moment)


@contextmanager
def _shelves(file: Path, letters_file: Path | None) -> Iterator[tuple[Config, list[Shelf]]]:
    """Yield the configuration and the stores of letters; an error of a store becomes a message for people."""
    from connector.config.read import load_config  # noqa: PLC0415 - `--help` needs none of it

    config = load_config(file)
    if letters_file is None and (why := config.dead_letters.why_unreadable):
        raise click.ClickException(why)
    try:
        if letters_file is not None:
            yield config, [Shelf("", config.state_dir, LettersFile(letters_file))]
            return
        with open_shelves(config) as shelves:
            yield config, shelves
    except click.ClickException:
        raise
    except READING_ERRORS as error:
        raise click.ClickException(str(error)) from None


def _all(shelf: Shelf) -> Iterator[DeadLetter]:
    with _bar("reading") as told, settled(shelf.store, told) as letters:
        yield from letters()


@contextmanager
def _bar(label: str) -> Iterator[Told]:
    """Yield a callback that shows progress as a bar, if a person watches and the work takes long."""
    if not progress_is_shown():
        yield lambda _done, _total: None
        return
    with click.progressbar(length=1, label=label, show_pos=True, file=sys.stderr) as bar:

        def told(done: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(done - bar.pos)

        yield told


def _run(job: Replay, stop: threading.Event) -> bool:
    """Run the replay until all letters are settled; False if the replay was interrupted."""
    connector = job.connector()
    pipeline = connector.pipeline
    connector.start()
    trouble: str | None = None
    with _bar("replaying") as told:
        while not stop.is_set() and not pipeline.stopped.wait(0.3):
            connector.supervision.look()
            job.resolve()
            told(job.done, job.total)
            problem = next(iter(connector.problems()), None)
            if problem != trouble and problem is not None:
                say(f"waiting: {problem}", err=True)
            trouble = problem
        finished = pipeline.stopped.is_set() and not stop.is_set()
        connector.stop()
        job.resolve()
        told(job.done, job.total)
    if pipeline.failure:
        raise click.ClickException(pipeline.failure)
    return finished


def _row(letter: DeadLetter) -> tuple[object, ...]:
    record = letter.record
    size = letter.cut.payload_length if letter.cut else len(record.payload or b"") if record else None
    reasons = letter.reasons
    return (
        letter.key[:_ID_LENGTH],
        time_text(letter.written_us),
        letter.source,
        letter.topic,
        ", ".join(sorted(reasons)),
        reasons.total(),
        size,
        letter.rejects[0].message,
    )


def _write_summary(counts: Counter[tuple[str, str, str]], letters: int, layout: str) -> None:
    columns = ("reason", "values", "sources", "topics", "an example")
    reasons: dict[str, tuple[int, set[str], set[str]]] = {}
    for (reason, source, topic), n in counts.items():
        known = reasons.get(reason, (0, set(), set()))
        reasons[reason] = (known[0] + n, known[1] | {source}, known[2] | {topic})
    ordered = sorted(reasons.items(), key=lambda found: -found[1][0])
    rows = [(r, n, ", ".join(sorted(sources)), len(topics), min(topics)) for r, (n, sources, topics) in ordered]
    if layout in ("json", "ndjson"):
        found = [
            {"reason": r, "values": n, "sources": sorted(sources), "topics": len(topics), "example": min(topics)}
            for r, (n, sources, topics) in ordered
        ]
        write_json(found, sys.stdout, lines=layout == "ndjson")
    elif layout == "csv":
        write_csv(columns, rows, sys.stdout)
    else:
        write_table(columns, rows, sys.stdout)
        say(f"{letters} letters, {sum(counts.values())} values or messages")


def _described(letter: DeadLetter, *, as_hex: bool) -> list[str]:
    record = letter.record
    lines = [
        f"id            {letter.key}",
        f"written       {time_text(letter.written_us)}",
        f"by            version {letter.version or '?'}, mapping {letter.configuration or '?'}",
        f"source        {letter.source}",
        f"topic         {letter.topic}",
        f"position      {letter.log_partition} {letter.position}",
        f"time          {time_text(letter.time_us)}",
    ]
    if record is not None and record.key is not None:
        lines.append(f"key           {record.key.decode('utf-8', 'backslashreplace')}")
    if record is not None:
        lines += [f"header        {name}: {value}" for name, value in record.headers]
    for reject in letter.rejects[:_SHOWN_REJECTS]:
        where = f"{reject.input_id} at {time_text(reject.time_us or 0)}" if reject.input_id else reject.path
        what = f" [{where}{'' if reject.value is None else f' = {reject.value}'}]" if where else ""
        lines.append(f"wrong         {reject.reason}{what}: {reject.message}")
    more = len(letter.rejects) - _SHOWN_REJECTS
    if more > 0 or letter.more:
        lines.append(f"              and {max(0, more) + sum(letter.more.values())} more")
    lines += [f"what to do    {reason}: {remedy(reason)}" for reason in sorted(letter.reasons)]
    if record is None:
        lines.append(f"bytes         not here: {letter.missing or 'no reason is known'}; no replay is possible")
    else:
        lines += _bytes(record.payload or b"", letter, as_hex=as_hex)
    return lines


def _bytes(payload: bytes, letter: DeadLetter, *, as_hex: bool) -> list[str]:
    size = f"bytes         {len(payload)}"
    if letter.cut is not None:
        size += (
            f" of {letter.cut.payload_length}: cut ({', '.join(letter.cut.parts)}), so the letter cannot be replayed; "
            f"SHA-256 of all bytes {letter.cut.payload_sha256}"
        )
    if len(payload) > _SHOWN_BYTES:
        size += f"; the first {_SHOWN_BYTES} are shown, --raw gives all"
    shown = payload[:_SHOWN_BYTES]
    try:
        text = shown.decode()
    except UnicodeDecodeError as error:
        text = shown[: error.start].decode() if error.start > len(shown) - 4 else ""
        as_hex = as_hex or not text
    if as_hex:
        return [size, *_hex(shown)]
    # The lines are indented: a payload must not look like a line of this command.
    return [size, *(f"  {line}" for line in text.split("\n"))]


def _hex(data: bytes) -> Iterator[str]:
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):47}  {text}"


def _told(result: ReplayResult, *, dry_run: bool, kept: bool) -> list[str]:
    would = "would become samples (Clarify may still refuse some)" if dry_run else "are in Clarify now"
    lines = [f"{result.succeeded} messages {would}, or are left out by the mapping on purpose"]
    if result.failed_messages:
        lines.append(f"{result.failed_messages} messages {'would fail' if dry_run else 'failed'} again:")
        lines += [f"  {n} {reason}: {result.examples.get(reason, '')}" for reason, n in result.failed.most_common()]
    lines += [f"{n} messages cannot be replayed: {why}" for why, n in result.impossible.most_common()]
    if kept and not dry_run:
        lines.append("The file is unchanged: remove the letters that are not needed any more.")
    return lines
