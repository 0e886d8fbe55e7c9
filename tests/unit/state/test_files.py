"""Files with data or secrets are their owner's alone, whatever the umask, and no symbolic link is followed."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector.commands.cli import main
from connector.conformance.dead_letters import a_letter
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.ledger.source_file import SourceFile
from connector.records import Record
from connector.runtime.state_dir import StartError, lock_state_dir
from connector.sources.file.lines import capture_line
from connector.state.files import open_output, open_private, others_can_read
from connector.state.state import State
from tests.in_process import left_as_it_was
from tests.secrets_used import SETTING as SECRET

CONFIG = """\
clarify: {credentials: credentials.json}
sources:
  - {type: file, name: file, path: capture.ndjson, records: record}
state_dir: state
dead_letters: {type: file}
"""


@pytest.fixture(autouse=True)
def _open_to_all() -> Iterator[None]:
    with left_as_it_was():
        os.umask(0)
        yield


def open_to_others(folder: Path) -> dict[str, str]:
    """Files and folders below this folder that group or others may use in any way."""
    found = {path.relative_to(folder).as_posix(): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}
    assert found
    return {name: oct(mode) for name, mode in found.items() if mode & 0o077}


def test_state_journal_and_dead_letters_are_private(tmp_path: Path) -> None:
    lock = lock_state_dir(tmp_path / "state")
    state = State(tmp_path / "state" / "state.sqlite")
    file = SourceFile.open(tmp_path / "state" / "mqtt.sqlite")
    file.journal.write([[Record("t", b"1", 1)]], [])
    letters = SqliteLetters(tmp_path / "state" / "dead-letters.sqlite", 2**30)
    letters.add([a_letter(1), a_letter(2)])
    assert {"mqtt.sqlite-wal", "mqtt.sqlite-shm"} <= {path.name for path in (tmp_path / "state").iterdir()}
    assert open_to_others(tmp_path) == {}
    for one in (lock, state, file, letters):
        one.close()
    assert open_to_others(tmp_path) == {}


def test_dead_letters_in_files_stay_private_when_some_are_dropped(tmp_path: Path) -> None:
    letters = FileLetters(tmp_path / "letters", 100_000, 3)
    found = [a_letter(n, b"x" * 40_000) for n in range(9)]
    letters.add(found)
    letters.forget([found[-1].key])
    assert (tmp_path / "letters" / "discarded.json").exists()
    assert open_to_others(tmp_path) == {}
    letters.close()


def test_what_commands_write_is_private(tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    (tmp_path / "capture.ndjson").write_bytes(capture_line("file", Record("t", b'{"v": 1}', 1)))
    letters = FileLetters(tmp_path / "state" / "dead-letters", 1_000_000, 3)
    letters.add([a_letter(1), a_letter(2)])
    letters.close()
    for path in tmp_path.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    (tmp_path / "new.yaml").touch(0o644)
    for command in (
        ["dead-letters", "drop", config, "--id", a_letter(1).key, "--yes"],
        ["dead-letters", "replay", config, "--dry-run"],
        ["init", "--input", tmp_path / "capture.ndjson", "--output", tmp_path / "new.yaml", "--force"],
        ["test", config, tmp_path / "new-tests.yaml", "--junit", tmp_path / "junit.xml"],
    ):
        os.umask(0)
        (tmp_path / "new-tests.yaml").write_text("tests:\n- {name: a, message: {topic: t, payload: 1}, samples: []}\n")
        (tmp_path / "new-tests.yaml").chmod(0o600)
        result = CliRunner().invoke(main, [str(word) for word in command])
        assert result.exit_code in (0, 1), result.output
        assert isinstance(result.exception, SystemExit | None)
    assert (tmp_path / "junit.xml").exists()
    assert b"id" in b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*.ndjson"))
    assert open_to_others(tmp_path) == {}


def test_the_lock_is_not_followed_to_another_file(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_text("all of it")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "lock").symlink_to(other)
    with pytest.raises(StartError, match=r"state/lock cannot be used: it is a symbolic link"):
        lock_state_dir(tmp_path / "state")
    assert other.read_text() == "all of it"


@pytest.mark.parametrize("name", ["mqtt.sqlite", "port", "drain.json", "mqtt.sqlite-reserve", "anything"])
def test_a_link_to_a_file_in_state_dir_is_found_before_anything_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(StartError, match=f"state/{name} is a symbolic link"):
        lock_state_dir(tmp_path / "state")
    (tmp_path / "state" / name).unlink()
    (tmp_path / "letters").mkdir()
    (tmp_path / "state" / "dead-letters").symlink_to(tmp_path / "letters")  # a folder on another volume is fine
    lock_state_dir(tmp_path / "state").close()


@pytest.mark.parametrize("exists", [True, False])
def test_sqlite_files_are_not_followed(tmp_path: Path, exists: bool) -> None:
    other = tmp_path / "other.sqlite"
    if exists:
        State(other).close()
    before = other.read_bytes() if exists else None
    (tmp_path / "state.sqlite").symlink_to(other)
    with pytest.raises(sqlite3.Error, match="symbolic link"):
        State(tmp_path / "state.sqlite")
    assert (other.read_bytes() if other.exists() else None) == before


@pytest.mark.parametrize("name", ["lock", "dead-letters-000001.ndjson", "dead-letters-000001.ndjson.new"])
def test_files_of_dead_letters_are_not_followed(tmp_path: Path, name: str) -> None:
    other = tmp_path / "precious"
    other.write_bytes(b"all of it\n")
    folder = tmp_path / "letters"
    folder.mkdir()
    if name.endswith(".new"):
        letters = FileLetters(folder, 100_000, 3)
        letters.add([a_letter(1), a_letter(2)])
        letters.close()
    (folder / name).symlink_to(other)

    def use() -> None:
        letters = FileLetters(folder, 100_000, 3)
        try:
            letters.add([a_letter(3)])
            letters.forget([a_letter(1).key])
        finally:
            letters.close()

    with pytest.raises(Exception, match="symbolic link"):
        use()
    assert other.read_bytes() == b"all of it\n"


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic link"):
        open_private(tmp_path / "link", os.O_WRONLY | os.O_CREAT)
    assert not (tmp_path / "target").exists()


def test_an_output_that_exists_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.touch(0o666)
    os.close(open_output(path, os.O_APPEND))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.close(open_output(Path(os.devnull), os.O_TRUNC))  # a device keeps its mode
    assert stat.S_IMODE(Path(os.devnull).stat().st_mode) & 0o022


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter: those of the tests are private."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("mode", "folder_mode", "expected"),
    [(0o644, 0o755, True), (0o604, 0o711, True), (0o640, 0o755, False), (0o644, 0o700, False)],
)
def test_others_can_read_by_the_modes_of_the_file_and_of_its_folders(
    public_folder: Path, tmp_path: Path, mode: int, folder_mode: int, expected: bool
) -> None:
    path = public_folder / "key.pem"
    path.touch()
    path.chmod(mode)
    public_folder.chmod(folder_mode)
    assert others_can_read(path) is expected
    link = tmp_path / "link"
    link.symlink_to(path)
    assert others_can_read(link) is expected


def test_what_cannot_be_examined_is_not_called_readable(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert not others_can_read(tmp_path / "circle")
    assert not others_can_read(tmp_path / "nothing")


TLS_CONFIG = """\
clarify: {credentials: credentials.json}
sources:
  - type: mqtt
    url: mqtts://127.0.0.1:1
    topics: [x]
    username: u
    password: ${file:password}
    tls: {cert_file: cert.pem, key_file: key.pem}
state_dir: state
observe: {listen: null}
"""


def test_check_and_run_warn_of_secrets_that_others_can_read(public_folder: Path) -> None:
    config = public_folder / "connector.yaml"
    config.write_text(TLS_CONFIG, encoding="utf-8")
    names = ("credentials.json", "password", "key.pem", "cert.pem")
    for name in names:
        (public_folder / name).touch(0o644)
    (public_folder / "password").write_text(SECRET)
    found = CliRunner().invoke(main, ["check", str(config)]).output
    assert [name for name in names if f"warning: {public_folder / name} holds a secret" in found] == list(names[:3])
    command = [sys.executable, "-m", "connector", "run", str(config)]
    logged = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
    assert logged.count("secret_readable_by_others") == 3  # and then it ends, as the credentials are empty
    assert SECRET not in found + logged
    for name in names:
        (public_folder / name).chmod(0o600)
    assert "warning: " not in CliRunner().invoke(main, ["check", str(config)]).output
