"""Writes values and the metadata of signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.clarify import arguments
from connector.clarify.answers import InsertResponse, Response, SaveSignalsResponse
from connector.clarify.calls import Calls, ProgressCallback
from connector.clarify.data_frame import as_data_frame
from connector.clarify.errors import ClarifyError
from connector.clarify.models import Signal, SignalInfo, check_input_id
from connector.clarify.saving import SaveMethod, save
from connector.clarify.splitting import split

_SAVED_SIGNALS: Final = 500
_SAVE: Final = SaveMethod("integration.saveSignals", "signalsByInput", SaveSignalsResponse, _SAVED_SIGNALS)


class Writer:
    """Writes for a `Client`. The methods of `Client` with the same names document the arguments."""

    def __init__(self, calls: Calls, most_bytes: int) -> None:
        """`most_bytes` is the largest size of the encoded data of one insert."""
        self._calls = calls
        self._most_bytes = most_bytes

    def insert(self, data: object, progress: ProgressCallback | None) -> Response[InsertResponse]:
        """Insert data in as many requests as its size needs."""
        frame = as_data_frame(data)
        found: dict[str, Any] = {}
        done = 0
        try:
            for rows, encoded in split(frame, self._most_bytes):
                summary = self._calls.insert(encoded)
                for key, state in summary.signals_by_input.items():
                    created = state.created or (key in found and found[key]["created"])
                    found[key] = {"id": state.id, "created": created}
                done = min(done + rows, len(frame))
                if progress is not None:
                    progress(done, len(frame))
        except ClarifyError as error:
            return self._calls.response(InsertResponse(signals_by_input=found) if found else None, error)
        return self._calls.response(InsertResponse(signals_by_input=found))

    def save_signals(
        self,
        input_ids: Sequence[str] | Mapping[str, SignalInfo | Mapping[str, object]],
        signals: Sequence[SignalInfo | Mapping[str, object]],
        signals_by_input: Mapping[str, SignalInfo | Mapping[str, object]] | None,
        *,
        create_only: bool,
        integration: str | None,
        progress: ProgressCallback | None,
    ) -> Response[SaveSignalsResponse]:
        """Save the metadata of signals."""
        if isinstance(input_ids, Mapping):
            signals_by_input = {**input_ids, **(signals_by_input or {})}
            input_ids = ()
        views = arguments.views(Signal, check_input_id, "input_ids", "signals", input_ids, signals, signals_by_input)
        return save(self._calls, _SAVE, views, create_only=create_only, integration=integration, progress=progress)
