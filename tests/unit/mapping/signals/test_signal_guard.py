"""Signals that are there are never touched; new ones come only as they may, and nothing of them is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector.mapping.signals.signal_guard import GuardSettings, NewSignals, SignalGuard
from connector.records import Mapped, Reason, Reject


def values(*inputs: str) -> Mapped:
    return Mapped([(input_id, 1000 + i, float(i)) for i, input_id in enumerate(inputs)])


def test_known_signals_pass_unchanged_whatever_the_settings() -> None:
    guard = SignalGuard(GuardSettings(1, "reject"), {"a", "b"})
    mapped = values("a", "b", "a")
    assert guard.check(mapped) is mapped


def test_new_signals_are_let_in_up_to_the_greatest_number_and_then_held() -> None:
    guard = SignalGuard(GuardSettings(3, "allow"), {"a"})
    found = guard.check(values("a", "b", "c", "d", "b", "d"))
    assert [sample[0] for sample in found.samples] == ["a", "b", "c", "b"]
    assert [(reject.reason, reject.path) for reject in found.rejects] == [
        (Reason.SIGNAL_HELD, "d@1003"),
        (Reason.SIGNAL_HELD, "d@1005"),
    ]
    assert "there are already 3 signals (signals.max is 3)" in found.rejects[0].message
    assert guard.new_known == ["b", "c"]
    assert guard.new_held == ["d"]
    assert (guard.signals(), guard.held(), guard.refused) == ({"": 3}, {"": 1}, 2)


def test_held_signals_pass_once_they_are_approved() -> None:
    guard = SignalGuard(GuardSettings(on_new="hold"), {"a"})
    assert [sample[0] for sample in guard.check(values("a", "b")).samples] == ["a"]
    guard.approve(["b"])
    mapped = values("a", "b")
    assert guard.check(mapped) is mapped
    assert not guard.held()


def test_a_rejected_signal_is_not_offered_for_approval() -> None:
    guard = SignalGuard(GuardSettings(on_new="reject"), ())
    found = guard.check(values("a"))
    assert found.rejects[0].reason is Reason.SIGNAL_REJECTED
    assert guard.new_held == []


def test_what_the_mapping_said_of_the_record_stays() -> None:
    guard = SignalGuard(GuardSettings(on_new="hold"), ())
    before = Mapped([("a", 1, 1.0)], [Reject(Reason.NOT_FINITE, "NaN", "x", "nan")], 3, False)
    found = guard.check(before)
    assert len(found.rejects) == 2
    assert found.filtered == 3


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=20),
    st.sampled_from(["allow", "hold", "reject"]),
    st.none() | st.integers(0, 10),
    st.sets(st.sampled_from("abc")),
)
def test_every_value_is_a_sample_or_a_reject_and_the_number_holds(
    records: list[list[str]], on_new: NewSignals, most: int | None, known: set[str]
) -> None:
    guard = SignalGuard(GuardSettings(most, on_new), known)
    seen: set[str] = set()
    for inputs in records:
        found = guard.check(values(*inputs))
        assert len(found.samples) + len(found.rejects) == len(inputs)
        seen |= {sample[0] for sample in found.samples}
    if most is not None:
        assert len(seen | known) <= max(most, len(known))
    if on_new != "allow":
        assert seen <= known
