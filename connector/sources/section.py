"""The base of every source's section, which is all that the rest of the connector knows of a kind of source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, field_validator

from connector.settings import Destination, Seconds, Section, SourceName
from connector.sources.subscriptions import Subscription

if TYPE_CHECKING:
    from connector.ledger.source_file import SourceFile
    from connector.sources.range import RangeAsked, RangeSource
    from connector.sources.source import Source
    from connector.sources.tap import Tap


@dataclass(frozen=True, slots=True)
class Address:
    """A source as the command line names it, for `init`, `record` and `preview --live`."""

    scheme: str
    host: str
    """`host:port`, or several with commas: what stands between the user and the path."""
    path: str
    """With the query, if there is one."""
    topics: Sequence[str]
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    protocol: str | None = None
    mechanism: str | None = None


class SourceSection(Section):
    """What the sections of all kinds of sources have.

    A kind of source is a subclass: its fields are the settings, its methods say what the rest of the connector asks of
    a kind. Methods import the kind's libraries themselves, so that only a source that is used loads them.
    """

    shares_work: ClassVar[bool] = False
    """Several workers, or replicas, can share what comes: with `workers: N` each of them runs the source."""
    can_reread: ClassVar[bool] = False
    """`open_range` can read records again that were read before: for a backfill."""
    topic_separator: ClassVar[str] = "/"
    """What stands between the levels of a topic's name."""
    schemes: ClassVar[Mapping[str, str]] = {}
    """Schemes of addresses on the command line → an example of such an address."""
    metric_help: ClassVar[Mapping[str, str]] = {}
    """Name of a number of `Source.gauges` → what it says, for the metrics page. Counters have names that end in
    `_total`."""
    password_variable: ClassVar[str] = ""
    """The environment variable that has the password of an address on the command line."""

    type: str = Field(description="The kind of source.")
    name: SourceName = Field(description="A name for logs, metrics, the ledger and its file. Keep it.")
    expect_every: Seconds | None = Field(
        default="5m",  # type: ignore[assignment]
        description="How long a subscription may be without a message before a notice says so. Where it is not set, "
        "only the first message is waited for, for five minutes after connecting. null or 0s: no message is expected.",
        examples=["15m"],
    )

    @field_validator("expect_every")
    @classmethod
    def _never(cls, seconds: float | None) -> float | None:
        return seconds or None

    @property
    def address(self) -> str:
        """Where the source is, for people; without secrets."""
        raise NotImplementedError

    def subscriptions(self) -> Sequence[Subscription]:
        """The topics that the source asks for; empty for a source that has none."""
        return ()

    @property
    def files(self) -> dict[str, Path | None]:
        """The files that the section names, by their setting: `check` looks whether they exist."""
        return {}

    @property
    def warnings(self) -> list[str]:
        """What works with these settings, and is not wise."""
        return []

    @property
    def takes_retained(self) -> bool:
        """Whether a message can be one that was published before the source subscribed (MQTT's retained messages)."""
        return True

    def check(self) -> list[str]:
        """Further warnings, by the library of the source and without network. Raises `ValueError` for settings that
        the library refuses; the text says what to change."""
        return []

    def for_worker(self, worker: int) -> Self | None:
        """The section as worker number `worker`, counted from 1, runs it; None if that worker does not run it. A
        source that does not share its work runs in the first worker alone."""
        return self if worker == 1 or self.shares_work else None

    def reads(self, destination: Destination) -> bool:
        """Whether the source would read what is published there."""
        del destination
        return False

    def open(self, file: SourceFile, message_bytes: int) -> Source:
        """The source; no network yet. `file` is its journal and ledger. A message longer than `message_bytes` is not
        needed whole: it becomes a dead letter. Raises `ValueError` or `OSError`."""
        raise NotImplementedError

    def tap(self, *, from_beginning: bool) -> Tap | None:
        """What listens to the source beside the connector, for people; None for a source that cannot be listened to.
        Raises `TapError`."""
        del from_beginning
        return None

    def open_range(self, file: SourceFile, asked: RangeAsked) -> RangeSource:
        """A source of the records that are asked for, where `can_reread`. Goes on where `file` says that an earlier one
        stopped. May wait for the network. Raises `RangeError`."""
        raise NotImplementedError

    @classmethod
    def settings_at(cls, address: Address) -> dict[str, object]:
        """The settings of a section for this address, as they would stand in a file. Raises `ValueError`, which says
        what to write instead."""
        raise NotImplementedError
