"""`clarify-connector metadata`: what failed is listed with its reason, tried again, or forgotten."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from connector.commands.cli import main
from connector.metadata.book import MetadataBook, MetadataKind
from connector.metadata.reconciler import Desire, Entry, SaveInterval, rejected, saved, sending, wanted
from connector.metadata.saving_turn import SavingTurn
from connector.state.state import State

NOW = 1_800_000_000.0
INTERVAL = SaveInterval(60.0)
pytestmark = pytest.mark.usefixtures("state_folder")


@pytest.fixture
def state(config: Path) -> Iterator[State]:
    found = State(config.parent / "state" / "state.sqlite")
    yield found
    found.close()


def want(book: MetadataBook, input_id: str, problem: str = "") -> None:
    book.revise([input_id], lambda _, entry: wanted(entry, Desire("d", b"{}", problem), NOW, INTERVAL))


def reject(book: MetadataBook, input_id: str, reason: str = "is ugly") -> None:
    def change(_: str, entry: Entry) -> Entry:
        return rejected(sending(entry), "d", reason, False, NOW, INTERVAL)

    book.revise([input_id], change)


def fill(state: State) -> MetadataBook:
    """One signal of each kind, and an item."""
    book = MetadataBook(state, MetadataKind.SIGNAL, "integration")
    for input_id in ("press/saved", "press/waits", "oven/rejected"):
        want(book, input_id)
    want(book, "oven/invalid", "the unit is too long")
    book.revise(["press/saved"], lambda _, entry: saved(entry, "d", NOW, INTERVAL))
    reject(book, "oven/rejected")
    items = MetadataBook(state, MetadataKind.ITEM, "integration")
    want(items, "press/saved")
    items.revise(["press/saved"], lambda _, entry: saved(entry, "d", NOW, INTERVAL, "left alone"))
    return book


def cli(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["metadata", *map(str, arguments)])


def test_what_failed_is_listed_with_its_reason(config: Path, state: State) -> None:
    fill(state).note("503: away", NOW)
    listed = cli(config).output
    assert [line.split()[:3] for line in listed.splitlines()[:5]] == [
        ["failed", "metadata", "oven/invalid"],
        ["failed", "metadata", "oven/rejected"],
        ["waiting", "metadata", "press/waits"],
        ["saved", "metadata", "press/saved"],
        ["saved", "item", "press/saved"],
    ]
    assert "rejected, 1 try, next try 2027-01-15T09:00:00Z: is ugly" in listed
    assert "not tried again as it is: the unit is too long" in listed
    assert "left alone" in listed
    assert "metadata: nothing is saved since 2027-01-15T08:00:00Z: 503: away" in listed
    failed = cli(config, "--failed", "--json", "*/rej*")
    assert json.loads(failed.output)["signals"] == [
        {
            "input": "oven/rejected",
            "kind": "signal",
            "status": "failed",
            "integration": "integration",
            "digest": "d",
            "since": "2027-01-15T08:00:00Z",
            "failure": "rejected",
            "reason": "is ugly",
            "tries": 1,
            "next_try": "2027-01-15T09:00:00Z",
            "note": None,
        }
    ]
    assert cli(config, "--waiting", "oven/*").output.endswith("no signal matches\n")


def test_what_was_rejected_is_due_again_at_once(config: Path, state: State) -> None:
    book = fill(state)
    assert book.due(NOW + 1, 10, 10**6) == ["press/waits"]
    done = cli(config, "--retry")
    assert (done.exit_code, "1 are tried again" in done.output) == (0, True)
    assert "1 break a documented rule" in done.output
    far = 10**11
    assert set(book.due(far, 10, 10**6)) == {"press/waits", "oven/rejected"}
    entry = book.entries(["oven/rejected"])["oven/rejected"]
    assert entry.outstanding is not None
    assert entry.outstanding.due != NOW + 3600
    assert cli(config, "--retry", "press/*").exit_code == 1


def test_what_failed_can_be_forgotten(config: Path, state: State) -> None:
    book = fill(state)
    assert cli(config, "--drop", "oven/*").output == "2 are forgotten\n"
    assert cli(config, "--failed").output == "no signal matches\n"
    assert book.counts(NOW).waiting == 1, "what waits is not for that"
    assert cli(config, "--drop").exit_code == 1


def test_mistakes_are_said(config: Path) -> None:
    assert "has not run" in cli(config).output
    assert "use --retry or --drop, not both" in cli(config, "--retry", "--drop").output
    (config.parent / "state" / "state.sqlite").write_text("no database" * 100)
    refused = cli(config)
    assert (refused.exit_code, "cannot be used" in refused.output) == (1, True)


def test_all_or_nothing(state: State) -> None:
    book = MetadataBook(state, MetadataKind.SIGNAL, "integration")

    def change(input_id: str, entry: Entry) -> Entry:
        if input_id == "b":
            raise sqlite3.OperationalError("disk I/O error")
        return wanted(entry, Desire("d", b"{}"), NOW, INTERVAL)

    with pytest.raises(sqlite3.OperationalError):
        book.revise(["a", "b"], change)
    assert book.counts(NOW).waiting == 0


def test_one_process_saves_and_the_next_one_takes_over(tmp_path: Path) -> None:
    one, other = SavingTurn(tmp_path / "state.sqlite"), SavingTurn(tmp_path / "state.sqlite")
    assert (one(), one(), other()) == (True, True, False)
    one.close()
    assert other()
    assert not one()
    other.close()
