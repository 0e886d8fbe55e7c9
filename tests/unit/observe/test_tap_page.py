"""The page /tap: what a process answers, and the answers of several workers together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector.observe.tap_page import merged, tap_of_workers, tap_page
from connector.pipeline.tap import MOST_LOOKS, Tap


def answer(next_: int, *numbers: int, came: int = 10) -> str:
    messages = [{"number": number} for number in numbers]
    return json.dumps({"next": next_, "messages": messages, "seen": {"came": came, "looked_at": came, "matching": 5}})


def test_messages_of_workers_are_in_order_and_none_comes_twice_or_is_left_out() -> None:
    status, found = merged({1: answer(100, 70, 90), 2: answer(110, 80, 105), 3: None})
    assert (status, found["next"], found["silent"]) == (200, 100, ["worker 3 does not answer"])
    assert found["messages"] == [
        {"worker": 1, "number": 70},
        {"worker": 2, "number": 80},
        {"worker": 1, "number": 90},
    ], "105 is after what worker 1 has told of: the next question is for all after 100"
    assert found["seen"] == {"came": 20, "looked_at": 20, "matching": 10}


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ({1: None, 2: None}, "worker 1 does not answer; worker 2 does not answer"),
        ({1: '{"error": "4 others look"}', 2: '{"error": "4 others look"}'}, "4 others look"),
    ],
)
def test_without_an_answer_the_page_says_why(texts: dict[int, str | None], error: str) -> None:
    assert merged(texts) == (503, {"error": error})


def test_a_question_is_passed_on_to_the_workers_as_it_is() -> None:
    asked: list[str] = []

    def ask_all(page: str) -> dict[int, str | None]:
        asked.append(page)
        return {1: answer(1)}

    page = tap_of_workers(ask_all)
    assert page({"topic": "plant/#", "after": "7"})[0] == 200
    assert asked == ["/tap?topic=plant%2F%23&after=7"]
    status, _, body = page({"topic": "plant/#/x"})
    assert (status, len(asked)) == (400, 1)
    assert "only at the end" in json.loads(body)["error"]


def test_a_process_answers_a_question_and_refuses_what_it_cannot_answer() -> None:
    page = tap_page(Tap())

    def asked(**parameters: str) -> tuple[int, dict[str, Any]]:
        status, kind, body = page(parameters)
        assert kind == "application/json"
        return status, json.loads(body)

    status, found = asked()
    assert (status, found["messages"], found["seen"]["came"]) == (200, [], 0)
    assert asked(after="x")[0] == 400
    for number in range(MOST_LOOKS - 1):
        assert asked(topic=f"t/{number}")[0] == 200
    status, found = asked(topic="t/more")
    assert status == 503
    assert "try again" in found["error"]
