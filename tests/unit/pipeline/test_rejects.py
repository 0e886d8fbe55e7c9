"""The first dead letter of each source and reason is said, with an example; the others are counted."""

from __future__ import annotations

import threading

from connector.pipeline.notices import Notices
from connector.pipeline.rejects import Rejects
from connector.records import Chunk, Mapped, Reason, Record, Reject
from tests.listeners import Letters
from tests.scripted import ListSource


def test_the_first_letter_of_each_source_and_reason() -> None:
    notices, letters = Notices(), Letters()
    sources = {name: ListSource(name) for name in ("east", "west")}
    rejects = Rejects(sources, letters, threading.Event(), notices)

    def reject(source: str, topic: str, *reasons: Reason) -> None:
        chunk = Chunk(source, "p", [1], [Record(topic, b"x", 0)])
        found = [Reject(reason, f"why {reason}", "v", "1") for reason in reasons]
        assert rejects.keep(chunk, [(0, Mapped(rejects=found))])

    reject("east", "t/1", Reason.NOT_A_NUMBER, Reason.OUT_OF_RANGE, Reason.NOT_A_NUMBER)
    reject("east", "t/2", Reason.NOT_A_NUMBER)
    reject("west", "t/3", Reason.NOT_A_NUMBER)
    shown = [(one.source, one.subject, one.count) for one in notices.shown()]
    assert shown == [("east", "not_a_number", 2), ("east", "out_of_range", 1), ("west", "not_a_number", 1)]
    texts = [one.text for one in notices.shown()]
    assert texts[0] == "the first dead letter for the reason not_a_number: topic 't/1', why not_a_number"
    assert texts[2] == "the first dead letter for the reason not_a_number: topic 't/3', why not_a_number"
    assert rejects.reasons == {"not_a_number": 4, "out_of_range": 1}
    assert len(letters.letters) == 3
