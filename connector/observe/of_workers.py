"""Merges the pages of all workers: ready means that all workers are ready, and every number names the worker."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from connector.config.model import Config
from connector.observe.http import ObserveServer, json_page
from connector.observe.ledger_page import KEEP, ledger_page
from connector.observe.probe import bearer
from connector.observe.silent_page import merged_silent_page
from connector.observe.tap_page import tap_of_workers

_SILENT_SECONDS: Final = 120.0
"""A worker without an answer for this number of seconds has failed: a start is shorter."""
_SECONDS: Final = 2.0
"""Longest wait for an answer of a worker: a visitor must get an answer even if one worker hangs."""


class _Merged(Collector):
    def __init__(self, texts: dict[int, str | None]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("clarify_connector_worker_up", "1 if the worker answers", labels=["worker"])
        families: dict[str, Metric] = {up.name: up}
        for worker, text in self._texts.items():
            up.add_metric([str(worker)], float(text is not None))
            for found in text_string_to_metric_families(text or ""):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {**sample.labels, "worker": str(worker)}, sample.value)
        yield from families.values()


def merged_metrics(texts: dict[int, str | None]) -> bytes:
    """Return the metrics of several workers in the text format of Prometheus, with the label `worker`.

    `texts` maps worker → metrics of the worker; None stands for a worker that does not answer.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(texts))
    return generate_latest(registry)


def serve_together(config: Config, port_files: Sequence[Path]) -> ObserveServer | None:
    """Serve the merged pages of all workers, and return the server; None if `observe.listen` is null.

    Each file of `port_files`, in the order of the workers, has the local port of a worker's own pages. Raises OSError
    or SettingsError if the address or the certificate cannot be used.
    """
    if config.observe.listen is None:
        return None

    token = config.observe.token  # workers require the token, too: any user of the machine can reach their ports

    def ask_all(page: str) -> dict[int, str | None]:
        """Ask all workers at the same time, and return worker → answer; None for a worker that does not answer."""
        with ThreadPoolExecutor(len(port_files)) as pool:
            return dict(enumerate(pool.map(lambda file: _ask(file, page, bearer(token)), port_files), 1))

    silent: dict[int, float] = {}
    """Worker → time (`time.monotonic`) of the first request without an answer since the worker's last answer."""

    def ready() -> tuple[int, str, bytes]:
        problems: list[str] = []
        notices: list[dict[str, object]] = []
        filtered: Counter[str] = Counter()
        circuits: dict[str, object] = {}
        for worker, text in ask_all("/readyz").items():
            said = json.loads(text or '{"problems": ["does not answer"]}')
            problems += [f"worker {worker}: {problem}" for problem in said["problems"]]
            notices += [{"worker": worker, **notice} for notice in said.get("notices", ())]
            filtered.update(said.get("filtered_by", {}))
            circuits |= {f"worker {worker}: {method}": status for method, status in said.get("circuits", {}).items()}
        found = {
            "ready": not problems,
            "problems": problems,
            "notices": notices,
            "filtered_by": filtered,
            "circuits": circuits,
        }
        return json_page(503 if problems else 200, found)

    def metrics() -> tuple[int, str, bytes]:
        return 200, "text/plain; version=0.0.4", merged_metrics(ask_all("/metrics"))

    def alive() -> tuple[int, str, bytes]:
        """Report a failure if a worker reports a failure or stays silent; a dead worker is started again."""
        now = time.monotonic()
        found = []
        for worker, text in ask_all("/healthz").items():
            if text is not None:
                silent.pop(worker, None)
                if failure := json.loads(text).get("failure"):
                    found.append(f"worker {worker}: {failure}")
            elif (seconds := now - silent.setdefault(worker, now)) > _SILENT_SECONDS:
                found.append(f"worker {worker} has not answered for {seconds:.0f} s")
        failure = "; ".join(found) or None
        return json_page(503 if failure else 200, {"alive": not failure, "failure": failure})

    server = ObserveServer(
        config.observe,
        {"/healthz": alive, "/readyz": ready, "/metrics": metrics, "/ledger": ledger_page(config)},
        KEEP,
        {"/silent": merged_silent_page(ask_all), "/tap": tap_of_workers(ask_all)},
    )
    server.start()
    return server


def _ask(port_file: Path, page: str, headers: dict[str, str]) -> str | None:
    try:
        connection = HTTPConnection("127.0.0.1", int(port_file.read_text(encoding="ascii")), timeout=_SECONDS)
        try:
            connection.request("GET", page, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError):
        return None  # the worker is starting or dying; the caller reports the missing answer
    return text if answer.status in (200, 503) else None
