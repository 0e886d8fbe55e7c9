"""One record at a time: every value ends as a sample, as a reject with its reason, or counted as filtered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from connector.clarify.limits import INPUT_ID
from connector.mapping.mapper import Mapper
from connector.mapping.rules.compiler.rule import compile_rule
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.section import RuleSection
from connector.mapping.signals.input_ids import Origin
from connector.mapping.time.times import TimeBounds, format_time
from connector.records import Mapped, Reason, Record, Sample, TimeKind
from tests.unit.records import ARRIVAL, record

TS = 1_712_120_512


def rules(*sections: Mapping[str, Any]) -> list[Rule]:
    """Rules as a configuration file writes them."""
    return [compile_rule(RuleSection.model_validate(section)) for section in sections]


def mapped(payload: bytes | str, topic: str = "t", mapper: Mapper | None = None) -> Mapped:
    raw = payload.encode() if isinstance(payload, str) else payload
    return (mapper or Mapper()).map("mqtt", record(raw, topic))


def samples(payload: bytes | str, *sections: Mapping[str, Any], topic: str = "t") -> list[Sample]:
    found = mapped(payload, topic, Mapper(rules(*sections)))
    assert found.rejects == []
    return found.samples


# -- bad input: each ends with its reason, and its neighbours survive ------------------------------


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b" \n", Reason.EMPTY_PAYLOAD),
        (b'{"a": 1', Reason.INVALID_JSON),
        (b"\xff\xfe\x00", Reason.NOT_UTF8),
        (b"[" * 50_000, Reason.NESTED_TOO_DEEPLY),
        (b"x" * (10 * 1024 * 1024), Reason.PAYLOAD_TOO_LARGE),
        (b'{"a": "text", "b": null}', Reason.NO_NUMERIC_VALUE),
        (b'"text"', Reason.NO_NUMERIC_VALUE),
        (b'{"ts": "soon", "v": 1}', Reason.TIME_UNREADABLE),
        (b'{"ts": null, "v": 1}', Reason.TIME_UNREADABLE),
        (b'{"ts": 0, "v": 1}', Reason.TIME_OUT_OF_RANGE),
        (b'{"ts": "1970-01-01T00:00:00Z", "v": 1}', Reason.TIME_OUT_OF_RANGE),
        (b'{"ts": "2200-01-01T00:00:00Z", "v": 1}', Reason.TIME_OUT_OF_RANGE),
        (b'{"ts": 7258118400, "v": 1}', Reason.TIME_OUT_OF_RANGE),
        (b"[" + b"1," * 20_000 + b"1]", Reason.TOO_MANY_VALUES),
        (b"[" + b"NaN," * 20_000 + b"NaN]", Reason.TOO_MANY_VALUES),
    ],
)
def test_a_record_that_gives_nothing_is_one_reject_with_its_reason(payload: bytes, reason: Reason) -> None:
    found = mapped(payload)
    assert found.samples == []
    assert [(reject.reason, reject.path) for reject in found.rejects] == [(reason, None)]
    assert found.rejects[0].message
    assert not found.skipped


@pytest.mark.parametrize(
    ("payload", "path", "reason", "value"),
    [
        ('{"bad": NaN, "good": 1}', "bad", Reason.NOT_FINITE, "nan"),
        ('{"bad": -Infinity, "good": 1}', "bad", Reason.NOT_FINITE, "-inf"),
        ('{"bad": 1e999, "good": 1}', "bad", Reason.NOT_FINITE, "inf"),
        ('{"bad": "1e+999", "good": 1}', "bad", Reason.NOT_FINITE, "1e+999"),
        ('{"good": 1, "bad": ' + "9" * 400 + "}", "bad", Reason.NOT_FINITE, "inf"),
        ('{"bad": 5, "good": 1, "bad": "x"}', "bad", Reason.DUPLICATE_KEY, "5"),
        ('{"good": 1, "bad": {"ts": "soon", "v": 1}}', "bad", Reason.TIME_UNREADABLE, "'soon'"),
        ('{"good": 1, "bad": {"ts": 7, "v": 1}}', "bad", Reason.TIME_OUT_OF_RANGE, "7"),
        ('{"good": 1, "bad": ' + "[" * 32 + "7" + "]" * 32 + "}", "bad" + ".0" * 31, Reason.NESTED_TOO_DEEPLY, None),
    ],
)
def test_one_bad_value_is_one_reject_and_its_neighbour_survives(
    payload: str, path: str, reason: Reason, value: str | None
) -> None:
    found = mapped(payload)
    assert found.samples == [("t:good", ARRIVAL, 1)]
    assert [(reject.reason, reject.path, reject.value) for reject in found.rejects] == [(reason, path, value)]


def test_31_levels_are_still_read() -> None:
    found = mapped('{"good": ' + "[" * 31 + "7" + "]" * 31 + "}")
    assert found.samples == [("t:good" + ".0" * 31, ARRIVAL, 7)]
    assert found.rejects == []


def test_a_bare_number_that_is_not_finite() -> None:
    (reject,) = mapped(b"NaN").rejects
    assert (reject.reason, reject.path) == (Reason.NOT_FINITE, "(top)")


def test_every_replaced_value_of_a_repeated_key_is_reported() -> None:
    found = mapped('{"a" :1, "a":2, "b":{"c":3,"c":4,"c":5}, "d": 6}')
    assert found.samples == [("t:a", ARRIVAL, 2), ("t:b.c", ARRIVAL, 5), ("t:d", ARRIVAL, 6)]
    assert sorted((r.reason, r.path, r.value) for r in found.rejects) == [
        (Reason.DUPLICATE_KEY, "a", "1"),
        (Reason.DUPLICATE_KEY, "b.c", "3"),
        (Reason.DUPLICATE_KEY, "b.c", "4"),
    ]


def test_what_only_looks_like_a_repeated_key_is_none() -> None:
    found = mapped(r'{"a": 1, "text": "\"a\": 2, \"a\" :3"}')
    assert (found.samples, found.rejects, found.filtered) == ([("t:a", ARRIVAL, 1)], [], 1)


def test_a_rejected_text_is_shown_only_in_part() -> None:
    (reject,) = mapped('{"a": "' + "9" * 5000 + '", "b": 1}').rejects
    assert reject.value is not None
    assert len(reject.value) <= 80


def test_a_message_with_too_many_values_does_not_claim_ids_without_end() -> None:
    mapper = Mapper(max_values=10)
    mapped(b"[" + b"1," * 5000 + b"1]", mapper=mapper)
    assert len(mapper.ids) <= 11


def test_as_many_values_as_allowed_are_mapped() -> None:
    assert len(mapped(b"[1,2,3,NaN]", mapper=Mapper(max_values=4)).samples) == 3
    assert mapped(b"[1,2,3,NaN]", mapper=Mapper(max_values=3)).rejects[0].reason is Reason.TOO_MANY_VALUES


def test_a_payload_of_exactly_the_bound_is_mapped() -> None:
    assert mapped(b"1234", mapper=Mapper(max_payload_bytes=4)).samples == [("t", ARRIVAL, 1234)]
    (reject,) = mapped(b"12345", mapper=Mapper(max_payload_bytes=4)).rejects
    assert reject.reason is Reason.PAYLOAD_TOO_LARGE
    assert "mapping.max_payload" in reject.message


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"21.5", [("t", ARRIVAL, 21.5)]),
        (b"true", [("t", ARRIVAL, True)]),
        (b'"21.5"', [("t", ARRIVAL, 21.5)]),
        (b"\xef\xbb\xbf21.5", [("t", ARRIVAL, 21.5)]),
        (b'{"a":1,"b":{"c":2,"d":{"e":false}}}', [("t:a", ARRIVAL, 1), ("t:b.c", ARRIVAL, 2), ("t:b.d.e", ARRIVAL, 0)]),
        (b"[1,[2]]", [("t:0", ARRIVAL, 1), ("t:1.0", ARRIVAL, 2)]),
        (b'{"a":[{"v":1},{"v":2}]}', [("t:a.0.v", ARRIVAL, 1), ("t:a.1.v", ARRIVAL, 2)]),
        (b'{"a":18446744073709551616}', [("t:a", ARRIVAL, 2.0**64)]),
        (b'{"a":"1.5e3","b":"-0.5","c":"+7"}', [("t:a", ARRIVAL, 1500), ("t:b", ARRIVAL, -0.5), ("t:c", ARRIVAL, 7)]),
        (b'{"a":"1e-3","v":1}', [("t:a", ARRIVAL, 0.001), ("t:v", ARRIVAL, 1)]),
    ],
)
def test_values_and_their_paths(payload: bytes, expected: list[Sample]) -> None:
    found = mapped(payload)
    assert found.samples == expected
    assert (found.rejects, found.filtered) == ([], 0)


@pytest.mark.parametrize("text", ["on", "", "1,5", "0x10", "1_000", " 1", "NaN", "007", "1.", "\u0661"])
def test_texts_that_are_no_plain_numbers_are_filtered(text: str) -> None:
    found = mapped(f'{{"a": "{text}", "b": 1}}')
    assert found.samples == [("t:b", ARRIVAL, 1)]
    assert (found.filtered, found.rejects) == (1, [])


def test_a_key_with_half_a_surrogate_pair_is_mapped_to_what_can_be_stored() -> None:
    mapper = Mapper()
    found = mapped(b'{"\\ud800": 1, "b": 2}', mapper=mapper)
    assert [value for _, _, value in found.samples] == [1, 2]
    for input_id, origin in mapper.ids.new_claims:
        assert INPUT_ID.match(input_id)
        assert origin.path.encode("utf-8")


@pytest.mark.parametrize("topic", ["x" * 300, "plant/øl °C", "a b", "日本/温度", "/", "$SYS/x", "a\nb"])
def test_any_topic_gives_a_legal_id(topic: str) -> None:
    ((input_id, _, _), (other, _, _)) = mapped('{"v": 1, "w w": 2}', topic).samples
    assert INPUT_ID.match(input_id)
    assert INPUT_ID.match(other)
    assert input_id != other


# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "expected_us"),
    [
        (TS, TS * 10**6),
        (f"{TS}.25", TS * 10**6 + 250_000),
        (f"{TS}123", TS * 10**6 + 123_000),
        (f"{TS}123456", TS * 10**6 + 123_456),
        (f"{TS}123456789", TS * 10**6 + 123_456),
        (f'"{TS}123"', TS * 10**6 + 123_000),
        ('"2024-04-03T05:01:52.123456Z"', TS * 10**6 + 123_456),
    ],
)
@pytest.mark.parametrize("key", ["ts", "Timestamp", "@timestamp"])
def test_the_time_of_the_payload_is_that_of_its_values(key: str, time: object, expected_us: int) -> None:
    for payload in (f'{{"{key}": {time}, "v": 1}}', f'{{"v": 1, "{key}": {time}}}'):
        assert mapped(payload).samples == [("t:v", expected_us, 1)]


def test_the_nearest_time_counts() -> None:
    payload = f'{{"ts": {TS}, "a": 1, "in": {{"b": 2, "time": {TS + 1}, "deep": {{"c": 3}}}}, "out": {{"d": 4}}}}'
    assert samples(payload) == [
        ("t:a", TS * 10**6, 1),
        ("t:in.b", (TS + 1) * 10**6, 2),
        ("t:in.deep.c", (TS + 1) * 10**6, 3),
        ("t:out.d", TS * 10**6, 4),
    ]


def test_elements_with_a_time_of_their_own_are_readings_of_the_same_signal() -> None:
    payload = f'[{{"ts": {TS}, "v": 1}}, {{"ts": {TS + 1}, "v": 2}}, {{"v": 3}}]'
    found = mapped(payload)
    assert found.samples == [("t:v", TS * 10**6, 1), ("t:v", (TS + 1) * 10**6, 2)]
    assert [(reject.reason, reject.path) for reject in found.rejects] == [(Reason.NO_IDENTITY, "2")], "never both ways"
    nested = f'{{"a": [{{"ts": {TS}, "v": 1}}, {{"ts": {TS + 1}, "v": 2}}]}}'
    assert samples(nested) == [("t:a.v", TS * 10**6, 1), ("t:a.v", (TS + 1) * 10**6, 2)]


def test_one_element_with_a_bad_time_does_not_cost_the_others() -> None:
    found = mapped(f'{{"a": [{{"ts": "soon", "v": 1}}, {{"ts": {TS}, "v": 2}}]}}')
    assert found.samples == [("t:a.v", TS * 10**6, 2)]
    assert [(reject.reason, reject.path) for reject in found.rejects] == [(Reason.TIME_UNREADABLE, "a")]


def test_an_object_under_a_time_name_is_no_time() -> None:
    mapper = Mapper()
    mapped(f'{{"ts": {TS}, "v": 1}}', mapper=mapper)
    found = mapped('{"ts": {"x": 5}, "v": 1}', mapper=mapper)
    assert found.samples == [("t:ts.x", ARRIVAL, 5), ("t:v", ARRIVAL, 1)]


def test_the_same_payload_has_the_same_time_whatever_came_before() -> None:
    """A record that is delivered again after a restart must become the very same samples."""
    payload = f'{{"timestamp": {TS}, "ts": {TS + 60}, "v": 1}}'
    mapper = Mapper()
    mapped(f'{{"ts": {TS}, "v": 1}}', mapper=mapper)
    assert mapped(payload, mapper=mapper).samples == mapped(payload).samples


def test_a_time_that_was_empty_at_first_is_read_when_it_is_there() -> None:
    mapper = Mapper()
    for empty in ("null", '""', '"unknown"'):
        assert mapped(f'{{"v": 1, "date": {empty}}}', mapper=mapper).samples == [("t:v", ARRIVAL, 1)]
    assert mapped(f'{{"v": 1, "date": {TS}}}', mapper=mapper).samples == [("t:v", TS * 10**6, 1)]
    found = mapped('{"v": 1, "date": "2026-09-21T12:00:00Z"}', mapper=mapper)
    assert found.samples == [("t:v", 1_789_992_000_000_000, 1)]


def test_a_text_that_a_rule_rejects_is_rejected_each_time_also_if_it_is_an_identifier() -> None:
    mapper = Mapper(rules({"topic": "#", "text": "reject"}))
    for _ in range(3):
        found = mapped('{"v": 1, "serial": "AB-7"}', mapper=mapper)
        assert [reject.path for reject in found.rejects] == ["serial"]


def test_a_rule_may_say_where_the_time_is() -> None:
    payload = f'{{"ts": 1, "meta": {{"at": "{TS}"}}, "v": 1}}'
    found = mapped(payload, mapper=Mapper(rules({"topic": "#", "time": "meta.at"})))
    assert found.samples == [("t:ts", TS * 10**6, 1), ("t:v", TS * 10**6, 1)]
    assert (found.rejects, found.filtered) == ([], 1)


def test_the_time_field_of_a_rule_is_no_sample_unless_the_rule_names_it() -> None:
    payload = f'{{"at": {TS}, "v": 1}}'
    assert samples(payload, {"topic": "#", "time": "at"}) == [("t:v", TS * 10**6, 1)]
    named = samples(payload, {"topic": "#", "time": "at", "values": {"at": {"input": "sent"}}})
    assert named == [("sent", TS * 10**6, TS), ("t:v", TS * 10**6, 1)]


def test_a_message_with_nothing_but_its_time_has_no_value() -> None:
    for section in ({"topic": "#", "time": "at"}, {"topic": "#"}):
        key = section.get("time", "ts")
        found = mapped(f'{{"{key}": {TS}}}', mapper=Mapper(rules(section)))
        assert [reject.reason for reject in found.rejects] == [Reason.NO_NUMERIC_VALUE]
        assert not found.skipped


@pytest.mark.parametrize("payload", ['{"v": 1}', '{"meta": 1, "v": 1}', '[{"v": 1}]', "7", '{"meta": {"at": [1]}}'])
def test_a_rule_whose_time_is_missing_rejects_the_record(payload: str) -> None:
    found = mapped(payload, mapper=Mapper(rules({"topic": "#", "time": "meta.at"})))
    assert found.samples == []
    (reject,) = found.rejects
    assert (reject.reason, reject.path) == (Reason.TIME_UNREADABLE, None)
    assert "'meta.at'" in reject.message


def test_time_arrival_never_looks_into_the_payload() -> None:
    payload = f'{{"ts": {TS}, "v": 1}}'
    assert samples(payload, {"topic": "#", "time": "arrival"}) == [("t:v", ARRIVAL, 1)], "a time is no signal either"


@pytest.mark.parametrize("word", ["auto", "arrival"])
def test_fields_named_like_the_words_for_time_are_ordinary_values(word: str) -> None:
    assert samples(f'{{"{word}": 5}}', {"topic": "#", "time": word}) == [(f"t:{word}", ARRIVAL, 5)]


def test_the_bounds_of_plausible_times() -> None:
    bounds = TimeBounds(oldest_us=5_000_000, newest_after_arrival_us=1_000_000)
    last = ARRIVAL + 1_000_000
    for time_us, reasons in ((5_000_000, []), (4_999_999, ["t"]), (last, []), (last + 1, ["t"])):
        found = mapped(f'{{"ts": "{format_time(time_us)}", "v": 1}}', mapper=Mapper(bounds=bounds))
        assert [reject.reason for reject in found.rejects] == [Reason.TIME_OUT_OF_RANGE] * len(reasons)


# -- rules -----------------------------------------------------------------------------------------


def test_without_rules_everything_is_mapped() -> None:
    assert samples("1", topic="any/topic") == [("any/topic", ARRIVAL, 1)]


def test_the_first_rule_that_matches_counts() -> None:
    sections = ({"topic": "plant/{line}/#", "input": "first/{line}"}, {"topic": "#", "input": "second"})
    assert samples("1", *sections, topic="plant/7/x") == [("first/7", ARRIVAL, 1)]
    assert samples("1", *sections, topic="other") == [("second", ARRIVAL, 1)]


@pytest.mark.parametrize(
    ("unmatched", "kept", "reasons", "skipped"),
    [("filter", 0, [], True), ("map", 1, [], False), ("dead_letter", 0, [Reason.NO_RULE], False)],
)
def test_what_no_rule_takes(unmatched: str, kept: int, reasons: list[Reason], skipped: bool) -> None:
    found = mapped("1", "other", Mapper(rules({"topic": "plant/#"}), unmatched=unmatched))
    assert len(found.samples) == kept
    assert [reject.reason for reject in found.rejects] == reasons
    assert found.skipped is skipped


def test_a_rule_that_skips() -> None:
    found = mapped(b"not even JSON", "plant/x", Mapper(rules({"topic": "plant/#", "skip": True})))
    assert found == Mapped(skipped=True, why="skipped")


def test_values_of_a_rule() -> None:
    section = {
        "topic": "plant/{line}",
        "input": "{line}/{field}",
        "values": {"raw.adc": {"skip": True}, "raw.t": {"input": "{line}/temperature"}},
    }
    found = mapped('{"raw": {"adc": 5, "t": 20, "other": 7}}', "plant/7", Mapper(rules(section)))
    assert found.samples == [("7/temperature", ARRIVAL, 20), ("7/other", ARRIVAL, 7)]
    assert (found.filtered, found.rejects) == (1, [])


def test_other_values_may_be_filtered() -> None:
    section = {"topic": "#", "values": {"t": {}}, "other_values": "filter"}
    found = mapped('{"t": 20, "x": 1, "y": NaN, "z": "text"}', mapper=Mapper(rules(section)))
    assert found.samples == [("t:t", ARRIVAL, 20)]
    assert (found.filtered, found.rejects) == (3, [])


def test_a_record_of_which_rules_leave_nothing_is_filtered_not_rejected() -> None:
    section = {"topic": "#", "values": {"t": {}}, "other_values": "filter"}
    found = mapped('{"x": 1}', mapper=Mapper(rules(section)))
    assert (found.samples, found.rejects, found.filtered, found.skipped) == ([], [], 1, True)


def test_metadata_is_discovered_once_and_complete() -> None:
    section = {
        "topic": "plant/{line}/{machine}",
        "name": "{machine} {field}",
        "description": "line {line}, {topic}",
        "unit": "°C",
        "labels": {"line": "{line}", "source": "{source}"},
        "values": {"state": {"name": "State", "type": "enum", "enum_values": {0: "off", "1": "on"}, "unit": ""}},
    }
    mapper = Mapper(rules(section))
    for _ in range(2):
        mapped('{"temp": 20, "state": 1}', "plant/7/press", mapper)
    (temp_id, temp), (state_id, state) = mapper.discovered
    assert (temp_id, state_id) == ("plant/7/press:temp", "plant/7/press:state")
    assert (temp.name, temp.description, temp.unit) == ("press temp", "line 7, plant/7/press", "°C")
    assert temp.labels == (("line", ("7",)), ("source", ("mqtt",)))
    assert (temp.value_type, temp.enum_values) == ("numeric", ())
    assert (state.name, state.value_type, state.enum_values) == ("State", "enum", (("0", "off"), ("1", "on")))


def test_a_rule_without_metadata_leaves_the_signals_alone() -> None:
    mapper = Mapper(rules({"topic": "#", "input": "x/{field}"}))
    mapped('{"temp": 20}', mapper=mapper)
    assert mapper.discovered == []


def test_retained_messages_can_be_left_out() -> None:
    mapper = Mapper(without_retained={"mqtt"})
    assert mapper.map("mqtt", record(b"1", retained=True)) == Mapped(skipped=True, why="retained")
    assert mapper.map("mqtt", record(b"1")).samples == [("t", ARRIVAL, 1)]
    assert mapper.map("other", record(b"1", "u", retained=True)).samples == [("u", ARRIVAL, 1)]


# -- input IDs over restarts and changes of the mapping --------------------------------------------

TWO_LINES = {"topic": "plant/{line}/{machine}", "input": "{machine}"}


def restarted(mapper: Mapper, sections: list[Mapping[str, Any]], sources: set[str] | None = None) -> Mapper:
    return Mapper(rules(*sections), claims=dict(mapper.ids.new_claims), sources=sources)


def first_id(mapper: Mapper, topic: str, source: str = "mqtt") -> str:
    return mapper.map(source, record(b"1", topic)).samples[0][0]


def test_two_topics_that_want_one_id_are_kept_apart_and_reported() -> None:
    mapper = Mapper(rules(TWO_LINES))
    first, second = first_id(mapper, "plant/1/press"), first_id(mapper, "plant/2/press")
    assert first == "press"
    assert second != first
    (collision,) = mapper.ids.collisions
    assert collision.later == Origin("mqtt", "plant/2/press", "")


def test_ids_are_stable_over_a_restart_in_any_order() -> None:
    before = Mapper(rules(TWO_LINES))
    given = {topic: first_id(before, topic) for topic in ("plant/1/press", "plant/2/press")}
    after = restarted(before, [TWO_LINES])
    assert {topic: first_id(after, topic) for topic in reversed(given)} == given
    assert after.ids.new_claims == []


def test_a_changed_mapping_frees_ids_that_nobody_wants_any_more() -> None:
    before = Mapper(rules(TWO_LINES))
    first_id(before, "plant/1/press")
    changed = [{"topic": "plant/1/{machine}", "input": "one/{machine}"}, TWO_LINES]
    after = restarted(before, changed)
    assert first_id(after, "plant/2/press") == "press"
    assert first_id(after, "plant/1/press") == "one/press"
    assert after.ids.collisions == []


@pytest.mark.parametrize(
    "changed",
    [
        [{"topic": "plant/1/#", "skip": True}, TWO_LINES],
        [{"topic": "plant/2/{machine}", "input": "{machine}"}],
        [{"topic": "plant/1/#", "values": {"v": {}}, "other_values": "filter"}, TWO_LINES],
    ],
)
def test_an_id_is_free_when_its_owner_is_not_mapped_any_more(changed: list[Mapping[str, Any]]) -> None:
    before = Mapper(rules(TWO_LINES))
    first_id(before, "plant/1/press")
    assert first_id(restarted(before, changed), "plant/2/press") == "press"


def test_an_id_is_free_when_its_source_is_gone() -> None:
    before = Mapper(rules(TWO_LINES))
    assert first_id(before, "plant/1/press", "old") == "press"
    assert first_id(restarted(before, [TWO_LINES], {"old", "mqtt"}), "plant/1/press") != "press"
    assert first_id(restarted(before, [TWO_LINES], {"mqtt"}), "plant/1/press") == "press"


def test_a_topic_called_like_an_id_with_a_hash_does_not_take_it_over() -> None:
    mapper = Mapper(rules(TWO_LINES))
    first_id(mapper, "plant/1/press")
    given = first_id(mapper, "plant/2/press")
    assert first_id(mapper, f"plant/3/{given}") != given
    assert first_id(mapper, "plant/2/press") == given


def test_two_brokers_with_the_same_topics_stay_apart() -> None:
    mapper = Mapper()
    assert first_id(mapper, "t", "east") != first_id(mapper, "t", "west")


def test_shared_inputs_are_one_signal_on_purpose() -> None:
    mapper = Mapper(rules({**TWO_LINES, "shared_inputs": True}))
    assert first_id(mapper, "plant/1/press") == first_id(mapper, "plant/2/press") == "press"
    assert mapper.ids.collisions == []


# -- what a Kafka record has beside its payload ----------------------------------------------------


def rule_of(section: dict[str, Any]) -> Rule:
    return compile_rule(RuleSection.model_validate(section))


def kafka(payload: bytes | None = b'{"v": 1}', **more: Any) -> Record:
    given: dict[str, Any] = {"time_us": ARRIVAL - 5, "time_kind": TimeKind.CREATED, "received_us": ARRIVAL} | more
    return Record("t", payload, **given)


def test_keys_that_no_rule_looks_at_are_noticed_once_a_topic() -> None:
    def merges(rule: dict[str, Any] | None, first: bytes | None, last: bytes | None) -> list[bool]:
        mapper = Mapper([rule_of(rule)] if rule is not None else [])
        records = [kafka(key=first), kafka(key=last)]
        for one in records:
            mapper.map("k", one)
        return [mapper.merges_keys("k", *records) for _ in range(2)]

    assert merges(None, b"pump-1", b"pump-2") == [True, False]
    assert merges({"topic": "t"}, b"pump-1", None) == [True, False]
    assert merges(None, b"pump-1", b"pump-1") == merges(None, None, None) == [False, False]
    assert merges({"topic": "t", "input": "{key}"}, b"pump-1", b"pump-2") == [False, False]
    assert merges({"topic": "t", "key": "#"}, b"pump-1", b"pump-2") == [False, False]
    assert merges({"topic": "t", "shared_inputs": True}, b"pump-1", b"pump-2") == [False, False]
    assert merges({"topic": "t", "skip": True}, b"pump-1", b"pump-2") == [False, False]


def test_a_tombstone_and_an_empty_value_are_left_out() -> None:
    assert Mapper().map("k", kafka(None)) == Mapped(skipped=True, why="deleted")
    assert Mapper().map("k", kafka(b"")) == Mapped(skipped=True, why="cleared")


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "cleared"),
        (b"null", "null"),
        (b"[]", "null"),
        (b'{"a": null, "b": [], "c": {"d": null}}', "null"),
        (b"unavailable", "unavailable"),
        (b"None", "unavailable"),
        (b'"unknown"', "unavailable"),
        (b'{"a": "unavailable", "b": null}', "unavailable"),
    ],
)
def test_what_a_device_sends_by_design_is_left_out_with_its_reason(payload: bytes, why: str) -> None:
    for sections in ((), ({"topic": "t", "values": {"a": {}}},), ({"topic": "t", "when": "@ != `7`"},)):
        found = Mapper(rules(*sections)).map("mqtt", record(payload))
        assert (found.samples, found.rejects, found.skipped, found.why) == ([], [], True, why)


def test_why_a_whole_record_became_nothing() -> None:
    for section, payload, why in (
        ({"topic": "t", "skip": True}, b'{"v": 1}', "skipped"),
        ({"topic": "else"}, b'{"v": 1}', "no_rule"),
        ({"topic": "t", "values": {"v": {"skip": True}}}, b'{"v": 1}', "left_out"),
        ({"topic": "t", "quality": {"path": "q", "good": [192], "bad": "drop"}}, b'{"v": 1, "q": 0}', "bad_quality"),
        ({"topic": "t", "text": "drop"}, b'"open"', "text"),
        ({"topic": "t", "iterate": "l"}, b'{"l": []}', "null"),
    ):
        found = Mapper(rules(section)).map("mqtt", record(payload))
        assert (found.samples, found.rejects, found.why) == ([], [], why)


def test_a_record_with_a_problem_is_a_dead_letter_whatever_the_rules_say() -> None:
    mapper = Mapper(rules({"topic": "#", "skip": True}))
    (reject,) = mapper.map("k", kafka(b"5", problem="line too long")).rejects
    assert (reject.reason, reject.message) == (Reason.MALFORMED_RECORD, "line too long")


def test_keys_and_headers_name_signals() -> None:
    section = {"topic": "t", "input": "{key}/{header.site}/{path}", "labels": {"site": "{header.site}"}}
    mapper = Mapper(rules(section))
    for key, headers, wanted in [
        (b"a", (("site", "x"), ("site", "y")), "a/y/v"),
        (b"\xff", (("site", "x"),), "ff/x/v"),
        (b"a", (("site", "y"),), "a/y/v"),
    ]:
        assert [s[0] for s in mapper.map("k", kafka(key=key, headers=headers)).samples] == [wanted]
    assert mapper.ids.collisions == []
    assert dict(mapper.discovered)["a/y/v"].labels == (("site", ("y",)),)


def test_a_rule_can_ask_for_a_key() -> None:
    mapper = Mapper(
        rules(
            {"topic": "t", "key": "{line}/{machine}", "input": "{line}-{machine}:{path}"},
            {"topic": "t", "key": "other"},
            {"topic": "t", "skip": True},
        )
    )
    assert [s[0] for s in mapper.map("k", kafka(key=b"1/press")).samples] == ["1-press:v"]
    assert [s[0] for s in mapper.map("k", kafka(key=b"other")).samples] == ["t/other:v"]
    assert mapper.map("k", kafka(key=b"else")).skipped
    assert mapper.map("k", kafka()).skipped


def test_ids_given_out_by_key_are_remembered() -> None:
    section = {"topic": "t", "input": "{key}"}
    first = Mapper(rules(section))
    first.map("k", kafka(key=b"a"))
    claims = dict(first.ids.new_claims)
    assert claims == {"a": Origin("k", "t", "v", '{"key":"a"}')}
    again = Mapper(rules(section), claims=claims)
    assert [s[0] for s in again.map("k", kafka(b'{"w": 1}', key=b"a")).samples] != ["a"], "it belongs to v"
    assert [s[0] for s in again.map("k", kafka(key=b"a")).samples] == ["a"]
    changed = Mapper(rules({"topic": "t", "input": "a"}), claims=claims)
    assert [s[0] for s in changed.map("k", kafka()).samples] == ["a"], "nobody is called by key any more"


@pytest.mark.parametrize(
    ("time", "kind", "wanted"),
    [
        ("auto", TimeKind.CREATED, ARRIVAL - 5),
        ("arrival", TimeKind.APPENDED, ARRIVAL - 5),
        ("received", TimeKind.CREATED, ARRIVAL),
        ("create_time", TimeKind.CREATED, ARRIVAL - 5),
        ("append_time", TimeKind.APPENDED, ARRIVAL - 5),
        ("create_time", TimeKind.APPENDED, None),
        ("append_time", TimeKind.ARRIVAL, None),
    ],
)
def test_the_records_own_times(time: str, kind: TimeKind, wanted: int | None) -> None:
    found = Mapper(rules({"topic": "t", "time": time})).map("k", kafka(time_kind=kind))
    if wanted is None:
        (reject,) = found.rejects
        assert (reject.reason, reject.path) == (Reason.TIME_UNREADABLE, "v")
        assert "message.timestamp.type" in reject.message
    else:
        assert [s[1] for s in found.samples] == [wanted]


@pytest.mark.parametrize("time_us", [0, -1, ARRIVAL * 10])
def test_an_absurd_timestamp_harms_only_what_needs_it(time_us: int) -> None:
    payload = b'{"x": {"ts": 1790000000, "a": 1}, "b": 2}'
    found = Mapper().map("k", kafka(payload, time_us=time_us))
    assert found.samples == [("t:x.a", ARRIVAL, 1)]
    (reject,) = found.rejects
    assert (reject.reason, reject.path, reject.value) == (Reason.TIME_OUT_OF_RANGE, "b", "2")
    assert "own timestamp" in reject.message
