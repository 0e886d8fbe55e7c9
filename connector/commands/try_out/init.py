"""The command `init`: writes a first configuration, from the messages of a broker or of a capture."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from connector.brokers.kafka_topics import checked_topic
from connector.commands.try_out.options import duration_option, errors_for_people, from_capture, from_sources
from connector.config.read import load_config
from connector.sources.file.lines import capture_line
from connector.state.files import open_output
from connector.terminal.paths import UserPath
from connector.terminal.text import say, say_text
from connector.try_out.address import Addressed, parse_address
from connector.try_out.capture import STDIN, Taken
from connector.try_out.draft import Draft, draft
from connector.try_out.observed import Observed
from connector.try_out.write_config import config_text

_SECONDS: Final = 30.0
_MOST_FILTERS: Final = 100


@click.command()
@click.argument("address", required=False)
@click.option("--topics", multiple=True, metavar="FILTER", help="Topics to listen to. Can be repeated.  [#]")
@click.option("--for", "seconds", metavar="DURATION", callback=duration_option, help="Listen for this long.  [30s]")
@click.option("--count", type=click.IntRange(1), help="Stop after this number of messages.")
@click.option(
    "--input",
    "input_",
    metavar="CAPTURE",
    type=UserPath(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="Read a capture of `record` instead of listening.",
)
@click.option("--from-beginning", is_flag=True, help="For Kafka: read all stored records instead of only new records.")
@click.option(
    "--output",
    metavar="FILE",
    default="connector.yaml",
    show_default=True,
    type=UserPath(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write; - is the standard output.",
)
@click.option(
    "--save",
    metavar="CAPTURE",
    type=UserPath(path_type=Path, dir_okay=False),
    help="Also write the messages to this capture file.",
)
@click.option("--force", is_flag=True, help="Replace FILE and CAPTURE if they exist.")
@click.option(
    "--username", help="User of the broker. The password is MQTT_PASSWORD or KAFKA_PASSWORD in the environment."
)
@click.option("--ca-file", type=UserPath(exists=True, dir_okay=False), help="Certificate authority of the broker.")
@click.option("--protocol", type=click.Choice(["5", "3.1.1"]), help="MQTT version.  [5]")
@click.option(
    "--mechanism",
    type=click.Choice(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    help="SASL mechanism of Kafka.  [SCRAM-SHA-512]",
)
def init(
    address: str | None,
    topics: tuple[str, ...],
    seconds: float | None,
    count: int | None,
    input_: Path | None,
    from_beginning: bool,
    output: Path,
    save: Path | None,
    force: bool,
    username: str | None,
    ca_file: str | None,
    protocol: str | None,
    mechanism: str | None,
) -> None:
    """Write a commented configuration to start from.

    ADDRESS is mqtt://, mqtts://, ws:// or wss://HOST[:PORT], or kafka:// or kafkas:// (TLS) HOST:PORT[,HOST:PORT].
    The command listens to the broker without disturbing other clients, and reads formats, topics and times off the
    messages. With --input, the command reads a capture, and ADDRESS is only written into the configuration. A password
    is never written: the file has ${MQTT_PASSWORD} instead.
    """
    if address is None and input_ is None:
        raise click.UsageError("name a broker, such as mqtt://localhost:1883, or a capture with --input")
    if save is not None and input_ is not None:
        raise click.UsageError("--save needs a broker to listen to; with --input there is a capture already")
    for file in (output, save):
        if file is not None and file != STDIN and file.exists() and not force:
            raise click.ClickException(f"{file} exists; --force replaces the file, --output names another file")
    where = _address(address, topics, username, ca_file, protocol, mechanism)
    observed = Observed()
    with errors_for_people():
        if input_ is not None:
            records = from_capture(input_, None)
        else:
            assert where is not None  # noqa: S101 - asked above
            limit = seconds if seconds is not None or count is not None else _SECONDS
            records = from_sources([where.section], seconds=limit, count=count, from_beginning=from_beginning)
        for taken in _kept(records, save):
            observed.add(taken.source or "", taken.record, taken.line)
            if input_ is not None and observed.messages == count:
                break
        if not observed.messages:
            raise click.ClickException(_nothing_came(observed, input_, where))
        source = where.settings if where is not None else _placeholder(observed)
        drafted = draft(observed, source)
        drafted.source_is_guess = where is None
        text = config_text(drafted, _heard(address, input_), _preview(output, input_ or save))
        _check(text)
        if output == STDIN:
            say_text(text, end="")
        else:
            with os.fdopen(open_output(output, os.O_TRUNC), "w", encoding="utf-8") as file_:
                file_.write(text)
    _say(drafted, output, input_ or save)


def _address(
    address: str | None,
    topics: tuple[str, ...],
    username: str | None,
    ca_file: str | None,
    protocol: str | None,
    mechanism: str | None,
) -> Addressed | None:
    if address is None:
        return None
    return parse_address(
        address,
        topics,
        username=username,
        ca_file=str(Path(ca_file).resolve()) if ca_file else None,
        protocol=protocol,
        mechanism=mechanism,
    )


def _kept(records: Iterable[Taken], save: Path | None) -> Iterator[Taken]:
    """Yield the records, and write each record to the capture `save`, if there is one."""
    with ExitStack() as opened:
        out = None
        if save is not None:
            out = opened.enter_context(os.fdopen(open_output(save, os.O_TRUNC), "wb"))
        for taken in records:
            if out is not None:
                out.write(capture_line(taken.source or "", taken.record))
            yield taken


def _nothing_came(observed: Observed, input_: Path | None, where: Addressed | None) -> str:
    if observed.unread:
        others = f"; {observed.unread - 1} other lines cannot be read either" if observed.unread > 1 else ""
        like = '{"topic": "plant/line1", "payload": {"v": 1}}'
        return f"{input_}, {observed.unread_such_as}{others}. A line of a capture is a JSON object such as {like}"
    if input_ is not None:
        return f"no message came, so there is nothing to start from: {input_} has none"
    kafka = ", or use --from-beginning for all stored records" if _is_kafka(where) else ""
    return (
        "no message came, so there is nothing to start from: are the topics right? Listen for longer with --for" + kafka
    )


def _placeholder(observed: Observed) -> dict[str, object]:
    """Return a source section for a person to fill in, if only a capture is known."""
    topics = sorted({topic for _, topic in observed.topics})
    keyed = any(seen.keys for seen in observed.topics.values())
    dotted = any("." in topic for topic in topics)
    if observed.stamped * 2 > observed.messages and all(map(_may_be_kafkas, topics)) and (keyed or dotted):
        return {
            "type": "kafka",
            "bootstrap_servers": ["kafka.example.com:9093"],
            "topics": topics,
            "group_id": "clarify-connector",
        }
    filters = list(dict.fromkeys(f"{first}/#" if rest else first for first, _, rest in map(_split, topics)))
    if len(filters) > _MOST_FILTERS or any(
        wildcard in text.removesuffix("/#") for wildcard in "+#\0" for text in filters
    ):
        filters = ["#"]  # a line of a capture may have a topic with a wildcard or NUL, which MQTT does not allow
    return {"type": "mqtt", "url": "mqtts://broker.example.com", "topics": filters}


def _may_be_kafkas(topic: str) -> bool:
    """Whether a topic may be a topic of Kafka: a capture that a person wrote can have times for MQTT topics, too."""
    try:
        return not topic.startswith("^") and bool(checked_topic(topic))
    except ValueError:
        return False


def _split(topic: str) -> tuple[str, str, str]:
    return topic.partition("/")


def _is_kafka(where: Addressed | None) -> bool:
    return where is not None and where.settings["type"] == "kafka"


def _heard(address: str | None, input_: Path | None) -> str:
    if input_ is not None:
        return "standard input" if input_ == STDIN else str(input_)
    return re.split("[?#]", str(address).rpartition("@")[2].rpartition("://")[2], maxsplit=1)[0]


def _preview(output: Path, capture: Path | None) -> str:
    name = "connector.yaml" if output == STDIN else str(output)
    known = f"--input {capture}" if capture is not None and capture != STDIN else "--live 30s"
    return f"clarify-connector preview {name} {known}"


def _check(text: str) -> None:
    """Read the text as `check` does, as the written file must be a valid configuration."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "connector.yaml"
        file.write_text(text, encoding="utf-8")
        load_config(file, without_secrets=True)


def _say(drafted: Draft, output: Path, capture: Path | None) -> None:
    observed = drafted.observed
    say(
        f"{output}: {len(drafted.rules)} rules, {drafted.signals} signals or more, from {observed.messages} messages "
        f"on {len(observed.topics)} topics",
        err=True,
    )
    if drafted.without_rule:
        topics = [seen.topic for rule in drafted.without_rule for seen in rule.group.topics]
        say(
            f"not mapped yet: {len(topics)} topics, such as {topics[0]!r}, become dead letters; the file names "
            "reason and remedy",
            err=True,
        )
    if observed.unread:
        say(f"not read: {observed.unread} lines of the capture, such as {observed.unread_such_as}", err=True)
    say(f"next: read the file, then run {_preview(output, capture)}", err=True)
