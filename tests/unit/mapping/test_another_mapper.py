"""A mapper takes the place of another one: what was remembered goes on, and what waits to be announced is kept."""

from __future__ import annotations

from connector.mapping.signals.input_ids import Origin
from connector.mapping.thinning.thinning import Thinning
from connector.mapping.thinning.windows import Windows
from tests.unit.mapping.mappers import mapper, take
from tests.unit.records import ARRIVAL

STATES = {"topic": "#", "values": {"mode": {"unknown_state": "learn"}}}


def test_claims_states_and_what_was_not_announced_yet_go_on() -> None:
    before = mapper(STATES)
    assert take(before, {"mode": "auto"}).samples[0][2] == 0
    after = mapper(STATES, before=before)
    assert [number for _, _, number in after.states.new] == [0]
    assert after.ids.new_claims == [("t:mode", Origin("mqtt", "t", "mode"))]
    assert [take(after, {"mode": mode}).samples[0][2] for mode in ("manual", "auto")] == [1, 0]
    assert after.ids.renames == []

    renaming = mapper({**STATES, "input": "new/{path}"}, before=after)
    take(renaming, {"mode": "auto"})
    ((old, new, _),) = [(one.before, one.now, one.origin) for one in renaming.ids.renames]
    assert (old, new) == ("t:mode", "new/mode")
    again = mapper(STATES, before=renaming)
    assert take(again, {"mode": "manual"}).samples[0][::2] == ("t:mode", 1)


def test_an_id_in_use_is_not_given_to_another_origin() -> None:
    before = mapper({"topic": "{name}", "input": "{name}"})
    take(before, 1.0, "a")
    after = mapper({"topic": "a", "input": "a"}, {"topic": "b", "input": "a"}, before=before)
    assert take(after, 2.0, "b").samples[0][0] != "a"
    assert take(after, 3.0, "a").samples[0][0] == "a"
    assert len(after.ids.collisions) == 1


def test_thinning_goes_on_until_the_new_rules_say_otherwise() -> None:
    thin = {"topic": "#", "time": "arrival", "thin": {"change_only": True}}
    before = mapper(thin)
    assert len(take(before, 1.0).samples) == 1
    same = mapper(thin, before=before)
    assert len(take(same, 1.0, time_us=ARRIVAL + 1).samples) == 0, "the value before the change counts"
    plain = mapper({"topic": "#", "time": "arrival"}, before=same)
    assert len(take(plain, 1.0, time_us=ARRIVAL + 2).samples) == 1
    assert plain.thinner.how == {}


def test_observations_of_the_mapper_before_are_kept_until_they_are_told() -> None:
    before = mapper({"topic": "a"})
    take(before, 1.0, "b")
    after = mapper({"topic": "a"}, before=before)
    assert [one.kind for one in after.observations.take()] == ["topic_without_rule"]


def test_another_window_begins_after_the_windows_before() -> None:
    how = {"a": Thinning(window_us=60_000_000, by="mean")}
    windows = Windows(how, {})

    def at(second: float, value: float) -> list[tuple[float, float]]:
        kept, late, closed = windows.take_samples(1, [("a", round(second * 1e6), value)], 0.0)
        assert not kept
        found.append(late)
        return [(one.start_us / 1e6, one.value) for one in closed]

    found: list[int] = []
    assert at(1, 1.0) == []
    assert at(25, 3.0) == []
    how["a"] = Thinning(window_us=10_000_000, by="mean")
    assert at(26, 5.0) == [(0.0, 2.0)], "the open window is closed with what it has"
    assert at(33, 7.0) == [(20.0, 5.0)]
    assert at(19, 9.0) == []
    assert found == [0, 0, 0, 0, 1], "a value of the old window is late, and makes no other value for its time"
    assert windows.held == 1
