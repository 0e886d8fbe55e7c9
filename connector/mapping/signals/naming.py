"""Finds the input ID and the metadata of a signal, once for each path of a plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson

from connector.mapping.documents.places import shown
from connector.mapping.plans import FOUND, Plan, signal_metadata, value_of, value_rule, variables, wanted_id
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.templates import KEY
from connector.mapping.rules.values import ValueRejectedError
from connector.mapping.signals.input_ids import InputIds, Origin, Unclaimed, is_given, legal_id
from connector.mapping.signals.states import LearnedStates
from connector.mapping.sparkplug import SparkplugPlan
from connector.mapping.thinning.thinning import Thinner
from connector.mapping.topic_plans import TopicPlans
from connector.records import Reason, SignalMetadata, at_integration, of_integration

_PATH_BYTES: Final = 150
_SOURCE_BYTES: Final = 400
"""What an attribute source remembers of a signal."""
_TEXTS: Final = ("", "?")
"""Two texts for a variable that only a message has: if both give the same result, the variable does not matter."""


OTHER_IDENTITY: Final = "the rules of today make its input ID of other parts of the message"
"""`Recalled.why_unknown` of a signal that may have another input ID today."""


class Recalled(NamedTuple):
    """A signal of an earlier run, under the rules of today."""

    input_id: str
    metadata: SignalMetadata | None
    """None if the rules set none, or if only a message can tell."""
    why_unknown: str = ""
    """The reason why only a message can tell the metadata; empty if the metadata is known."""


class Naming:
    """Gives input IDs to paths, numbers to states, and metadata to signals."""

    def __init__(
        self,
        plans: TopicPlans,
        thinner: Thinner,
        claims: Mapping[str, Origin],
        states: Mapping[str, Mapping[str, int]],
        sources: Collection[str] | None,
        max_claims: int | None,
        integrations: Mapping[str, str] = MappingProxyType({}),
        before: Naming | None = None,
    ) -> None:
        """`integrations` has the name of each integration → the name in front of its input IDs.

        The new object takes the place of `before`, with its claims and states, and with what it has not given away yet.
        """
        self._integrations = integrations
        self._plans = plans
        self._thinner = thinner
        self._sources = sources
        self.ids: InputIds = InputIds(claims, self._wanted_today, max_claims, None if before is None else before.ids)
        self.states: LearnedStates = LearnedStates(states) if before is None else before.states
        self.discovered: list[tuple[str, SignalMetadata]] = [] if before is None else before.discovered
        """(source, metadata) of signals with metadata by their rule that are new, or have a new state.

        The caller empties the list.
        """
        self.expects: Callable[[str, str, Rule], None] | None = None
        """Called with (input ID, source, rule) for each signal of a rule with `expect_every`; None: nobody waits."""

    def new_id(self, plan: Plan, path: str) -> str | None:
        """Returns the input ID of a new path of a plan; None if the rule leaves the path out.

        Raises `ValueRejectedError` for a value that its tag list does not have, or whose integration is unknown.
        """
        rule = plan.rule
        self._plans.grew(_PATH_BYTES + _SOURCE_BYTES * len(rule.attribute_sources) + 2 * len(path))
        tags = rule.tags
        if tags is not None:
            tags.check(plan, path)
        value = value_of(plan, path)
        if value is None:
            plan.ids[path] = None
            return None
        integration = "" if rule.to is None else self._integration(rule.to.render(variables(plan, path)))
        input_id = self.ids.assign(
            plan.origin(path), wanted_id(plan, value, path), shared=rule.shared_inputs, integration=integration
        )
        plan.ids[path] = input_id
        conversion = value.conversion or rule.conversion
        if conversion is not None:
            plan.conversions[path] = conversion
        if type(input_id) is Unclaimed:  # no sample of this signal is sent, and nothing about it is remembered
            return input_id
        if rule.expect_every is not None and self.expects is not None:
            self.expects(input_id, plan.source, rule)
        if tags is not None:
            tags.note(plan, path, value, input_id)
        self._thinner.set(input_id, value.thinning or rule.thinning)
        self.discover(plan, path, input_id)
        return input_id

    def was_at(self, plan: Plan, path: str) -> bool:
        """Whether a value at this path of the plan's topic had an input ID in an earlier run."""
        return self.ids.was_at(plan.source, plan.topic, path)

    def _integration(self, name: str) -> str:
        """Returns the name in front of the input IDs of an integration. Raises `ValueRejectedError`."""
        found = self._integrations.get(name)
        if found is None:
            known = ", ".join(self._integrations)
            raise ValueRejectedError(
                Reason.UNKNOWN_INTEGRATION,
                f"to is {name!r}, and there is no such integration; the configuration has {known}",
            )
        return found

    def discover(self, plan: Plan, path: str, input_id: str) -> None:
        """Add the metadata of a signal to `discovered`, if the rule sets any."""
        value = value_of(plan, path)
        if value is not None:
            called = shown(path) if value.named is None else value.named
            describe = plan.described if isinstance(plan, SparkplugPlan) else partial(signal_metadata, plan)
            found = describe(value, called, of_integration(input_id)[1], self.states.of(input_id))
            if found is not None:
                self.discovered.append((input_id, found))

    def renew(self, plans: Iterable[Plan], affects: Callable[[Plan], bool]) -> None:
        """Use what the attribute sources say now, in all of `plans` that `affects` returns True for.

        The metadata of the signals of these plans is discovered again at once. Their values are converted by the new
        settings from the next record on. Must not be called while a record is mapped by such a plan.
        """
        for plan in plans:
            if affects(plan):
                known = [path for path, input_id in plan.ids.items() if type(input_id) is str]
                plan.forget_values()
                for path in known:  # the next change may come before the next record
                    with suppress(ValueRejectedError):  # the next record with this value reports it
                        self.new_id(plan, path)

    def learn(self, plan: Plan, path: str, text: str) -> int:
        """Returns the number of a state by its text. Raises `ValueRejectedError`."""
        input_id = plan.ids.get(path) or self.new_id(plan, path)
        assert input_id is not None  # noqa: S101 - a value that is left out is not converted
        if type(input_id) is Unclaimed:
            raise ValueRejectedError(Reason.SIGNAL_HELD, f"{input_id!r} would be a new signal; see signals.max")
        conversion = plan.conversions[path]
        declared = conversion.states.known.values() if conversion.states else ()
        number, is_new = self.states.learn(input_id, text, set(declared))
        if is_new:
            self.discover(plan, path, input_id)
        return number

    # -- signals of earlier runs, without a message ------------------------------------------------

    def recall(self, claimed: str, origin: Origin, with_birth: Callable[[Plan, str], Plan | None]) -> Recalled | None:
        """Returns the signal of an earlier run with the metadata that the rules of today want; None if they map it not.

        `claimed` is the input ID that the origin had. `with_birth` returns a plan that knows the birth of a metric of
        Sparkplug; None if the birth is unknown.
        """
        found: dict[str, list[SignalMetadata | None]] = {}
        for unknown in _TEXTS:
            for plan in self.plans_today(origin, unknown):
                if plan.rule.describes:
                    continue
                if plan.rule.publish is None:
                    found.setdefault(claimed, []).append(None)
                    continue
                using = plan if plan.rule.sparkplug is None else with_birth(plan, origin.path)
                if using is None:
                    return Recalled(claimed, None, "its name and unit come from a birth of Sparkplug that is not known")
                known = len(self.discovered)
                try:
                    input_id = self.new_id(using, origin.path)
                except ValueRejectedError as error:
                    return Recalled(claimed, None, str(error))
                metadata = self.discovered.pop()[1] if len(self.discovered) > known else None
                if input_id is not None:
                    found.setdefault(input_id, []).append(metadata)
        if claimed in found:
            found = {claimed: found[claimed]}
        if not found:
            is_moved = any(
                rule.publish is not None and not rule.skip and set(rule.identity) != _record_of(origin).keys() - {FOUND}
                for rule, _ in self._plans.matching(origin.topic)
            )
            return Recalled(claimed, None, OTHER_IDENTITY) if is_moved else None
        if len(found) > 1 or any(said != one[0] for one in found.values() for said in one):
            return Recalled(claimed, None, "its input ID, name, unit or labels depend on the content of its messages")
        ((given, (metadata, *_)),) = found.items()
        return Recalled(given, metadata)

    def expected(self, claims: Mapping[str, Origin]) -> Iterator[tuple[str, str, Rule]]:
        """Yields (input ID, source, rule) for each signal of an earlier run that a rule of today expects."""
        for claimed, origin in claims.items():
            for rule, known in self._rules_today(origin):
                if rule.expect_every is None:
                    continue
                wanted = self._wanted_by(Plan(origin.source, origin.topic, rule, known, origin.record), origin)
                if wanted is not None and is_given(claimed, wanted):
                    yield claimed, origin.source, rule
                    break

    def _wanted_today(self, origin: Origin) -> set[str]:
        """Returns the input IDs that an origin wants today; empty if the origin is not mapped any more."""
        found = (self._wanted_by(plan, origin) for plan in self.plans_today(origin))
        return {wanted for wanted in found if wanted is not None}

    def _wanted_by(self, plan: Plan, origin: Origin) -> str | None:
        """Returns the input ID that an origin wants by the rule of this plan; None if the rule does not map it."""
        value, to = value_rule(plan.rule, origin.path), plan.rule.to
        integration = "" if to is None else self._integrations.get(to.render(plan.variables))
        if value is None or integration is None:
            return None
        return at_integration(integration, legal_id(wanted_id(plan, value, origin.path)))

    def plans_today(self, origin: Origin, unknown: str = "") -> Iterator[Plan]:
        """Yields a plan for each rule of today that may take the messages of an origin.

        `unknown` is the text of the variables that only a message has.
        """
        for rule, known in self._rules_today(origin, unknown):
            yield Plan(origin.source, origin.topic, rule, known, origin.record)

    def _rules_today(self, origin: Origin, unknown: str = "") -> Iterator[tuple[Rule, dict[str, str]]]:
        """Yields (rule, its variables) for the plans of `plans_today`."""
        if self._sources is not None and origin.source not in self._sources:
            return
        said = _record_of(origin)
        is_found = said.pop(FOUND, None) is not None
        for rule, levels in self._plans.matching(origin.topic):
            if rule.skip or said.keys() != set(rule.identity) or (is_found and rule.found is None):
                continue
            named = self._plans.named(rule, said.get(KEY), said)
            if named is None:
                continue
            ruled = rule.found if is_found and rule.found is not None else rule
            yield ruled, {**levels, **dict.fromkeys(rule.dynamic, unknown), **named, **said}


def _record_of(origin: Origin) -> dict[str, str]:
    """Returns the texts that tell the records of the origin's topic apart, by the names of their variables."""
    found: dict[str, str] = orjson.loads(origin.record) if origin.record else {}
    return found
