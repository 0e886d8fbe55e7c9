"""Plans: the facts about one topic under one rule, which are found once and not for each record.

The templates of a rule may use texts that differ from record to record: the key, a header, a field of the payload, the
name of an item. Then there is a plan for each combination of these texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from connector.mapping.documents.places import shown
from connector.mapping.documents.shapes import Flat, Shape
from connector.mapping.rules.paths import MISSING, Path
from connector.mapping.rules.rules import AttributeSource, Publishing, Rule, ValueRule
from connector.mapping.rules.templates import HEADER, ITEM, ITEM_FIELD, KEY, PAYLOAD, Labels
from connector.mapping.rules.values import Conversion
from connector.mapping.signals.input_ids import Origin
from connector.mapping.time.clock_skew import DeviceLag
from connector.records import ItemMetadata, Record, SignalMetadata

if TYPE_CHECKING:
    from connector.mapping.documents.known_items import KnownItems
    from connector.mapping.signals.shared_topics import Watch

NO_VALUE_RULE: Final = ValueRule()
_MOST_PLANS: Final = 100_000
_MOST_REFINED: Final = 20_000
"""The most paths of a plan whose refined settings are remembered; above, all are forgotten and found again."""
_LONGEST_TEXT: Final = 400
_GREATEST_INT: Final = 10**300
_GREATEST_EXACT: Final = 2**53
"""Above this number, a float stands for several whole numbers."""
FOUND: Final = "="
"""A key in the record of an origin: the value was found by an expression."""


ListsOfNames: TypeAlias = tuple[tuple[str | None, tuple[str, ...]], ...]
"""(key of a list, or None if the payload is the list; the keys of its items that name the items), for each list."""


class Plan:
    """One topic under one rule; if the rule uses texts of the record, one combination of these texts."""

    __slots__ = (
        "by_texts",
        "clock",
        "conversions",
        "flat",
        "flats",
        "found",
        "ids",
        "items",
        "lacking",
        "lists",
        "read_time",
        "record",
        "refined",
        "rule",
        "shapes",
        "source",
        "topic",
        "variables",
        "watch",
        "watched",
    )

    def __init__(self, source: str, topic: str, rule: Rule, variables: Mapping[str, str], record: str = "") -> None:
        self.source = source
        self.topic = topic
        self.rule = rule
        self.read_time = rule.time.read
        self.variables = {"source": source, "topic": topic, KEY: "", **variables}
        self.record = record
        self.ids: dict[str, str | None] = {}
        """Path → its input ID; None if the rule leaves the path out."""
        self.conversions: dict[str, Conversion] = {}
        """Path → the conversion of its values; only paths with a conversion."""
        self.refined: dict[str, ValueRule | None] = {}
        """Path → the result of `value_of`; only for a rule with `attribute_sources`."""
        self.found: Plan | None = None
        """The plan of the values that expressions find; the payload has no paths for these values."""
        self.shapes: dict[tuple[str, ...], Shape | None] = {}
        """Keys of an object, in their order → its shape; None if such objects must be walked."""
        self.flats: dict[tuple[object, ...], Flat] = {}
        """The shapes that become rows, by the keys of the object, or by `variant_of` for messages with lists."""
        self.lists: ListsOfNames | None = None
        """The lists of named items in this topic's messages, if such messages become rows; `flats` are by these names,
        too."""
        self.flat: Flat | None = None
        """The last of the `flats` that was used: mostly the next object has the same shape."""
        self.items: KnownItems | None = None
        """The known items, of all combinations of texts of this topic; None if there are none."""
        self.clock: DeviceLag | None = None
        self.lacking: frozenset[str] = frozenset()
        """Variables that these records lack: a value gets no input ID if its ID needs one of them."""
        self.by_texts: dict[tuple[str, ...], Plan] = {}
        self.watch: Watch | None = None
        """The check whether several things share the topic; None until the first message."""
        self.watched = True
        """Whether the topic needs this check."""

    def with_texts(self, texts: tuple[str, ...], named: Mapping[str, str]) -> Plan:
        """Returns the plan for these texts of the rule's dynamic variables; `named` has the named levels of a key."""
        known = self.by_texts.get(texts)
        if known is not None:
            return known
        said = dict(zip(self.rule.dynamic, texts, strict=True))
        identity = self.rule.identity
        record = record_key({name: said[name] for name in identity}) if identity else ""
        plan = Plan(self.source, self.topic, self.rule, {**self.variables, **named, **said}, record)
        plan.lacking = self.rule.lacking(said)
        plan.items = self.items
        if len(self.by_texts) >= _MOST_PLANS:
            self.by_texts.clear()
            if self.items is not None:
                self.items.forget()
        self.by_texts[texts] = plan
        return plan

    def with_inner(self) -> Iterator[Plan]:
        """Yields this plan, and all plans that it has made for texts of records and for found values."""
        yield self
        for plan in (*self.by_texts.values(), self.found):
            if plan is not None:
                yield from plan.with_inner()

    def forget_values(self) -> None:
        """Forget all findings about the values: the next record finds them again, with the same input IDs."""
        self.ids.clear()
        self.conversions.clear()
        self.refined.clear()
        self.shapes.clear()
        self.flats.clear()
        self.lists = self.flat = None
        if self.items is not None:
            self.items.forget()

    def for_found(self) -> Plan:
        """Returns the plan of the values that the rule's expressions find."""
        if self.found is None:
            assert self.rule.found is not None  # noqa: S101 - asked only where the rule has expressions
            said = {**(orjson.loads(self.record) if self.record else {}), FOUND: ""}
            self.found = Plan(self.source, self.topic, self.rule.found, self.variables, record_key(said))
            self.found.clock = self.clock
            self.found.lacking = self.lacking
        return self.found

    def origin(self, path: str) -> Origin:
        """Returns the origin of the values at `path`."""
        return Origin(self.source, self.topic, path, self.record)


