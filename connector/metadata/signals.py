"""Signal metadata: the thread that saves the metadata of new and changed signals.

The book remembers the wanted, the saved and the failed metadata. So a restart forgets nothing, nothing is saved twice,
and an edit by a person is overwritten only if the mapping wants new metadata. `reconciler` decides about each desire.
The requests have their own rate limit and never delay inserts.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Final, Protocol

import msgspec
import orjson
import structlog

from connector.clarify.errors import ClarifyError, InvalidParams
from connector.clarify.limits import DESCRIPTION_LENGTH, NAME_LENGTH
from connector.clarify.models import SignalInfo
from connector.clarify.results import SaveSignalsResult
from connector.delivery.slots import Slots
from connector.metadata.guarded_store import EntryStore
from connector.metadata.outbox import Outbox
from connector.metadata.reconciler import Batches, Desire, OutstandingCounts, SaveInterval
from connector.metadata.sent_desires import SentDesire
from connector.records import SignalMetadata
from connector.threads.failing import RepeatedFailure
from connector.threads.watched import WatchedThread

_PER_REQUEST: Final = 500
_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of content in a request: well below the limit of Clarify."""

_log = structlog.get_logger(__name__)


class Saver(Protocol):
    """The part of the Clarify client that the saver needs."""

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        """Save complete metadata of signals. Raises `ClarifyError`, and ValueError if it breaks a documented rule."""


class SignalSaver:
    """Saves metadata in its own thread."""

    def __init__(
        self,
        client: Saver,
        book: EntryStore,
        slots: Slots,
        interval: SaveInterval,
        *,
        may_save: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`interval` is the least time between two saves of one signal. `chance` returns random numbers from 0 to 1.

        `may_save` returns False while another process with the same book saves.
        """
        self._client = client
        self._slots = slots
        self._chance = chance
        self._batches = Batches()
        self.outbox = Outbox("signal", book, interval, clock, slots.pause, may_save)
        self._failing = RepeatedFailure("save_signals_failed", None, is_error=False)
        self.thread = WatchedThread("signals", "", self._run)
        self.saved = 0

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def want(self, signals: Iterable[tuple[str, SignalMetadata]]) -> None:
        """Want metadata for signals, given as (input ID, metadata).

        Returns when the desires are on disk; never waits for Clarify.
        """
        desires = {input_id: desire_of(input_id, metadata) for input_id, metadata in signals if metadata.saved}
        if desires:
            self.outbox.want(desires)

    def counts(self) -> OutstandingCounts:
        """Returns the numbers of signals whose metadata is not saved yet, or cannot be saved."""
        return self.outbox.counts()

    def finish(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until all due metadata is saved; returns whether it is saved."""
        return self.outbox.finish(timeout)

    def close(self, timeout: float) -> None:
        """End the thread after the request under way; waits for this at most `timeout` seconds.

        The remaining metadata is saved after the next start.
        """
        self.outbox.close()
        if self.thread.ident is not None:
            self.thread.join(timeout)

    def _run(self) -> None:
        self.outbox.run(self.save)

    def save(self) -> bool:
        """Wait for a slot, and send one request with due desires; returns False if the saving must end.

        For the thread, or for a test in its place.
        """
        if not self._slots.wait():
            return False
        batch = self.outbox.sent.take(self._batches.suspects() or self.outbox.due(_PER_REQUEST, _REQUEST_BYTES))
        infos = self._read(batch)
        if not infos:
            self._batches.gone()
            return infos is not None
        batch = {input_id: batch[input_id] for input_id in infos}
        try:
            self._client.save_signals(infos)
        except (ClarifyError, ValueError) as error:
            return self._failed(batch, error)
        return self._done(batch)

    def _read(self, batch: Mapping[str, SentDesire]) -> dict[str, SignalInfo] | None:
        """Returns input ID → metadata to send; desires that cannot be read are stored as failed.

        Returns None if the program ends before this could be stored.
        """
        infos: dict[str, SignalInfo] = {}
        broken: dict[str, str] = {}
        for input_id, taken in batch.items():
            try:
                infos[input_id] = _signal_info(input_id, msgspec.json.decode(taken.content, type=SignalMetadata))
            except ValueError as error:  # another version wrote it
                broken[input_id] = str(error)
        return infos if self.outbox.sent.broken(batch, broken) else None

    def _done(self, batch: Mapping[str, SentDesire]) -> bool:
        self._batches.succeeded()
        self.saved += len(batch)
        self.outbox.in_trouble(None)
        self._failing.works()
        _log.info("signals_saved", signals=len(batch))
        return self.outbox.sent.done(batch)

    def _failed(self, batch: Mapping[str, SentDesire], error: ClarifyError | ValueError) -> bool:
        """Store the result of a failed request, and wait until the next one may be sent; returns False if aborted."""
        if not isinstance(error, ClarifyError):  # only the client checks this rule
            error = InvalidParams(str(error))
        verdict = self._batches.failed(batch, error, "signalsByInput", {key: key for key in batch}, self._chance)
        if verdict.delay:
            self.outbox.in_trouble(str(error))
            if not self._slots.aborted:
                self._failing.failed(str(error), next_try_in_seconds=round(verdict.delay, 1))
        remembered = self.outbox.sent.refused(batch, verdict, definite=verdict.definite)
        return remembered and (not verdict.delay or self._slots.pause(verdict.delay))


def as_saved(input_id: str, metadata: SignalMetadata) -> tuple[SignalInfo, str]:
    """(metadata in the form for Clarify, its digest in the book).

    Raises ValueError if the metadata breaks a documented rule.
    """
    return _signal_info(input_id, metadata), _digest(metadata)


def save_changes(now: Mapping[str, object], wanted: SignalInfo) -> dict[str, tuple[object, object]]:
    """Returns attribute → (before, after), for each attribute that a save would change; `now` has those in Clarify.

    A save merges annotations, so annotations are not compared.
    """
    then = wanted.to_wire()
    then.pop("annotations", None)
    return {name: (now.get(name), after) for name, after in then.items() if (now.get(name) or None) != (after or None)}


def desire_of(input_id: str, metadata: SignalMetadata) -> Desire:
    """Returns the desire for this metadata."""
    problem = ""
    try:
        _signal_info(input_id, metadata)
    except ValueError as error:
        problem = str(error)
    return Desire(_digest(metadata), msgspec.json.encode(metadata), problem)


def _digest(metadata: SignalMetadata) -> str:
    """Returns the digest of the metadata, without the settings for its item."""
    later = {name for name in ("sample_interval", "gap_detection", "annotations") if not getattr(metadata, name)}
    # newer fields do not count while they are empty, so that metadata of older versions is not saved again
    fields = {name: value for name, value in asdict(metadata).items() if name not in {"saved", "item", *later}}
    return hashlib.sha256(orjson.dumps(fields)).hexdigest()[:32]


def _signal_info(input_id: str, metadata: SignalMetadata) -> SignalInfo:
    return SignalInfo.model_validate(
        {
            "name": (metadata.name or input_id)[:NAME_LENGTH],
            "description": metadata.description[:DESCRIPTION_LENGTH],
            "labels": {key: list(values) for key, values in metadata.labels},
            "value_type": metadata.value_type,
            "eng_unit": metadata.unit,
            "enum_values": dict(metadata.enum_values),
            "sample_interval": metadata.sample_interval,
            "gap_detection": metadata.gap_detection,
            "annotations": dict(metadata.annotations) or None,
        }
    )
