"""The command `tags`: writes the tag lists of a configuration, with a row for each key that messages have."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

import click

from connector.commands.try_out.options import CONFIG, duration_option, errors_for_people, from_capture, from_sources
from connector.formats.format import SchemaUnavailableError
from connector.mapping.tags.source import TagListInUse
from connector.mapping.tags.written import NewTag, may_be_written, with_rows
from connector.terminal.paths import UserPath
from connector.terminal.text import say
from connector.try_out.capture import Taken
from connector.try_out.mapping import TriedMapping

_SEPARATORS: Final = {"semicolon": ";", "comma": ",", "tab": "\t", "pipe": "|"}


@click.command()
@CONFIG
@click.option(
    "--from",
    "capture",
    metavar="CAPTURE",
    type=UserPath(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="Read a capture of `record`; - is the standard input.",
)
@click.option("--topic", help="Topic of all lines of CAPTURE, if each line is only a payload.")
@click.option(
    "--live", metavar="DURATION", callback=duration_option, help="Listen to the sources for this long, such as 30s."
)
@click.option("--count", type=click.IntRange(1), help="Stop after this number of messages.")
@click.option(
    "--from-beginning", is_flag=True, help="With --live: read all stored records of Kafka instead of only new records."
)
@click.option(
    "--separator",
    type=click.Choice(list(_SEPARATORS)),
    default="semicolon",
    show_default=True,
    help="Separator of a new list. An existing list keeps its own.",
)
def tags(
    config: Path,
    capture: Path | None,
    topic: str | None,
    live: float | None,
    count: int | None,
    from_beginning: bool,
    separator: str,
) -> None:
    """Write the tag lists of CONFIG: a row for each signal that real messages have.

    The messages come from a capture (--from), or directly from the sources (--live). A running connector is not
    disturbed. A list that exists keeps all that it has; keys that it lacks are added at its end. Fill in the columns
    name, unit …; the columns whose titles begin with # are remarks for you.
    """
    if (capture is None) == (live is None):
        raise click.UsageError("choose the messages: --from CAPTURE, or --live 30s")
    if topic is not None and capture is None:
        raise click.UsageError("--topic needs --from")
    if from_beginning and live is None:
        raise click.UsageError("--from-beginning needs --live")
    with errors_for_people():
        mapping = TriedMapping.load(config, without_secrets=live is None, learns_tags=True)
        if not mapping.tag_lists:
            raise click.ClickException(
                "the configuration has no tag list; write tags: {file: tags.csv} into the section mapping, or into a "
                "rule with a key: tags: {file: tags.csv, key: '{line}/{field}'}"
            )
        if capture is not None:
            records = from_capture(capture, topic)
        else:
            records = from_sources(mapping.config.sources, seconds=live, count=count, from_beginning=from_beginning)
        examples = _examples(mapping, islice(records, count))
        for used in mapping.tag_lists:
            _write(used, mapping, examples, _SEPARATORS[separator])


def _examples(mapping: TriedMapping, records: Iterable[Taken]) -> dict[str, float]:
    """Map all records; returns input ID → the last value."""
    examples: dict[str, float] = {}
    without_schema = number = 0
    for number, taken in enumerate(records, 1):  # noqa: B007 - the last one counts
        try:
            mapped = mapping.map(mapping.source_for(taken.source), taken.record)
        except SchemaUnavailableError:
            without_schema += 1
        else:
            examples.update((input_id, value) for input_id, _, value in mapped.samples)
    if not number:
        raise click.ClickException("no message came, and nothing was written: are the topics right?")
    if without_schema:
        say(f"not read, since their schemas are not available: {without_schema} messages", err=True)
    return examples


def _write(used: TagListInUse, mapping: TriedMapping, examples: dict[str, float], separator: str) -> None:
    new = [_new(key, found.topic, found.input_id, mapping, examples) for key, found in used.unknown.items()]
    written = [tag for tag in new if may_be_written(tag.key)]
    file = used.file
    before = file.read_bytes() if file.exists() else None
    if written:
        after = with_rows(before, str(file), used.notation, written, separator)
        _replace(file, before, after)
        if before is not None and not after.startswith(before):
            say(f"{file}: is UTF-8 now, since a new key has a character that its encoding lacked", err=True)
    say(f"{file}: {len(written)} keys added, {len(used.tags.tags)} were there", err=True)
    unused = used.unused()
    if unused:
        say(f"{file}: no message had {len(unused)} of these keys, such as {unused[0]!r}", err=True)
    if len(written) < len(new):
        left = next(tag.key for tag in new if not may_be_written(tag.key))
        number = len(new) - len(written)
        say(f"{file}: left out: {number} keys that are empty or not printable, such as {left!r}", err=True)
    if used.unknown_beyond:
        say(f"{file}: there are more keys; run the command again for the next ones", err=True)
    for text in used.conflicts.values():
        say(f"{file}: {text}", err=True)


def _new(key: str, topic: str, input_id: str, mapping: TriedMapping, examples: dict[str, float]) -> NewTag:
    metadata = mapping.metadata.get(input_id)
    example = examples.get(input_id)
    name = metadata.name if metadata is not None and metadata.name != input_id else ""
    unit = "" if metadata is None else metadata.unit
    return NewTag(key, topic, "" if example is None else f"{example:.12g}", name, unit)


def _replace(file: Path, before: bytes | None, after: bytes) -> None:
    """Replace the content of a file in one step; a link stays a link. Raises OSError."""
    target = file.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(after)
            written.flush()
            os.fsync(written.fileno())
        if before is not None:
            shutil.copymode(target, draft)
            if target.read_bytes() != before:
                raise click.ClickException(f"{file} was changed meanwhile; run the command again")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
