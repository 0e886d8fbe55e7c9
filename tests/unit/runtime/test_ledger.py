"""The ledger is read from the files by itself, so that a ledger that balances says something."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from connector.config.model import Config
from connector.config.read import load_config
from connector.ledger.account import Commit, Counts, SettledRange, Tally
from connector.ledger.source_file import SourceFile
from connector.mapping.signals.input_ids import Origin
from connector.runtime.ledger import Account, PartitionAccount, as_table, read_kept, read_ledger
from connector.runtime.state_dir import FRESHNESS_NOTE
from connector.state.state import State
from tests.unit.records import ARRIVAL as TIME
from tests.unit.records import record


def config_in(folder: Path, *names: str) -> Config:
    sources = "".join(f"  - {{type: mqtt, name: {name}, url: h, topics: [x]}}\n" for name in names or ("mqtt",))
    file = folder / "connector.yaml"
    file.write_text(f"clarify: {{credentials: c.json}}\nsources:\n{sources}state_dir: state\n", encoding="utf-8")
    (folder / "state").mkdir(exist_ok=True)
    return load_config(file, {})


def used_file(path: Path) -> None:
    """Five messages: two settled, three waiting."""
    file = SourceFile.open(path)
    file.journal.write(
        [[record("1"), record('{"a": "text"}')], [record('{"a": 1, "b": NaN, "c": "x"}'), record("bad", "u")]], []
    )
    file.journal.write([[record("7", "u")]], [])
    tally = Tally(Counts(received=2, inserted=1, dead_lettered=1), Counts(received=2, inserted=1, filtered=1))
    file.journal.write([], [Commit("mqtt", "p", 2, {"t": tally})])
    file.close()


def test_a_connector_that_never_ran_has_an_empty_ledger_that_balances(tmp_path: Path) -> None:
    ledger = read_ledger(config_in(tmp_path))
    assert ledger.balanced
    assert ledger.total.messages == Account()
    assert "The ledger balances." in as_table(ledger)


def test_what_waits_is_counted_by_reading_and_mapping_it(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    used_file(tmp_path / "state" / "mqtt.sqlite")
    ledger = read_ledger(config)
    assert ledger.balanced
    source = ledger.sources["mqtt"]
    assert source.appended == 5
    assert source.topics["t"].messages == Account(received=3, inserted=1, dead_lettered=1, waiting=1)
    assert source.topics["t"].samples == Account(received=5, inserted=1, filtered=1, waiting=3)
    assert source.topics["u"].messages == Account(received=2, waiting=2)
    assert source.topics["u"].samples == Account(received=1, waiting=1)
    assert ledger.total.messages == Account(received=5, inserted=1, dead_lettered=1, waiting=3)
    assert ledger.as_json()["balanced"] is True
    table = as_table(ledger)
    assert "source mqtt: 5 messages came in" in table
    assert "3/5" in table


def test_each_source_has_its_own_account(tmp_path: Path) -> None:
    config = config_in(tmp_path, "east", "west", "new")
    used_file(tmp_path / "state" / "east.sqlite")
    used_file(tmp_path / "state" / "west.sqlite")
    ledger = read_ledger(config)
    assert ledger.balanced
    assert [source.appended for source in ledger.sources.values()] == [5, 5, 0]
    assert ledger.total.messages.received == 10


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM journal WHERE first = 3", "5 messages came in, but 3 are accounted for: 2 are missing"),
        ("DELETE FROM ledger", "2 are missing"),
        ("UPDATE meta SET value = 4 WHERE key = 'next_position'", "2 are too many"),
        ("UPDATE ledger SET messages_inserted = 0", "topic 't' does not balance"),
        ("UPDATE ledger SET samples_received = 9", "topic 't' does not balance"),
        ("UPDATE journal SET crc = 0 WHERE first = 3", "1 rows of the journal are damaged"),
        (
            "INSERT INTO losses (at, reason) VALUES ('', 'the account could not be read')",
            "the account could not be read",
        ),
    ],
)
def test_whatever_is_missing_shows(tmp_path: Path, damage: str, said: str) -> None:
    config = config_in(tmp_path)
    path = tmp_path / "state" / "mqtt.sqlite"
    used_file(path)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO incidents VALUES ('2026-05-01', 'something happened')")
    connection.commit()
    assert read_ledger(config).balanced, "an incident that cost nothing is no problem"
    connection.execute(damage)
    connection.commit()
    connection.close()
    ledger = read_ledger(config)
    assert not ledger.balanced
    assert ledger.as_json()["balanced"] is False
    problems = "\n".join(ledger.sources["mqtt"].problems)
    assert said in problems
    assert "2026-05-01 something happened" in problems
    assert "THE LEDGER DOES NOT BALANCE." in as_table(ledger)
    assert said in as_table(ledger)


@pytest.mark.parametrize("page", [0, 2, 6])
def test_after_a_damaged_file_was_set_aside_the_loss_shows(tmp_path: Path, page: int) -> None:
    config = config_in(tmp_path)
    path = tmp_path / "state" / "mqtt.sqlite"
    file = SourceFile.open(path)
    file.journal.write([[record(str(i) * 500)] for i in range(100)], [])
    file.close()
    content = bytearray(path.read_bytes())
    content[page * 4096 : page * 4096 + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    file = SourceFile.open(path)
    file.close()
    assert file.recovery is not None
    ledger = read_ledger(config)
    assert not (ledger.balanced and file.recovery.recovered_records < 100)
    assert ledger.balanced or page != 0, "the first page is the same in all files: it costs nothing"
    if not ledger.balanced:
        assert str(file.recovery.kept_as) in as_table(ledger)


def test_the_page_counts_what_waits_without_reading_it(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    path = tmp_path / "state" / "mqtt.sqlite"
    used_file(path)
    whole = read_ledger(config)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE journal SET body = 'nobody reads it'")
    connection.commit()
    connection.close()
    kept = read_kept(config, 1_000)
    assert kept.balanced
    assert kept.total.messages == whole.total.messages
    source = kept.sources["mqtt"]
    assert source.topics["(waiting)"].messages == Account(received=3, waiting=3)
    assert source.topics["t"].messages == Account(received=2, inserted=1, dead_lettered=1)
    assert kept.total.samples == Account(received=2, inserted=1, filtered=1), "of samples that wait nobody knows yet"


def test_the_page_has_the_topics_with_the_most_messages(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    file = SourceFile.open(tmp_path / "state" / "mqtt.sqlite")
    file.journal.write([[record("1", f"t{n}") for n in range(10) for _ in range(n + 1)]], [])
    tallies = {
        f"t{n}": Tally(Counts(received=n + 1, inserted=n + 1), Counts(received=n, inserted=n)) for n in range(10)
    }
    file.journal.write([], [Commit("mqtt", "p", 55, tallies)])
    file.close()
    kept = read_kept(config, 2)
    assert set(kept.sources["mqtt"].topics) == {"t9", "t8", "(other topics)"}
    assert kept.balanced
    assert kept.as_json()["messages"] == read_ledger(config).as_json()["messages"]
    assert kept.as_json()["samples"] == read_ledger(config).as_json()["samples"]


def test_reading_the_ledger_gives_out_no_input_ids(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    used_file(tmp_path / "state" / "mqtt.sqlite")
    read_ledger(config)
    assert not (tmp_path / "state" / "state.sqlite").exists()
    state = State(tmp_path / "state" / "state.sqlite")
    state.add_claims([("t", Origin("mqtt", "other", ""))])
    read_ledger(config)
    assert list(state.claims()) == ["t"]
    state.close()


def test_replaced_values_are_named_the_inputs_with_most_first(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    for folder in (tmp_path / "state", tmp_path / "state" / "worker-2"):
        folder.mkdir(exist_ok=True)
        state = State(folder / "state.sqlite")
        state.add_overwritten([("a", "t/1", 2), *((f"b{n}", "t", 1) for n in range(11))], TIME / 1e6)
        state.close()
    ledger = read_ledger(config)
    said = as_table(ledger)
    assert "overwritten: 4 values of input a, by others of the same time; the last was noted at 2026-09-21T" in said
    assert "of topic t/1" in said
    assert "overwritten: values of 2 more inputs; --json has them" in said
    first = ledger.as_json()["overwritten"][0]  # type: ignore[index]
    assert (first["input"], first["topic"], first["values"]) == ("a", "t/1", 4)
    assert first["first"] == first["last"] == "2026-09-21T14:13:20Z"
    assert ledger.balanced


def test_the_logs_of_a_topic_that_was_made_anew_have_accounts_of_their_own(tmp_path: Path) -> None:
    """Two members have read the old log, and one of them the new one: there is no gap, and nothing came again."""
    for member, ranges in {
        "a": [("old", 0, 50), ("new", 0, 30)],
        "b": [("old", 50, 80)],
    }.items():
        (tmp_path / member / "state").mkdir(parents=True)
        file = SourceFile.open(tmp_path / member / "state" / "kafka.sqlite")
        for log, first, after in ranges:
            counts = Counts(received=after - first, inserted=after - first)
            commit = Commit("kafka", "t[0]", after - 1, {"t": Tally(counts, counts)})
            file.ledger.add_ranges([SettledRange("t[0]", first, after, after - first, 0, log)], [commit])
        file.ledger.add_unread("t[0]: the topic was deleted and made anew", 7)
        file.close()
    configs = [config_in(tmp_path / member, "kafka") for member in ("a", "b")]
    found = read_ledger(*configs, all_members=True)
    assert found.balanced, found.sources["kafka"].problems
    assert found.sources["kafka"].partitions == {
        "t[0] in log new": PartitionAccount(0, 30, 30),
        "t[0] in log old": PartitionAccount(0, 80, 80),
    }
    assert found.sources["kafka"].unread == 14
    assert "14 messages were deleted with their topic before they could be read" in as_table(found)


def test_ranges_without_the_name_of_a_log_are_of_the_only_log(tmp_path: Path) -> None:
    """A member that could not ask which log it is has read what is between."""
    config = config_in(tmp_path, "kafka")
    file = SourceFile.open(tmp_path / "state" / "kafka.sqlite")
    for log, first, after in [("x", 0, 10), ("", 10, 20), ("x", 20, 30)]:
        counts = Counts(received=10, inserted=10)
        commit = Commit("kafka", "t[0]", after - 1, {"t": Tally(counts, counts)})
        file.ledger.add_ranges([SettledRange("t[0]", first, after, 10, 0, log)], [commit])
    file.close()
    found = read_ledger(config, all_members=True)
    assert found.sources["kafka"].partitions == {"t[0]": PartitionAccount(0, 30, 30)}
    assert found.balanced


def test_the_accounts_of_freshness_of_all_workers_are_added_if_they_have_one_objective(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    accounts = [
        {"mqtt": {"objective": 60.0, "kept": 2_999, "missed": 1}, "b": {"objective": 1.0, "kept": 0, "missed": 0}},
        {"mqtt": {"objective": 60.0, "kept": 7_000, "missed": 0}},
        {"mqtt": {"objective": 5.0, "kept": 1, "missed": 1}},
    ]
    for folder, found in zip(("", "worker-2", "worker-3"), accounts, strict=True):
        (tmp_path / "state" / folder).mkdir(exist_ok=True)
        state = State(tmp_path / "state" / folder / "state.sqlite")
        state.add_note(FRESHNESS_NOTE, 0.0, json.dumps(found))
        state.close()
    ledger = read_ledger(config)
    assert ledger.as_json()["freshness"] == {
        "mqtt": {"objective": 60.0, "kept": 9_999, "missed": 1, "share": 0.9999},
        "b": {"objective": 1.0, "kept": 0, "missed": 0, "share": None},
    }
    assert "freshness of mqtt: 99.99 % of 10,000 samples were stored within 60 s of their time, 1 were not" in as_table(
        ledger
    )
