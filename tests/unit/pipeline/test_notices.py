"""Notices: said once, counted, shown while they hold, and bounded."""

from __future__ import annotations

import pytest

from connector.mapping.observations import Observation
from connector.pipeline.notices import Notices
from tests.scripted import Clock


def test_a_notice_is_logged_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    clock.now = 1_790_000_000.5
    notices = Notices(clock)
    notices.say("value_overwritten", "plant", "a", "1 and then 2", "tell apart", topic="t/1")
    clock.now += 60
    notices.say("value_overwritten", "plant", "a", "2 and then 3", "tell apart", topic="t/2", times=4)
    notices.say("value_overwritten", "plant", "a", "2 and then 3", "tell apart", times=0)
    notices.again("value_overwritten", "plant", "a")
    notices.again("value_overwritten", "plant", "nobody said")
    assert [notice.as_json() for notice in notices.shown()] == [
        {
            "kind": "value_overwritten",
            "source": "plant",
            "subject": "a",
            "text": "2 and then 3",
            "remedy": "tell apart",
            "first": "2026-09-21T14:13:20Z",
            "count": 6,
        }
    ]
    assert str(notices.shown()[0]) == "plant: 2 and then 3; tell apart"
    said = capsys.readouterr().out
    assert said.count("value_overwritten") == 1
    for word in ("topic=t/1", "1 and then 2", "tell apart", "subject=a", "source=plant"):
        assert word in said


def test_kind_source_and_subject_tell_notices_apart() -> None:
    notices = Notices()
    for kind, source, subject in (("k", "s", "x"), ("k", "s", "y"), ("k", "", "x"), ("l", "s", "x")):
        notices.say(kind, source, subject, "text", "remedy")
    assert notices.counts() == {"k": 3, "l": 1}
    assert [str(notice) for notice in notices.shown()][2] == "text; remedy"


def test_a_notice_that_is_over_comes_back_without_a_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    notices = Notices()
    notices.over("kind", "plant", "never said")
    for _ in range(2):
        notices.say("kind", "plant", "a", "text", "do it")
        assert len(notices.shown()) == 1
        notices.over("kind", "plant", "a")
        assert notices.shown() == []
        assert notices.counts() == {}
    assert capsys.readouterr().out.count("text") == 1


def test_the_oldest_and_the_newest_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    notices = Notices()
    for n in range(1200):
        for _ in range(2):
            notices.say("kind", "", f"t{n}", f"text {n}.", "do it")
    assert notices.counts() == {"kind": 1000}
    texts = [notice.text for notice in notices.shown()]
    assert len(texts) == 49
    assert (texts[0], texts[23], texts[25], texts[48]) == ("text 0.", "text 23.", "text 1176.", "text 1199.")
    assert texts[24] == "952 more notices are not shown"
    said = capsys.readouterr().out
    assert said.count("detail='text ") == 1000
    assert said.count("more_notices") == 1
    notices.over("kind", "", "t1199")
    notices.over("kind", "", "t0")
    texts = [notice.text for notice in notices.shown()]
    assert (texts[0], texts[-1]) == ("text 1.", "text 1198.")


def test_without_logged_the_log_has_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    notices = Notices()
    notices.say("kind", "", "a", "text", "do it", logged=False)
    assert notices.counts() == {"kind": 1}
    assert capsys.readouterr().out == ""


def test_what_the_mapping_noticed() -> None:
    notices = Notices()
    notices.observed([Observation("shared_topic", "plant", "t", "several things", "a rule")])
    assert [str(notice) for notice in notices.shown()] == ["plant: several things; a rule"]