def record_key(said: Mapping[str, str]) -> str:
    """Returns the `record` of an origin: JSON of the texts that tell the records of a topic apart."""
    return orjson.dumps(dict(sorted(said.items()))).decode()


@dataclass(slots=True)
class TopicPlan:
    """The rules that may take the records of a topic, in order."""

    plain: Plan | None = None
    """The plan of the only rule, if a record only needs to be decoded and walked; else None."""
    rows: Plan | None = None
    """The plan of the only rule, if records may become rows; else None."""
    choices: list[tuple[Rule, Plan]] = field(default_factory=list)
    fallback: Plan | None = None
    """The plan for records that no rule takes."""
    keys_merged: bool = False
    """Whether records with different keys were seen, and no rule tells them apart."""


def template_text(value: object) -> str:
    """Returns the text of a value for a template: a text as it is, 21 and 21.0 as 21.

    The text is empty if the value is missing, or is neither a text nor a number. The text is also empty for a float
    above 2**53, because different numbers may be rounded to it.
    """
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else _shortened(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < _GREATEST_INT else ""
    if isinstance(value, float):
        if not abs(value) <= _GREATEST_EXACT:  # also true for NaN
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return ""


def _shortened(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: _LONGEST_TEXT - 11]}…{digest[:10]}"


def record_texts(rule: Rule, record: Record, document: object) -> dict[str, str]:
    """Returns the rule's dynamic variables from a record and its payload: name → text."""
    texts = {}
    for name in rule.dynamic:
        if name == KEY:
            texts[name] = key_of(record)
        elif name.startswith(HEADER):
            texts[name] = header_of(record, name.removeprefix(HEADER)) or ""
        elif name.startswith(PAYLOAD):
            texts[name] = template_text(rule.paths[name].find(document))
    return texts


def item_texts(rule: Rule, name: str, index: int, item: object, outer: tuple[object, ...]) -> dict[str, str]:
    """Returns the rule's dynamic variables from an item: name → text.

    If an item does not have a field, the items around it are searched, from the inside to the outside. A field that is
    null or empty counts as present: the field of another item would be wrong.
    """
    texts = {}
    for variable in rule.dynamic:
        if variable == ITEM:
            texts[variable] = name
        elif variable.startswith(ITEM_FIELD):
            path = rule.paths[variable]
            texts[variable] = template_text(nearest(path, item, outer))
        elif variable == "index":
            texts[variable] = str(index)
    return texts


def nearest(path: Path, item: object, outer: tuple[object, ...]) -> object:
    """Returns the value at `path` in the item, or else in the nearest item around it; `MISSING` if there is none."""
    return next((found for around in (item, *outer) if (found := path.find(around)) is not MISSING), MISSING)


def key_of(record: Record) -> str:
    """Returns the key of a record as text; hexadecimal if the key is no UTF-8; empty without a key."""
    key = record.key or b""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.hex()


def header_of(record: Record, name: str) -> str | None:
    """Returns the text of the last header (MQTT 5: user property) with this name; None if there is none."""
    return next((value for header, value in reversed(record.headers) if header == name), None)


# -- the names of values ---------------------------------------------------------------------------


