"""The Clarify client behind the circuits of its methods: a call waits until its method may be called.

It is for the threads beside the inserts, such as metadata and publishing. It repeats no request: after a failure, the
caller decides when to try again, and the circuit may delay the next attempt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

from connector.clarify.errors import ClarifyError, InvalidParams, Retryable, TooLarge
from connector.clarify.models import SignalInfo, check_input_id
from connector.clarify.results import SaveSignalsResult
from connector.delivery.circuit import LOOK_SECONDS, Circuits, unforeseen
from connector.threads.watched import moves

_SAVE_SIGNALS: Final = "integration.saveSignals"

Result = TypeVar("Result")


class MetadataClient(Protocol):
    """The part of the Clarify client that this module needs."""

    @property
    def integration(self) -> str:
        """The integration that the signals belong to."""

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        """Save complete metadata of signals. Raises `ClarifyError`."""

    def call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        """Call a method of the API; returns its result. Raises `ClarifyError`."""


class GuardedClient:
    """Calls methods when their circuits allow a call. For one thread; `abort` ends a wait with `Retryable`."""

    def __init__(
        self,
        client: MetadataClient,
        circuits: Circuits,
        abort: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._circuits = circuits
        self._abort = abort
        self._clock = clock

    @property
    def integration(self) -> str:
        """The integration that the signals belong to."""
        return self._client.integration

    def save_signals(self, signals_by_input: Mapping[str, SignalInfo]) -> SaveSignalsResult:
        """Save complete metadata of signals. Raises `ClarifyError`, and ValueError for an illegal input ID."""
        for input_id in signals_by_input:  # checked here, since a ValueError of the request counts as a bug
            check_input_id(input_id)
        return self._through(_SAVE_SIGNALS, lambda: self._client.save_signals(signals_by_input))

    def call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        """Call a method of the API; returns its result. Raises `ClarifyError`."""
        return self._through(method, lambda: self._client.call(method, params))

    def _through(self, method: str, request: Callable[[], Result]) -> Result:
        circuit = self._circuits.of(method)
        while not circuit.begin(self._clock()):
            moves()
            if self._abort.wait(min(circuit.left(self._clock()), LOOK_SECONDS)):
                raise Retryable("The connector stops; the request is sent after the next start.", method=method)
        try:
            result = request()
        except (InvalidParams, TooLarge):
            circuit.answered(self._clock())
            raise
        except ClarifyError as error:
            circuit.failed(error, self._clock())
            raise
        except Exception as error:
            failure = unforeseen(error, method)
            circuit.failed(failure, self._clock())
            raise failure from error
        except BaseException:
            circuit.not_sent()
            raise
        circuit.answered(self._clock())
        return result
