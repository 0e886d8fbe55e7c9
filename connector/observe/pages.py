"""The pages that a running connector serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.observe.http import ObserveServer, Said, json_page
from connector.observe.ledger_page import KEEP, ledger_page
from connector.observe.silent_page import silent_page
from connector.observe.sparing import Sparing
from connector.observe.status_data import StatusData, readiness
from connector.observe.status_page import PATH, status_page, topics_page
from connector.observe.tap_page import tap_page
from connector.observe.workbench_page import Workbench, of_tap

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.registry import Collector

    from connector.config.model import Config
    from connector.runtime.connector import Connector


def serve(config: Config, connector: Connector, *more: Collector, file: Path | None = None) -> ObserveServer | None:
    """Serve the pages of the connector, and return the server; None if `observe.listen` is null.

    `more` are further metrics. `file` has the configuration; without it, the workbench tries nothing.

    Raises OSError or SettingsError if the address or the certificate cannot be used.
    """
    if config.observe.listen is None:
        return None

    def ready() -> Said:
        found = readiness(connector)
        return json_page(200 if found["ready"] else 503, found)

    def alive() -> Said:
        failure = connector.pipeline.failure or "; ".join(connector.supervision.problems()) or None
        return json_page(503 if failure else 200, {"alive": not failure, "failure": failure})

    def metrics() -> Said:
        from connector.observe.metrics import metrics_page  # noqa: PLC0415 - the library of Prometheus

        return 200, "text/plain; version=0.0.4", metrics_page(connector, *more)

    workbench = Workbench(file, lambda: connector.config, of_tap(connector.pipeline.tap))
    server = ObserveServer(
        config.observe,
        {
            "/healthz": alive,
            "/readyz": ready,
            "/metrics": metrics,
            "/ledger": ledger_page(lambda: connector.config),
            PATH: status_page(config),
        },
        KEEP,
        {
            **Sparing().pages(
                {
                    **StatusData(connector).pages,
                    "/topics.json": topics_page(lambda: connector.config),
                    **workbench.pages,
                }
            ),
            "/silent": silent_page(connector.silence, config.clarify.name),
            "/tap": tap_page(connector.pipeline.tap),
        },
        without_token={PATH},
        posted=workbench.posted,
    )
    server.start()
    connector.supervision.also(server.thread)
    return server
