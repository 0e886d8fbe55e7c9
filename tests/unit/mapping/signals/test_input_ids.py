"""Input IDs: legal, stable, and two origins never share one by accident."""

from __future__ import annotations

import pytest

from connector.clarify.limits import INPUT_ID
from connector.mapping.signals.input_ids import InputIds, Origin, legal_id


def ids(claims: dict[str, Origin] | None = None, wants: dict[Origin, str] | None = None) -> InputIds:
    """Input IDs under a mapping in which each origin wants the text given; others are not mapped any more."""
    return InputIds(claims or {}, lambda origin: {legal_id(wants[origin])} if wants and origin in wants else set())


A = Origin("mqtt", "plant/a", "v")
B = Origin("mqtt", "plant/b", "v")
C = Origin("mqtt", "plant/c", "v")


@pytest.mark.parametrize("text", ["a", "plant/a:v", "A-Z_0.9:#+/", "x" * 128])
def test_a_legal_text_is_the_id(text: str) -> None:
    assert legal_id(text) == text


@pytest.mark.parametrize("text", ["", "a b", "temperatur °C", "日本", "a\nb", "x" * 129, "y" * 300, "\ud800", "a\0b"])
def test_any_other_text_becomes_legal_and_stays_apart(text: str) -> None:
    found = legal_id(text)
    assert INPUT_ID.match(found)
    assert found == legal_id(text)
    assert found != legal_id(text + "!")


def test_texts_that_differ_only_in_what_was_replaced_stay_apart() -> None:
    assert len({legal_id(text) for text in ("a b", "a?b", "a_b", "a\tb", "a  b")}) == 5


def test_texts_that_differ_only_behind_what_was_cut_stay_apart() -> None:
    assert len({legal_id("x" * 300 + end) for end in "abc"}) == 3


def test_the_first_origin_keeps_the_id_and_the_later_gets_one_of_its_own() -> None:
    found = ids(wants={A: "temp", B: "temp"})
    assert found.assign(A, "temp") == "temp"
    given = found.assign(B, "temp")
    assert given.startswith("temp-")
    assert found.assign(A, "temp") == "temp"
    assert found.assign(B, "temp") == given
    assert found.new_claims == [("temp", A), (given, B)]
    (collision,) = found.collisions
    assert (collision.wanted, collision.owner, collision.later, collision.given) == ("temp", A, B, given)
    assert "plant/a" in str(collision)
    assert "plant/b" in str(collision)
    assert given in str(collision)
    assert "shared_inputs" in str(collision)


def test_claims_make_ids_stable_when_topics_come_in_another_order_after_a_restart() -> None:
    before = ids(wants={A: "temp", B: "temp"})
    given = {origin: before.assign(origin, "temp") for origin in (A, B)}
    after = ids(dict(before.new_claims), wants={A: "temp", B: "temp"})
    assert {origin: after.assign(origin, "temp") for origin in (B, A)} == given
    assert after.new_claims == []
    assert after.collisions == []


def test_an_id_that_was_given_in_a_collision_is_not_taken_over() -> None:
    """A topic may really be called like an ID with a hash."""
    wants = {A: "temp", B: "temp"}
    found = ids(wants=wants)
    found.assign(A, "temp")
    given = found.assign(B, "temp")
    wants[C] = given
    assert found.assign(C, given) != given
    assert found.assign(B, "temp") == given
    assert len({found.assign(origin, text) for origin, text in wants.items()}) == 3


def test_the_id_with_a_hash_may_be_taken_already() -> None:
    probe = ids(wants={A: "temp", B: "temp"})
    probe.assign(A, "temp")
    would_be = probe.assign(B, "temp")
    wants = {C: would_be, A: "temp", B: "temp"}
    found = ids(wants=wants)
    assert found.assign(C, would_be) == would_be
    assert found.assign(A, "temp") == "temp"
    given = found.assign(B, "temp")
    assert given not in ("temp", would_be)
    assert found.assign(B, "temp") == given


def test_long_ids_keep_room_for_the_hash() -> None:
    found = ids(wants={A: "x" * 128, B: "x" * 128})
    found.assign(A, "x" * 128)
    given = found.assign(B, "x" * 128)
    assert len(given) == 128
    assert INPUT_ID.match(given)


def test_a_mapping_that_changed_frees_the_id() -> None:
    found = ids({"temp": A}, wants={A: "line/temp", B: "temp"})
    assert found.assign(B, "temp") == "temp"
    assert found.collisions == []


def test_an_origin_that_is_gone_frees_the_id() -> None:
    found = ids({"temp": A}, wants={B: "temp"})
    assert found.assign(B, "temp") == "temp"


def test_shared_inputs_are_shared_without_a_claim() -> None:
    found = ids()
    assert [found.assign(origin, "total power", shared=True) for origin in (A, B)] == [legal_id("total power")] * 2
    assert found.new_claims == []
    assert found.collisions == []


@pytest.mark.parametrize("still_mapped", [True, False])
def test_a_new_claim_costs_no_more_with_many_claims_of_earlier_runs(still_mapped: bool) -> None:
    """Keys are the publishers' to choose: a thousand of them at one place, and then a thousand new ones."""
    claims = {f"old-{n}": Origin("kafka", "t", "v", f"key {n}") for n in range(1_000)}
    asked = 0

    def wanted_today(origin: Origin) -> set[str]:
        nonlocal asked
        asked += 1
        return {f"old-{origin.record.removeprefix('key ')}"} if still_mapped else set()

    found = InputIds(claims, wanted_today)
    for n in range(1_000):
        assert found.assign(Origin("kafka", "t", "v", f"new key {n}"), f"new-{n}") == f"new-{n}"
    assert asked == 0, "the ID of another record is no earlier ID of this one"
    for n in range(1_000):
        assert found.assign(Origin("kafka", "t", "v"), f"plain-{n}") == f"plain-{n}"
    assert asked == 1_000, "each claim of the earlier run was looked at once"
    assert len(found.renames) == (0 if still_mapped else 1_000)
