"""The data of the workbench: messages of one process and of several, and what a trial refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from connector.config.model import Config
from connector.config.read import load_config
from connector.mapping.time.times import format_time
from connector.observe.workbench_page import Gathered, Workbench, of_workers
from connector.pipeline.tap import Question, QuestionError

LINE = json.dumps({"topic": "plant/a", "payload_text": "x" * 3000, "time": "2026-05-01T06:00:00Z", "source": "plant"})
T = 1_790_000_000_000_000
FILE = """
clarify: {credentials: none.json}
sources: [{type: mqtt, name: plant, url: "mqtt://localhost", client_id: c, topics: ["#"]}]
mapping:
  rules:
    - {topic: "other/#"}
    - {topic: "plant/{m}"}
"""


def answer(*lines: str) -> str:
    return json.dumps(Gathered(list(lines), 1, {"came": 5, "looked_at": 5, "matching": 2}, [])._asdict())


def came_at(seconds: float, sent: float = 0) -> str:
    times = [format_time(round(at * 1_000_000) + T) for at in (sent, seconds)]
    return json.dumps({"topic": "plant/a", "time": times[0], "received": times[1]})


def test_messages_of_workers_and_who_is_missing() -> None:
    asked: list[str] = []
    lines = [came_at(1), came_at(3.27), came_at(3.272, sent=1), came_at(2), came_at(4)]

    def ask_all(page: str) -> dict[int, str | None]:
        asked.append(page)
        return {1: answer(*lines[:3]), 2: None, 3: answer(*lines[3:]), 4: '{"error": "busy"}'}

    found = of_workers(ask_all)("plant/#")
    assert asked == ["/workbench.json?topic=plant%2F%23&lines=1"]
    in_time = [lines[0], lines[3], lines[1], lines[2], lines[4]]
    assert found == Gathered(in_time, 2, {"came": 10, "looked_at": 10, "matching": 4}, [2, 4])
    old, new = (answer(*[came_at(second) for second in range(first, first + 200)]) for first in (0, 200))
    newest = of_workers(lambda _: {1: new, 2: old})("").lines
    assert newest == json.loads(new)["lines"], "those of one worker, if they are the newest"
    with pytest.raises(QuestionError):
        of_workers(ask_all)("plant/#/x")


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    file = tmp_path / "connector.yaml"
    file.write_text(FILE)
    config = load_config(file, without_secrets=True)

    def gather(topic: str) -> Gathered:
        Question(topic).takes_topic()
        return Gathered([LINE] * 30 if topic != "none" else [], 0, {}, [])

    return Workbench(file, lambda: config, gather)


def test_a_look_has_the_newest_messages_cut_and_the_rule_that_takes_the_topic(bench: Workbench) -> None:
    status, _, body = bench.pages["/workbench.json"]({"topic": "plant/a", "mapping": "1"})[:3]
    found = json.loads(body)
    assert (status, found["kept"], len(found["messages"])) == (200, 30, 20)
    assert (len(found["messages"][0]["payload"]), found["messages"][0]["cut"]) == (2000, True)
    assert (found["takes"], found["rules"][1]["text"]) == (2, '- {topic: "plant/{m}"}')
    assert bench.pages["/workbench.json"]({"topic": "a/#/b"})[0] == 400


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("{", 400),
        ("[" * 100_000, 400),
        ("[]", 400),
        ("3", 400),
        ({"topic": "plant/a"}, 400),
        ({"topic": 3, "text": ""}, 400),
        ({"topic": "plant/a", "text": "", "rule": 3}, 400),
        ({"topic": "plant/a", "text": "", "rule": "1"}, 400),
        ({"topic": "a/#/b", "text": ""}, 400),
        ({"topic": "none", "text": ""}, 409),
    ],
)
def test_a_trial_that_cannot_be_made_is_refused(bench: Workbench, asked: Any, status: int) -> None:
    body = asked if isinstance(asked, str) else json.dumps(asked)
    assert bench.posted["/try.json"](body.encode())[0] == status


def test_without_a_file_nothing_is_tried() -> None:
    bench = Workbench(None, lambda: cast("Config", None), lambda _: Gathered([LINE], 0, {}, []))
    assert bench.posted["/try.json"](b'{"topic": "", "text": ""}')[0] == 400
    assert json.loads(bench.pages["/workbench.json"]({"mapping": "1"})[2])["rules"] == []
