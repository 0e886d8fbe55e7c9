"""Signal metadata: saved when first seen or changed, on a rate budget of its own, never in the way of inserts.

The mapping says what a signal should be called; a digest of what Clarify has from us is remembered across
restarts, so that nothing is saved twice and nothing that a person has edited is overwritten without need.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Final, Protocol

import orjson
import structlog

from connector.clarify import ClarifyError, SaveSignalsResult, SignalInfo
from connector.clarify.limits import DESCRIPTION_LENGTH, NAME_LENGTH
from connector.delivery.policy import Action, judge
from connector.delivery.slots import Slots
from connector.records import SignalMetadata

_PER_REQUEST: Final = 500

_log = structlog.get_logger(__name__)


class Saver(Protocol):
    """What is needed of the Clarify client."""

    @property
    def integration(self) -> str:
        """The integration that the signals belong to."""

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        """Save complete metadata; raises `ClarifyError`, or ValueError for what breaks a documented rule."""


class Memory(Protocol):
    """What is needed of the state."""

    def saved_signals(self, integration: str) -> dict[str, str]:
        """Input ID → digest of what Clarify has from us."""

    def add_saved_signals(self, integration: str, digests: Iterable[tuple[str, str]]) -> None:
        """Remember more of them. Raises sqlite3.Error."""


class SignalSaver:
    """Saves metadata in a thread of its own."""

    def __init__(
        self, client: Saver, memory: Memory, slots: Slots, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._client = client
        self._memory = memory
        self._slots = slots
        self._chance = chance
        self._known = memory.saved_signals(client.integration)
        self._wanted: dict[str, tuple[str, SignalInfo]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self.saved = 0
        self.failed: dict[str, str] = {}
        """Input ID → why its metadata cannot be saved as the mapping wants it."""
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin to save."""
        self._thread.start()

    def want(self, signals: Iterable[tuple[str, SignalMetadata]]) -> None:
        """These signals should have this metadata. Returns at once."""
        with self._changed:
            for input_id, metadata in signals:
                if not metadata.saved:
                    continue
                digest = _digest(metadata)
                if self._known.get(input_id) == digest:
                    continue
                try:
                    self._wanted[input_id] = (digest, _signal_info(input_id, metadata))
                except ValueError as error:
                    self._give_up(input_id, digest, str(error))
            self._changed.notify_all()

    def is_waiting(self, input_id: str) -> bool:
        """Whether its metadata is still to be saved."""
        with self._changed:
            return input_id in self._wanted

    def waiting(self) -> int:
        """Signals whose metadata is still to be saved."""
        with self._changed:
            return len(self._wanted)

    def close(self, timeout: float) -> None:
        """Save what waits, for at most `timeout` seconds; the rest is saved after the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        attempt = 0
        size = _PER_REQUEST
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closing)
                if not self._wanted:
                    return
            if not self._slots.wait():
                return
            with self._changed:
                batch = dict(list(self._wanted.items())[:size])
            try:
                self._client.save_signals({input_id: info for input_id, (_, info) in batch.items()})
            except ClarifyError as error:
                attempt += 1
                self.trouble = str(error)
                verdict = judge(error, attempt, batch.keys(), "signalsByInput", self._chance)
                if verdict.action is Action.SET_ASIDE:
                    self._set_aside(batch, verdict.guilty, error)
                elif verdict.action is Action.HALVE and size > 1:
                    size = max(1, min(size, len(batch)) // 2)
                elif verdict.action is Action.HALVE:
                    self._set_aside(batch, frozenset(batch), error)
                else:
                    _log.warning("save_signals_failed", reason=str(error), next_try_in_seconds=round(verdict.delay, 1))
                    if not self._slots.pause(verdict.delay):
                        return
            else:
                attempt, size, self.trouble = 0, _PER_REQUEST, None
                self._done(batch)

    def _done(self, batch: dict[str, tuple[str, SignalInfo]]) -> None:
        digests = [(input_id, digest) for input_id, (digest, _) in batch.items()]
        try:
            self._memory.add_saved_signals(self._client.integration, digests)
        except sqlite3.Error as error:
            _log.error("saved_signals_not_remembered", reason=str(error), effect="saved again after the next start")
        with self._changed:
            for input_id, wanted in batch.items():
                self._known[input_id] = wanted[0]
                self.failed.pop(input_id, None)
                if self._wanted.get(input_id) == wanted:
                    del self._wanted[input_id]
        self.saved += len(batch)
        _log.info("signals_saved", signals=len(batch))

    def _set_aside(self, batch: dict[str, tuple[str, SignalInfo]], guilty: frozenset[str], error: ClarifyError) -> None:
        with self._changed:
            for input_id in guilty:
                if self._wanted.get(input_id) == batch[input_id]:
                    del self._wanted[input_id]
                self._give_up(input_id, batch[input_id][0], str(error))

    def _give_up(self, input_id: str, digest: str, reason: str) -> None:
        """Not again until the mapping says something else, or the connector is restarted."""
        self._known[input_id] = digest
        self.failed[input_id] = reason
        _log.error("signal_metadata_rejected", input=input_id, reason=reason, effect="its samples are not affected")


def as_saved(input_id: str, metadata: SignalMetadata) -> tuple[SignalInfo, str]:
    """What would be saved of this, and the digest that is remembered of it; ValueError says which documented rule it
    breaks."""
    return _signal_info(input_id, metadata), _digest(metadata)


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
