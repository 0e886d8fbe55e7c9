"""The pages that a running connector serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from connector.observe.http import ObserveServer, json_page
from connector.observe.ledger_page import KEEP, ledger_page
from connector.observe.silent_page import silent_page
from connector.observe.tap_page import tap_page

if TYPE_CHECKING:
    from connector.config.model import Config
    from connector.runtime.connector import Connector


def serve(config: Config, connector: Connector) -> ObserveServer | None:
    """Serve the pages of the connector, and return the server; None if `observe.listen` is null.

    Raises OSError or SettingsError if the address or the certificate cannot be used.
    """
    if config.observe.listen is None:
        return None

    def ready() -> tuple[int, str, bytes]:
        problems = connector.problems()
        several = len(connector.integrations) > 1
        circuits = {
            (f"{connector.pipeline.status.shown(name)}: {method}" if several else method): {
                "state": status.state.value,
                "held": status.held,
                "failures": status.failures,
                "reason": status.reason,
                "failing_seconds": round(status.failing_seconds, 1),
                "next_try_seconds": round(status.next_try_seconds, 1),
            }
            for name, parts in connector.integrations.items()
            for method, status in parts.circuits.statuses(time.monotonic()).items()
            if status.failures
        }
        notices = [notice.as_json() for notice in connector.notices()]
        found = {
            "ready": not problems,
            "problems": problems,
            "notices": notices,
            "filtered_by": dict(connector.pipeline.status.filtered),
            "circuits": circuits,
        }
        return json_page(503 if problems else 200, found)

    def alive() -> tuple[int, str, bytes]:
        failure = connector.pipeline.failure or "; ".join(connector.supervision.problems()) or None
        return json_page(503 if failure else 200, {"alive": not failure, "failure": failure})

    def metrics() -> tuple[int, str, bytes]:
        from connector.observe.metrics import metrics_page  # noqa: PLC0415 - the library of Prometheus

        return 200, "text/plain; version=0.0.4", metrics_page(connector)

    server = ObserveServer(
        config.observe,
        {
            "/healthz": alive,
            "/readyz": ready,
            "/metrics": metrics,
            "/ledger": ledger_page(config),
        },
        KEEP,
        {"/silent": silent_page(connector.silence, config.clarify.name), "/tap": tap_page(connector.pipeline.tap)},
    )
    server.start()
    connector.supervision.also(server.thread)
    return server
