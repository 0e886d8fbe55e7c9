"""The search for secrets finds them: plain, encoded, across the border of two parts; and then the run fails."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from tests import secret_search
from tests.secret_search import secrets_in
from tests.secrets_used import CLARIFY_SECRET, KAFKA_PASSWORD, MQTT_PASSWORD, SETTING, fresh

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """What this test finds is none of the run's, and what it hides is not left behind."""
    mine: list[str] = []
    monkeypatch.setattr(secret_search, "FOUND", mine)
    yield mine
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("user", ["", "u", "me", "abc", "user"])
@pytest.mark.parametrize(
    "secret", [CLARIFY_SECRET, MQTT_PASSWORD, fresh("client-secret")], ids=["clarify", "mqtt", "fresh"]
)
def test_a_secret_is_found_however_it_is_written(secret: str, user: str) -> None:
    pair = f"{user}:{secret}".encode()
    for content in (
        secret.encode(),
        quote_plus(secret).encode(),
        b"Authorization: Basic " + base64.b64encode(pair),
        base64.urlsafe_b64encode(pair).rstrip(b"="),
        pair.hex().encode(),
    ):
        assert secrets_in(b"before " + content + b" after"), content


def test_tokens_and_private_keys_are_found() -> None:
    assert secrets_in(b"Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x") == {"an access token of the sandbox"}
    assert secrets_in(b"-----BEGIN EC PRIVATE KEY-----") == {"a private key"}


def test_it_says_where_and_which_and_never_the_value(found: list[str], tmp_path: Path) -> None:
    (tmp_path / "connector.log").write_text(f"cannot log in with {KAFKA_PASSWORD}\n")
    secret_search.search_folder(tmp_path)
    secret_search.search_text("output of a test", f"x={SETTING}")
    secret_search.search_text("output of another", fresh("client-secret"))
    assert found == [
        f"{tmp_path.name}/connector.log: kafka-password",
        "output of a test: setting-and-more",
        "output of another: client-secret",
    ]


def test_what_may_hold_secrets_may_and_nothing_else(found: list[str], tmp_path: Path) -> None:
    for name in ("connector.yaml", "credentials.json", "connector.yaml.log", "pages.txt", "plant.sqlite"):
        (tmp_path / name).write_text(MQTT_PASSWORD)
    secret_search.search_folder(tmp_path)
    assert [line.partition(":")[0].partition("/")[2] for line in found] == [
        "connector.yaml.log",
        "pages.txt",
        "plant.sqlite",
    ]


def test_a_secret_on_the_border_of_two_parts_is_found(found: list[str], tmp_path: Path) -> None:
    for place in range(1024 * 1024 - 40, 1024 * 1024 + 3, 7):
        (tmp_path / "log").write_bytes(b"." * place + MQTT_PASSWORD.encode() + b"." * 100)
        found.clear()
        secret_search.search_folder(tmp_path)
        assert found, place


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_run_that_leaves_a_secret_behind_fails(tmp_path: Path, processes: str) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "def test_file(tmp_path):\n    (tmp_path / 'a.log').write_text('k4naryb1rd-mqtt-password')\n"
        "def test_output():\n    print('k4naryb1rd-kafka-password')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", processes, "-q", str(test)]
    command += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest"]
    command += ["--basetemp", str(tmp_path / "basetemp")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1, done.stdout
    assert "a.log: mqtt-password" in done.stdout
    assert "test_output (Captured stdout call): kafka-password" in done.stdout
