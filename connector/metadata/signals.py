"""Signal metadata: saved when first seen or changed, on a rate budget of its own, never in the way of inserts.

The mapping says what a signal should be called. What is wanted, what Clarify has and what failed stands in the book, so
that no restart forgets it, nothing is saved twice, and nothing that a person has edited is overwritten without need.
What becomes of a desire is decided in `reconciler.py`; here is the thread that sends.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Final, Protocol

import msgspec
import orjson
import structlog

from connector.clarify import ClarifyError, InvalidParams, SaveSignalsResult, SignalInfo
from connector.clarify.limits import DESCRIPTION_LENGTH, NAME_LENGTH
from connector.delivery.slots import Slots
from connector.metadata.guarded_store import EntryStore
from connector.metadata.outbox import Outbox
from connector.metadata.reconciler import Batches, Desire, OutstandingCounts, SaveInterval
from connector.metadata.sent_desires import SentDesire
from connector.records import SignalMetadata

_PER_REQUEST: Final = 500
_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""Content of a request: well below what Clarify takes."""

_log = structlog.get_logger(__name__)


class Saver(Protocol):
    """What is needed of the Clarify client."""

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        """Save complete metadata; raises `ClarifyError`, or ValueError for what breaks a documented rule."""


class SignalSaver:
    """Saves metadata in a thread of its own."""

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
        """`interval` says how often one signal may be saved. `may_save` is False while another process with the same
        book saves. `chance` gives numbers from 0 to 1."""
        self._client = client
        self._slots = slots
        self._chance = chance
        self._batches = Batches()
        self.outbox = Outbox("signal", book, interval, clock, slots.pause, may_save)
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self.saved = 0

    def start(self) -> None:
        """Begin to save."""
        self._thread.start()

    def want(self, signals: Iterable[tuple[str, SignalMetadata]]) -> None:
        """These signals should have this metadata. Returns when that is on disk; never waits for Clarify."""
        desires = {input_id: desire_of(input_id, metadata) for input_id, metadata in signals if metadata.saved}
        if desires:
            self.outbox.want(desires)

    def counts(self) -> OutstandingCounts:
        """Signals whose metadata is still to be saved, or cannot be saved as the mapping wants it."""
        return self.outbox.counts()

    def finish(self, timeout: float) -> bool:
        """Wait until all is saved that may be by now, as long as nothing is in the way; whether it is."""
        return self.outbox.finish(timeout)

    def close(self, timeout: float) -> None:
        """End, for at most `timeout` seconds, after the request under way; the rest is saved after the next start."""
        self.outbox.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        self.outbox.run(self.save)

    def save(self) -> bool:
        """One request, in its slot, where anything is due; False to end. For the thread, or whoever stands for it."""
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
        """What to send; what cannot be read any more is set aside. None if that could not be remembered."""
        infos: dict[str, SignalInfo] = {}
        broken: dict[str, str] = {}
        for input_id, taken in batch.items():
            try:
                infos[input_id] = _signal_info(input_id, msgspec.json.decode(taken.content, type=SignalMetadata))
            except ValueError as error:  # an earlier version wrote it
                broken[input_id] = str(error)

        return infos if self.outbox.sent.broken(batch, broken) else None

    def _done(self, batch: Mapping[str, SentDesire]) -> bool:
        self._batches.succeeded()
        self.saved += len(batch)
        self.outbox.in_trouble(None)
        _log.info("signals_saved", signals=len(batch))
        return self.outbox.sent.done(batch)

    def _failed(self, batch: Mapping[str, SentDesire], error: ClarifyError | ValueError) -> bool:
        """Remember it, and wait as long as it takes; False if aborted."""
        if not isinstance(error, ClarifyError):  # a rule that only the client knows
            error = InvalidParams(str(error))
        verdict = self._batches.failed(batch, error, "signalsByInput", {key: key for key in batch}, self._chance)
        if verdict.delay:
            self.outbox.in_trouble(str(error))
            if not self._slots.aborted:
                _log.warning("save_signals_failed", reason=str(error), next_try_in_seconds=round(verdict.delay, 1))
        remembered = self.outbox.sent.refused(batch, verdict, definite=verdict.definite)
        return remembered and (not verdict.delay or self._slots.pause(verdict.delay))


def as_saved(input_id: str, metadata: SignalMetadata) -> tuple[SignalInfo, str]:
    """What would be saved of this, and the digest that is remembered of it; ValueError says which documented rule it
    breaks."""
    return _signal_info(input_id, metadata), _digest(metadata)


def desire_of(input_id: str, metadata: SignalMetadata) -> Desire:
    """What the signal should have."""
    problem = ""
    try:
        _signal_info(input_id, metadata)
    except ValueError as error:
        problem = str(error)
    return Desire(_digest(metadata), msgspec.json.encode(metadata), problem)


def _digest(metadata: SignalMetadata) -> str:
    """A digest of what is saved; as what the signal is published does not count."""
    later = {name for name in ("sample_interval", "gap_detection", "annotations") if not getattr(metadata, name)}
    # fields that came later do not count where they say nothing: what is saved already need not be saved again
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
