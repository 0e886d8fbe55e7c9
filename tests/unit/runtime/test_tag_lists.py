"""The watch over tag lists: a changed file is read when it is whole, a bad one never takes effect, and use is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.formats.catalogue import build_format
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.mapping.tags.tag import TagListError
from connector.pipeline.notices import Notices
from connector.runtime.tag_lists import TagWatch, read_tag_file
from tests.scripted import Clock
from tests.unit.mapping.mappers import take


class Watching:
    """A mapper without rules and its watched list."""

    def __init__(self, file: Path) -> None:
        section = MappingSection.model_validate({"tags": {"file": file}})
        self.mapper = Mapper(section.compile(build_format), built_in_tags=section.built_in_tags())
        (self.list,) = self.mapper.tag_lists
        self.mapper.use_tags(self.list, read_tag_file(file, self.list.notation))
        self.notices = Notices()
        self.clock = Clock()
        self.watch = TagWatch(
            [self.list], lambda change: change(), self.notices, self.mapper.use_tags, clock=self.clock
        )

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.clock.now += 5
            self.watch.look()

    def name(self) -> str:
        return self.list.tags.tags["t:v"].name

    def said(self) -> dict[str, str]:
        return {notice.kind: notice.text for notice in self.notices.shown()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tags.csv"
    file.write_text("key;name\nt:v;one\n")
    return file


def written_in_place(file: Path, text: str) -> None:
    file.write_text(text)


def replaced(file: Path, text: str) -> None:
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)


def linked_anew(file: Path, text: str) -> None:
    """As Kubernetes changes a ConfigMap: file → ..data/file, and ..data → a folder for each version."""
    folder = file.parent / f"..{len(list(file.parent.iterdir()))}"
    folder.mkdir()
    (folder / file.name).write_text(text)
    link = file.parent / "..new"
    link.symlink_to(folder.name)
    link.replace(file.parent / "..data")
    if not file.is_symlink():
        file.unlink()
        file.symlink_to(f"..data/{file.name}")


@pytest.mark.parametrize("change", [written_in_place, replaced, linked_anew])
def test_a_changed_list_is_used_and_its_known_signals_are_named_again(file: Path, change: object) -> None:
    assert callable(change)
    change(file, "key;name\nt:v;one\n")
    watching = Watching(file)
    take(watching.mapper, {"v": 1})
    watching.mapper.take_discovered()
    watching.look(3)
    assert watching.mapper.take_discovered() == []
    for name in ("two", "six"):
        change(file, f"key;name\nt:v;{name}\n")
        watching.look(1)
        assert watching.name() != name  # the file may be in the middle of a change
        watching.look(1)
        assert watching.name() == name
        assert [found.name for _, found in watching.mapper.take_discovered()] == [name]


def test_a_bad_list_never_takes_effect_and_that_is_said_until_it_is_mended(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = Watching(file)
    file.write_text("key;name\nt:v;two\nt:v;three\n")
    watching.look()
    assert watching.name() == "one"
    text = watching.said()["tag_list_refused"]
    assert text.startswith(f"{file}:3: column A (key): 't:v' is on line 2, too")
    assert text.endswith("the list that was read before stays in use")
    assert watching.watch.counts()[0].refused
    assert capsys.readouterr().out.count("tag_list_refused") == 1
    file.unlink()
    watching.look()
    assert (watching.name(), "no such file" in watching.said()["tag_list_refused"]) == ("one", True)
    file.write_text("key;name\nt:v;four\n")
    watching.look()
    assert (watching.name(), watching.said(), watching.watch.counts()[0].refused) == ("four", {}, False)


def test_unknown_and_unused_rows_are_told_with_examples_and_taken_back(file: Path) -> None:
    file.write_text("key;name\nt:v;one\nt:typo;two\n")
    watching = Watching(file)
    take(watching.mapper, {"v": 1, "w": 2})
    watching.look()
    text = "keys of the data that are not in tags.csv: 1, such as 't:w'; their signals have only what the rules say"
    assert watching.said() == {"tags_unknown": text}
    assert watching.watch.counts() == [(str(file), 2, 1, 1, False)]
    watching.clock.now += 3600
    watching.look()
    assert watching.said()["tags_unused"] == "rows of tags.csv that no record has used: 1 of 2, such as 't:typo'"
    file.write_text("key;name\nt:v;one\nt:w;two\n")
    watching.look(3)
    assert watching.said() == {}
    take(watching.mapper, {"v": 1, "w": 2})
    watching.look()
    assert watching.watch.counts() == [(str(file), 2, 0, 0, False)]


def test_a_row_for_several_signals_is_a_notice_of_its_own(file: Path) -> None:
    section = {"rules": [{"topic": "{plc}"}], "tags": {"file": file, "key": "{plc}"}}
    watching = Watching(file)
    mapping = MappingSection.model_validate(section)
    watching.mapper = Mapper(mapping.compile(build_format))
    watching.mapper.tag_lists[0].file = file
    file.write_text("key;name\nt;one\n")
    watching.watch = TagWatch(
        watching.mapper.tag_lists, lambda change: change(), watching.notices, watching.mapper.use_tags
    )
    watching.look()
    take(watching.mapper, {"v": 1, "w": 2})
    watching.watch._report_due = 0
    watching.look()
    assert "is for several signals" in watching.said()["tag_not_clear"]


def test_a_missing_file_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    tags = MappingSection.model_validate({"tags": {"file": tmp_path / "tags.csv"}}).tags
    assert tags is not None
    with pytest.raises(TagListError, match="there is no such file; clarify-connector tags CONFIG"):
        read_tag_file(tags.file, tags.notation)
    assert not read_tag_file(tags.file, tags.notation, may_be_missing=True).tags
    tags.file.mkdir()
    with pytest.raises(TagListError, match="cannot be read: Is a directory"):
        read_tag_file(tags.file, tags.notation)
