"""Finds the input ID and the metadata of a signal, once for each path of a plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Final

import orjson

from connector.mapping.documents.places import shown
from connector.mapping.plans import FOUND, Plan, signal_metadata, value_of, value_rule, variables, wanted_id
from connector.mapping.rules.templates import KEY
from connector.mapping.rules.values import ValueRejectedError
from connector.mapping.signals.input_ids import InputIds, Origin, Unclaimed, legal_id
from connector.mapping.signals.states import LearnedStates
from connector.mapping.sparkplug import SparkplugPlan
from connector.mapping.thinning.thinning import Thinner
from connector.mapping.topic_plans import TopicPlans
from connector.records import Reason, SignalMetadata, at_integration, of_integration

_PATH_BYTES: Final = 150
_SOURCE_BYTES: Final = 400
"""What an attribute source remembers of a signal."""


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
    ) -> None:
        """`integrations` has the name of each integration → the name in front of its input IDs."""
        self._integrations = integrations
        self._plans = plans
        self._thinner = thinner
        self._sources = sources
        self.ids = InputIds(claims, self._wanted_today, max_claims)
        self.states = LearnedStates(states)
        self.discovered: list[tuple[str, SignalMetadata]] = []
        """(source, metadata) of signals with metadata by their rule that are new, or have a new state.

        The caller empties the list.
        """

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
        if tags is not None:
            tags.note(plan, path, value, input_id)
        thinning = value.thinning or rule.thinning
        if thinning is not None:
            self._thinner.add(input_id, thinning)
        self.discover(plan, path, input_id)
        return input_id

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

    def _wanted_today(self, origin: Origin) -> set[str]:
        """Returns the input IDs that an origin wants; empty if the origin is not mapped any more."""
        if self._sources is not None and origin.source not in self._sources:
            return set()
        said: dict[str, str] = orjson.loads(origin.record) if origin.record else {}
        is_found = said.pop(FOUND, None) is not None
        found = set()
        for rule, plan in (self._plans.of(origin.source, origin.topic)).choices:
            if rule.skip or said.keys() != set(rule.identity) or (is_found and rule.found is None):
                continue
            named = self._plans.named(rule, said.get(KEY), said)
            if named is None:
                continue
            known = {**dict.fromkeys(rule.dynamic, ""), **plan.variables, **named, **said}
            ruled = rule.found if is_found and rule.found is not None else rule
            value = value_rule(ruled, origin.path)
            if value is not None:
                integration = "" if rule.to is None else self._integrations.get(rule.to.render(known))
                if integration is not None:
                    today = Plan(origin.source, origin.topic, ruled, known)
                    found.add(at_integration(integration, legal_id(wanted_id(today, value, origin.path))))
        return found
