"""The page /tap: the messages of a look, and what they become. `pipeline.tap` has the looks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from connector.observe.http import AskedPage, json_page
from connector.pipeline.tap import Question, QuestionError, TooManyLooksError

if TYPE_CHECKING:
    from connector.pipeline.tap import Tap


def tap_page(tap: Tap) -> AskedPage:
    """Return the page of a process: the messages since `after`; the first question, without `after`, begins a look."""

    def page(parameters: Mapping[str, str]) -> tuple[int, str, bytes]:
        try:
            return json_page(200, tap.ask(*Question.of(parameters)).as_json())
        except QuestionError as error:
            return _refused(error)

    return page


def tap_of_workers(ask_all: Callable[[str], dict[int, str | None]]) -> AskedPage:
    """Return the page of all workers together; `ask_all` returns worker → its answer (None: none) for a page."""

    def page(parameters: Mapping[str, str]) -> tuple[int, str, bytes]:
        try:
            Question.of(parameters)
        except QuestionError as error:
            return _refused(error)
        return json_page(*merged(ask_all(f"/tap?{urlencode(parameters)}")))

    return page


def merged(texts: Mapping[int, str | None]) -> tuple[int, dict[str, object]]:
    """Return (status, content) of the answers of workers, by worker.

    The numbers of messages are times. So a message after the oldest `next` of an answer waits for the next question:
    no message comes twice, and none is left out.
    """
    answers: dict[int, dict[str, Any]] = {worker: json.loads(text) for worker, text in texts.items() if text}
    given = {worker: answer for worker, answer in answers.items() if "next" in answer}
    silent = [f"worker {worker} does not answer" for worker in texts if worker not in answers]
    if not given:
        said = [str(answer.get("error")) for answer in answers.values()]
        return 503, {"error": "; ".join([*dict.fromkeys(said), *silent])}
    until = min(answer["next"] for answer in given.values())
    messages = [
        {"worker": worker, **message}
        for worker, answer in given.items()
        for message in answer["messages"]
        if message["number"] <= until
    ]
    seen: Counter[str] = Counter()
    for answer in given.values():
        seen.update(answer["seen"])
    found = {"next": until, "messages": sorted(messages, key=lambda one: one["number"]), "seen": dict(seen)}
    return 200, {**found, "silent": silent} if silent else found


def _refused(error: QuestionError) -> tuple[int, str, bytes]:
    return json_page(503 if isinstance(error, TooManyLooksError) else 400, {"error": str(error)})
