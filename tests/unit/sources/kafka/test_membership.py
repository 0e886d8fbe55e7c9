"""A disagreement about whose the partitions are is found, and one that passes is not taken for one."""

from __future__ import annotations

import pytest

from connector.sources.kafka.membership import MembershipCheck

OWNED = {"t[0]", "t[1]"}


@pytest.mark.parametrize(
    ("assigned", "words"), [({"t[0]", "t[1]", "t[2]"}, "reads t[2]"), ({"t[1]"}, "does not read t[0]")]
)
def test_librdkafka_and_we_must_agree_at_once(assigned: set[str], words: str) -> None:
    found = MembershipCheck().difference(OWNED, assigned, 2, report=1, rebalances=1)
    assert found is not None
    assert words in found


def test_the_groups_number_must_differ_in_two_reports_without_a_rebalance() -> None:
    check = MembershipCheck()

    def found(count: int | None, report: int, rebalances: int = 1) -> str | None:
        return check.difference(OWNED, OWNED, count, report=report, rebalances=rebalances)

    assert found(2, 1) is None
    assert found(1, 2) is None
    assert found(1, 2) is None, "the same report"
    assert found(1, 3, rebalances=2) is None, "something happened meanwhile"
    assert found(None, 4, rebalances=2) is None, "it rebalances: this report does not count"
    assert found(1, 5, rebalances=2) is None
    assert found(2, 6, rebalances=2) is None, "it agrees once more"
    assert found(1, 7, rebalances=2) is None
    text = found(1, 8, rebalances=2)
    assert text is not None
    assert "given us 1 partitions, and we work on 2" in text
