"""Threads that sources own, and those of the pipeline: whichever ends unasked is named."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
from pathlib import Path

import pytest

from connector.conformance.dead_letters import a_letter
from connector.dead_letters.broker_sections import MqttLettersSection
from connector.dead_letters.mqtt_store import MqttLetters
from connector.dead_letters.store import DeadLettersError
from connector.ledger.account import Commit
from connector.ledger.journal_tables import JournalTables
from connector.ledger.ledger_tables import LedgerTables
from connector.ledger.source_file import SourceFile
from connector.records import Record
from connector.sources.file.section import FileSection
from connector.sources.file.source import FileSource
from connector.sources.journal.disk import DiskJournal
from connector.sources.journal.journal import Batch
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.tap import MqttTap
from connector.sources.source import ThreadedSource
from connector.sources.tap import TapError
from tests.ports import free_port
from tests.scripted import ScriptedHandover
from tests.waiting import wait_until


class Panic(BaseException):
    """What native code raises, which is no `Exception`."""


class BrokenStream:
    """Standard input that fails as nobody expects."""

    def read(self, _size: int) -> bytes:
        raise Panic("no bytes")


def no_descriptors(*_args: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def file_source(folder: Path, path: str, stdin: BrokenStream | None = None) -> FileSource:
    section = FileSection.model_validate({"type": "file", "path": path, "topic": "t"})
    source = FileSource(section, SourceFile.open(folder / "file.sqlite"), stdin)  # type: ignore[arg-type]
    assert isinstance(source, ThreadedSource)
    source.start(ScriptedHandover())
    return source


def test_the_end_of_the_thread_that_reads_standard_input_is_named(tmp_path: Path) -> None:
    source = file_source(tmp_path, "-", BrokenStream())
    wait_until(source.ended, 10, "its end")
    assert "the thread stdin-file ended" in str(source.ended())
    assert "no bytes" in str(source.ended())
    source.close(5)


def test_the_end_of_the_thread_that_writes_the_ledger_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("1\n")
    source = file_source(tmp_path, str(tmp_path / "data"))
    assert source.poll(1.0) is not None
    assert source.ended() is None
    with monkeypatch.context() as patched:
        patched.setattr(LedgerTables, "add_ranges", no_descriptors)
        source.commit(Commit("file", "file[0]", 1, {}))
        wait_until(source.ended, 10, "its end")
    assert "the thread ledger-file ended" in str(source.ended())
    source.close(5)


def test_the_end_of_the_thread_that_writes_the_journal_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = DiskJournal("mqtt", SourceFile.open(tmp_path / "mqtt.sqlite"), 10**6)
    journal.start()
    monkeypatch.setattr(JournalTables, "write", no_descriptors)
    journal.append(Batch([Record("t", b"1", 1)], lambda: None))
    wait_until(journal.ended, 10, "its end")
    assert "the thread journal-mqtt ended" in str(journal.ended())
    journal.close(5)


def test_threads_that_end_because_they_were_asked_are_not_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("1\n")
    source = file_source(tmp_path, str(tmp_path / "data"))
    source.close(5)
    assert source.ended() is None
    journal = DiskJournal("mqtt", SourceFile.open(tmp_path / "mqtt.sqlite"), 10**6)
    journal.start()
    journal.close(5)
    assert journal.ended() is None


def test_without_descriptors_a_tap_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socketpair", no_descriptors)
    section = MqttSection.model_validate({"type": "mqtt", "url": "mqtt://127.0.0.1:1", "topics": ["t"]})
    tap = MqttTap(section)
    tap.start()

    def refused() -> str:
        try:
            tap.poll(0.01)
        except TapError as error:
            return str(error)
        return ""

    assert "too many open files" in wait_until(refused, 10, "the refusal")
    tap.close()


def test_without_descriptors_dead_letters_wait_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    section = MqttLettersSection.model_validate(
        {"type": "mqtt", "url": f"mqtt://127.0.0.1:{free_port()}", "topic": "letters", "timeout": "1s"}
    )
    store = MqttLetters(section)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", no_descriptors)
        patched.setattr("paho.mqtt.client._socketpair_compat", no_descriptors)
        store.start()
        assert "too many open files" in store.problems()[0]
        with pytest.raises(DeadLettersError, match="too many open files"):
            store.add([a_letter()])
    with pytest.raises(DeadLettersError):
        store.add([a_letter()])
    assert "is the broker running" in store.problems()[0], "it tries to connect"
    store.close()


def test_sqlite_errors_are_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is trouble, not the end of a thread."""
    (tmp_path / "data").write_text("1\n")
    source = file_source(tmp_path, str(tmp_path / "data"))
    assert source.poll(1.0) is not None

    def full(*_args: object, **_more: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(LedgerTables, "add_ranges", full)
        source.commit(Commit("file", "file[0]", 1, {}))
        wait_until(source.problems, 10, "trouble")
        assert source.ended() is None
    source.close(5)
