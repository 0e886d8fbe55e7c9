"""The parts of a connector that each integration of Clarify has for itself: client, circuits, metadata.

An integration shares neither requests nor failures with another one. The state file is one: its tables of metadata have
the integration in their keys, and all others have its name before the input IDs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from connector.clarify.api import Api
from connector.delivery.circuit import Circuits
from connector.delivery.guarded import GuardedClient
from connector.delivery.section import DeliverySection
from connector.delivery.slots import Slots
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.items import ItemPublisher
from connector.metadata.reconciler import SaveInterval
from connector.metadata.signals import SignalSaver
from connector.pipeline.destination import Integration
from connector.pipeline.under_way import Limits
from connector.state.state import State
from connector.threads.watched import WatchedThread

_INSERT = "integration.insert"


class IntegrationParts:
    """Everything that the connector has for one integration."""

    def __init__(
        self,
        name: str,
        client: Api,
        delivery: DeliverySection,
        state: State,
        may_save: Callable[[], bool],
        abort: threading.Event,
    ) -> None:
        """`name` is empty for the integration of `clarify` itself. `delivery` has the settings of this integration.

        Metadata is saved at the rate of the configuration, and only while `may_save` returns True.
        """
        self.name = name
        self.client = client
        self.circuits = Circuits()
        self._delivery = delivery
        interval = SaveInterval(delivery.metadata_interval, time.time())
        rate = delivery.metadata_requests_per_second
        self.signals = SignalSaver(
            GuardedClient(client, self.circuits, abort),
            MetadataBook(state, MetadataKind.SIGNAL, client.integration),
            Slots(rate, abort),
            interval,
            may_save=may_save,
        )
        self.items = ItemPublisher(
            GuardedClient(client, self.circuits, abort),
            MetadataBook(state, MetadataKind.ITEM, client.integration),
            Slots(rate, abort),
            interval,
            self.signals.outbox.waiting_among,
            may_save=may_save,
        )
        if name:
            for thread in self.threads:
                thread.name = f"{thread.name}-{name}"
                thread.about = {"integration": name}

    def for_pipeline(self) -> Integration:
        """Returns the integration as the pipeline needs it."""
        delivery = self._delivery
        return Integration(
            self.client,
            Limits(delivery.max_delay, delivery.max_frame_bytes, delivery.max_waiting_samples),
            delivery.requests_per_second,
            self.name,
            self.circuits.of(_INSERT, first=True),
        )

    @property
    def threads(self) -> tuple[WatchedThread, WatchedThread]:
        """The threads that save metadata and publish items."""
        return self.signals.thread, self.items.thread

    def start(self) -> None:
        """Start both threads."""
        self.signals.start()
        self.items.start()

    def finish(self, until: float) -> None:
        """Wait until all due metadata is saved, until the time `until` of `time.monotonic` at the latest."""
        self.signals.finish(until - time.monotonic())
        self.items.finish(until - time.monotonic())

    def close(self, timeout: float) -> None:
        """End both threads; waits at most `timeout` seconds for each."""
        self.signals.close(timeout)
        self.items.close(timeout)
