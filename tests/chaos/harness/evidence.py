"""What can be found after a run: the samples in the sandbox, the dead letters, the ledgers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from connector.state.sqlite import open_read_only
from tests.chaos.harness.messages import MARK
from tests.connector_process import ConnectorProcess, run_command
from tests.sandbox_server import SandboxServer


def stored_samples(sandbox: SandboxServer) -> dict[tuple[str, int], tuple[float, int]]:
    """(input ID, time in µs) → (value, when it was stored, in µs)."""
    with closing(open_read_only(sandbox.store_path)) as store:
        rows = store.execute("SELECT input, time_us, value, stored_us FROM samples JOIN signals ON signal = number")
        return {(name, at): (value, stored) for name, at, value, stored in rows}


def letter_marks(path: Path) -> list[str]:
    """Of each dead letter in a store the mark of its message; empty where it has none."""
    if not path.exists():
        return []
    with closing(open_read_only(path)) as store:
        return [_mark(row) for row in store.execute("SELECT * FROM letters")]


def _mark(row: Sequence[object]) -> str:
    for cell in row:
        found = MARK.search(cell if isinstance(cell, bytes) else str(cell).encode())
        if found:
            return found[0].decode()
    return ""


def read_ledger(processes: Sequence[ConnectorProcess]) -> dict[str, Any]:
    """The ledger of these connectors together, as `clarify-connector ledger` tells it."""
    together = ["--all-members"] if len(processes) > 1 else []
    done = run_command("ledger", *(process.config for process in processes), "--json", *together)
    assert done.stdout, done.stderr
    ledger: dict[str, Any] = json.loads(done.stdout)
    return ledger
