"""The tree of topics: levels, pages and searches, with the sums of the ledger."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from connector.ledger import topic_tree
from connector.ledger.account import Commit, Counts, Tally
from connector.ledger.source_file import SourceFile
from connector.ledger.topic_tree import TooSlowError, read_level


def ledger(folder: Path, topics: dict[str, int]) -> Path:
    """The file of a source, in whose ledger each topic has this number of messages, with two samples each."""
    path = folder / "plant.sqlite"
    with closing(SourceFile.open(path)) as file:
        tallies = {topic: Tally(Counts(n, n), Counts(2 * n, 2 * n)) for topic, n in topics.items()}
        file.ledger.add_commits(sum(topics.values()), [Commit("plant", "", 1, tallies)])
    return path


TOPICS = {"a": 1, "a/b": 2, "a/b/c": 4, "a/b/d": 8, "a/b0": 16, "a0": 32, "/": 64, "/x": 128, "b/": 256, "ø/é/日": 512}


@pytest.mark.parametrize(
    ("under", "found"),
    [
        ("", {"/": (2, 192), "a": (1, 1), "a/": (4, 30), "a0": (1, 32), "b/": (1, 256), "ø/": (1, 512)}),
        ("a/", {"b": (1, 2), "b/": (2, 12), "b0": (1, 16)}),
        ("a/b/", {"c": (1, 4), "d": (1, 8)}),
        ("/", {"": (1, 64), "x": (1, 128)}),
        ("b/", {"": (1, 256)}),
        ("ø/é/", {"日": (1, 512)}),
        ("nothing/", {}),
    ],
)
def test_a_level_adds_up_what_is_below(tmp_path: Path, under: str, found: dict[str, tuple[int, int]]) -> None:
    levels = read_level(ledger(tmp_path, TOPICS), under, None, 100)
    assert {one.name: (one.topics, one.messages["received"]) for one in levels} == found
    assert all(one.samples["inserted"] == 2 * one.messages["inserted"] for one in levels)


def test_pages_follow_each_other_and_leave_nothing_out(tmp_path: Path) -> None:
    path = ledger(tmp_path, TOPICS)
    names: list[str] = []
    while page := read_level(path, "", names[-1] if names else None, 2):
        assert len(page) <= 2
        names += [one.name for one in page]
    assert names == ["/", "a", "a/", "a0", "b/", "ø/"]


def test_a_text_is_found_in_whole_topics(tmp_path: Path) -> None:
    path = ledger(tmp_path, {"Plant/Oven/1": 1, "plant/oven/2": 1, "plant/pump": 1, "%": 1})
    assert [one.name for one in read_level(path, "", None, 9, "OVEN/")] == ["Plant/Oven/1", "plant/oven/2"]
    assert [one.name for one in read_level(path, "", None, 9, "%")] == ["%"]


def test_reading_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ledger(tmp_path, {f"site{n % 7}/line{n % 100}/m{n}": 1 for n in range(5000)})
    assert sum(one.topics for one in read_level(path, "", None, 100)) == 5000
    monkeypatch.setattr(topic_tree, "_SECONDS", -1.0)
    with pytest.raises(TooSlowError, match="choose a deeper level"):
        read_level(path, "", None, 100)
