"""`clarify-connector dead-letters`: which are meant, what is shown, what is asked before they go."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import Result

from connector.commands.cli import main
from connector.commands.dead_letters.selection import LetterSelection, read_topic
from connector.conformance.dead_letters import a_letter, letters_in
from connector.dead_letters.as_json import to_json
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.letter import DeadLetter
from connector.dead_letters.remedies import remedy
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.records import Reason, Record, Reject
from tests.in_process import left_as_it_was
from tests.secret_search import SearchedCommands
from tests.unit.commands.configuration import GOOD

NOW_US = 1_790_000_000_000_000
pytestmark = pytest.mark.usefixtures("state_folder")


def written(letter: DeadLetter, us: int = NOW_US) -> DeadLetter:
    return msgspec.structs.replace(letter, written_us=us, version="1.2.3", configuration="abcdef")


LETTERS = [
    written(a_letter(1, b"broken {", topic="plant/1")),
    written(a_letter(2, b"\xff\x00\x1b[2J", topic="plant/2", rejects=[Reject(Reason.NOT_UTF8, "not text")])),
    written(
        a_letter(
            3,
            b'{"a": NaN}',
            topic="lab/3",
            rejects=[
                Reject(Reason.NOT_FINITE, "NaN", "a", "nan"),
                Reject(Reason.INSERT_REJECTED, "no", None, "2.0", "lab/3:b", NOW_US),
            ],
        )
    ),
    written(a_letter(4, topic="plant/4", source="other", record=None, why="it is gone"), NOW_US + 10**6),
]


@pytest.fixture
def filled(config: Path) -> Path:
    store = SqliteLetters(config.parent / "state" / "dead-letters.sqlite", 10**9)
    store.add(LETTERS)
    store.close()
    return config


def cli(name: str, config: Path, *options: str, answer: str | None = None) -> Result:
    with left_as_it_was():
        return SearchedCommands().invoke(main, ["dead-letters", name, str(config), *options], input=answer)


def listed(config: Path, *options: str) -> list[int]:
    result = cli("list", config, "--format", "json", *options)
    assert result.exit_code == 0, result.output
    return [letter["position"] for letter in json.loads(result.stdout)]


def kept(config: Path) -> list[int]:
    store = SqliteLetters(config.parent / "state" / "dead-letters.sqlite", 10**9)
    found = [letter.position for letter in letters_in(store)]
    store.close()
    return found


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ([], [1, 2, 3, 4]),
        (["--reason", "invalid_json"], [1, 4]),
        (["--reason", "INVALID-JSON", "--reason", "not_utf8"], [1, 2, 4]),
        (["--reason", "insert_rejected"], [3]),
        (["--topic", "plant/+"], [1, 2, 4]),
        (["--topic", "plant/{n}", "--source", "mqtt"], [1, 2]),
        (["--topic", "*/3"], [3]),
        (["--topic", "lab/3", "--topic", "plant/1"], [1, 3]),
        (["--source", "other"], [4]),
        (["--since", "2026-09-21T14:13:21Z"], [4]),
        (["--until", "2026-09-21T14:13:21Z"], [1, 2, 3]),
        (["--id", LETTERS[1].key[:6], "--id", LETTERS[2].key], [2, 3]),
        (["--source", "nobody"], []),
        (["--limit", "2"], [3, 4]),
    ],
)
def test_which_letters_are_meant(filled: Path, options: list[str], meant: list[int]) -> None:
    assert listed(filled, *options) == meant


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--reason", "nonsense"], "there is no reason 'nonsense'; known reasons: "),
        (["--topic", "a/#/b"], "'#' may stand only at the end"),
        (["--since", "yesterday"], "is no ISO 8601 time"),
    ],
)
def test_a_selection_that_cannot_be_understood_says_what_to_write(filled: Path, options: list[str], said: str) -> None:
    result = cli("list", filled, *options)
    assert result.exit_code == 2
    assert said in result.output


def test_the_list_for_people_and_for_programs(filled: Path) -> None:
    table = cli("list", filled).stdout.splitlines()
    assert table[0].split() == ["id", "written", "source", "topic", "reason", "values", "bytes", "message"]
    assert len(table) == 5
    assert table[3].startswith(LETTERS[2].key[:10])
    assert "insert_rejected, not_finite" in table[3]
    rows = list(csv.DictReader(io.StringIO(cli("list", filled, "--format", "csv").stdout)))
    assert [row["bytes"] for row in rows] == ["8", "6", "10", ""]
    lines = cli("list", filled, "--format", "ndjson").stdout.splitlines()
    assert json.loads(lines[0])["payload_text"] == "broken {"
    assert "2 older ones are not shown" in cli("list", filled, "--limit", "2").stderr


def test_a_summary_counts_by_reason(filled: Path) -> None:
    found = {row["reason"]: row for row in json.loads(cli("list", filled, "--summary", "--format", "json").stdout)}
    assert {reason: row["values"] for reason, row in found.items()} == {
        "invalid_json": 2, "not_utf8": 1, "not_finite": 1, "insert_rejected": 1
    }  # fmt: skip
    assert found["invalid_json"]["sources"] == ["mqtt", "other"]
    assert cli("list", filled, "--summary").stdout.splitlines()[-1] == "4 letters, 5 values or messages"


def test_without_letters_it_says_so(config: Path) -> None:
    result = cli("list", config)
    assert (result.exit_code, result.stderr) == (0, "no dead letters\n")
    assert cli("drop", config, "--all").output == "no letter is dropped\n"


def test_show_says_where_from_what_is_wrong_and_what_to_do(filled: Path) -> None:
    text = cli("show", filled, LETTERS[2].key).stdout
    for part in (
        LETTERS[2].key,
        "journal-1 3",
        "not_finite [a = nan]: NaN",
        "insert_rejected [lab/3:b at 2026-09-21T14:13:20.000Z = 2.0]: no",
        remedy("insert_rejected"),
        "version 1.2.3, mapping abcdef",
        '{"a": NaN}',
    ):
        assert part in text
    assert "it is gone; no replay is possible" in cli("show", filled, LETTERS[3].key[:7]).stdout


def test_show_bytes_as_hex_and_raw(filled: Path) -> None:
    binary = cli("show", filled, LETTERS[1].key)
    assert "00000000  ff 00 1b 5b 32 4a" in binary.stdout
    assert "..." in binary.stdout
    assert "\x1b" not in binary.stdout, "nothing reaches the terminal as it is"
    assert "62 72 6f 6b" in cli("show", filled, LETTERS[0].key, "--hex").stdout
    assert cli("show", filled, LETTERS[1].key, "--raw").stdout_bytes == b"\xff\x00\x1b[2J"
    assert json.loads(cli("show", filled, LETTERS[0].key, "--json").stdout)["id"] == LETTERS[0].key
    assert "the letter has no bytes" in cli("show", filled, LETTERS[3].key, "--raw").output


def test_a_hostile_message_cannot_write_on_the_terminal(config: Path) -> None:
    evil = "\x1b]0;evil\x07\n\r\x9b2J"
    record = Record(evil, b"\x1b[2J text", 1, evil.encode(), ((evil, evil),))
    letter = a_letter(1, topic=evil, record=record, rejects=[Reject(Reason.NOT_FINITE, evil, evil, evil)])
    store = SqliteLetters(config.parent / "state" / "dead-letters.sqlite", 10**9)
    store.add([letter])
    store.close()
    for result in (cli("show", config, letter.key), cli("list", config), cli("list", config, "--summary")):
        assert result.exit_code == 0
        assert all(char.isprintable() or char == "\n" for char in result.stdout)


def test_an_id_must_mean_one_letter(filled: Path) -> None:
    assert "no letter begins with 'zzz'" in cli("show", filled, "zzz").output
    assert "several letters begin with ''" in cli("show", filled, "").output


def test_drop_asks_and_drops_only_what_is_meant(filled: Path) -> None:
    assert cli("drop", filled).exit_code == 2
    assert cli("drop", filled, "--all", "--source", "other").exit_code == 2
    no = cli("drop", filled, "--source", "other", answer="n\n")
    assert no.exit_code == 1
    assert kept(filled) == [1, 2, 3, 4]
    assert "Drop 1 letters for good?" in no.output
    assert cli("drop", filled, "--source", "other", answer="y\n").exit_code == 0
    assert kept(filled) == [1, 2, 3]


def test_drop_by_reason_keeps_what_has_other_reasons_too(filled: Path) -> None:
    result = cli("drop", filled, "--reason", "not_finite", "--yes")
    assert (result.exit_code, kept(filled)) == (0, [1, 2, 3, 4])
    assert "1 letters stay, as each has another reason, too" in result.output
    assert cli("drop", filled, "--reason", "not_finite", "--reason", "insert_rejected", "--yes").exit_code == 0
    assert kept(filled) == [1, 2, 4]


def test_letters_of_workers_and_backfills_are_there_too(filled: Path) -> None:
    for n, folder in enumerate(("worker-2", "backfill/kafka-abc")):
        path = filled.parent / "state" / folder
        path.mkdir(parents=True)
        store = SqliteLetters(path / "dead-letters.sqlite", 10**9)
        store.add([a_letter(100 + n)])
        store.close()
    assert sorted(listed(filled)) == [1, 2, 3, 4, 100, 101]
    assert cli("drop", filled, "--all", "--yes").output == "6 letters dropped\n"
    assert listed(filled) == []


def test_files_of_several_processes_are_one_store(config: Path) -> None:
    config.write_text(GOOD + "dead_letters: {type: file, path: letters}\n", encoding="utf-8")
    (config.parent / "state" / "worker-2").mkdir()
    store = FileLetters(config.parent / "letters", 10**6, 8)
    store.add([*LETTERS, LETTERS[0]])
    store.close()
    assert listed(config) == [1, 2, 3, 4]
    assert cli("drop", config, "--topic", "plant/#", "--yes").output == "3 letters dropped\n"
    assert listed(config) == [3]


def test_letters_that_somebody_collected(config: Path, tmp_path: Path) -> None:
    config.write_text(GOOD + "dead_letters: {type: mqtt, url: mqtts://h}\n", encoding="utf-8")
    refused = cli("list", config)
    assert refused.exit_code == 1
    assert "a broker gives nothing twice" in refused.output
    assert "mosquitto_sub" in refused.output
    for name in ("show", "drop", "replay"):
        assert cli(name, config, *(["x"] if name == "show" else ["--source", "x"])).exit_code == 1
    collected = tmp_path / "letters.ndjson"
    collected.write_bytes(b"\n".join(map(to_json, LETTERS)) + b"\n\n")
    assert listed(config, "--from-file", str(collected)) == [1, 2, 3, 4]
    collected.write_bytes(to_json(LETTERS[0]) + b"\nnonsense\n")
    result = cli("list", config, "--from-file", str(collected))
    assert (result.exit_code, "letters.ndjson:2: " in result.output) == (1, True)


def test_a_damaged_store_is_named_and_never_a_traceback(config: Path) -> None:
    (config.parent / "state" / "dead-letters.sqlite").write_text("no database" * 1000, encoding="utf-8")
    result = cli("list", config)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "move the file away" in result.output


def test_a_dry_run_says_what_the_mapping_makes_of_them_now(filled: Path) -> None:
    store = SqliteLetters(filled.parent / "state" / "dead-letters.sqlite", 10**9)
    store.add([a_letter(5, b'{"v": 1}', topic="late")])
    store.close()
    result = cli("replay", filled, "--dry-run", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "dry_run": True,
        "interrupted": False,
        "succeeded": 1,
        "failed_again": 3,
        "reasons": {"invalid_json": 1, "not_utf8": 1, "not_finite": 1},
        "not_replayable": {"the configuration has no source 'other'": 1},
    }
    text = cli("replay", filled, "--dry-run").stdout
    assert "1 messages would become samples" in text
    assert "  1 not_finite: NaN and infinity" in text
    assert cli("replay", filled, "--dry-run", "--id", a_letter(5, topic="late").key).exit_code == 0
    assert kept(filled) == [1, 2, 3, 4, 5]


def test_letters_that_are_not_whole_cannot_be_replayed(config: Path) -> None:
    from connector.dead_letters.trimming import trimmed

    store = SqliteLetters(config.parent / "state" / "dead-letters.sqlite", 10**9)
    store.add([*trimmed(a_letter(1, b"x" * 100), 10), a_letter(2, record=None, why="it is gone")])
    store.close()
    found = json.loads(cli("replay", config, "--dry-run", "--json").stdout)
    assert found["not_replayable"] == {
        "the message was too large to be kept whole (dead_letters.max_payload)": 1,
        "the letter has no bytes: it is gone": 1,
    }


def test_every_reason_says_what_to_do() -> None:
    assert all(len(remedy(reason)) > 30 for reason in Reason)
    assert remedy("one of a later version") == "See the message. Correct the mapping or the device; then replay."


def test_an_empty_selection_takes_everything() -> None:
    assert LetterSelection().everything
    assert all(map(LetterSelection().takes_all_of, LETTERS))
    assert not LetterSelection(topics=(read_topic("x"),)).everything
