"""What a file source gives a second time, for dead letters about samples that were sent already."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.ledger.account import Commit
from connector.ledger.source_file import SourceFile
from connector.records import Record
from connector.sources.file.section import FileSection
from connector.sources.file.source import FileSource
from connector.sources.source import SourceFinishedError
from tests.scripted import ScriptedHandover


def opened(folder: Path, path: str) -> FileSource:
    section = FileSection.model_validate({"type": "file", "path": path, "topic": "t", "max_line": "1KiB"})
    source = FileSource(section, SourceFile.open(folder / "file.sqlite"), io.BytesIO(b"1\n2\n"))
    source.start(ScriptedHandover())
    return source


def polled(source: FileSource) -> dict[int, Record]:
    found: dict[int, Record] = {}
    try:
        while (chunk := source.poll(1.0)) is not None:
            found.update(zip(chunk.positions, chunk.records, strict=True))
    except SourceFinishedError:
        pass
    return found


LINES = st.lists(st.sampled_from([b"1", b"", b"x" * 900 + b"\r", b"y" * 5000, "ü".encode()]), min_size=1, max_size=300)


@given(lines=LINES, ended=st.booleans(), committed=st.integers(0, 300), data=st.data())
def test_every_line_is_read_again_as_it_came(
    lines: list[bytes], ended: bool, committed: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").write_bytes(b"\n".join(lines) + (b"\n" if ended else b""))
        source = opened(folder, str(folder / "data"))
        first = polled(source)
        if first and committed:
            source.commit(Commit("file", "file[0]", min(committed, max(first)), {}))
        if first:
            wanted = sorted(data.draw(st.sets(st.sampled_from(sorted(first)), min_size=1)))
            again = source.read_again("file[0]", [*wanted, max(first) + 1], 10**9)
            assert sorted(again.records) == wanted
            for position in wanted:
                assert again.records[position].payload == first[position].payload
                assert again.records[position].problem == first[position].problem
            some = source.read_again("file[0]", wanted, 1)
            assert 1 <= some.done <= len(wanted)
        source.close(1.0)


def test_standard_input_cannot_be_read_again(tmp_path: Path) -> None:
    source = opened(tmp_path, "-")
    assert len(polled(source)) == 2
    again = source.read_again("file[0]", [1, 2], 10**6)
    assert (again.records, again.done) == ({}, 2)
    assert "cannot be read again" in again.why
    source.close(1.0)


def test_what_was_read_of_standard_input_still_comes_after_stop_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be put back. The line in the middle of which the reading stopped is not made up."""
    lines = b"".join(b"%07d\n" % i for i in range(250_000))
    pipe = io.BytesIO(lines)
    section = FileSection.model_validate({"type": "file", "path": "-", "topic": "t"})
    source = FileSource(section, SourceFile.open(tmp_path / "file.sqlite"), pipe)
    source.start(ScriptedHandover())
    first = source.poll(10.0)
    assert first is not None
    source.stop_reading()
    found = len(first.records) + len(polled(source))
    assert found == pipe.tell() // 8 < 250_000
    source.close(1.0)
    assert "standard_input_not_finished" in capsys.readouterr().out


def test_a_file_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"1\n")
    source = opened(tmp_path, str(tmp_path / "data"))
    polled(source)
    (tmp_path / "data").unlink()
    assert "could not be read again" in source.read_again("file[0]", [1], 10**6).why
    source.close(1.0)
