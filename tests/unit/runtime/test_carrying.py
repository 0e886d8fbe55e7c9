"""Green means carrying: silent subscriptions, rules without messages, our own clock, a summary an hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from connector.config.model import Config
from connector.ledger.account import Counts
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.section import RuleSection
from connector.pipeline.notices import Notices
from connector.records import Record
from connector.runtime.carrying import Carrying
from connector.runtime.silence import Silence
from connector.sources.subscriptions import Subscription
from tests.scripted import Clock, ListSource


class Troubled(ListSource):
    trouble = ""
    elsewhere: Collection[str] = ()
    """Subscriptions of which other members have everything."""

    def expects(self, subscription: Subscription) -> bool:
        return subscription.text not in self.elsewhere

    def problems(self) -> list[str]:
        return [self.trouble] if self.trouble else []


class Watched:
    """A connector as far as its flow is looked at."""

    def __init__(self, rules: list[dict[str, Any]] | None = None, **source: Any) -> None:
        mqtt = {"type": "mqtt", "name": "plant", "url": "mqtts://b", "topics": ["a/#", "$share/g/b/+"], **source}
        self.config = Config.model_validate({"clarify": {"credentials": "c.json"}, "sources": [mqtt]})
        self.clock = Clock()
        self.notices = Notices()
        self.source = Troubled("plant")
        self.offset: float | None = None
        self.status: Any = SimpleNamespace(
            messages=Counts(),
            samples=Counts(),
            requests=0,
            reasons=Counter(),
            filtered=Counter(),
            pause=lambda _: None,
        )
        self.mapper = Mapper(
            [compile_rule(RuleSection.model_validate(rule), number=n) for n, rule in enumerate(rules or [])]
        )
        self.carrying = Carrying(
            self.config.sources, self.notices, our_clock=lambda: self.offset, clock_warning=60.0, clock=self.clock
        )
        self.carrying.attach([self.source], self.mapper, self.status)
        self.carrying.look()

    def after(self, seconds: float) -> list[str]:
        self.clock.now += seconds
        self.carrying.look()
        return [str(notice) for notice in self.notices.shown()]

    def receive(self, topic: str) -> None:
        record = Record(topic, b"1", 1_790_000_000_000_000)
        self.mapper.map("plant", record)
        self.status.messages.received += 1
        self.carrying.saw("plant", [record])


def test_a_subscription_without_a_message_is_said_five_minutes_after_connecting() -> None:
    watched = Watched()
    assert watched.after(299) == []
    watched.receive("a/1")
    (said,) = watched.after(2)
    assert "no message came for '$share/g/b/+' in 5 min" in said
    assert "expect_every" in said
    watched.receive("b/1")
    assert watched.after(1) == [], "it is over"
    assert watched.after(10_000) == [], "and not said again where nobody asked for it"


def test_a_silent_shared_subscription_of_mqtt_3_1_1_names_a_broker_without_them() -> None:
    for protocol, hinted in (("3.1.1", True), ("5", False)):
        watched = Watched(protocol=protocol)
        watched.carrying.look()
        watched.clock.now += 301
        watched.carrying.look()
        hints = {n.subject: "Does the broker have shared subscriptions?" in n.remedy for n in watched.notices.shown()}
        assert hints == {"a/#": False, "$share/g/b/+": hinted}


def test_the_time_begins_when_the_source_is_connected() -> None:
    watched = Watched()
    watched.source.trouble = "connecting"
    assert watched.after(1000) == []
    watched.source.trouble = ""
    assert watched.after(1) == []
    assert len(watched.after(300)) == 2


def test_the_time_begins_again_after_an_outage_of_the_broker_or_of_clarify() -> None:
    watched = Watched(topics=["a/#"], expect_every="15m")
    for where in ("broker", "Clarify"):
        watched.receive("a/1")
        assert watched.after(901) == [], "it was heard"
        watched.source.trouble = "connecting" if where == "broker" else ""
        trouble = "503" if where == "Clarify" else None
        watched.status.pause = lambda _, trouble=trouble: trouble
        assert watched.after(100_000) == [], where
        watched.source.trouble, watched.status.pause = "", lambda _: None
        assert watched.after(5) == [], where
        assert watched.after(899) == [], where
    (said,) = watched.after(2)
    assert "no message came for 'a/#' in 15 min" in said


def test_where_other_members_have_all_partitions_no_message_is_expected() -> None:
    watched = Watched()
    watched.source.elsewhere = {"a/#"}
    (said,) = watched.after(301)
    assert "'$share/g/b/+'" in said


def test_with_expect_every_messages_are_waited_for_again_and_again() -> None:
    watched = Watched(topics=["a/#"], expect_every="15m")
    watched.receive("a/1")
    assert watched.after(901) == []
    (said,) = watched.after(901)
    assert "in 15 min" in said
    watched.receive("a/1")
    assert watched.after(1) == []


def test_an_outage_is_no_silence() -> None:
    watched = Watched(topics=["a/#"], expect_every="15m")
    watched.source.trouble = "the broker is away"
    assert watched.after(10_000) == []
    watched.source.trouble = ""
    assert watched.after(5) == []
    assert watched.after(890) == []
    assert len(watched.after(20)) == 1


def test_where_no_message_is_expected_nothing_is_said() -> None:
    assert Watched(expect_every=None).after(100_000) == []
    assert Watched(expect_every="0s").after(100_000) == []


def test_a_rule_that_never_took_anything_is_said_once_something_came() -> None:
    rules = [{"topic": "a/1"}, {"topic": "a/typo"}, {"topic": "a/x", "skip": True}]
    watched = Watched(rules, topics=["a/#"])
    watched.receive("a/1")
    (said,) = watched.after(301)
    assert "rule 2 (a/typo) has not taken any message" in said
    watched.receive("a/typo")
    assert watched.after(5) == []


def test_our_own_clock() -> None:
    watched = Watched(expect_every=None)
    watched.offset = 59
    assert watched.after(5) == []
    watched.offset = -7200
    (said,) = watched.after(5)
    assert "the clock of this machine is 7,200 s behind Clarify's" in said
    watched.offset = 0
    assert watched.after(5) == []


def test_a_summary_an_hour_says_what_passed_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched(expect_every=None)
    watched.status.messages.received, watched.status.filtered["null"] = 10, 2
    watched.after(3601)
    assert "summary" in (first := capsys.readouterr().out)
    assert "messages=10" in first
    assert "filtered_null=2" in first
    watched.status.messages.received = 13
    watched.after(60)
    assert "summary" not in capsys.readouterr().out
    watched.after(3600)
    assert "messages=3" in capsys.readouterr().out


def test_watched_signals_are_judged_only_while_their_source_is_read() -> None:
    watched = Watched([{"topic": "a/#", "expect_every": "5m"}])
    silence = Silence(watched.notices, clock=watched.clock)
    silence.begin(watched.mapper.rules, "")
    watched.mapper.watch_signals(silence.expect, silence.left_out)
    carrying = Carrying(watched.config.sources, watched.notices, silence=silence, clock=watched.clock)
    carrying.attach([watched.source], watched.mapper, watched.status)
    silence.saw([(0, watched.mapper.map("plant", Record("a/1", b"1", 1_790_000_000_000_000)))])

    def later(seconds: float) -> list[str]:
        watched.clock.now += seconds
        carrying.look_at_signals()
        return [one.input for one in silence.signals("", 10, None)]

    later(0)
    watched.source.trouble = "the broker is away"
    assert later(3_600) == []
    watched.source.trouble = ""
    assert later(5) == []
    watched.status.pause = lambda _: "too many samples wait for Clarify"
    assert later(3_600) == []
    watched.status.pause = lambda _: None
    assert later(5) == []
    assert later(290) == []
    assert later(30) == ["a/1"]
    assert watched.notices.counts() == {"signals_silent": 1}
