"""Records → samples: finds the rule that takes a record, and maps the record by this rule.

For each topic, the rules that may take its records are found once. Mostly this is one rule that needs only the decoded
payload; then a record costs a decode and a few dictionary look-ups for each value. Otherwise the rules are tried in
order. A payload is then decoded once for each format of the rules, and conditions, items and expressions are evaluated.

Every leaf of a payload becomes a sample or a reject, or is counted as filtered; the leaf of the time is a part of the
samples. A record without any sample is a reject, unless it was left out on purpose; then `Mapped.why` has the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

from connector.formats.format import DecodingNotes, PayloadError
from connector.formats.sparkplug.topic import Owner
from connector.formats.text.json_payload import decode
from connector.mapping.documents.decimals import DecimalsAsBytes
from connector.mapping.documents.decode import DecodedFields, decode_fields
from connector.mapping.documents.decode_hints import PackedTexts, remedy, remedy_for_bytes
from connector.mapping.documents.decoded import NOT_DECODED, Decoded
from connector.mapping.documents.document_mapper import DocumentMapper
from connector.mapping.documents.known_shapes import KnownShapes
from connector.mapping.documents.nothing import is_no_value
from connector.mapping.documents.repeats import refuse_repeats
from connector.mapping.documents.shapes import Flat
from connector.mapping.documents.tolerances import Tolerances
from connector.mapping.documents.walk import Walker, leaves, shown_value
from connector.mapping.observations import Observation, Observations
from connector.mapping.plans import Plan, TopicPlan
from connector.mapping.rules.rules import Rule, everything
from connector.mapping.rules.templates import ITEM_FIELD, KEY, PAYLOAD
from connector.mapping.signals.descriptions import Described, Descriptions
from connector.mapping.signals.explained import Explained, explained, of_plans
from connector.mapping.signals.input_ids import Origin
from connector.mapping.signals.naming import Naming, Recalled
from connector.mapping.signals.shared_topics import OnIdentity, SharedTopic, SharedTopics
from connector.mapping.sparkplug import SparkplugMapping, limits_of
from connector.mapping.tags.source import TagListInUse, TagSource, lists_of
from connector.mapping.tags.tag import TagList
from connector.mapping.thinning.thinning import Thinner
from connector.mapping.time.align import Aligner
from connector.mapping.time.clock_skew import Clocks, Skew
from connector.mapping.time.times import TimeBounds
from connector.mapping.topic_plans import TopicPlans
from connector.records import Mapped, Reason, Record, Reject, SignalMetadata


class RuleShare(NamedTuple):
    """The part of a record's outcome that one rule has made.

    The samples and rejects of a record are in the order of its shares. Samples and rejects after the last share come
    from no rule.
    """

    rule: int | None
    """The rule's place in the configuration, from 0; None for the built-in rule of a mapping without rules."""
    samples: int
    rejects: int
    filtered: int


_CLOCKS_SECONDS: Final = 30.0
_MOST_EXAMINED: Final = 50_000


