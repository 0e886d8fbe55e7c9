"""Two origins never share an input ID: not by accident, not on purpose, not after restarts and changes."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.clarify.limits import INPUT_ID
from connector.mapping.signals.input_ids import InputIds, Origin, legal_id

origins = st.builds(
    Origin, st.sampled_from(["east", "west"]), st.sampled_from(["plant/1", "plant/2", "a"]), st.sampled_from(["", "v"])
)
texts = st.sampled_from(["x", "y", "a b", "a?b", "x" * 128, "x" * 200]) | st.text(max_size=5)
Wants = dict[Origin, str]


def run(claims: dict[str, Origin], wants: Wants, order: Random) -> dict[Origin, str]:
    """One run of a connector: every origin gets its ID, in any order; the claims are remembered."""
    ids = InputIds(claims, lambda origin: {legal_id(wants[origin])} if origin in wants else set())
    arriving = list(wants.items())
    order.shuffle(arriving)
    given_ids = {origin: ids.assign(origin, text) for origin, text in arriving}
    assert {origin: ids.assign(origin, text) for origin, text in wants.items()} == given_ids, "stable within a run"
    assert all(INPUT_ID.match(input_id) for input_id in given_ids.values())
    assert len(set(given_ids.values())) == len(given_ids), "two origins share an ID"
    claims.update(ids.new_claims)
    return given_ids


@settings(max_examples=150, deadline=None)
@given(
    wants=st.dictionaries(origins, texts, min_size=1, max_size=10),
    copied=st.integers(0, 9),
    later=st.dictionaries(origins, texts, max_size=6),
    gone=st.sets(origins, max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_two_origins_never_share_an_id(
    wants: Wants, copied: int, later: Wants, gone: set[Origin], order: Random
) -> None:
    claims: dict[str, Origin] = {}
    first = run(claims, wants, order)
    assert run(claims, wants, order) == first, "stable over a restart, whoever comes first"

    # A topic that is called like an ID which somebody has, perhaps one with a hash.
    with_copy = {**wants, Origin("impostor", "t", ""): list(first.values())[copied % len(first)]}
    second = run(claims, with_copy, order)
    assert {origin: second[origin] for origin in first} == first

    # The mapping changes, and some origins are not mapped any more: IDs may move, but stay apart.
    changed = {origin: text for origin, text in {**with_copy, **later}.items() if origin not in gone}
    third = run(claims, changed, order)
    assert run(claims, changed, order) == third
