"""What the doctor learns from the machine's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.commands.doctor import machine
from connector.commands.doctor.machine import file_system, memory_limit
from connector.commands.doctor.running import holder
from connector.config.model import Config
from connector.runtime.state_dir import lock_state_dir


def files(root: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("content", "limit"),
    [
        ({}, None),
        ({"sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "134217728\n"}, 134_217_728),
        (
            {
                "proc/self/cgroup": "0::/system.slice/connector.service\n",
                "sys/fs/cgroup/system.slice/memory.max": "1000\n",
                "sys/fs/cgroup/system.slice/connector.service/memory.max": "2000\n",
            },
            1000,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "3000\n",
            },
            3000,
        ),
    ],
    ids=["no cgroup", "no limit", "v2 in a container", "v2 of a service", "v1"],
)
def test_the_memory_limit_is_that_of_the_group_or_one_above(
    tmp_path: Path, content: dict[str, str], limit: int | None
) -> None:
    files(tmp_path, content)
    assert memory_limit(tmp_path) == limit


def test_the_waiting_samples_of_every_integration_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{2**30}\n"})
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    found = {}
    for number in (0, 2):
        more = {f"plant-{n}": {"credentials": "c.json", "max_waiting_samples": 4 * 2**20} for n in range(number)}
        clarify = {"credentials": "c.json", "integrations": more}
        mqtt = {"type": "mqtt", "url": "mqtts://b", "topics": ["#"]}
        config = Config.model_validate({"clarify": clarify, "sources": [mqtt]})
        [finding] = machine.look_at_memory(config)
        found[number] = int(finding.text.split("may take ")[1].split()[0])
    assert found[2] - found[0] == 2 * 4 * 30, "MiB; a waiting sample needs 30 bytes"


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    lines = [
        "1 0 0:1 / / rw - overlay overlay rw",
        "2 1 0:2 / /data rw shared:1 - ext4 /dev/sda1 rw",
        "3 1 0:3 / /data/a\\040b rw - tmpfs tmpfs rw",
    ]
    files(tmp_path, {"proc/self/mountinfo": "\n".join(lines)})
    found = [file_system(Path(path), tmp_path) for path in ("/data/x", "/data/a b/x", "/database", "/")]
    assert found == ["ext4", "tmpfs", "overlay", "overlay"]
    assert file_system(Path("/"), tmp_path / "nothing") == ""


@pytest.mark.parametrize("list_of_locks", [True, False])
def test_the_holder_of_the_lock_is_found_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, list_of_locks: bool
) -> None:
    if not list_of_locks:
        monkeypatch.setattr("connector.commands.doctor.running._listed", lambda _lock: None)
    assert holder(tmp_path / "lock") is None
    with lock_state_dir(tmp_path) as lock:
        pid = lock.seek(0) or lock.read().strip()
        assert holder(tmp_path / "lock") == pid
    assert holder(tmp_path / "lock") is None
    lock_state_dir(tmp_path).close()