class Mapper:
    """Maps the records of one or more sources.

    The mapper does no I/O. It remembers plans, input IDs, states, clocks, thinned values and discovered signals. The
    class is long because it is the façade of the mapping: other folders use only this class.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        claims: Mapping[str, Origin] = MappingProxyType({}),
        states: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        births: Mapping[str, Iterable[tuple[Owner, bytes]]] = MappingProxyType({}),
        descriptions: Iterable[Described] = (),
        sources: Collection[str] | None = None,
        without_retained: Collection[str] = (),
        unmatched: str = "filter",
        match_all: bool = False,
        clock_warning_us: int = 60_000_000,
        bounds: TimeBounds | None = None,
        max_payload_bytes: int = 4 * 1024 * 1024,
        max_values: int = 20_000,
        max_claims: int | None = None,
        on_identity: OnIdentity = "warn",
        built_in_tags: TagSource | None = None,
        integrations: Mapping[str, str] = MappingProxyType({}),
        before: Mapper | None = None,
    ) -> None:
        """Without rules, every record is mapped.

        `unmatched` (`filter`, `dead_letter` or `map`) decides about a record that no rule takes. With `match_all`, all
        rules that take a record map it; else only the first one does. From earlier runs come `claims` (input ID → the
        origin that owns it), `states` (input ID → its learned states), `births` (source → Sparkplug's births) and
        `descriptions` (what messages said about signals, in the order of the messages). An ID of a source that is no
        longer in `sources` may be given to another origin. Retained messages of the sources in `without_retained` are
        left out. The owners of at most `max_claims` input IDs are remembered (None: of all IDs); see `InputIds`.
        `on_identity` decides about the values of a topic that several things share, if no rule tells these things
        apart. Payloads over `max_payload_bytes` and messages with more than `max_values` values are rejected. A clock
        that is off by more than `clock_warning_us` (µs) is reported. `built_in_tags` is the tag list of records that no
        rule takes. `integrations` has the name of each integration → the name
        in front of its input IDs.

        The new mapper takes the place of `before`, which must map nothing more: it goes on with all that `before`
        remembers, in place of `claims`, `states` and `births`, and gives away the discoveries that wait there.
        """
        self.clocks: Clocks = Clocks() if before is None else before.clocks
        self.thinner: Thinner = Thinner() if before is None else before.thinner
        self.thinner.begin_anew()
        self.aligner: Aligner = Aligner() if before is None else before.aligner
        self.bounds = bounds or TimeBounds()
        self.max_payload_bytes = max_payload_bytes
        self._without_retained = frozenset(without_retained)
        self._fallback = everything(built_in_tags) if unmatched == "map" or not rules else None
        self._reject_unmatched = unmatched == "dead_letter"
        self._match_all = match_all
        self._clock_warning_us = clock_warning_us
        self._clocks_at = 0.0
        self.observations = Observations()
        """Observations about payloads, for people."""
        self._described = [] if before is None else before.take_descriptions()
        """Descriptions that the mapper before has not given away."""
        self._descriptions: Descriptions | None = None
        if any(rule.describes for rule in rules):
            self._descriptions = Descriptions([*descriptions, *self._described], self.observations)
            rules = [self._descriptions.for_signals_of(rule) for rule in rules]
            if self._fallback is not None:
                self._fallback = self._descriptions.for_signals_of(self._fallback)
        self._plans = TopicPlans(
            rules,
            self._fallback,
            self.clocks,
            match_all=match_all,
            forgotten=self._descriptions.forget_plans if self._descriptions else lambda: None,
        )
        naming: Naming = Naming(
            self._plans,
            self.thinner,
            claims,
            states,
            sources,
            max_claims,
            integrations,
            None if before is None else before._naming,
        )
        self._naming: Naming = naming
        self.ids = naming.ids
        self.states = naming.states
        self.discovered = naming.discovered
        """Signals with metadata by their rule that are new, or have a new state."""
        walker = Walker(self.bounds, max_values, naming.new_id, naming.learn, self.observations, naming.was_at)
        shapes = KnownShapes(self.bounds, max_values, walker.find_time)
        self._notes = DecodingNotes()
        self.tolerances = Tolerances(self.observations)
        """The faults of payloads that were overlooked."""
        self.shared_topics = SharedTopics(self.observations, on_identity)
        """The topics that several things share."""
        if before is not None:
            self.tolerances.counts = before.tolerances.counts
            self.shared_topics.topics, self.shared_topics.grew = before.shared_topics.topics, before.shared_topics.grew
            for observation in before.observations.take():
                self.observations.add(observation)
        self._documents = DocumentMapper(
            self._plans,
            walker,
            shapes,
            self.thinner,
            self.bounds,
            self.shared_topics,
            DecimalsAsBytes(self.observations),
            self.tolerances,
            PackedTexts(self.observations),
        )
        self.sparkplug: SparkplugMapping = SparkplugMapping(
            self.bounds,
            limits_of(rules, max_payload_bytes, max_values),
            births,
            new_id=naming.new_id,
            learn=naming.learn,
            discover=naming.discover,
            check_time=walker.check_bounds,
            before=None if before is None else before.sparkplug,
        )
        self._shares: list[RuleShare] = []
        self.rules = tuple(rules)
        self._with_zones = [rule for rule in rules if rule.time.repeated is not None]
        self.tag_lists = lists_of([*rules, *([] if self._fallback is None else [self._fallback])])
        """The tag lists of the rules; each is empty until `use_tags` is called."""
        self.rules_taken: set[int] = set()
        """The places in the configuration of the rules that have taken a record."""

    def plain_plan(self, source: str, topic: str) -> Plan | None:
        """Returns the plan of a topic whose records only need to be decoded and walked; None for any other topic."""
        return self._plans.of(source, topic).plain

    def row_plan(self, source: str, topic: str) -> Plan | None:
        """Returns the plan of a topic whose records may become rows; None for any other topic."""
        return self._plans.of(source, topic).rows

    def map(self, source: str, record: Record, document: object = NOT_DECODED) -> Mapped:
        """Returns the outcome of a record; `document` is the payload as decoded JSON, if it was decoded already.

        Raises nothing for a wrong payload. Raises `SchemaUnavailableError` if a schema registry is away: the caller
        must map the same record again later.
        """
        payload = record.payload
        if payload is None or record.problem:  # a record without a payload is a deletion: no measurement
            if not record.problem:
                return Mapped(skipped=True, why="deleted")
            cut = payload is not None and len(payload) > self.max_payload_bytes  # the source has kept only a part
            return _rejected(Reason.PAYLOAD_TOO_LARGE if cut else Reason.MALFORMED_RECORD, record.problem)
        topic = self._plans.of(source, record.topic)
        if not payload or (record.retained and source in self._without_retained):
            return Mapped(skipped=True, why="retained" if payload else "cleared")
        plan = topic.plain
        if plan is None:
            return self._map_by_rules(source, record, topic, payload, document)
        self._took(plan.rule)
        mapped = self._plainly(plan, record, payload, document)
        if plan.rule.align is not None:
            mapped.samples = self.aligner.align(mapped.samples, plan.rule.align)
        return mapped if not mapped.rejects or plan.rule.number is None else _pointing(mapped, plan.rule)

    def _took(self, rule: Rule) -> None:
        if rule.number is not None:
            self.rules_taken.add(rule.number)

    def _plainly(self, plan: Plan, record: Record, payload: bytes, document: object = NOT_DECODED) -> Mapped:
        if len(payload) > self.max_payload_bytes:
            return self._too_large(payload)
        if (found := self._held(plan)) is not None:
            return self._refused(found)
        try:
            mapped = _or_thinned(self._documents.payload(record, plan, payload, document))
        except PayloadError as error:
            if error.reason is Reason.INVALID_JSON and is_no_value(payload):
                return Mapped(filtered=1, skipped=True, why="unavailable")
            return _unreadable(error, payload)
        return _with_remedy(mapped, decode(payload)) if mapped.rejects and _has_no_number(mapped) else mapped

    def watch(self, flat: Flat, document: object, time_us: int) -> None:
        """Check whether several things share the topic, by a message that became a row, if no message is left to skip.

        `time_us` is the time of the message, in µs since 1970.
        """
        plan = flat.plan
        assert plan is not None  # noqa: S101 - the shape was learned
        values = zip(flat.inputs, flat.values(document), strict=True)
        self._documents.watch(plan, document, [(input_id, time_us, value) for input_id, value in values])

    def _held(self, plan: Plan) -> SharedTopic | None:
        """Returns the shared topic of the plan if its values must not pass without another rule; else None."""
        return self.shared_topics.held(plan)

    def shares(self, source: str, record: Record, mapped: Mapped) -> list[RuleShare]:
        """Returns the share of each rule that took a record. To be called right after `map` has returned `mapped`."""
        topic = self._plans.known(source, record.topic)
        if record.payload is None or record.problem or topic is None:
            return []
        if record.retained and source in self._without_retained:
            return []
        if topic.plain is None:
            return self._shares
        return [RuleShare(topic.plain.rule.number, len(mapped.samples), len(mapped.rejects), mapped.filtered)]

    def merges_keys(self, source: str, one: Record, other: Record) -> bool:
        """Whether two records of one topic have different keys that no rule uses; True only once for each topic.

        Different keys may stand for two devices, whose values then go into the same signals.
        """
        if one.key == other.key or one.topic != other.topic:
            return False
        topic = self._plans.known(source, one.topic)
        if topic is None or topic.keys_merged or not topic.choices:
            return False
        used = {name for rule, _ in topic.choices for name in rule.identity}
        used.update(KEY for rule, _ in topic.choices if KEY in rule.time.variables)
        first = topic.choices[0][0]
        if (
            first.skip
            or first.shared_inputs
            or any(name == KEY or name.startswith((PAYLOAD, ITEM_FIELD)) for name in used)
        ):
            return False
        topic.keys_merged = True
        return True

    def clocks_off(self, now: float) -> list[Skew]:
        """Returns the clocks that are newly found to be off, each once. `now` is in seconds of any rising clock.

        Callers may call at any time: the clocks are checked only every 30 s.
        """
        if now < self._clocks_at:
            return []
        self._clocks_at = now + _CLOCKS_SECONDS
        return self.clocks.newly_off(self._clock_warning_us)

    def rules_without_records(self) -> list[tuple[int, str]]:
        """(place in the configuration, topic pattern) of each rule that has not taken a record.

        Rules with `skip: true` are left out.
        """
        return [
            (rule.number, rule.pattern.text)
            for rule in self.rules
            if rule.number is not None and not rule.skip and rule.number not in self.rules_taken
        ]

    def expected(self, claims: Mapping[str, Origin]) -> Iterator[tuple[str, str, Rule]]:
        """Yields (input ID, source, rule) for each signal of an earlier run whose rule of today has `expect_every`.

        `claims` has the origins of these signals.
        """
        return self._naming.expected(claims)

    def watch_signals(self, expects: Callable[[str, str, Rule], None], left_out: Callable[[str], None]) -> None:
        """Call `expects` with (input ID, source, rule) for each new signal whose rule has `expect_every`, and
        `left_out` with the input ID of each value that is thinned out, for which no sample comes.
        """
        self._naming.expects, self.thinner.left_out = expects, left_out

    def renew(self, affects: Callable[[Plan], bool]) -> None:
        """Use what the attribute sources of rules say now, in all plans that `affects` returns True for.

        Must not be called while a record is mapped.
        """
        self._naming.renew([*self._plans.all(), *self.sparkplug.plans()], affects)

    def use_tags(self, tag_list: TagListInUse, tags: TagList) -> None:
        """Use another tag list from the next record on, and discover the metadata of its signals again.

        Must not be called while a record is mapped.
        """
        tag_list.replace(tags)
        self.renew(lambda plan: plan.rule.tags is not None and plan.rule.tags.list is tag_list)

    def take_descriptions(self) -> list[Described]:
        """Returns what messages said about signals since the last call; to be stored before they are committed."""
        found, self._described = self._described, []
        return found if self._descriptions is None else found + self._descriptions.take_new()

    def take_observations(self) -> list[Observation]:
        """Returns the observations about payloads since the last call, for people."""
        for rule in self._with_zones:
            if (repeated := rule.time.repeated) is not None and repeated.decided:
                self.observations.add(
                    Observation(
                        "repeated_hour",
                        "",
                        rule.pattern.text,
                        f"the rule for {rule.pattern.text} has read the time {repeated.decided}, which is there twice, "
                        "since the clocks are put back there: the first one was taken, so values of the second hour "
                        "are stored an hour early, over those of the first hour",
                        "let the device send UTC or an offset, or set repeated_hour in the rule: nearest, for devices "
                        "that send at once; or reject",
                    )
                )
        return self.observations.take()

    def take_discovered(self) -> list[tuple[str, SignalMetadata]]:
        """(source, metadata of a signal) for each signal that was discovered since the last call."""
        found = self.discovered[:]
        self.discovered.clear()
        return found

    def recall(self, claimed: str, origin: Origin) -> Recalled | None:
        """Returns a signal of an earlier run, with the metadata that the rules of today want; see `Naming.recall`."""
        return self._naming.recall(claimed, origin, self.sparkplug.recalled)

    def explained(self, source: str, topic: str, text: str, most: int) -> list[Explained]:
        """Returns the signals of a topic since the start whose input IDs have `text`, and why they have these IDs.

        Returns at most `most` signals, and looks at 50,000 values at most. Must not be called while a record is mapped.
        """
        known = self._plans.known(source, topic)
        plans = [] if known is None else [plan for _, plan in known.choices]
        if known is not None and known.fallback is not None:
            plans.append(known.fallback)
        if any(plan.rule.sparkplug is not None for plan in plans):
            plans = [*self.sparkplug.plans_of(source, topic)]
        some = (
            explained(plan, path, written)
            for plan, path, written in islice(of_plans(plans), _MOST_EXAMINED)
            if text in written
        )
        return list(islice(filter(None, some), most))

    def explained_today(self, written: str, origin: Origin) -> Explained | None:
        """Returns why a value of an earlier run has its input ID by the rules of today; None if they do not say it.

        Must not be called while a record is mapped.
        """
        found = [one for plan in self._naming.plans_today(origin) if (one := explained(plan, origin.path, written))]
        return next(
            (one for one in found if "".join(text for _, text in one.parts) == written), next(iter(found), None)
        )

    def forget(self, source: str) -> None:
        """Forget thinned values of a source: its mapped records may come again, and may not have been sent."""
        self.thinner.forget(source)

    # -- all other records ------------------------------------------------------------------------

    def _map_by_rules(self, source: str, record: Record, topic: TopicPlan, payload: bytes, document: object) -> Mapped:
        notes = self._notes.cleared()
        decoded = Decoded(payload, record.headers, self.max_payload_bytes, notes, document, once=not self._match_all)
        result = Mapped()
        taken = skipped = 0
        shares = self._shares = []
        for rule, plan in topic.choices:
            named = self._plans.takes(rule, record)
            if named is None:
                continue
            if rule.skip and not rule.when:
                taken += 1
                skipped += 1
                shares.append(RuleShare(rule.number, 0, 0, 0))
                if self._match_all:
                    continue
                break
            mapped = self._by_rule(rule, plan, record, named, decoded)
            if mapped is None:
                continue
            taken += 1
            self._took(rule)
            if mapped.skipped:
                skipped += 1
            if rule.align is not None:
                mapped.samples = self.aligner.align(mapped.samples, rule.align)
            shares.append(RuleShare(rule.number, len(mapped.samples), len(mapped.rejects), mapped.filtered))
            mapped = _pointing(mapped, rule)
            result = mapped if taken == 1 else _joined(result, mapped)
            if not self._match_all and not decoded.has_more(rule.format):
                break
        if notes.tolerated:
            self.tolerances.note(source, record.topic, notes.tolerated)
        rest = decoded.rest()
        if not taken:
            return self._unmatched(source, record, topic, payload)
        if rest and not self._match_all:
            result = self._with_rest(result, rest)
        return _with_why(result, "skipped" if skipped else "left_out")

    def paths_with_input(self) -> dict[int, set[str]]:
        """Returns number of a rule → the paths in its payloads that have got input IDs so far."""
        found: dict[int, set[str]] = {}
        for plan in self._plans.all():
            if plan.rule.number is not None:
                paths = (path for path, input_id in plan.ids.items() if input_id is not None)
                found.setdefault(plan.rule.number, set()).update(paths)
        return found

    def _by_rule(
        self, rule: Rule, plan: Plan, record: Record, named: Mapping[str, str], decoded: Decoded
    ) -> Mapped | None:
        """Returns the outcome of the documents that this rule takes, and no rule before took; None without any."""
        if rule.sparkplug is not None:
            return self._map_sparkplug(rule, plan, record)
        if (found := self._held(plan)) is not None:
            return self._refused(found)
        result: Mapped | None = None
        fields: DecodedFields | None = None
        several = 0
        try:
            documents, keys_repeat = decoded.by(rule.format)
            for number, document in documents:
                fields = None
                if rule.decode:
                    fields = decode_fields(rule.decode, document, self.max_payload_bytes, self._notes.tolerated)
                    document = fields.document  # noqa: PLW2901 - what is mapped
                if not all(condition.holds(document) for condition in rule.when):
                    continue
                decoded.take(rule.format, number)
                mapped = self._document(rule, plan, record, named, document)
                if fields is not None and fields.rejects:
                    mapped = _with_bad_fields(mapped, fields)
                several += bool(mapped.samples)
                result = mapped if result is None else _added(result, mapped)
        except PayloadError as error:
            decoded.failed(rule.format)
            if error.reason is Reason.INVALID_JSON and is_no_value(record.payload or b""):
                return Mapped(filtered=1, skipped=True, why="unavailable")
            if fields is not None and fields.failed:  # what the rule looks for was in these fields
                result = _joined(result or Mapped(), Mapped(rejects=fields.rejects))
            else:
                result = _joined(result or Mapped(), _unreadable(error, record.payload or b""))
        else:
            result = _with_unread(result, rule, decoded, keys_repeat)
        if several > 1 and result is not None and not rule.shared_inputs:
            result.samples, rejects, left_out = refuse_repeats(result.samples, dict, own_time_us=record.time_us)
            result = _joined(result, Mapped(rejects=rejects, filtered=left_out))
        return result

    def _document(self, rule: Rule, plan: Plan, record: Record, named: Mapping[str, str], document: object) -> Mapped:
        if rule.skip:
            return Mapped(skipped=True, filtered=leaves(document), why="skipped")
        if rule.describes:
            return self._describe(plan, record, named, document)
        mapped = _or_thinned(self._documents.document(rule, plan, record, named, document))
        return _with_remedy(mapped, document) if mapped.rejects and _has_no_number(mapped) else mapped

    def _describe(self, plan: Plan, record: Record, named: Mapping[str, str], document: object) -> Mapped:
        """Take what a message says about signals, also for the signals that are there already."""
        assert self._descriptions is not None  # noqa: S101 - there is a rule with describes
        mapped = self._descriptions.take(plan, record, named, document)
        if affected := self._descriptions.take_affected():
            self._naming.renew(affected, lambda _: True)
        return mapped

    def _map_sparkplug(self, rule: Rule, plan: Plan, record: Record) -> Mapped:
        try:
            mapped = self.sparkplug.map(plan.source, record, rule)
        except PayloadError as error:
            return _rejected(error.reason, str(error))
        if self.thinner.how:
            kept = self.thinner.thin(plan.source, mapped.samples)
            mapped.filtered += len(mapped.samples) - len(kept)
            mapped.samples = kept
        return mapped

    def _unmatched(self, source: str, record: Record, topic: TopicPlan, payload: bytes) -> Mapped:
        """Returns the outcome of a record that no rule takes, by the setting `unmatched`."""
        if self._fallback is not None:
            if topic.fallback is None:
                topic.fallback = Plan(source, record.topic, self._fallback, {})
            return self._plainly(topic.fallback, record, payload)
        self.observations.add(
            Observation(
                "topic_without_rule",
                source,
                "",
                f"no rule of the mapping takes topic {record.topic!r}, the first of its kind: its messages are "
                + ("dead letters" if self._reject_unmatched else "left out and counted (filtered)"),
                "write a rule for this topic, with skip: true if you do not need it, or set unmatched: map",
            )
        )
        if self._reject_unmatched:
            return _rejected(Reason.NO_RULE, f"no rule of the mapping takes topic {record.topic!r}")
        return Mapped(skipped=True, why="no_rule")

    def _with_rest(self, result: Mapped, rest: list[object]) -> Mapped:
        """Returns the outcome with the documents `rest` of the payload, which no rule took."""
        if self._reject_unmatched:
            said = [
                Reject(Reason.NO_RULE, "no rule of the mapping takes this document", None, shown_value(document))
                for document in rest
            ]
            return _joined(result, Mapped(rejects=said))
        return _joined(result, Mapped(filtered=sum(map(leaves, rest)), skipped=True))

    def _refused(self, found: SharedTopic) -> Mapped:
        reason = Reason.SIGNAL_HELD if self.shared_topics.on_identity == "hold" else Reason.NO_IDENTITY
        return _rejected(reason, f"{found}; {found.remedy} (signals.on_identity: {self.shared_topics.on_identity})")

    def _too_large(self, payload: bytes) -> Mapped:
        return _rejected(
            Reason.PAYLOAD_TOO_LARGE,
            f"{len(payload)} bytes; at most {self.max_payload_bytes} are mapped (mapping.max_payload)",
        )


def _with_unread(result: Mapped | None, rule: Rule, decoded: Decoded, keys_repeat: list[Reject]) -> Mapped | None:
    """Returns the outcome of a rule, with the rejects of documents that could not be read, and of repeated keys."""
    bad = decoded.take_bad(rule.format) if result is not None or not rule.when else []
    if bad:
        result = _joined(result or Mapped(), Mapped(rejects=bad))
    if keys_repeat and result is not None:
        result = _joined(result, Mapped(rejects=keys_repeat))
        keys_repeat.clear()
    return result


def _with_bad_fields(mapped: Mapped, fields: DecodedFields) -> Mapped:
    """Returns the outcome of a document, with the rejects of its fields.

    That there is no value beside these fields is no reject of its own.
    """
    rejects = [] if _has_no_number(mapped) else mapped.rejects
    return Mapped(mapped.samples, rejects + fields.rejects, max(0, mapped.filtered - fields.failed))


def _joined(one: Mapped, other: Mapped) -> Mapped:
    return Mapped(
        one.samples + other.samples,
        one.rejects + other.rejects,
        one.filtered + other.filtered,
        one.skipped or other.skipped,
        "" if one.samples or one.rejects or other.samples or other.rejects else one.why or other.why,
    )


def _added(to: Mapped, other: Mapped) -> Mapped:
    """The same as `_joined`, in place: a payload may have 100,000 documents."""
    to.samples += other.samples
    to.rejects += other.rejects
    to.filtered += other.filtered
    to.skipped = to.skipped or other.skipped
    to.why = "" if to.samples or to.rejects else to.why or other.why
    return to


def _or_thinned(mapped: Mapped) -> Mapped:
    """Returns the outcome of a document, with `why` if thinning left out all of its values."""
    if not mapped.samples and not mapped.rejects and not mapped.why:
        mapped.why = "thinned"
    return mapped


def _with_why(mapped: Mapped, why: str) -> Mapped:
    """Returns the outcome, with `why` if it has neither a sample nor a reject."""
    mapped.skipped = mapped.skipped or not (mapped.samples or mapped.rejects)
    mapped.why = "" if mapped.samples or mapped.rejects else mapped.why or why
    return mapped


def _pointing(mapped: Mapped, rule: Rule) -> Mapped:
    """Returns the outcome, whose rejects name the rule that took the record."""
    if mapped.rejects and rule.number is not None:
        mapped.rejects = [
            replace(reject, rule=rule.number) if reject.rule is None else reject for reject in mapped.rejects
        ]
    return mapped


def _has_no_number(mapped: Mapped) -> bool:
    return (
        len(mapped.rejects) == 1
        and mapped.rejects[0].reason is Reason.NO_NUMERIC_VALUE
        and mapped.rejects[0].path is None
    )


def _with_remedy(mapped: Mapped, document: object) -> Mapped:
    """Returns the outcome of a document without a number; its reject says which `decode` would read one."""
    (reject,) = mapped.rejects
    mapped.rejects = [replace(reject, message=reject.message + remedy(document))]
    return mapped


def _unreadable(error: PayloadError, payload: bytes) -> Mapped:
    """Returns the outcome of a payload that a format cannot read."""
    hint = remedy_for_bytes(payload) if error.reason is Reason.INVALID_JSON else ""
    return _rejected(error.reason, f"{error}{hint}")


def _rejected(reason: Reason, message: str) -> Mapped:
    return Mapped(rejects=[Reject(reason, message)])
