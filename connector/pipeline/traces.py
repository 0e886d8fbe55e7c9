"""The trace contexts of records, and the delivery of a frame as a span: for whoever follows data through systems.

The context of a record is in its header `traceparent` (W3C Trace Context): a header of Kafka, a user property of
MQTT 5. A frame has values of many records, so the delivery of a frame is a span with a link to each of their contexts,
and not a child of one of them. Without a tracer, nothing here runs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

import structlog

from connector.delivery.sender import FrameOwner, Sender
from connector.packing.frame import Frame
from connector.records import Record

MOST_LINKS: Final = 128
"""Links of a span at most; the span says how many contexts have no link."""
TRACEPARENT: Final = "traceparent"
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SHOWN: Final = 100

_log = structlog.get_logger(__name__)

TraceContext = bytes
"""Trace ID (16 bytes), span ID (8 bytes) and flags (1 byte): each open record may have one, so it is small."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of one frame, from the made frame to its last outcome."""

    integration: str
    """The name of the integration, for people."""
    begun_ns: int
    """Time of the begin, in ns since the epoch; `ended_ns` is the time of the end."""
    ended_ns: int
    samples: int
    series: int
    rows: int
    bytes: int
    records: int
    """Number of records with values in the frame; the records of a down-sampled value count as one."""
    attempts: int
    """Number of insert requests."""
    inserted: int
    """Number of samples that Clarify has stored."""
    refused: int
    """Number of samples that became dead letters."""
    reason: str
    """Why Clarify refused samples; empty if it refused none."""
    finished: bool
    """Whether every sample has an outcome; else the samples stay with their sources, and are sent again."""
    contexts: Sequence[TraceContext]
    """Different contexts of the records, at most `MOST_LINKS`."""
    cut: int
    """Number of further contexts."""

    @property
    def outcome(self) -> str:
        """One word for the outcome."""
        if not self.finished:
            return "unsettled"
        if self.refused:
            return "partly_dead_lettered" if self.inserted else "dead_lettered"
        return "inserted" if self.inserted else "given_away"


class Tracer(Protocol):
    """Receives what was delivered."""

    def delivered(self, delivery: Delivery) -> None:
        """Note a delivery. Returns at once, and raises nothing: the sender thread waits for it."""


class Contexts:
    """Reads the contexts of records. Safe for threads: an intake thread each asks for its own source."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        """The sources with a context that cannot be read, each of which is in the log."""

    def of(self, source: str, records: Sequence[Record]) -> dict[int, TraceContext] | None:
        """Returns index of a record → its context; None if no record has one."""
        found = {}
        for index, record in enumerate(records):
            if record.headers:
                for name, text in reversed(record.headers):
                    if len(name) == len(TRACEPARENT) and name.lower() == TRACEPARENT:
                        context = read_context(text)
                        if context is not None:
                            found[index] = context
                        elif source not in self._said:
                            self._tell(source, record, text)
                        break
        return found or None

    def _tell(self, source: str, record: Record, text: str) -> None:
        self._said.add(source)
        _log.warning(
            "trace_context_unreadable",
            source=source,
            topic=record.topic,
            traceparent=text[:_SHOWN],
            effect="spans have no link to such messages; the values are carried as ever",
            remedy="let the publisher write the traceparent of W3C Trace Context, as text",
        )


def read_context(text: str) -> TraceContext | None:
    """Returns the context of a `traceparent`; None if the text is none."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    return bytes.fromhex(trace + span + flags)


class TracedSender:
    """Delivers frames, and tells the tracer of each. Stands between the sender and the owner of the frames."""

    def __init__(
        self,
        integration: str,
        owner: FrameOwner,
        contexts: Callable[[Mapping[int, int]], list[TraceContext]],
        tracer: Tracer,
    ) -> None:
        """`contexts` returns the contexts of the records of these tokens: each once. To be called before the records
        are settled."""
        self._integration = integration
        self._owner = owner
        self._contexts = contexts
        self._tracer = tracer
        self._inserted = self._refused = 0
        self._reason = ""

    def deliver(self, sender: Sender, frame: Frame) -> bool:
        """As `Sender.deliver`."""
        tokens = frame.inserted | frame.superseded
        contexts = self._contexts(tokens)
        self._inserted = self._refused = 0
        self._reason = ""
        begun, requests = time.time_ns(), sender.status.requests
        finished = sender.deliver(frame)
        self._tracer.delivered(
            Delivery(
                integration=self._integration,
                begun_ns=begun,
                ended_ns=time.time_ns(),
                samples=frame.samples,
                series=frame.series,
                rows=frame.rows,
                bytes=len(frame.body),
                records=len(tokens),
                attempts=sender.status.requests - requests,
                inserted=self._inserted,
                refused=self._refused,
                reason=self._reason,
                finished=finished,
                contexts=list(islice(contexts, MOST_LINKS)),
                cut=max(0, len(contexts) - MOST_LINKS),
            )
        )
        return finished

    # -- told by the sender -----------------------------------------------------------------------

    def inserted(self, frame: Frame, seconds: float) -> None:
        """As `FrameOwner.inserted`."""
        self._inserted += frame.samples
        self._owner.inserted(frame, seconds)

    def rejected(self, frame: Frame, reason: str) -> None:
        """As `FrameOwner.rejected`."""
        self._refused += frame.samples
        self._reason = reason
        self._owner.rejected(frame, reason)

    def still_ours(self, frame: Frame) -> Frame | None:
        """As `FrameOwner.still_ours`."""
        return self._owner.still_ours(frame)
