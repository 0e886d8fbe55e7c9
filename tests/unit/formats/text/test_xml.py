"""XML: which tree a payload becomes, under which input IDs, and what is refused."""

from __future__ import annotations

import pytest

from connector.formats.format import PayloadError
from connector.formats.text.xml_elements import XmlFormat
from connector.mapping.signals.input_ids import Origin
from connector.records import Reason
from tests.unit.mapping.mappers import mapper, take


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("<t>21.5</t>", {"t": "21.5"}),
        ("<p><t> 21.5\n</t><on>true</on><e/></p>", {"p": {"t": "21.5", "on": True, "e": None}}),
        ('<p><t unit="C">21.5</t></p>', {"p": {"t": {"unit": "C", "value": "21.5"}}}),
        ("<p><t>1</t><x/><t>2</t></p>", {"p": {"t": ["1", "2"], "x": None}}),
        ("<p>&lt;&#176;<![CDATA[<b>]]></p>", {"p": "<°<b>"}),
        ('<s:E xmlns:s="u" xsi:type="T" s:id="7"><s:B>1</s:B></s:E>', {"E": {"id": "7", "B": "1"}}),
        ("<T>1</T><A><v>2</v></A>", {"xml": {"T": "1", "A": {"v": "2"}}}),
        ("<A>1</A><A>2</A>", {"xml": {"A": ["1", "2"]}}),
        ("\ufeff<?xml version='1.0'?><t>1</t>\0", {"t": "1"}),
    ],
)
def test_what_becomes_of_elements(payload: str, expected: object) -> None:
    assert XmlFormat().decode(payload.encode()) == expected


@pytest.mark.parametrize(
    "payload",
    [
        '<?xml version="1.0" encoding="ISO-8859-1"?><t>ø</t>'.encode("latin-1"),
        '<?xml version="1.0" encoding="UTF-16"?><t>ø</t>'.encode("utf-16"),
        "<t>ø</t>".encode("utf-16"),
        "<?xml version='1.0' encoding='windows-1252' ?><t>ø</t>".encode("cp1252"),
    ],
)
def test_the_payload_says_its_encoding(payload: bytes) -> None:
    assert XmlFormat().decode(payload) == {"t": "ø"}


BILLION = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (BILLION, Reason.INVALID_XML, "document type is refused"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', Reason.INVALID_XML, "document type is refused"),
        ("<a>&c;</a>", Reason.INVALID_XML, "line 1, column 4: undefined entity"),
        ("<a>\n<b></a>", Reason.INVALID_XML, "line 2"),
        ("</_><_>", Reason.INVALID_XML, "line 1"),
        ("21.5", Reason.INVALID_XML, "no element"),
        ("<a/> 21.5", Reason.INVALID_XML, "text outside"),
        ('<p><t a="1"><a>2</a></t></p>', Reason.DUPLICATE_KEY, "attribute_prefix: '@'"),
        ('<p><t value="1">2</t></p>', Reason.DUPLICATE_KEY, "attribute_prefix: '@'"),
        ("<p><a:t>1</a:t><b:t>2</b:t></p>", Reason.DUPLICATE_KEY, "namespace"),
        ("<a>" * 200, Reason.NESTED_TOO_DEEPLY, "100"),
        ("<a>" + "<b/>" * 250_000 + "</a>", Reason.TOO_MANY_VALUES, "200000"),
        ("<?xml version='1.0' encoding='utf-7'?><a/>", Reason.INVALID_TEXT, "utf-7"),
    ],
)
def test_what_is_refused(payload: str, reason: Reason, said: str) -> None:
    with pytest.raises(PayloadError, match=said) as error:
        XmlFormat().decode(payload.encode())
    assert error.value.reason is reason


def test_attributes_with_a_prefix_stand_beside_elements() -> None:
    found = XmlFormat(attribute_prefix="@").decode(b'<p><t value="1" a="2">3<a>4</a></t></p>')
    assert found == {"p": {"t": {"@value": "1", "@a": "2", "a": "4", "value": "3"}}}


ONE = '<plant at="2026-05-01T06:00:00Z"><line id="1"><tag name="temp">21.5</tag></line></plant>'
TWO = (
    '<plant><line id="2"><tag name="temp">3</tag></line>'
    '<line id="1"><tag name="flow">1</tag><tag name="temp">22</tag></line></plant>'
)
CHILDREN = "<p><v><Name>a</Name><x>1</x></v></p>", "<p><v><Name>b</Name><x>2</x></v><v><Name>a</Name><x>3</x></v></p>"


