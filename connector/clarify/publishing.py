"""Publishes signals as items, and connects signals to items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from connector.clarify import arguments
from connector.clarify.answers import PublishSignalsResponse, Response, SignalSelection
from connector.clarify.calls import AS_LIST, Calls, ProgressCallback
from connector.clarify.errors import ClarifyError
from connector.clarify.limits import PUBLISHED_SIGNALS, SELECTED_RESOURCES
from connector.clarify.models import Item, ItemInfo, check_resource_id
from connector.clarify.saving import SaveMethod, save
from connector.clarify.selection import Selection

_PUBLISH: Final = SaveMethod("admin.publishSignals", "itemsBySignal", PublishSignalsResponse, PUBLISHED_SIGNALS)
_CONNECT: Final = "admin.signals.connect"
_DISCONNECT: Final = "admin.signals.disconnect"


class SignalPublisher:
    """Publishes for a `Client`. The methods of `Client` with the same names document the arguments."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def publish_signals(
        self,
        signal_ids: Sequence[str] | Mapping[str, ItemInfo | Mapping[str, object]],
        items: Sequence[ItemInfo | Mapping[str, object]],
        items_by_signal: Mapping[str, ItemInfo | Mapping[str, object]] | None,
        *,
        create_only: bool,
        integration: str | None,
        progress: ProgressCallback | None,
    ) -> Response[PublishSignalsResponse]:
        """Publish signals as items, or update their items."""
        if isinstance(signal_ids, Mapping):
            items_by_signal = {**signal_ids, **(items_by_signal or {})}
            signal_ids = ()
        views = arguments.views(Item, check_resource_id, "signal_ids", "items", signal_ids, items, items_by_signal)
        return save(self._calls, _PUBLISH, views, create_only=create_only, integration=integration, progress=progress)

    def connect_signals(
        self, item: str, selection: Selection, *, dry_run: bool, integration: str | None
    ) -> Response[SignalSelection]:
        """Connect the selected signals to an item."""
        return self._change(_CONNECT, {"item": check_resource_id(item)}, selection, dry_run, integration)

    def disconnect_signals(
        self, selection: Selection, *, dry_run: bool, integration: str | None
    ) -> Response[SignalSelection]:
        """Disconnect the selected signals from their items."""
        return self._change(_DISCONNECT, {}, selection, dry_run, integration)

    def _change(
        self,
        method: str,
        more: Mapping[str, object],
        selection: Selection,
        dry_run: bool,
        integration: str | None,
    ) -> Response[SignalSelection]:
        self._calls.need_1_2(method)
        skip, limit = selection.bounds()
        params = {
            "integration": integration or self._calls.integration,
            **more,
            "query": selection.query(skip, SELECTED_RESOURCES if limit is None else limit),
            "dryRun": dry_run,
            "include": selection.included(),
            "format": AS_LIST,
        }
        try:
            return self._calls.response(self._calls.read(SignalSelection, method, params))
        except ClarifyError as error:
            return self._calls.response(None, error)
