"""The demo from start to end.

    sandbox, broker → configuration file → connector → plant        (each waits until the one before answers)
    … the screen shows the running demo …
    plant ends → all acknowledged messages arrive → connector drains → account → sandbox, broker end

The connector is built from the file exactly as in `clarify-connector run`. It runs in this process, so that the demo
can show its frames and dead letters. Everything else runs in child processes.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final, Self

from connector import ConnectorError
from connector.config.model import Config
from connector.config.read import load_config
from connector.demo.brokers import BrokerChoice, SourceChoice, WaitFor, start_broker, start_kafka
from connector.demo.children import Child, DemoError
from connector.demo.configuration import write_configuration
from connector.demo.observer import Observer, Reading
from connector.demo.plant_process import PlantProcess
from connector.demo.result import DemoResult
from connector.demo.sandbox_process import SandboxProcess
from connector.demo.screens import Screen
from connector.demo.view import DemoStage, Places
from connector.observe.logs import configure_logs
from connector.observe.pages import serve
from connector.runtime.connector import Connector
from connector.runtime.ledger import read_ledger
from connector.sandbox.store import Store

_TURN_SECONDS: Final = 0.25
_READY_SECONDS: Final = 60.0
_ARRIVAL_SECONDS: Final = 30.0
_QUIET_SECONDS: Final = 0.5
_DRAIN_MARGIN_SECONDS: Final = 2.0


class StoppedError(Exception):
    """The user stopped the demo before it had begun."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command."""

    machines: int
    rate: float
    seconds: float | None
    """The running time of the plant; None: until the user stops the demo."""
    source: SourceChoice
    broker: BrokerChoice
    seed: int
    folder: Path
    kept: bool


