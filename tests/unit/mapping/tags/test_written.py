"""Rows that are added to a tag list: what a person has filled in stays, byte for byte."""

from __future__ import annotations

import codecs

import pytest

from connector.mapping.tags.read import Notation, read_tags
from connector.mapping.tags.tag import TagListError
from connector.mapping.tags.written import NewTag, with_rows

NEW = [NewTag("p1/öl", "p1/data", "1.5", "", "bar"), NewTag("#c", "=t", "-2", "Now", "")]
FILLED = 'sep=|\r\n# ours\r\nremark|unit|key|name|# example\r\nx|°C|a|Öl "1"|7\r\n# end'


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
def test_a_new_list_is_utf_8_with_a_mark_and_has_all_columns(separator: str) -> None:
    content = with_rows(None, "tags.csv", Notation(), NEW, separator)
    assert content.startswith(codecs.BOM_UTF8)
    head, first, second, _ = content.decode("utf-8-sig").split("\r\n")
    assert head.split(separator)[:4] == ["key", "name", "description", "unit"]
    assert first.split(separator)[-4:] == ["p1/data", "1.5", "", "bar"]
    assert second.split(separator)[-4:] == ["'=t", "-2", "Now", ""]
    assert list(read_tags(content, "tags.csv").tags) == ["p1/öl", "#c"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("end", ["", "\r\n"])
def test_an_existing_list_keeps_every_byte_and_its_notation(encoding: str, end: str) -> None:
    before = (FILLED + end).encode(encoding)
    if encoding == "utf-16-be":
        before = codecs.BOM_UTF16_BE + before
    after = with_rows(before, "tags.csv", Notation(), NEW, ";")
    assert after.startswith(before)
    text = after.decode("utf-16" if encoding == "utf-16-be" else encoding)
    assert text.split("\r\n")[-3:] == ["||p1/öl||1.5", '||"#c"||-2', ""]
    assert with_rows(after, "tags.csv", Notation(), [], ";").startswith(after)


def test_a_list_in_an_encoding_without_a_character_becomes_utf_8() -> None:
    before = FILLED.encode("cp1252")
    after = with_rows(before, "tags.csv", Notation(encoding="cp1252"), [NewTag("Ω", "", "", "", "")], ";")
    assert after.decode("utf-8-sig").startswith(FILLED)
    assert list(read_tags(after, "tags.csv", Notation(encoding="cp1252")).tags) == ["a", "Ω"]


def test_yaml_is_extended_at_its_end() -> None:
    yaml = Notation(yaml=True)
    before = b"# ours\na: {name: x}  # kept\nb:"
    after = with_rows(before, "tags.yaml", yaml, NEW, ";")
    assert after.startswith(before + b"\n")
    assert '"p1/öl":  # topic: p1/data, example: 1.5, unit now: bar\n' in after.decode()
    assert list(read_tags(after, "tags.yaml", yaml).tags) == ["a", "b", "p1/öl", "#c"]
    assert list(read_tags(with_rows(None, "t", yaml, NEW, ";"), "t", yaml).tags) == ["p1/öl", "#c"]


@pytest.mark.parametrize("content", [b"{a: {name: x}}\n", b"key;unit\na;b;c\n"])
def test_a_list_that_cannot_be_extended_is_left_alone(content: bytes) -> None:
    with pytest.raises(TagListError):
        with_rows(content, "tags", Notation(yaml=content.startswith(b"{")), NEW, ";")
