"""Merges the pages of all workers: ready means that all workers are ready, and every number names the worker."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from connector.config.model import Config
from connector.dead_letters.look import MOST_LETTERS
from connector.observe.http import AskedPage, ObserveServer, Said, json_page
from connector.observe.ledger_page import KEEP, ledger_page
from connector.observe.probe import bearer
from connector.observe.silent_page import merged_silent_page
from connector.observe.sparing import Sparing
from connector.observe.status_page import PATH, status_page, topics_page
from connector.observe.tap_page import tap_of_workers
from connector.observe.workbench_page import Workbench, of_workers
from connector.records import FIRST_US

_SILENT_SECONDS: Final = 120.0
"""A worker without an answer for this number of seconds has failed: a start is shorter."""
_SECONDS: Final = 2.0
"""Longest wait for an answer of a worker: a visitor must get an answer even if one worker hangs."""
_STATUSES: Final = (200, 400, 404, 503)
"""The statuses of pages with a query whose content is JSON."""


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


def serve_together(
    config: Config,
    port_files: Sequence[Path],
    current: Callable[[], Config] | None = None,
    own_notices: Callable[[], Sequence[dict[str, object]]] = lambda: (),
    file: Path | None = None,
) -> ObserveServer | None:
    """Serve the merged pages of all workers, and return the server; None if `observe.listen` is null.

    `current` returns the configuration at the time of the call, `own_notices` the notices that no worker has, and
    `file` has the configuration, for the workbench.
    Each file of `port_files`, in the order of the workers, has the local port of a worker's own pages. Raises OSError
    or SettingsError if the address or the certificate cannot be used.
    """
    if config.observe.listen is None:
        return None

    def ask_all(page: str, good: Collection[int] = (200, 503)) -> dict[int, str | None]:
        """Ask all workers at the same time, and return worker → answer; None for a worker that does not answer.

        An answer with a status that is not in `good` counts as none. Workers require the token, too: any user of the
        machine can reach their ports.
        """
        headers = bearer(server.token.newest() if server.token else None)
        with ThreadPoolExecutor(len(port_files)) as pool:
            return dict(enumerate(pool.map(lambda file: _ask(file, page, headers, good), port_files), 1))

    silent: dict[int, float] = {}
    """Worker → time (`time.monotonic`) of the first request without an answer since the worker's last answer."""

    def ready() -> Said:
        problems: list[str] = []
        notices: list[dict[str, object]] = [*own_notices()]
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

    def metrics() -> Said:
        return 200, "text/plain; version=0.0.4", merged_metrics(ask_all("/metrics"))

    def alive() -> Said:
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

    def asked(path: str, merge: Callable[[dict[int, Any]], dict[str, Any]]) -> AskedPage:
        """The page with a query that joins the answers of all workers."""

        def page(query: Mapping[str, str]) -> Said:
            texts = ask_all(f"{path}?{urlencode(query)}", _STATUSES)
            answers = {worker: json.loads(text) for worker, text in texts.items() if text and text[0] == "{"}
            missing = [worker for worker in texts if "error" in answers.get(worker, {"error": ""})]
            found = merge(answers)
            return json_page(404 if "error" in found else 200, {**found, "missing": missing})

        return page

    present = current or (lambda: config)
    workbench = Workbench(file, present, of_workers(ask_all))
    server = ObserveServer(
        config.observe,
        {
            "/healthz": alive,
            "/readyz": ready,
            "/metrics": metrics,
            "/ledger": ledger_page(present),
            PATH: status_page(config),
        },
        KEEP,
        {
            "/status.json": asked("/status.json", partial(merged_status, workers=len(port_files))),
            "/signals.json": asked("/signals.json", merged_signals),
            "/dead-letters.json": asked("/dead-letters.json", merged_letters),
            **Sparing().pages({"/topics.json": topics_page(present), **workbench.pages}),
            "/silent": merged_silent_page(ask_all),
            "/tap": tap_of_workers(ask_all),
        },
        without_token={PATH},
        posted=workbench.posted,
    )
    server.start()
    return server


def merged_status(answers: Mapping[int, Any], workers: int) -> dict[str, Any]:
    """Returns /status.json of all workers. A worker without an answer has only its number, or the `error` it gave."""
    now = max((answer["now"] for answer in answers.values() if "now" in answer), default=time.time())
    processes = []
    for worker in range(1, workers + 1):
        answer = answers.get(worker, {})
        processes += [{**part, "worker": worker} for part in answer.get("processes", [answer])]
    return {"now": now, "processes": processes}


def merged_signals(answers: Mapping[int, Any]) -> dict[str, Any]:
    """Returns /signals.json of all workers. A signal of several workers comes once, with its newest value."""
    if (refused := _refusal(answers, "signals")) is not None:
        return refused
    found: dict[str, Any] = {"now": time.time(), "more": False}
    signals: dict[str, dict[str, Any]] = {}
    for answer in (answer for answer in answers.values() if "signals" in answer):
        for name, value in answer.items():
            if name == "never":
                found[name] = found.get(name, 0) + value
            elif name == "examples":
                found[name] = [*found.get(name, []), *value]
            elif name == "started":
                found[name] = min(found.get(name, value), value)
            elif name in ("more", "full"):
                found[name] = found.get(name, False) or value
        for one in answer["signals"]:
            known = signals.get(one["written"])
            if known is None or _last_us(one) > _last_us(known):
                signals[one["written"]] = {**(known or {}), **one}
    return {**found, "signals": list(signals.values())}


def _last_us(signal: Mapping[str, Any]) -> int:
    """The time of the last value of a signal, in µs since the epoch; before all times without a value."""
    return int(signal["last"]["time_us"]) if signal["last"] else FIRST_US - 1


def merged_letters(answers: Mapping[int, Any]) -> dict[str, Any]:
    """Returns /dead-letters.json of all workers: the newest letters of all, or the letter that one of them has."""
    for answer in answers.values():
        if "rejects" in answer:
            return dict(answer)
    if (refused := _refusal(answers, "letters")) is not None:
        return refused
    good = [answer for answer in answers.values() if "letters" in answer]
    letters = sorted((one for answer in good for one in answer["letters"]), key=lambda one: -one["written_us"])
    return {"letters": letters[:MOST_LETTERS], "readable": all(answer["readable"] for answer in good)}


def _refusal(answers: Mapping[int, Any], wanted: str) -> dict[str, Any] | None:
    """The reason of a worker why there is no answer, if no worker has one; else None."""
    if any(wanted in answer for answer in answers.values()):
        return None
    return next((dict(answer) for answer in answers.values()), {"error": "no worker answers; try again"})


def _ask(port_file: Path, page: str, headers: dict[str, str], good: Collection[int]) -> str | None:
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
    return text if answer.status in good else None
