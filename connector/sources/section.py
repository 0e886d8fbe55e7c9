"""The base class of the sections of all sources: the rest of the connector knows a kind of source only by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, field_validator

from connector.brokers.findings import Examination, Look, ok, wrong
from connector.settings import Destination, Seconds, Section, SourceName
from connector.sources.subscriptions import Subscription

if TYPE_CHECKING:
    from connector.ledger.source_file import SourceFile
    from connector.sources.range import RangeAsked, RangeSource
    from connector.sources.source import Source
    from connector.sources.tap import Tap


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a source on the command line, for `init`, `record` and `preview --live`."""

    scheme: str
    host: str
    """`host:port`, or several with commas: the part of the address between the user and the path."""
    path: str
    """The path, and the query if there is one."""
    topics: Sequence[str]
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    protocol: str | None = None
    mechanism: str | None = None


class SourceSection(Section):
    """The base class of the sections of all sources.

    A kind of source is a subclass: its fields are the settings, and its methods answer the connector's questions about
    the kind. A method imports the libraries of its kind itself, so that only a source in use loads them.
    """

    shares_work: ClassVar[bool] = False
    """Whether several workers or replicas can share the records: with `workers: N`, each worker runs the source."""
    can_reread: ClassVar[bool] = False
    """Whether `open_range` can read old records again, for a backfill."""
    topic_separator: ClassVar[str] = "/"
    """The text between the levels of a topic's name."""
    schemes: ClassVar[Mapping[str, str]] = {}
    """Scheme of an address on the command line → an example of an address with this scheme."""
    metric_help: ClassVar[Mapping[str, str]] = {}
    """Name of a metric in `Source.gauges` → its help text on the metrics page. The name of a counter ends in
    `_total`."""
    password_variable: ClassVar[str] = ""
    """The environment variable with the password for an address on the command line."""

    type: str = Field(description="The kind of source.")
    name: SourceName = Field(description="A name for logs, metrics, the ledger and its file. Keep it.")
    expect_every: Seconds | None = Field(
        default="5m",  # type: ignore[assignment]
        description="The longest time without a message of a subscription; after it, a notice reports the silence. If "
        "this is not set, only the first message is expected, within five minutes after connecting. With null or 0s, "
        "no message is expected.",
        examples=["15m"],
    )

    freshness: Seconds | None = Field(
        default=None,
        gt=0,
        description="An objective: the longest time from the time of a sample until Clarify has stored the sample. The "
        "ledger and the metrics have the share of the samples that kept it.",
        examples=["60s"],
    )

    @field_validator("expect_every")
    @classmethod
    def _never(cls, seconds: float | None) -> float | None:
        return seconds or None

    @property
    def address(self) -> str:
        """The address of the source for people, without secrets."""
        raise NotImplementedError

    def subscriptions(self) -> Sequence[Subscription]:
        """The subscriptions of the source; empty for a source without topics."""
        return ()

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → the file that it names, or None; `check` tests whether these files exist."""
        return {}

    @property
    def warnings(self) -> list[str]:
        """Warnings, for people, about settings that work but are not wise."""
        return []

    @property
    def takes_retained(self) -> bool:
        """Whether a message may be older than the source's subscription (MQTT's retained messages)."""
        return True

    def check(self) -> list[str]:
        """Let the library of the source check the settings, without network; returns further warnings, for people.

        Raises `ValueError` for settings that the library refuses; the text has the remedy.
        """
        return []

    def examine(self, asked: Examination) -> Look:
        """Look at what the source reads from, for `doctor`: connect, change nothing, and disturb no other reader.

        The default looks at the files of the section. Waits for at most `asked.seconds` at each step.
        """
        for name, path in self.files.items():
            if path is not None and not path.is_file():
                yield wrong("file", f"{name}: there is no file {path}", f"correct {name}")
        if not asked.short:
            yield ok("source", f"{self.address}: this kind of source has no further looks")
        return True

    def for_worker(self, worker: int) -> Self | None:
        """Returns the section for the worker with this number, from 1; None if this worker does not run the source.

        A source that does not share its work runs only in the first worker.
        """
        return self if worker == 1 or self.shares_work else None

    def reads(self, destination: Destination) -> bool:
        """Whether the source would read messages that are published to `destination`."""
        del destination
        return False

    def open(self, file: SourceFile, message_bytes: int) -> Source:
        """Returns the source, without network so far. `file` is its journal and ledger.

        The source may shorten a message longer than `message_bytes`: such a message becomes a dead letter. Raises
        `ValueError` or `OSError`.
        """
        raise NotImplementedError

    def tap(self, *, from_beginning: bool) -> Tap | None:
        """Returns a tap on the source, for people; None for a source without taps. Raises `TapError`.

        With `from_beginning`, the tap first returns the records that already exist, if the source can read them.
        """
        del from_beginning
        return None

    def open_range(self, file: SourceFile, asked: RangeAsked) -> RangeSource:
        """Returns a source that reads the range `asked`; only for kinds with `can_reread`.

        The source goes on after the settled records of an earlier run, by the ledger in `file`. May wait for the
        network. Raises `RangeError`.
        """
        raise NotImplementedError

    @classmethod
    def settings_at(cls, address: Address) -> dict[str, object]:
        """Returns the settings of a section for this address, as in a configuration file.

        Raises `ValueError`; the text has the remedy.
        """
        raise NotImplementedError
