"""Documents of any shape, and what holds for every record that is mapped."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hypothesis import strategies as st

from connector.clarify.limits import INPUT_ID
from connector.ledger.account import Outcome
from connector.ledger.progress import Progress
from connector.mapping.time.times import TIME_NAMES
from connector.records import Chunk, Mapped, Record

ARRIVAL = 1_790_000_000_000_000

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.decimals(allow_nan=False).map(str)
    | st.sampled_from(["1e999", "NaN", "21.5", "0", "-7", "2024-04-03T05:01:52Z"])
)
keys = st.text(max_size=8).filter(lambda key: key.lower() not in TIME_NAMES)
any_keys = keys | st.sampled_from(sorted(TIME_NAMES))
topics = st.text(max_size=40) | st.sampled_from(["plant/7/press", "a" * 300, "$SYS/x", "ø/ /\n"])


def trees(names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
        max_leaves=25,
    )


def leaves(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(leaves, value.values()))
    if isinstance(value, list):
        return sum(map(leaves, value))
    return 1


def values_of(mapped: Mapped) -> int:
    return len(mapped.samples) + mapped.filtered + sum(1 for reject in mapped.rejects if reject.path is not None)


def check_promises(mapped: Mapped, record: Record) -> None:
    """What holds for every record whatsoever."""
    for input_id, time_us, value in mapped.samples:
        assert INPUT_ID.match(input_id)
        assert isfinite(value)
        assert type(time_us) is int
    for reject in mapped.rejects:
        assert reject.message.encode("utf-8"), "a dead letter must be writable"
        for text in (reject.path, reject.value):
            assert text is None or text.encode("utf-8") or text == ""
    # The bookkeeping takes it: there is an outcome, and it balances once the samples are settled.
    progress = Progress()
    token = progress.begin(Chunk("mqtt", "p", [1], [record]), [(0, mapped)])
    if mapped.samples:
        progress.settle({token: len(mapped.samples)}, Outcome.INSERTED)
    assert [commit.position for commit in progress.commits()] == [1]
