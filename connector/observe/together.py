"""The pages of all workers as one: what is ready is ready in all of them, and every number says whose it is."""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from connector.config import Config
from connector.observe.http import ObserveServer, json_page

_SECONDS: Final = 5.0


class _Merged(Collector):
    def __init__(self, texts: dict[int, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for found in text_string_to_metric_families(text):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {**sample.labels, "worker": str(worker)}, sample.value)
        yield from families.values()


def merged_metrics(texts: dict[int, str]) -> bytes:
    """Metrics of several workers in Prometheus' text format, each with a label that says whose it is."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(texts))
    return generate_latest(registry)


def serve_together(config: Config, port_files: Sequence[Path]) -> ObserveServer | None:
    """Serve the pages of all workers if the configuration says where; raises OSError if that is not possible.
    `port_files` say, in the order of the workers, on which local port each serves its own."""
    if config.observe.listen is None:
        return None

    def ready() -> tuple[int, str, bytes]:
        problems: list[str] = []
        for worker, file in enumerate(port_files, 1):
            text = _ask(file, "/readyz")
            found = ["does not answer"] if text is None else json.loads(text)["problems"]
            problems += [f"worker {worker}: {problem}" for problem in found]
        return json_page(503 if problems else 200, {"ready": not problems, "problems": problems})

    def metrics() -> tuple[int, str, bytes]:
        texts = {worker: _ask(file, "/metrics") for worker, file in enumerate(port_files, 1)}
        answered = {worker: text for worker, text in texts.items() if text is not None}
        return 200, "text/plain; version=0.0.4", merged_metrics(answered)

    def ledger() -> tuple[int, str, bytes]:
        from connector.ledger import read_ledger  # noqa: PLC0415 - the ledger reads the files by itself

        try:
            return json_page(200, read_ledger(config).as_json())
        except sqlite3.Error as error:
            return json_page(503, {"error": str(error)})

    def alive() -> tuple[int, str, bytes]:
        return json_page(200, {"alive": True, "failure": None})  # a worker that dies is started again

    server = ObserveServer(
        config.observe.listen, {"/healthz": alive, "/readyz": ready, "/metrics": metrics, "/ledger": ledger}
    )
    server.start()
    return server


def _ask(port_file: Path, page: str) -> str | None:
    try:
        port = int(port_file.read_text(encoding="ascii"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except (OSError, ValueError):
        return None  # not there yet, or dying: whoever asks says so
