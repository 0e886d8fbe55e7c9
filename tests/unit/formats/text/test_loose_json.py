"""JSON that is nearly JSON: what `lenient` reads, and what stays refused since it could mean two things."""

from __future__ import annotations

import json
import math
import time

import pytest

from connector.formats.format import PayloadError
from connector.formats.text.json_payload import JsonFormat, decode
from connector.formats.text.loose_json import as_json, with_finite_words
from connector.records import Reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{'a': 1, 'b': 'x'}", {"a": 1, "b": "x"}),
        ("""{'it\\'s "5"': 'a\\n\\x41'}""", {'it\'s "5"': "a\nA"}),
        ("""{"it's": 'a, b: c'}""", {"it's": "a, b: c"}),
        (
            "[.5, 5., +5, -.5, 1.e3, 007, -007, 00.5, 010, 0x1F, -0xff]",
            [0.5, 5, 5, -0.5, 1000, 7, -7, 0.5, 10, 31, -255],
        ),
        ("[1, 2,]", [1, 2]),
        ('{"a": [1,\n], }', {"a": [1]}),
        ("{a: 1, $b: 2, ø_1: 3, 7: 4, nan: 5}", {"a": 1, "$b": 2, "ø_1": 3, "7": 4, "nan": 5}),
        ("[True, FALSE, None, NULL, undefined]", [True, False, None, None, None]),
        ('{"a": "b\tc"}', {"a": "b\tc"}),
        ('{"a": "5.", "b": "nan, .5 \'x\'", c: "\\"0x1F"}', {"a": "5.", "b": "nan, .5 'x'", "c": '"0x1F'}),
        ("{'Ж': 1,}", {"Ж": 1}),
    ],
)
def test_lenient(text: str, expected: object) -> None:
    form = JsonFormat(lenient=True)
    assert form.decode(text.encode()) == expected
    assert form.notes.tolerated == {"lenient"}
    with pytest.raises(PayloadError) as refused:
        decode(text.encode())
    assert refused.value.reason is Reason.INVALID_JSON
    assert "lenient: true" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 1", "[1 2]", "[5+5]", "[1.2.3]", "[12ab]", "[1,,2]", "[1'234]", "{a: on}", "{a b: 1}", "{'a' 1}",
        '["a" "b"]', "{'a': 1}{'a': 2}", "['a", "['a\\']", '["a', "[0x]", "[--5]", "[+-5]", "[1e]", "{1.5: 2}",
        "a: 1", "[1;2]", "[// x\n1]", "[1,5 2]", "{'a': 00:12:34}", "[0o17]", "[1 000]", "[infinite]", "[nano]",
        "[1_000]", "['a''b']",
    ],
)  # fmt: skip
def test_what_is_no_value_stays_refused(text: str) -> None:
    with pytest.raises(PayloadError) as refused:
        JsonFormat(lenient=True).decode(text.encode())
    assert refused.value.reason is Reason.INVALID_JSON


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, math.nan) for word in ("nan", "NaN", "NAN", "-nan", "-nan(ind)", "nan(snan)", "1.#QNAN", "-1.#IND00")),
        *((word, math.inf) for word in ("inf", "Infinity", "INFINITY", "+Inf", "1.#INF", "1.#INF00")),
        *((word, -math.inf) for word in ("-inf", "-Infinity", "-1.#INF")),
    ],
)
def test_words_that_are_no_finite_numbers(word: str, value: float, lenient: bool) -> None:
    form = JsonFormat(lenient=lenient)
    text = f'{{"a nan": "say {word}", "b": [1, {word} ],"c":{word}}}'
    found = form.decode(text.encode())
    assert isinstance(found, dict)
    assert found["a nan"] == f"say {word}"
    assert [found["b"][1], found["c"]] == pytest.approx([value, value], nan_ok=True)
    assert found["b"][0] == 1
    assert form.notes.tolerated == {"not_finite"}
    assert decode(word.encode()) == pytest.approx(value, nan_ok=True)


def test_a_repeated_key_is_seen_in_any_json() -> None:
    for text in ('{"a": 1, "a": 2}', "{a: 1, 'a': 2}", '{"b": nan, "a": 1, "a": 2}'):
        form = JsonFormat(lenient=True)
        found = form.decode(text.encode())
        assert form.notes.repeats
        assert [found["a"], found.replaced] == [2, [("a", 1)]]  # type: ignore[index, attr-defined]


def test_strict_json_stays_the_same() -> None:
    document = {"a": [1.5, -2e-7, 1e300, True, None, {"": "x\\\"'\n"}], "ø": "nan, 'x', .5,]"}
    text = json.dumps(document)
    assert json.loads(as_json(text)) == json.loads(with_finite_words(text)) == document


@pytest.mark.parametrize("start", ['{"', "{'", "[", '["\\"', "[nan,"])
@pytest.mark.parametrize("filling", ['\\"', "\\'", "'", ",", "a ", "nan,", ":", " ", '"a', "0", "\\"])
def test_a_hundred_kilobytes_of_anything_is_looked_at_once(start: str, filling: str) -> None:
    payload = (start + filling * (100_000 // len(filling)) + "x").encode()
    started = time.process_time()
    with pytest.raises(PayloadError):
        JsonFormat(lenient=True).decode(payload)
    assert time.process_time() - started < 5
