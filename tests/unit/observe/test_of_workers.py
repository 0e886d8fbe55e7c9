"""The pages of all workers together: nothing of one worker hides what another one has."""

from __future__ import annotations

from typing import Any

from connector.observe.of_workers import merged_letters, merged_signals, merged_status


def signal(written: str, stored: int | None) -> dict[str, Any]:
    return {"written": written, "last": None if stored is None else {"time_us": stored, "value": 1.0}}


def test_each_process_keeps_its_part_and_a_silent_worker_is_seen() -> None:
    found = merged_status({1: {"now": 5.0, "processes": [{"ready": True}]}}, 2)
    assert found == {"now": 5.0, "processes": [{"ready": True, "worker": 1}, {"worker": 2}]}
    busy = merged_status({1: {"now": 5.0, "processes": [{"ready": True}]}, 2: {"error": "busy"}}, 2)
    assert busy["processes"][1] == {"error": "busy", "worker": 2}


def test_a_signal_of_two_workers_comes_once_with_its_newest_value() -> None:
    one = {"now": 1.0, "more": False, "signals": [{**signal("a", 5), "why": 1}, signal("b", None)]}
    other = {"now": 2.0, "more": True, "signals": [signal("a", 9), signal("c", 1)]}
    found = merged_signals({1: one, 2: other, 3: {"error": "busy"}})
    assert found["more"]
    assert {each["written"]: each["last"] and each["last"]["time_us"] for each in found["signals"]} == {
        "a": 9,
        "b": None,
        "c": 1,
    }
    assert found["signals"][0]["why"] == 1
    silent = {"now": 1.0, "started": 3.0, "full": False, "never": 2, "examples": [signal("x", None)], "signals": []}
    found = merged_signals({1: silent, 2: {**silent, "started": 2.0, "full": True}})
    assert (found["never"], found["started"], found["full"], len(found["examples"])) == (4, 2.0, True, 2)
    assert merged_signals({1: {"error": "say which"}}) == {"error": "say which"}
    assert "no worker answers" in merged_signals({})["error"]


def test_letters_are_merged_and_one_is_found_wherever_it_is() -> None:
    one = {"letters": [{"id": "a", "written_us": 1}, {"id": "b", "written_us": 9}], "readable": True}
    other = {"letters": [{"id": "c", "written_us": 5}], "readable": False}
    found = merged_letters({1: one, 2: other, 3: {"error": "locked"}})
    assert [letter["id"] for letter in found["letters"]] == ["b", "c", "a"]
    assert not found["readable"]
    gone = {"error": "this letter is gone"}
    assert merged_letters({1: gone, 2: {"id": "b", "rejects": []}}) == {"id": "b", "rejects": []}
    assert merged_letters({1: gone, 2: gone}) == gone
