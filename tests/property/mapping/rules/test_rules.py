"""Any rules, any payloads: IDs are legal and never shared by two topics, every leaf is accounted for, and what the
mapper remembers changes nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.clarify.limits import INPUT_ID
from connector.mapping.documents.walk import count
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import check_compiles, compile_rule
from connector.mapping.rules.paths import PathError, parse_path
from connector.mapping.rules.section import RuleSection
from connector.mapping.rules.topics import PatternError, parse_pattern
from connector.mapping.rules.values import FILTERED, Conversion, ValueRejectedError
from connector.records import Reason, Record
from tests.property.fuzz import FUZZ
from tests.property.mapping.promises import ARRIVAL, check_promises, keys, leaves, topics, trees, values_of

VARIABLES = ["source", "topic", "path", "field", "key", "header.site", "payload.a", "payload.a.b", "first"]
templates = st.lists(
    st.sampled_from(["{" + name + "}" for name in VARIABLES])
    | st.text("ab/:. ø{}\n", max_size=3).map(lambda text: text.replace("{", "{{").replace("}", "}}")),
    max_size=6,
).map("".join)
key_bytes = st.none() | st.binary(max_size=4)
headers = st.lists(st.tuples(st.just("site"), st.text(max_size=3)), max_size=2).map(tuple)
small = trees(st.sampled_from(["a", "b", "v", "n"]) | keys)


@settings(max_examples=500, deadline=None)
@given(
    text=st.text(max_size=12)
    | st.lists(
        st.sampled_from([*"0123456789 .,:;'-+/eExmhW³²½%°", "\N{NO-BREAK SPACE}", "\N{THIN SPACE}"]), max_size=12
    ).map("".join),
    decimal_comma=st.booleans(),
)
@example(text="1\N{NO-BREAK SPACE}234,5", decimal_comma=False)
@example(text="00:12:34", decimal_comma=True)
def test_a_number_before_a_unit_is_all_that_the_text_has_of_numbers(text: str, decimal_comma: bool) -> None:
    conversion = Conversion(strip_unit=True, decimal_comma=decimal_comma)
    try:
        number = conversion.apply(text, lambda _: 0)
    except ValueRejectedError:
        return
    if number == FILTERED:
        return
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    end = max(at for at, char in enumerate(plain, 1) if char in "0123456789.,")
    written, unit = plain[:end], plain[end:]
    if decimal_comma and "," in written:
        written = written.replace(".", "").replace(",", ".")
    assert number == float(written)
    assert not any(char.isdecimal() or char in ":;.,'" for char in unit)


@settings(max_examples=150, deadline=None)
@given(
    template=templates,
    messages=st.lists(st.tuples(topics, small, key_bytes, headers), min_size=2, max_size=8),
    source=st.sampled_from(["east", "west"]),
)
@example(template="x", messages=[("a", 1, None, ()), ("b", 1, None, ())], source="east")
@example(
    template="{payload.a}",
    messages=[("a", {"a": "b c"}, None, ()), ("b", {"a": "b_c", "v": 1}, None, ())],
    source="west",
)
def test_two_topics_never_share_an_input_id_and_no_template_yields_an_illegal_one(
    template: str, messages: list[tuple[str, Any, bytes | None, tuple[tuple[str, str], ...]]], source: str
) -> None:
    rules = [
        compile_rule(RuleSection.model_validate({"topic": "{first}/#", "input": template, "labels": {"l": template}}))
    ]
    claims: dict[str, Any] = {}
    owner: dict[str, tuple[str, str]] = {}
    for _ in range(2):  # a restart changes nothing
        mapper = Mapper(rules, claims=claims, unmatched="map")
        for topic, value, key, some in messages:
            record = Record(topic, json.dumps(value).encode(), ARRIVAL, key, some)
            for input_id, _, _ in mapper.map(source, record).samples:
                assert INPUT_ID.match(input_id)
                assert owner.setdefault(input_id, (source, topic)) == (source, topic)
        claims.update(mapper.ids.new_claims)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from([" ", "a", "\t"])
)


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(scalars | st.lists(scalars, max_size=1) | st.just("(missing)"), min_size=1, max_size=6))
@example(ids=["a", None, "a", {}, " "])
def test_no_two_devices_become_one_signal_and_what_is_nobodys_is_refused(ids: list[Any]) -> None:
    items = [{"v": 1} if id_ == "(missing)" else {"id": id_, "v": 1} for id_ in ids]
    rule = {"topic": "#", "other_values": "filter", "values": {"v": {}}}
    single = Mapper([compile_rule(RuleSection.model_validate({**rule, "input": "{payload.id}/{path}"}))])
    listed = Mapper([compile_rule(RuleSection.model_validate({**rule, "iterate": "@", "item_name": "id"}))])
    together = listed.map("mqtt", Record("t", json.dumps(items).encode(), ARRIVAL))
    listed_rejects = [(reject.path, reject.reason) for reject in together.rejects]
    owners: dict[str, object] = {}
    for place, item in enumerate(items):
        mapped = single.map("mqtt", Record("t", json.dumps(item).encode(), ARRIVAL))
        samples = [input_id for input_id, _, _ in mapped.samples]
        refused = [reject for reject in mapped.rejects if reject.reason is Reason.NO_IDENTITY]
        id_ = item.get("id")
        is_somebody = (
            bool(id_.strip())
            if isinstance(id_, str)
            else isinstance(id_, int) or (isinstance(id_, float) and abs(id_) <= 2**53)
        )
        if isinstance(id_, int) and not -(2**63) <= id_ < 2**64:
            continue  # JSON's reader may have rounded it
        assert (len(samples), len(refused)) == ((1, 0) if is_somebody else (0, 1))
        for input_id in samples:
            said = str(id_).lower() if isinstance(id_, bool) else id_
            known = owners.setdefault(input_id, said)
            assert str(known) == str(said) or float(known) == float(said)  # type: ignore[arg-type] # 21 and 21.0 are one
        assert ((f"{place}.v", Reason.NO_IDENTITY) in listed_rejects) != is_somebody


sections = st.fixed_dictionaries(
    {"topic": st.just("#")},
    optional={
        "iterate": st.sampled_from(["@", "a", ["a", "b"], "a || @"]),
        "select": st.sampled_from(["a", "a.b", "merge(a, b)", "@"]),
        "item_name": st.just("n"),
        "when": st.sampled_from([{"a": 1}, {"a": None}, "a", "length(@) > `1`"]),
        "input": st.sampled_from(["{path}", "{payload.a}/{path}", "{field}"]),
        "parallel": st.sampled_from([["a"], ["a", "b"]]),
        "time": st.sampled_from(
            [
                "auto",
                "arrival",
                {"field": "a", "missing": "arrival"},
                {"zone": "Europe/Oslo"},
                {"field": "a", "missing": "arrival", "zone": "{payload.b|UTC}"},
                {"template": "{item}", "missing": "arrival"},
                {"template": "177761520{index}", "plus": {"path": "a || b", "unit": "us"}},
                {"header": "h", "missing": "arrival", "step": {"path": "a", "unit": "hz"}},
            ]
        ),
        "quality": st.sampled_from([{"path": "q"}, {"path": "a", "bad": "reject"}, {"path": "b", "bad": "signal"}]),
        "values": st.sampled_from(
            [
                {"a": {"scale": 2}},
                {"v": {"path": "a.b", "strip_unit": True}},
                {"v": {"path": "a[0].v"}, "w": {"path": "*.v | [0]"}},
                {"a": {"states": {"x": 1}, "unknown_state": "learn"}, "b": {"min": 0, "out_of_range": "drop"}},
                {"a": {"skip": True}, "b": {"text": "reject"}},
            ]
        ),
        "other_values": st.sampled_from(["map", "filter"]),
        "nan": st.sampled_from(["drop", "reject"]),
        "decimal_comma": st.booleans(),
        "thin": st.sampled_from([{"change_only": True}, {"min_interval": "1s"}]),
        "shared_inputs": st.booleans(),
    },
)


def usable(section: dict[str, Any]) -> bool:
    try:
        check_compiles(RuleSection.model_validate(section))
    except ValueError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(rules=st.lists(sections.filter(usable), min_size=1, max_size=3), value=small, match_all=st.booleans())
def test_under_any_rule_every_leaf_is_a_sample_a_reject_or_filtered(
    rules: list[dict[str, Any]], value: Any, match_all: bool
) -> None:
    """At least once: what an expression finds is beside what stands in the payload. But where a record is rejected or
    left out as a whole, or a part for its time, nothing is said of its values."""
    compiled = [compile_rule(RuleSection.model_validate(rule), number=i) for i, rule in enumerate(rules)]
    record = Record("t", json.dumps(value).encode(), ARRIVAL)
    mapped = Mapper(compiled, match_all=match_all).map("mqtt", record)
    check_promises(mapped, record)
    whole = any(reject.path is None for reject in mapped.rejects) or mapped.skipped
    for_time = any(
        reject.reason.startswith("time") or reject.reason == "nested_too_deeply" for reject in mapped.rejects
    )
    timed = sum(1 for rule in rules if rule.get("time", "auto") != "arrival")
    if not whole and not for_time:
        assert values_of(mapped) >= leaves(value) - timed * count(value)[1], "only times are not counted"


@settings(max_examples=150, deadline=None)
@given(
    rule=sections.filter(lambda section: usable(section) and "thin" not in section),
    values=st.lists(small, min_size=2, max_size=5),
)
def test_what_came_before_changes_nothing_under_any_rule(rule: dict[str, Any], values: list[Any]) -> None:
    if any(value.get("unknown_state") for value in rule.get("values", {}).values()):
        return  # numbers are learned in the order of appearance
    compiled = [compile_rule(RuleSection.model_validate(rule))]
    mapper = Mapper(compiled)
    for value in values * 2:
        record = Record("t", json.dumps(value).encode(), ARRIVAL)
        mapped = mapper.map("mqtt", record)
        fresh = Mapper(compiled).map("mqtt", record)
        if not mapper.ids.collisions:
            assert mapped == fresh


@settings(max_examples=200, deadline=None)
@given(value=small)
def test_leaves_are_counted(value: Any) -> None:
    assert count(value)[0] == leaves(value)


@FUZZ
@given(text=st.text("ab.[]0*|?&(){}'`,@! =\"", max_size=12), value=small)
def test_fuzz_paths(text: str, value: Any) -> None:
    try:
        path = parse_path(text)
    except PathError:
        return  # nothing else
    path.find(value)


@FUZZ
@given(text=st.text("ab/.+#*{}", max_size=14), topic=st.text("ab/.", max_size=20))
def test_fuzz_patterns(text: str, topic: str) -> None:
    try:
        pattern = parse_pattern(text)
    except PatternError:
        return  # nothing else
    found = pattern.match(topic)
    assert found is None or found.keys() == set(pattern.names)