def value_rule(rule: Rule, path: str) -> ValueRule | None:
    """Returns the settings of the rule for the value at `path`.

    Returns None if the value is left out or is the time field of the rule; `NO_VALUE_RULE` if the rule has no settings
    for this path alone.
    """
    if not path.isprintable():
        path = shown(path)
    found = rule.values.get(path)
    if found is None and rule.inherit:
        found = next((rule.values[start] for start in _starts(path) if start in rule.values), None)
    if found is None:
        return NO_VALUE_RULE if rule.other_values and path not in rule.time_paths else None
    return None if found.skip else found


def value_of(plan: Plan, path: str) -> ValueRule | None:
    """Returns the same as `value_rule`, with what the `attribute_sources` of the rule say about the value at `path`."""
    sources = plan.rule.attribute_sources
    if not sources:
        return value_rule(plan.rule, path)
    if path in plan.refined:
        return plan.refined[path]
    if len(plan.refined) >= _MOST_REFINED:
        plan.refined.clear()
    plan.refined[path] = found = _refined(plan, path, sources)
    return found


def _refined(plan: Plan, path: str, sources: tuple[AttributeSource, ...]) -> ValueRule | None:
    value = value_rule(plan.rule, path)
    if value is None:
        return None
    for source in sources:
        value = source.refined(plan, path, value)
    return None if value.skip else value


def _starts(path: str) -> Iterator[str]:
    """Yields the paths above a path, the longest first: `a.b.c` → `a.b`, `a`."""
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def wanted_id(plan: Plan, value: ValueRule, path: str) -> str:
    """Returns the text for the input ID of a value, before it is shortened or made unique."""
    called = shown(path) if value.named is None else value.named
    template = value.input or plan.rule.input
    if template is not None:
        return template.render(variables(plan, called))
    return default_id(plan, called)


def default_id(plan: Plan, called: str) -> str:
    """Returns the text for the input ID of a value, if its rule has no template for input IDs."""
    start = f"{plan.topic}/{plan.variables[KEY]}" if plan.rule.key else plan.topic
    if plan.rule.iterates and plan.variables.get(ITEM):
        return f"{start}:{plan.variables[ITEM]}" + (f".{called}" if called else "")
    return f"{start}:{called}" if called else start


def variables(plan: Plan, path: str) -> dict[str, str]:
    """The variables for the templates of a value, by name; `path` is the path of the value in the payload."""
    if plan.rule.sparkplug is not None:
        return {**plan.variables, "path": path, "metric": path, "field": path.rpartition("/")[2]}
    return {**plan.variables, "path": path, "field": path.rpartition(".")[2]}


def signal_metadata(
    plan: Plan, value: ValueRule, called: str, input_id: str, learned: Mapping[str, int]
) -> SignalMetadata | None:
    """Returns the metadata of a signal by its rule; None if the rule sets no metadata and publishes nothing.

    `learned` has the states that were learned from messages, beside the declared states of the rule.
    """
    rule = plan.rule
    says = rule.says_metadata or value.says_metadata
    publishing = rule.publish if value.publish else None
    if not says and publishing is None:
        return None
    known = variables(plan, called)
    name = value.name or rule.name
    description = value.description or rule.description
    unit = value.unit or rule.unit
    enum_values = value.enum_values or rule.enum_values
    if learned:
        enum_values = tuple(({str(number): text for text, number in learned.items()} | dict(enum_values)).items())
    text = name.render(known) if name else ""
    return SignalMetadata(
        name=text if text.strip() else input_id,
        description=description.render(known) if description else "",
        unit=unit.render(known) if unit else "",
        value_type=value.value_type or rule.value_type or "numeric",
        labels=_labels((*rule.labels, *value.labels), known),
        enum_values=enum_values,
        sample_interval=value.sample_interval or rule.sample_interval,
        gap_detection=value.gap_detection or rule.gap_detection,
        annotations=tuple((key, text.render(known)) for key, text in (*rule.annotations, *value.annotations)),
        saved=says,
        item=_item(publishing, known) if publishing is not None else None,
    )


def _labels(written: Labels, known: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns each label once, with its last text; a label with an empty text is left out."""
    texts = {key: template.render(known) for key, template in written}
    return tuple((key, (text,)) for key, text in texts.items() if text)


def _item(publishing: Publishing, known: Mapping[str, str]) -> ItemMetadata:
    labels = publishing.labels
    name = publishing.name.render(known) if publishing.name else ""
    return ItemMetadata(
        name=name if name.strip() else None,
        description=publishing.description.render(known) if publishing.description else None,
        labels=None if labels is None else _labels(labels, known),
        visible=publishing.visible,
        overwrite=publishing.overwrite,
    )
