"""A look into the dead letters: counts, the newest, one of them; bounded texts without what sounds like a secret."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connector.conformance.dead_letters import a_letter
from connector.dead_letters import look
from connector.dead_letters.file_store import FileLetters
from connector.dead_letters.look import LetterLook, in_full, in_short, masked
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.dead_letters.store import DeadLettersError
from connector.dead_letters.writer import DeadLetterWriter
from connector.records import Reason, Record, Reject

MIB = 1024 * 1024
BAD = [Reject(Reason.NOT_FINITE, "NaN", "a.b", "nan"), Reject(Reason.TIME_UNREADABLE, "no time", "ts", "x")]


def writer(store: Any) -> DeadLetterWriter:
    return DeadLetterWriter(store, max_payload=MIB, configuration="c", version="1")


def test_letters_are_counted_and_the_newest_come_first(tmp_path: Path) -> None:
    with closing(SqliteLetters(tmp_path / "letters.sqlite", 64 * MIB)) as store:
        into = writer(store)
        seen = LetterLook(into)
        assert (seen.readable, seen.counts(), seen.newest("")) == (True, {}, [])
        into.add([a_letter(n) for n in range(60)] + [a_letter(99, rejects=BAD)])
        assert [one.position for one in seen.newest("")] == [99, *range(59, 10, -1)]
        assert [one.position for one in seen.newest("not_finite")] == [99]
        assert seen.newest("finite") == []
        seen._counts_due = 0.0
        assert seen.counts() == {"invalid_json": 60, "not_finite": 1, "time_unreadable": 1}
        into.add([a_letter(200)])
        seen._counts_due = time.monotonic() + 60
        assert seen.counts() == {"invalid_json": 60, "not_finite": 1, "time_unreadable": 1}, "counting takes its time"
        found = seen.letter(a_letter(5).key)
        assert found is not None
        assert in_full(found)["payload"] == {"bytes": 7, "text": "payload", "whole": True}
        assert seen.letter("x") is None


def test_a_look_that_takes_too_long_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SqliteLetters(tmp_path / "letters.sqlite", 64 * MIB)) as store:
        into = writer(store)
        into.add([a_letter(n) for n in range(3000)])
        monkeypatch.setattr(look, "_SECONDS", -1.0)
        with pytest.raises(DeadLettersError, match="took longer"):
            LetterLook(into).newest("no_such_reason")
        assert LetterLook(into).counts() is None


def test_letters_of_another_store_are_known_since_the_start(tmp_path: Path) -> None:
    with closing(FileLetters(tmp_path / "letters", MIB, 3)) as store:
        into = writer(store)
        into.add([a_letter(1), a_letter(2, rejects=BAD)])
        seen = LetterLook(into)
        assert (seen.readable, seen.counts()) == (False, None)
        assert [one.position for one in seen.newest("not_finite")] == [2]
        found = seen.letter(a_letter(1).key)
        assert found is not None
        assert "payload" not in in_full(found)


def test_texts_are_bounded_and_bytes_are_hexadecimal() -> None:
    long = in_full(a_letter(payload=b"\xc3\xa9" * 50_000))["payload"]
    assert (len(long["text"]), long["whole"], long["bytes"]) == (look.SHOWN_CHARACTERS, False, 100_000)
    raw = in_full(a_letter(payload=b"\xff\x00" * 5_000))["payload"]
    assert (raw["hex"][:5], len(raw["hex"]), raw["whole"]) == ("ff 00", 512 * 3 - 1, False)
    assert in_full(a_letter(payload=None))["payload"] is None
    many = in_short(a_letter(rejects=[Reject(Reason.INVALID_JSON, "x" * 100_000)]))
    assert len(many["message"]) <= look.SHOWN_CHARACTERS + 1
    assert "remedy" in in_full(a_letter())["rejects"][0]


@pytest.mark.parametrize(
    "text",
    [
        '{"wifi_password": "s3cr%s", "t": 1}',
        '{"passwd":"with \\"quote\\" s3cr%s","t":1}',
        "Authorization: Bearer s3cr%s; t",
        "api-key=s3cr%s&t=1",
        '{"token": "s3cr%s and no end',
    ],
)
def test_values_that_sound_like_secrets_are_left_out(text: str) -> None:
    text %= "et"
    assert "s3cret" not in masked(text)
    headers = (("X-Api-Key", "s3cret two"), ("plain", "password=s3cret"), ("site", "oslo"))
    record = Record("t", text.encode(), 1, headers=headers)
    found = in_full(a_letter(record=record, rejects=[Reject(Reason.NOT_A_NUMBER, "no", "user.password", "s3cret")]))
    assert "s3cret" not in json.dumps(found)
    assert ["site", "oslo"] in found["headers"]


def test_leaving_secrets_out_takes_no_time_with_hostile_text() -> None:
    began = time.process_time()
    for hostile in ("password" * 2000, "a" * 16_000, '"token":"' * 2000, "secret " * 2000, "token" + " " * 16_000):
        masked(hostile)
    assert time.process_time() - began < 2
