"""Whatever a publisher puts into a topic or a payload, no command prints it raw, and none of its lines is forged."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from connector import ConnectorError
from connector.commands.cli import main
from connector.conformance.dead_letters import a_letter
from connector.dead_letters.as_json import to_json
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.reconciler import Desire, SaveInterval, wanted
from connector.records import Reason, Record, Reject
from connector.sources.file.lines import capture_line
from connector.state.state import SignalStatus, State
from tests.in_process import left_as_it_was

ROOT = Path(__file__).parents[3]
NOW = 1_800_000_000.0
TIME = 1_790_000_000_000_000
FORGED = "FORGED ROW"
HOSTILE = f"=A\x1b[2J\x1b]0;t\x07\r\n{FORGED}\t\x9b1m\x7f\x85\u2028\u2029\u202e\u2066é"
CONFIG = """\
clarify: {credentials: credentials.json}
sources:
  - {type: file, name: file, path: capture.ndjson, records: record}
state_dir: state
mapping:
  unmatched: map
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A configuration whose state, dead letters and captures are full of hostile texts."""
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    config = CONFIG
    (tmp_path / "connector.yaml").write_text(config, encoding="utf-8")
    record = Record(HOSTILE, b'{"v": 1}', TIME)
    file = SourceFile.open(state_dir / "file.sqlite")
    file.journal.write([[record, Record("plain", b"1", TIME)], [record]], [])
    tally = Tally(Counts(received=1, inserted=1), Counts(received=1, inserted=1))
    file.journal.write([], [Commit("file", "p", 1, {HOSTILE: tally})])
    file.close()
    state = State(state_dir / "state.sqlite")
    state.add_signal_statuses([(HOSTILE, SignalStatus.HELD)])
    state.add_overwritten([(HOSTILE, HOSTILE, 3)], NOW)
    book = MetadataBook(state, MetadataKind.SIGNAL, "integration")
    book.revise([HOSTILE], lambda _, entry: wanted(entry, Desire("d", b"{}", HOSTILE), NOW, SaveInterval(60.0)))
    book.note(HOSTILE, NOW)
    state.close()
    letter = a_letter(
        1,
        HOSTILE.encode(),
        topic=HOSTILE,
        rejects=[Reject(Reason.NOT_FINITE, HOSTILE, HOSTILE, HOSTILE)],
    )
    letters = SqliteLetters(state_dir / "dead-letters.sqlite", 2**30)
    letters.add([letter])
    letters.close()
    (tmp_path / "letters.ndjson").write_bytes(to_json(letter) + b"\n")
    broken = Record(HOSTILE, b'{"' + HOSTILE.encode("utf-8") + b'": NaN}', TIME)
    lines = [capture_line(HOSTILE, record), capture_line("file", broken), capture_line("file", Record("x", b"\x1b", 1))]
    (tmp_path / "capture.ndjson").write_bytes(b"".join(lines))
    (tmp_path / "hostile-tests.yaml").write_text(
        json.dumps(
            {
                "tests": [
                    {
                        "name": HOSTILE,
                        "message": {"topic": HOSTILE, "payload": {"v": 1}},
                        "samples": [{"input": "x", "value": 2}],
                    }
                ]
            }
        ),
        encoding="utf-8",
    )
    with left_as_it_was():
        yield tmp_path


COMMANDS = [
    "check @",
    "ledger @",
    "ledger @ --json",
    "journal verify @",
    "journal verify @ --json",
    "journal stats @",
    "journal stats @ --json",
    "metadata @",
    "metadata @ --json",
    "metadata @ --failed",
    "new-signals @",
    "new-signals @ --json",
    "new-signals @ --approve *",
    "dead-letters list @",
    "dead-letters list @ --format csv",
    "dead-letters list @ --format json",
    "dead-letters list @ --format ndjson",
    "dead-letters list @ --summary",
    "dead-letters list @ --summary --format csv",
    "dead-letters list @ --summary --format json",
    "dead-letters list @ --from-file ./letters.ndjson",
    "dead-letters show @ LETTER",
    "dead-letters show @ LETTER --json",
    "dead-letters show @ LETTER --hex",
    "dead-letters replay @ --dry-run",
    "dead-letters replay @ --dry-run --json",
    "preview @ --input ./capture.ndjson --no-clarify",
    "preview @ --input ./capture.ndjson --no-clarify --json",
    "preview @ --input ./capture.ndjson --no-clarify --compare ./connector.yaml",
    "test @ ./hostile-tests.yaml --verbose",
    "test @ ./hostile-tests.yaml --json",
    "init --input ./capture.ndjson --output -",
    "init --input ./capture.ndjson --output ./new.yaml",
    "metadata @ HOSTILE --retry",
    "new-signals @ --approve HOSTILE\n",
    "dead-letters show @ HOSTILE",
    "dead-letters list @ --reason HOSTILE",
    "dead-letters list @ --topic HOSTILE",
    "ledger ./HOSTILE",
]


def run(folder: Path, command: str) -> Result:
    letter = a_letter(1, HOSTILE.encode(), topic=HOSTILE).key
    words = {"@": str(folder / "connector.yaml"), "LETTER": letter[:10], "HOSTILE": HOSTILE, "HOSTILE\n": HOSTILE + "?"}
    arguments = [words.get(word, word.replace("HOSTILE", HOSTILE)) for word in command.split(" ")]
    found = [str(folder / word[2:]) if word.startswith("./") else word for word in arguments]
    return CliRunner().invoke(main, found)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_a_control_character_or_a_forged_line(folder: Path, command: str) -> None:
    result = run(folder, command)
    assert isinstance(result.exception, SystemExit | None), result.exception
    printed = result.stdout + result.stderr
    assert printed.strip()
    raw = {char for char in printed if not char.isprintable()} - {"\n"}
    assert not raw, printed
    assert not [line for line in printed.split("\n") if line.strip().startswith(FORGED) and not line.startswith("  ")]


def test_all_that_should_be_printed_is(folder: Path) -> None:
    """The test above would pass, too, if nothing hostile was printed."""
    printing = [command for command in COMMANDS if FORGED in run(folder, command).output]
    assert len(printing) > len(COMMANDS) * 2 / 3, set(COMMANDS) - set(printing)


def test_csv_of_dead_letters_has_no_formula_and_keeps_its_numbers(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(folder, "dead-letters list @ --format csv").stdout)))
    assert [row["topic"].startswith("'=A") for row in rows] == [True]
    assert rows[0]["values"] == "1"


def test_a_report_for_ci_is_xml_whatever_the_test_is_called(folder: Path) -> None:
    run(folder, "test @ ./hostile-tests.yaml --junit ./report.xml")
    (case,) = ElementTree.parse(folder / "report.xml").iter("testcase")
    assert FORGED in (case.get("name") or "")
    assert (case.get("name") or "").isprintable()


def test_an_error_that_quotes_a_server_is_one_line(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ConnectorError(HOSTILE)

    monkeypatch.setattr("connector.commands.ledger.read_ledger", fails)
    result = run(folder, "ledger @")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.strip().isprintable()


def test_a_bug_that_quotes_a_topic_forges_no_line(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr("connector.commands.ledger.read_ledger", fails)
    result = run(folder, "ledger @")
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert all(line.isprintable() for line in result.stderr.split("\n"))
    assert f"\n{FORGED}" not in result.stderr


def test_an_output_without_utf_8_gets_escapes_and_no_error(folder: Path) -> None:
    command = [sys.executable, "-m", "connector", "ledger", str(folder / "connector.yaml")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    found = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert rb"\xe9" in found.stdout
    assert found.stdout.isascii()
    assert b"Traceback" not in found.stderr


PRINTING_ROOMS = ("commands", "demo", "observe", "runtime", "terminal", "try_out")
MAY_PRINT = {
    "terminal/text.py": "it is the way",
    "terminal/progress.py": "its labels are shown, and it moves the cursor itself",
    "terminal/tables.py": "cells are shown",
    "observe/logs.py": "values are shown before",
    "commands/health.py": "the page's own text, which has passed through the way",
    "demo/kafka_broker.py": "for the parent process, not for people",
    "demo/end_with_parent.py": "into a log",
    "try_out/trial_process.py": "JSON, for the parent process",
}


def printing(tree: ast.Module) -> Iterator[int]:
    """Lines with a call that prints as it is."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "out.write"):
            yield node.lineno


def test_nobody_prints_past_the_one_way() -> None:
    found = []
    for room in PRINTING_ROOMS:
        for path in (ROOT / "connector" / room).rglob("*.py"):
            name = path.relative_to(ROOT / "connector").as_posix()
            source = path.read_text(encoding="utf-8")
            if name not in MAY_PRINT:
                found += [f"{name}:{line}" for line in printing(ast.parse(source)) if "capture_line" not in source]
    assert found == []