@pytest.mark.parametrize("rule", [{}, {"select": "plant"}, {"iterate": "plant.line", "item_name": "id"}])
def test_an_element_has_the_same_input_id_alone_and_among_others(rule: dict[str, object]) -> None:
    using = mapper({"topic": "t", "format": "xml", **rule})
    for _ in range(3):
        alone = {input_id for input_id, _, _ in take(using, ONE.encode()).samples}
        among = {input_id: value for input_id, _, value in take(using, TWO.encode()).samples}
        assert len(alone) == 1
        assert len(among) == 3
        assert among[alone.pop()] == 22


def test_an_element_may_be_named_by_an_element_in_it() -> None:
    using = mapper({"topic": "t", "format": "xml"})
    for _ in range(3):
        assert [sample[0] for sample in take(using, CHILDREN[0].encode()).samples] == ["t:p.v.a.x"]
        assert [sample[0] for sample in take(using, CHILDREN[1].encode()).samples] == ["t:p.v.b.x", "t:p.v.a.x"]


def test_an_empty_name_does_not_hide_the_names_that_follow() -> None:
    using = mapper({"topic": "t", "format": "xml"})
    for _ in range(3):
        take(using, b"<p><v><Name></Name><x>1</x></v></p>")
    assert [sample[0] for sample in take(using, CHILDREN[0].encode()).samples] == ["t:p.v.a.x"]


@pytest.mark.parametrize("one_first", [True, False])
def test_an_element_without_a_name_that_is_alone_and_among_others_is_said(one_first: bool) -> None:
    one, two = b"<p><s><t>1</t></s></p>", b"<p><s><t>2</t></s><s><t>3</t></s></p>"
    using = mapper({"topic": "t", "format": "xml"})
    for payload in (one, two) * 3 if one_first else (two, one) * 3:
        take(using, payload)
    (said,) = using.take_observations()
    assert (said.kind, said.subject) == ("list_or_single", "t: p.s")
    assert 'lists: ["s"]' in said.remedy
    again = mapper({"topic": "t", "format": "xml"}, claims=dict(using.ids.claims()))
    take(again, one)
    assert again.take_observations() == []  # the run before has said it
    later = mapper({"topic": "t", "format": "xml"}, claims={"t:p.s.t": Origin("mqtt", "t", "p.s.t")})
    take(later, two)
    assert [one.kind for one in later.take_observations()] == ["list_or_single"]
    mended = mapper({"topic": "t", "format": {"type": "xml", "lists": ["s"]}})
    found = [take(mended, payload).samples for payload in (one, two) * 2]
    assert [[(sample[0], sample[2]) for sample in samples] for samples in found] == [
        [("t:p.s.0.t", 1)],
        [("t:p.s.0.t", 2), ("t:p.s.1.t", 3)],
    ] * 2
    assert mended.take_observations() == []


def test_numbers_beside_what_they_are_a_part_of_are_no_lists() -> None:
    using = mapper({"topic": "t"})
    for payload in ({"total": 5, "0": {"total": 2}, "1": {"total": 3}}, {"t": 1}, {"u": [1, 2]}, {"u": [1, 2, 3]}):
        take(using, payload)
    assert [one.kind for one in using.take_observations()] == []


def test_lists_hold_their_elements_at_every_level() -> None:
    found = XmlFormat(lists=["t", "r"]).decode(b"<r><t>1</t></r>")
    assert found == {"xml": {"r": [{"t": ["1"]}]}}


def test_the_time_of_the_root_counts_for_all_elements() -> None:
    (sample,) = take(mapper({"topic": "t", "format": "xml"}), ONE.encode()).samples
    assert sample == ("t:plant.line.1.tag.temp.value", 1_777_615_200_000_000, 21.5)


def test_elements_without_a_root_under_a_rule_with_their_quality() -> None:
    payload = (
        "<Timestamp>2026-05-01T06:00:00Z</Timestamp>"
        "<Temp><Value>21.5</Value><Station>s1</Station><QualityCode>192</QualityCode></Temp>"
    )
    quality = {"path": "QualityCode", "good": [192]}
    rule = {"format": "xml", "iterate": "xml", "input": "{topic}/{item}", "quality": quality, "values": {"Value": {}}}
    rule["time"] = "xml.Timestamp"
    mapped = take(mapper({"topic": "cc7/x", **rule, "other_values": "filter"}), payload.encode(), "cc7/x")
    assert mapped.samples == [("cc7/x/Temp", 1_777_615_200_000_000, 21.5)]
    assert mapped.rejects == []
