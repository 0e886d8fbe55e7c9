"""The rules that may take the records of a topic: found once for each topic, and remembered within bounds.

Publishers choose the topics, the keys and the texts that rules use. So the memory of all plans is estimated. Above a
bound, all plans are forgotten at once, and made again as records come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from connector.formats.format import PayloadError
from connector.formats.sparkplug.rule import variables_of
from connector.mapping.documents.item_rows import may_be_rows
from connector.mapping.plans import Plan, TopicPlan, header_of, key_of
from connector.mapping.rules.rules import AUTO_TIME, COMPOSED_TIME, FIELD_TIME, HEADER_TIME, Rule
from connector.mapping.rules.templates import KEY
from connector.mapping.time.clock_skew import Clocks
from connector.records import Reason, Record

_MAX_PLANS: Final = 100_000
_PLANS_BYTES: Final = 128 * 1024 * 1024
"""The bound for the estimated memory of all plans."""
_PLAN_BYTES: Final = 1000
_MOST_MATCHED: Final = 10_000
_LONGEST_DEVICE: Final = 300
_LONGEST_TEXTS: Final = 10_000
"""The most characters of the texts that a rule takes from a record for input IDs: each value has them in its ID, and a
megabyte for each of thousands of values takes minutes."""


class TopicPlans:
    """The plans of all topics.

    `fallback` is the rule for records that no rule takes. With `match_all`, every rule that takes a record maps it;
    else only the first one does.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        fallback: Rule | None,
        clocks: Clocks,
        *,
        match_all: bool,
        forgotten: Callable[[], None] = lambda: None,
    ) -> None:
        """`forgotten` is called when all plans are forgotten."""
        self._forgotten = forgotten
        self._rules = tuple(rules)
        self._fallback = fallback
        self._clocks = clocks
        self._match_all = match_all
        self._topics: dict[tuple[str, str], TopicPlan] = {}
        self.matching = lru_cache(_MOST_MATCHED)(self._matching)
        """The same as `of`, without making plans: for signals of earlier runs, whose topics may be silent."""
        self.bytes = 0
        """The estimated memory of all plans."""

    def of(self, source: str, topic: str) -> TopicPlan:
        """Returns the plans of a topic; makes them if they are not remembered."""
        return self._topics.get((source, topic)) or self._made(source, topic)

    def known(self, source: str, topic: str) -> TopicPlan | None:
        """Returns the plans of a topic; None if they are not remembered."""
        return self._topics.get((source, topic))

    def _matching(self, name: str) -> list[tuple[Rule, Mapping[str, str]]]:
        """(rule, the named levels of the topic) for each rule that may take records of the topic, in order."""
        found: list[tuple[Rule, Mapping[str, str]]] = []
        for rule in self._rules:
            levels = rule.pattern.match(name)
            if levels is not None:
                found.append((rule, levels if rule.sparkplug is None else {**levels, **variables_of(name)}))
                if not self._match_all and not (rule.key or rule.headers or rule.when):
                    break
        if not found and self._fallback is not None:
            found.append((self._fallback, {}))
        return found

    def _made(self, source: str, name: str) -> TopicPlan:
        topic = TopicPlan()
        topic.choices += [(rule, Plan(source, name, rule, known)) for rule, known in self._matching(name)]
        if len(topic.choices) == 1:
            rule, plan = topic.choices[0]
            if rule.is_plain and not rule.skip:
                topic.plain = topic.rows = plan
                self.set_clock(plan)
            elif may_be_rows(rule):
                topic.rows = plan
        if len(self._topics) >= _MAX_PLANS:
            self._forget()
        self._topics[source, name] = topic
        self.grew(4 * len(name) + _PLAN_BYTES * max(1, len(topic.choices)))
        return topic

    def all(self) -> Iterator[Plan]:
        """Yields every plan that is remembered."""
        for topic in self._topics.values():
            for plan in (*(plan for _, plan in topic.choices), topic.fallback):
                if plan is not None:
                    yield from plan.with_inner()

    def plan_for(self, plan: Plan, texts: Mapping[str, str], named: Mapping[str, str]) -> Plan:
        """Returns the plan for these texts of the rule's dynamic variables; `named` has the named levels of a key."""
        key = tuple(texts[name] for name in plan.rule.dynamic)
        if key not in plan.by_texts:
            if (length := sum(map(len, key))) > _LONGEST_TEXTS:
                raise PayloadError(
                    Reason.TOO_EXPENSIVE,
                    f"the texts that its input IDs are made of have {length} characters; "
                    f"at most {_LONGEST_TEXTS} are read",
                )
            self.grew(_PLAN_BYTES + 2 * sum(map(len, key)))
        found = plan.with_texts(key, named)
        if found.clock is None:
            self.set_clock(found)
        return found

    def set_clock(self, plan: Plan) -> None:
        """Set the clock of the device that sends the plan's records, if the records have times."""
        rule = plan.rule
        if rule.time.kind in (AUTO_TIME, FIELD_TIME, HEADER_TIME, COMPOSED_TIME):
            key = plan.variables[KEY]
            device = plan.topic if not key else f"{plan.topic}/{key}"
            if rule.device is not None:
                device = rule.device.render({**plan.variables, "path": "", "field": ""})
            if len(device) > _LONGEST_DEVICE:
                device = f"{device[:_LONGEST_DEVICE]}…{hashlib.sha256(device.encode(errors='replace')).hexdigest()[:8]}"
            plan.clock = self._clocks.of(plan.source, device)

    def takes(self, rule: Rule, record: Record) -> dict[str, str] | None:
        """Returns the named levels of the record's key and headers; None if the rule does not take the record."""
        if rule.key is None and not rule.headers:
            return {}
        headers = {}
        for name, _ in rule.headers:
            text = header_of(record, name)
            if text is None:
                return None
            headers[f"header.{name}"] = text
        return self.named(rule, None if rule.key is None else key_of(record), headers)

    @staticmethod
    def named(rule: Rule, key: str | None, headers: Mapping[str, str]) -> dict[str, str] | None:
        """Returns the named levels of a key and headers; None if the rule does not take a record with them.

        The keys of `headers` are names of variables (`header.NAME`). A header that is missing is not compared.
        """
        named = {} if rule.key is None else rule.key.match(key or "")
        if named is None:
            return None
        for name, pattern in rule.headers:
            text = headers.get(f"header.{name}")
            found = {} if text is None else pattern.match(text)
            if found is None:
                return None
            named.update(found)
        return named

    def grew(self, size: int) -> None:
        """Add `size` to the estimated memory; above the bound, all plans are forgotten."""
        self.bytes += size
        if self.bytes > _PLANS_BYTES:
            self._forget()

    def _forget(self) -> None:
        self._topics.clear()
        self.bytes = 0
        self._forgotten()