class StopSignals:
    """Handles Ctrl-C, SIGTERM and SIGHUP, as a context manager.

    The first signal asks for an orderly end, and sets `stop`. The second signal asks for an end at once, and sets
    `hurry`.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.hurry = threading.Event()

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()

    def wait_for(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until `condition` is true; `what` describes the condition in an error.

        Raises DemoError after `seconds`, and StoppedError if the user stops the demo.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"waited {seconds:g} s in vain: {what}")
            if self.stop.wait(0.02):
                raise StoppedError


def run_demo(options: Options, screen: Screen, signals: StopSignals) -> DemoResult:
    """Run the demo; returns its final account.

    Raises DemoError if the demo cannot start, and StoppedError if the user stopped the demo before its start.
    """
    began = time.monotonic()
    folder = options.folder
    with ExitStack() as stack:
        log = stack.enter_context((folder / "connector.log").open("a", encoding="utf-8"))
        sandbox = SandboxProcess(folder)
        stack.enter_context(sandbox.child)
        if options.source == "kafka":
            broker = start_kafka(folder, signals.wait_for)
        else:
            broker = start_broker(options.broker, folder, signals.wait_for)
        stack.enter_context(broker.child)
        sandbox.wait_ready(signals.wait_for)
        path = write_configuration(folder, broker.url, broker.protocol)
        config = load_config(path)
        configure_logs(config.observe.log_level, config.observe.log_format, log)
        connector = stack.enter_context(_running(config, signals.wait_for))
        pages = serve(config, connector.running, file=path)
        assert pages is not None  # noqa: S101 - our configuration says where
        stack.callback(pages.close)
        plant = PlantProcess(broker, options.machines, options.rate, options.seed, folder)
        stack.enter_context(plant.child)
        store = stack.enter_context(Store.open(sandbox.store, read_only=True))
        show = Show(
            connector.running,
            plant,
            Observer(config, connector.running, store, plant),
            [broker.child, sandbox.child, plant.child],
            screen,
            Places(
                broker=broker.name,
                broker_port=broker.port,
                protocol=broker.protocol,
                hint=broker.hint,
                sandbox_url=sandbox.url,
                status_url=f"http://127.0.0.1:{pages.port}/",
                folder=folder,
                kept=options.kept,
                config=path,
            ),
            signals,
        )
        with screen:
            show.look(options.seconds)
            show.end_plant()
            show.await_arrival()
            drained = show.drain(config.delivery.flush_timeout + _DRAIN_MARGIN_SECONDS)
            connector.end(at_once=not drained)
        if plant.topics is None:
            show.troubles.append("the plant did not say what it was acknowledged for")
        pipeline = connector.running.pipeline
        packing = pipeline.status.packing()
        return DemoResult(
            ledger=read_ledger(config),
            acknowledged=plant.topics or {},
            reasons=dict(pipeline.status.reasons),
            requests=pipeline.status.requests,
            density=0.0 if packing is None else packing.density,
            signals=len(store.signals()),
            sandbox_samples=store.count_samples(),
            broker=broker.name,
            seconds=time.monotonic() - began,
            troubles=show.troubles,
        )


class _Running:
    """A running connector, which `end` or `close` ends."""

    def __init__(self, connector: Connector) -> None:
        self.running = connector
        self._open = True

    def end(self, *, at_once: bool) -> None:
        """Drain and close the connector; with `at_once`, only close it."""
        self._open = False
        if at_once:
            self.running.close()
        else:
            self.running.stop()

    def close(self) -> None:
        """Close the connector at once if it still runs."""
        if self._open:
            self.end(at_once=True)


@contextmanager
def _running(config: Config, wait_for: WaitFor) -> Iterator[_Running]:
    """Start a connector, and wait until it is ready. Raises DemoError if it does not become ready in time."""
    try:
        connector = Connector(config)
    except ConnectorError as error:
        raise DemoError(str(error)) from error
    with closing(_Running(connector)) as running:
        connector.start()
        try:
            wait_for(lambda: not connector.problems(), _READY_SECONDS, "the connector is ready")
        except DemoError as error:
            raise DemoError(f"{error} ({'; '.join(connector.problems())})") from error
        yield running


class Show:
    """The visible part of the demo, between the start and the account."""

    def __init__(
        self,
        connector: Connector,
        plant: PlantProcess,
        observer: Observer,
        children: list[Child],
        screen: Screen,
        places: Places,
        signals: StopSignals,
    ) -> None:
        self._connector = connector
        self._plant = plant
        self._observer = observer
        self._children = children
        self._screen = screen
        self._places = places
        self._signals = signals
        self._began = time.monotonic()
        self._stage = DemoStage("running", 0.0)
        self._reading: Reading | None = None
        self.troubles: list[str] = []

    def look(self, seconds: float | None) -> None:
        """Show the running demo until `seconds` are over, the user stops the demo, or a part of the demo fails."""
        self._stage = DemoStage("running", 0.0, seconds)
        until = None if seconds is None else self._began + seconds
        while not self._signals.stop.is_set() and (until is None or time.monotonic() < until):
            self._refresh()
            if not self._all_well():
                return
            left = _TURN_SECONDS if until is None else min(_TURN_SECONDS, until - time.monotonic())
            self._signals.stop.wait(max(0.0, left))

    def end_plant(self) -> None:
        """Let the plant stop publishing, and wait for its last acknowledgements."""
        self._plant.child.let_go()
        self._go_on("plant stops", lambda: not self._plant.child.running(), _ARRIVAL_SECONDS)
        self._plant.child.end()

    def await_arrival(self) -> None:
        """Wait until the connector has received all acknowledged messages, and no more messages come."""
        seen = -1
        quiet_since = time.monotonic()

        def arrived() -> bool:
            nonlocal seen, quiet_since
            received = self._connector.pipeline.status.messages.received
            if received != seen:
                seen, quiet_since = received, time.monotonic()
            return received >= self._plant.published and time.monotonic() - quiet_since >= _QUIET_SECONDS

        self._go_on("last messages", arrived, _ARRIVAL_SECONDS)

    def drain(self, seconds: float) -> bool:
        """Let the connector send all waiting samples, for at most `seconds`; returns whether it sent them all."""
        pipeline = self._connector.pipeline
        pipeline.drain()
        drained = self._go_on("draining", pipeline.stopped.is_set, seconds)
        if not drained:
            self.troubles.append("the connector was stopped before it had sent all that waits")
        if pipeline.failure:
            self.troubles.append(pipeline.failure)
        return drained

    def _go_on(self, doing: str, done: Callable[[], bool], seconds: float) -> bool:
        """Show the demo until `done` is true, `seconds` are over, or the user asks for an end at once.

        Returns whether `done` was true. `doing` names the stage on the screen.
        """
        self._stage = replace(self._stage, doing=doing)
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline or self._signals.hurry.is_set():
                return False
            self._refresh()
            self._signals.hurry.wait(_TURN_SECONDS / 5)
        self._refresh()
        return True

    def _refresh(self) -> None:
        if self._reading is None or self._observer.due():
            self._reading = self._observer.read()
        elapsed = time.monotonic() - self._began
        self._screen.show(self._reading, replace(self._stage, seconds=elapsed), self._places)

    def _all_well(self) -> bool:
        try:
            for child in self._children:
                child.check()
        except DemoError as error:
            self.troubles.append(str(error))
        return not self.troubles and not self._connector.pipeline.stopped.is_set()
