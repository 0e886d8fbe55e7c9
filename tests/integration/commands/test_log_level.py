"""The level and the format of the log: by environment, and while supervisor and workers run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.connector_process import ConnectorProcess, run_command
from tests.ports import free_port
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until


def test_supervisor_and_workers_change_their_level_and_return(tmp_path: Path, sandbox: SandboxServer) -> None:
    connector = ConnectorProcess(
        tmp_path,
        sandbox.credentials_path,
        f"  - {{type: kafka, bootstrap_servers: '127.0.0.1:{free_port()}', topics: [t], group_id: g, "
        "security: plaintext}",
        more="workers: 2\n",
        observe="  log_level: info\n",
        env={"CLARIFY_CONNECTOR_LOG_FORMAT": "json", "CLARIFY_CONNECTOR_LOG_LEVEL": "warning"},
    )

    def found(event: str, field: str) -> list[tuple[int | None, str]]:
        """(worker, the field) of each line of the event."""
        lines = map(json.loads, connector.log().rpartition("\n")[0].splitlines())
        return sorted(((line.get("worker"), line[field]) for line in lines if line["event"] == event), key=str)

    with connector.start(ready=False):
        wait_until(lambda: len(dict(found("kafka_trouble", "level"))) == 2, 60, connector.log)  # both are at work
        assert '"started"' not in connector.log(), "the environment wins over the file"
        done = run_command("log-level", connector.config, "info", "--for", "1s")
        assert (done.returncode, done.stderr) == (0, ""), connector.log()
        assert done.stdout == "the level of the log is info for 1 s, then warning\n"
        wait_until(lambda: len(found("log_level_changed", "now")) == 6, 60, connector.log)
        connector.stop()
    changed = [(worker, now) for worker in (1, 2, None) for now in ("info", "warning")]
    assert found("log_level_changed", "now") == changed
    assert '"stopped"' not in connector.log(), "the usual level is back"
    done = run_command("log-level", connector.config, "debug")
    assert (done.returncode, "no connector runs with state_dir" in done.stderr) == (1, True)
