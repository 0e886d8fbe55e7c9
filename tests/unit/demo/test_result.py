"""The final account: when a demo counts as a success, and what it prints."""

from __future__ import annotations

import json
from dataclasses import replace

from connector.demo.result import DemoResult
from connector.runtime.ledger import Account, Ledger, SourceLedger, TopicAccount


def ledger(topics: dict[str, tuple[Account, Account]], problems: tuple[str, ...] = ()) -> Ledger:
    accounts = {topic: TopicAccount(messages, samples) for topic, (messages, samples) in topics.items()}
    return Ledger({"plant": SourceLedger(topics=accounts, problems=list(problems))})


GOOD = DemoResult(
    ledger=ledger(
        {
            "a": (Account(5, 4, 1), Account(20, 19, 1)),
            "b": (Account(3, 1, 0, 1, 1), Account(6, 2, 0, 2, 2)),
        }
    ),
    acknowledged={"a": 5, "b": 2},
    reasons={"not_finite": 1},
    requests=3,
    density=0.25,
    signals=4,
    sandbox_samples=20,
    broker="mosquitto 2.0.11",
    seconds=12.345,
)


def test_a_good_demo_has_no_problems_even_with_redelivered_messages() -> None:
    assert GOOD.problems() == []
    assert "all of them arrived" in GOOD.as_text().replace("\n", " ")
    assert "The ledger balances." in GOOD.as_text()


def test_the_json_has_the_promised_names() -> None:
    document = json.loads(json.dumps(GOOD.as_json()))
    counts = {"received": 8, "inserted": 5, "dead_lettered": 1, "filtered": 1, "superseded": 1, "waiting": 0}
    assert {name: document[name] for name in counts} == counts
    assert document["samples"] == {
        "received": 26, "inserted": 21, "dead_lettered": 1, "filtered": 2, "superseded": 2, "waiting": 0,
    }  # fmt: skip
    assert document["balanced"] is True
    assert document["published"] == 7
    assert (document["requests"], document["seconds"]) == (3, 12.35)
    assert (document["signals"], document["sandbox_samples"], document["broker"]) == (4, 20, "mosquitto 2.0.11")


def test_a_message_that_is_missing_on_one_topic_is_not_made_up_for_by_another() -> None:
    result = replace(GOOD, acknowledged={"a": 6, "b": 1})
    assert result.missing() == {"a": 1}
    assert "1 acknowledged messages did not arrive, on topics such as a" in result.problems()


def test_a_topic_that_never_arrived_is_missing() -> None:
    assert replace(GOOD, acknowledged={"c": 2}).missing() == {"c": 2}


def test_what_waits_is_a_problem() -> None:
    result = replace(
        GOOD, ledger=ledger({"a": (Account(5, 4, 0, 0, 0, 1), Account(5, 4, 0, 0, 0, 1))}), acknowledged={}
    )
    assert result.problems() == ["1 messages with 1 samples still wait"]


def test_a_ledger_that_does_not_balance_is_a_problem() -> None:
    result = replace(GOOD, ledger=ledger({"a": (Account(5, 4), Account(5, 5))}, ("one is missing",)), acknowledged={})
    assert result.problems() == ["one is missing"]
    assert result.as_json()["balanced"] is False
    assert "THE LEDGER DOES NOT BALANCE." in result.as_text()


def test_what_went_wrong_on_the_way_is_a_problem() -> None:
    result = replace(GOOD, troubles=["the broker has ended by itself"])
    assert result.problems() == ["the broker has ended by itself"]
    assert "PROBLEM: the broker has ended by itself" in result.as_text()


def test_the_text_fits_80_columns() -> None:
    result = replace(GOOD, reasons={f"reason_number_{i}": i for i in range(30)}, troubles=["x " * 100])
    assert max(map(len, result.as_text().splitlines())) <= 80
