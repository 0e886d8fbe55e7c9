"""CPU time and peak memory of the Clarify client against PyClarify: inserting, reading, merging a million values.

    python -m benchmarks.clarify_client

Both talk to the same sandbox, in turns, each in a process of its own; what Python, the imports and the making of the
input cost is measured too, and taken off. The medians are compared. Ours splits what is larger than 8 MiB; the sandbox
takes larger requests here, since PyClarify sends everything at once.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from tests.sandbox_server import SandboxServer

TIMES: Final = 100_000
SERIES: Final = 10
START: Final = 1_777_615_200
PACKAGES: Final = {"ours": "connector.clarify", "pyclarify": "pyclarify"}
WORKLOADS: Final = ("insert", "read", "merge")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _texts(first: int = START) -> list[str]:
    return [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(first + n)) for n in range(TIMES)]


def _columns() -> dict[str, list[float]]:
    return {f"bench/{key}": [key * 1000 + n % 997 + 0.25 for n in range(TIMES)] for key in range(SERIES)}


def _client(package: str, credentials: str) -> Any:
    import importlib  # noqa: PLC0415 - the cost of the import belongs to the one that is measured

    module = importlib.import_module(package)
    return module, module.Client(credentials, **({} if package == "pyclarify" else {"rates": None}))


def measure(package: str, workload: str, credentials: str) -> dict[str, float]:
    """What one run costs this process."""
    module, client = _client(package, credentials)
    work: Callable[[], object]
    if workload == "insert":
        texts, columns = _texts(), _columns()
        work = lambda: _insert(module, client, texts, columns)  # noqa: E731 - one of three
    elif workload == "read":
        client.select_items(limit=1)  # the token, and the connection
        work = lambda: _read(client)  # noqa: E731
    else:
        frames = [
            module.DataFrame(times=_texts(START + shift), series={**_columns(), f"only/{shift}": [2.5] * TIMES})
            for shift in (0, TIMES // 2)
        ]
        work = lambda: module.DataFrame.merge(frames)  # noqa: E731
    cpu, memory = _cpu(), _peak_mib()
    work()
    return {"cpu_s": _cpu() - cpu, "peak_mib": _peak_mib() - memory}


def _insert(module: Any, client: Any, texts: list[str], columns: dict[str, list[float]]) -> None:
    response = client.insert(module.DataFrame(times=texts, series=columns))
    assert response.error is None, response.error


def _read(client: Any) -> None:
    response = client.data_frame(gte="2026-05-01T00:00:00Z", lt="2026-05-10T00:00:00Z", limit=50)
    assert response.error is None, response.error
    assert sum(map(len, response.result.data.series.values())) == TIMES * SERIES


def compare(rounds: int) -> dict[str, Any]:
    """Medians and ratios."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    with SandboxServer(rate_limiter="off", max_body_bytes=64 * 1024 * 1024, total_seconds=120) as sandbox:
        credentials = str(sandbox.credentials_path)
        _, client = _client(PACKAGES["ours"], credentials)
        saved = client.save_signals(signals_by_input={key: {"name": key} for key in _columns()}).result
        client.publish_signals({s.id: {"name": key} for key, s in saved.signals_by_input.items()}).raise_for_error()
        for _ in range(rounds):
            for workload in WORKLOADS:
                for name, package in PACKAGES.items():
                    command = [
                        sys.executable,
                        "-W",
                        "ignore",
                        "-m",
                        "benchmarks.clarify_client",
                        package,
                        workload,
                        credentials,
                    ]
                    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
                    found.setdefault((workload, name), []).append(json.loads(done.stdout))
    medians = {
        key: {figure: statistics.median(run[figure] for run in runs) for figure in ("cpu_s", "peak_mib")}
        for key, runs in found.items()
    }
    return {
        "what": f"{TIMES} times x {SERIES} series: insert, read back, merge two that share half their times",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rounds": rounds,
        **{
            workload: {
                **{name: {k: round(v, 3) for k, v in medians[workload, name].items()} for name in PACKAGES},
                "cpu_ratio": round(medians[workload, "ours"]["cpu_s"] / medians[workload, "pyclarify"]["cpu_s"], 4),
                "memory_ratio": round(
                    medians[workload, "ours"]["peak_mib"] / medians[workload, "pyclarify"]["peak_mib"], 4
                ),
            }
            for workload in WORKLOADS
        },
    }


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        print(json.dumps(compare(3), indent=1))
