"""A long spell of 503 over real HTTP, with inserts and metadata at once; time goes forty times as fast."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Final

from connector.clarify import Api, ClarifyError, SignalInfo
from connector.delivery.circuit import ALL, Circuits, CircuitState
from connector.delivery.guarded import GuardedClient
from connector.delivery.pace import Pace
from connector.delivery.policy import LAST_DELAY
from connector.delivery.sender import Sender
from connector.delivery.slots import Slots
from tests.delivery_desk import Account, Cells, all_settled, frame_of
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

TIMES: Final = 40.0


def fast_clock() -> float:
    return time.monotonic() * TIMES


class FastEvent(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(None if timeout is None else timeout / TIMES)


class Logged:
    """The client, and when its requests went out on the fast clock."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.integration = api.integration
        self.at: list[tuple[float, str, int]] = []

    def insert_encoded(self, data_json: bytes) -> object:
        self.at.append((fast_clock(), "insert", len(data_json)))
        return self.api.insert_encoded(data_json)

    def save_signals(self, signals: object) -> object:
        self.at.append((fast_clock(), "save", 0))
        return self.api.save_signals(signals)  # type: ignore[arg-type]

    def call(self, method: str, params: object) -> dict[str, object]:
        raise AssertionError


def test_a_long_503_leads_to_slow_probes_and_ends_promptly() -> None:
    cells: Cells = {f"s{i}": [(1_790_000_000_000_000 + t, float(t)) for t in range(500)] for i in range(4)}
    with SandboxServer(rate_limiter="off") as sandbox, Api(sandbox.credentials()) as api:
        client, abort, circuits = Logged(api), FastEvent(), Circuits()
        account, pace = Account(), Pace(1.0)
        slots = Slots(lambda: pace.rate, abort, fast_clock)
        circuit = circuits.of("integration.insert", first=True)
        sender = Sender(client, slots, account, pace=pace, circuit=circuit, clock=fast_clock)  # type: ignore[arg-type]
        metadata = GuardedClient(client, circuits, abort, fast_clock)  # type: ignore[arg-type]
        metadata_slots = Slots(1.0, abort, fast_clock)
        saved: list[float] = []

        def save() -> None:
            while metadata_slots.wait() and not saved:
                try:
                    metadata.save_signals({"s0": SignalInfo(name="s0")})
                except ClarifyError:
                    continue
                saved.append(fast_clock())

        api.insert({"times": [], "series": {}})  # a token, and a connection
        sandbox.faults([{"kind": "status", "status": 503}])
        threads = [threading.Thread(target=lambda: slots.wait() and sender.deliver(frame_of(cells))),
                   threading.Thread(target=save)]  # fmt: skip
        try:
            for thread in threads:
                thread.start()
            wait_until(
                lambda: circuits.statuses(fast_clock())[ALL].state is not CircuitState.CLOSED, 60, "open", every=0.01
            )
            opened = fast_clock()
            wait_until(lambda: fast_clock() > opened + 150, 60, "a long spell", every=0.01)
            sandbox.clear_faults()
            ended = fast_clock()
            wait_until(lambda: sandbox.count_samples() == 2000 and saved, 60, "everything", every=0.01)
        finally:
            abort.set()
            for thread in threads:
                thread.join(60)
        probes = [(at, method, size) for at, method, size in client.at if opened + 60 < at < ended]
        assert 2 <= len(probes) <= 90 / (LAST_DELAY / 4) + 1, "slowly"
        assert all(later[0] - earlier[0] >= LAST_DELAY / 4 for earlier, later in pairwise(probes)), "one for both"
        assert max(size for _, _, size in probes) < 8192, "and small"
        first = min(at for at, _, _ in client.at if at >= ended)
        assert first - ended <= LAST_DELAY + 2.0 * TIMES, "and two seconds for the machine"
        assert account.settled == all_settled(cells)
        assert account.lost == {}
        assert circuits.statuses(fast_clock())[ALL].failures == 0
