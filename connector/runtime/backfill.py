"""`clarify-connector backfill`: maps a range of Kafka's records once more, beside the live connector.

A backfill has its own ledger, dead letters and lock, in a folder of `state_dir/backfill`. The backfill shares the state
file of the live connector, and so the owners of the input IDs. The folder's name comes from the source and the range.
So the same command continues an interrupted backfill.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from connector import ConnectorError
from connector.config.model import Config
from connector.ledger.source_file import SourceFile
from connector.runtime.connector import Connector
from connector.sources.range import OffsetRange, RangeAsked, RangeSource
from connector.sources.section import SourceSection
from connector.sources.source import Source

_OFFSETS: Final = re.compile(r"(?P<topic>[a-zA-Z0-9._\-]+)\[(?P<number>\d+)\]=(?P<first>\d+):(?P<end>\d+)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger(__name__)


class BackfillError(ConnectorError):
    """The backfill is impossible with these options; the text says why, and which options to write."""


def parse_bound_ms(option: str, text: str) -> int:
    """Returns a time in ms since the epoch; `text` is RFC 3339 with a zone. Raises `BackfillError`."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BackfillError(f"{option}: {text!r} is no time; write for example 2026-05-01T06:00:00Z") from None
    if time.tzinfo is None:
        raise BackfillError(f"{option}: {text!r} has no zone; write for example {text}Z for UTC")
    return round((time - _EPOCH).total_seconds() * 1000)


def asked_range(from_: str | None, to: str | None, offsets: Sequence[str]) -> RangeAsked:
    """Returns the range that the options describe. Raises `BackfillError`."""
    if offsets:
        if from_ or to:
            raise BackfillError("give either --from and --to, or --offsets")
        return RangeAsked(
            None, tuple(sorted(map(_parse_offsets, offsets), key=lambda found: (found.topic, found.number)))
        )
    if not from_ or not to:
        raise BackfillError("give --from and --to, or --offsets")
    span = parse_bound_ms("--from", from_), parse_bound_ms("--to", to)
    if span[0] >= span[1]:
        raise BackfillError(f"--from {from_} is not before --to {to}")
    return RangeAsked(span)


def _parse_offsets(text: str) -> OffsetRange:
    found = _OFFSETS.fullmatch(text)
    if not found:
        raise BackfillError(
            f"--offsets: {text!r} is not understood; write TOPIC[PARTITION]=FIRST:END, END not included, such as "
            "plant.telemetry[3]=1000:2000"
        )
    parsed = OffsetRange(found["topic"], int(found["number"]), int(found["first"]), int(found["end"]))
    if parsed.first >= parsed.end:
        raise BackfillError(f"--offsets: {text!r}: the first offset must be before the end")
    return parsed


def choose_source(config: Config, name: str | None) -> SourceSection:
    """Returns the section of the source to read; `name` may be None if one source is able. Raises `BackfillError`."""
    able = [section for section in config.sources if section.can_reread]
    names = " or ".join(section.name for section in able)
    if not able:
        raise BackfillError("the configuration has no source whose records can be read again, such as Kafka")
    if name is None:
        if len(able) > 1:
            raise BackfillError(f"there are several sources that can be read again; give --source {names}")
        return able[0]
    for section in able:
        if section.name == name:
            return section
    raise BackfillError(f"there is no source {name!r} that can be read again; there is {names}")


def state_folder(config: Config, section: SourceSection, asked: RangeAsked) -> Path:
    """Returns the folder of this backfill's ledger and dead letters."""
    return config.state_dir / "backfill" / f"{section.name}-{asked.digest}"


class Backfill:
    """One backfill, from its start to its end."""

    def __init__(self, config: Config, section: SourceSection, asked: RangeAsked, share: float) -> None:
        """Make the connector of the backfill, and find the range, unless an earlier run has found the range.

        `share` is the part of the allowed request rate for the backfill. Raises `ConnectorError`.
        """
        self.folder = state_folder(config, section, asked)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = config.with_share(share).model_copy(update={"sources": [section], "state_dir": self.folder})
        self._asked = asked
        self._source: RangeSource | None = None
        self.connector = Connector(
            self.config, make_source=self._make_source, state_file=config.state_dir / "state.sqlite"
        )

    @property
    def source(self) -> RangeSource:
        """The source that reads the range."""
        assert self._source is not None  # noqa: S101 - made with the connector
        return self._source

    def _make_source(self, section: SourceSection, file: SourceFile) -> Source:
        self._source = section.open_range(file, self._asked)
        return self._source
